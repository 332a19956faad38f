"""What goes beyond one evaluation of a run: several seeds, the few-shot curve, the meaning of the axes."""

from __future__ import annotations

import json
import shutil
from dataclasses import asdict, replace
from typing import TYPE_CHECKING, Any

import numpy as np

from lorerm.atomic import atomic_path
from lorerm.errors import ConfigError, RunError
from lorerm.pipeline.models import adaptation_of, chosen_alpha, chosen_rank, given_adaptation, load_trained
from lorerm.pipeline.sources import read_preferences

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    from lorerm.data.splits import Splits
    from lorerm.embedding.embedded_preferences import EmbeddedPreferences
    from lorerm.evaluation.few_shot_config import ShotsConfig
    from lorerm.model.reward_model import LowRankRewardModel
    from lorerm.pipeline.folder import RunFolder, Work

SEEDS, SHOTS = "seeds", "shots.json"
# Few-shot answers up to which the default sweep, of 20 orders and 10 counts, takes seconds.
_CHEAP_ANSWERS = 200_000
_SEED_FILES = (f"{SEEDS}/seed-*.json", f"{SEEDS}/seed-*/config.json", f"{SEEDS}/seed-*/model.safetensors")


def shots(run: RunFolder, counts: Sequence[int] | None, config: ShotsConfig, rank: int | None = None) -> dict[str, Any]:
    """Sweep the few-shot curve of the chosen rank (or another); writes `shots.json`, which the report shows.

    Parameters
    ----------
    run
        A run with trained models.
    counts
        Numbers of answers; None is 1 to 50 as far as anybody has so many.
    config
        Trials and seed.
    rank
        Whose curve; None is the chosen one or, where that is not personal, the largest.
    """
    run.result("train")

    def begin() -> Work:
        from lorerm.data.splits import Splits
        from lorerm.embedding.store import load_embedded
        from lorerm.evaluation.few_shot import shots_curve

        data = load_embedded(run.path)
        model = load_trained(run, _personal_rank(run) if rank is None else _known_rank(run, rank), chosen_alpha(run))
        cells = Splits.from_labels(data, np.asarray(data.splits))
        _check_unseen(cells)

        def work() -> dict[str, Any]:
            found = shots_curve(model, cells, counts, config, adaptation=adaptation_of(run), progress=run.progress)
            _write_json(run.path / SHOTS, found)
            return {"rank": found["rank"], "clear_from": found["clear_from"]}

        return work

    settings = {"shots": None if counts is None else list(counts), "rank": rank, **asdict(config)}
    arguments = {**settings, "adaptation": given_adaptation(run)}
    return run.step("shots", arguments, begin, outputs=(SHOTS,))


def shots_by_default(run: RunFolder) -> None:
    """Sweep the few-shot curve as it was swept before or, where that is a matter of seconds, by default.

    That is by the default adaptation, with a personal model and people to adapt it to.
    """
    from lorerm.evaluation.few_shot_config import ShotsConfig

    before = run.arguments("shots")
    if before:
        shots(run, before["shots"], ShotsConfig(before["trials"], before["seed"]), before["rank"])
        return
    rank = _personal_rank(run)
    first = "prepare" if run.arguments("prepare") else "embed"
    cells = run.result(first)["cells"]
    is_cheap = 0 < cells["train_unseen"]["n_pairs"] <= _CHEAP_ANSWERS and cells["test_unseen"]["n_pairs"] > 0
    if rank > 1 and is_cheap and adaptation_of(run).recipe == "default":
        shots(run, None, ShotsConfig())


def shots_content(run: RunFolder) -> dict[str, Any]:
    """Return what the last sweep found."""
    run.result("shots")
    return _read_json(run.path / SHOTS)


def seeds(run: RunFolder, n: int | None = None) -> None:
    """Repeat split, training and evaluation with the next seeds on the pairs in use; writes `seeds/`.

    Nothing is embedded again: the pairs in use are split anew. Where the input said which prompts are test prompts,
    only the people are; where it gave all cells, only the fit has another seed.

    Parameters
    ----------
    run
        A run with trained models, which is the first seed.
    n
        How many seeds in all; None for as many as before, 1 at first. Those done before are kept.
    """
    before: int = run.manifest()["steps"].get("seeds", {}).get("parts", {}).get("n", 1)
    n = before if n is None else n
    check_seeds(n)
    if n == before == 1:
        return
    run.result("train")

    def begin() -> Work:
        from lorerm.embedding.store import load_embedded

        data = load_embedded(run.path)
        return lambda: _train_seeds(run, data, n)

    run.step("seeds", {"adaptation": given_adaptation(run)}, begin, outputs=_SEED_FILES, parts={"n": n})


def check_seeds(n: int | None) -> None:
    """Refuse a number of seeds that is none."""
    if n is not None and n < 1:
        raise ConfigError(f"--seeds is {n}", "give a whole number from 1 on: the run itself is the first")


def _train_seeds(run: RunFolder, data: EmbeddedPreferences, n: int) -> dict[str, Any]:
    from lorerm.evaluation.evaluate import measure
    from lorerm.model.io import save_model
    from lorerm.training.config import TrainingConfig
    from lorerm.training.train import train_ranks

    ranks = run.result("train")["ranks"]
    config = TrainingConfig(**load_trained(run, chosen_rank(run), chosen_alpha(run)).training["config"])
    focus, adaptation = _personal_rank(run), adaptation_of(run)
    done = set(run.done("seeds"))
    if not done:
        shutil.rmtree(run.path / SEEDS, ignore_errors=True)
    (run.path / SEEDS).mkdir(exist_ok=True)
    wanted = [config.seed + k for k in range(1, n)]
    for place, seed in enumerate(wanted):
        run.tell("seeds", place, len(wanted))
        path = run.path / SEEDS / f"seed-{seed}.json"
        if str(seed) in done and path.exists():
            continue
        cells = _split_anew(run, data, seed)
        models = dict(train_ranks(cells.train_seen, ranks, replace(config, seed=seed)))
        found = measure(models, cells, adaptation=replace(adaptation, seed=seed), seed=seed)
        kept = {name: found[name] for name in ("ranks", "differences", "chosen_rank")}
        save_model(models[focus], run.path / SEEDS / f"seed-{seed}", include_users=False)
        _write_json(path, kept)
        run.mark_done("seeds", str(seed))
    run.tell("seeds", len(wanted), len(wanted))
    return {"seeds": [config.seed, *wanted]}


def _split_anew(run: RunFolder, data: EmbeddedPreferences, seed: int) -> Splits[EmbeddedPreferences]:
    from lorerm.data.splits import Splits, assign_splits

    first = "prepare" if run.arguments("prepare") else "embed"
    cells = np.asarray(data.splits)
    given = run.result(first).get("given")
    if given == "cells":
        return Splits.from_labels(data, cells)
    sides = [str(cell).split("_", maxsplit=1)[0] for cell in cells] if given == "prompts" else None
    settings = {**run.arguments(first)["split"], "seed": seed}
    return Splits.from_labels(data, assign_splits(data.user_ids, data.prompt_ids, given=sides, **settings))


def add_studies(run: RunFolder, content: dict[str, Any], model: LowRankRewardModel, data: EmbeddedPreferences) -> None:
    """Add to a report what the run holds beyond it: `shots`, `seeds`, and `axes` of the rank in focus."""
    from lorerm.evaluation.axes import describe_axes
    from lorerm.evaluation.seeds import spread_over_seeds
    from lorerm.model.reward_model import LowRankRewardModel

    content["shots"] = _read_json(run.path / SHOTS) if run.is_finished("shots") else None
    content["seeds"], others = None, {}
    if run.is_finished("seeds"):
        own, *more = run.result("seeds")["seeds"]
        reports: dict[int, Mapping[str, Any]] = {own: content}
        for seed in more:
            reports[seed] = _read_json(run.path / SEEDS / f"seed-{seed}.json")
            others[seed] = LowRankRewardModel.from_pretrained(run.path / SEEDS / f"seed-{seed}")
        content["seeds"] = spread_over_seeds(reports) if more else None
    content["axes"] = {
        "rank": model.requested_rank,
        "directions": describe_axes(model, data, _texts_of(run), others),
    }


def _texts_of(run: RunFolder) -> Any:  # noqa: ANN401 - a function or None
    """Return what gives the texts of comparisons; None for imported embeddings."""
    if not run.arguments("prepare"):
        return None

    def texts_of(indices: Sequence[int]) -> list[tuple[str, str]]:
        some = read_preferences(run.path).select(np.asarray(indices))
        ends = (some.conversations("chosen"), some.conversations("rejected"))
        return [(chosen[-1]["content"], rejected[-1]["content"]) for chosen, rejected in zip(*ends, strict=True)]

    return texts_of


def _personal_rank(run: RunFolder) -> int:
    """Return the rank in focus, as a report has it: the chosen one or, where that is not personal, the largest."""
    chosen = chosen_rank(run)
    if chosen > 1:
        return chosen
    ranks: list[int] = sorted(run.result("train")["ranks"], reverse=True)
    return next(
        (rank for rank in ranks if rank > 1 and load_trained(run, rank, chosen_alpha(run)).fitted_rank > 1), ranks[0]
    )


def _known_rank(run: RunFolder, rank: int) -> int:
    ranks = run.result("train")["ranks"]
    if rank not in ranks:
        raise ConfigError(f"{run.path} has no model of rank {rank}", f"choose one of {', '.join(map(str, ranks))}")
    return rank


def _check_unseen(cells: Splits[EmbeddedPreferences]) -> None:
    if not (len(cells.train_unseen) and len(cells.test_unseen)):
        raise RunError("the run has no unseen users with answers and test pairs", "prepare it with --unseen-users")


def _write_json(path: Path, content: Mapping[str, Any]) -> None:
    with atomic_path(path) as temporary:
        text = json.dumps(content, indent=2, ensure_ascii=False, allow_nan=False)
        temporary.write_text(text + "\n", encoding="utf-8")


def _read_json(path: Path) -> dict[str, Any]:
    try:
        return json.loads(path.read_text(encoding="utf-8"))  # type: ignore[no-any-return]
    except (OSError, ValueError) as error:
        raise RunError(f"{path} is missing or damaged", "delete it and run its step again") from error


def compare(runs: Sequence[RunFolder]) -> dict[str, Any]:
    """Compare runs that have reports, each by the rank that its validation chose; the first is the one to beat."""
    import pyarrow.parquet as pq

    from lorerm.evaluation.comparison import compare_runs

    names = [run.path.name for run in runs]
    if len(set(names)) < len(names):
        names = [str(run.path) for run in runs]
    for run in runs:
        run.result("report")
    reports = [_read_json(run.path / "report" / "report.json") for run in runs]
    try:
        tables = [pq.read_table(run.path / "report" / "predictions.parquet") for run in runs]
    except (OSError, ValueError) as error:
        raise RunError(f"a run has lost its predictions ({error})", "run `lorerm report` on it again") from error
    return compare_runs(names, reports, tables)

"""Studies that go beyond one evaluation of a run.

- Few-shot curve: accuracy of unseen users against the number of comparisons used to adapt them.
- Seeds: the same evaluation with further random seeds.
- Axes: the directions of the embedding space along which users differ most.
- Comparison: differences in accuracy between several runs.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import numpy as np

from lorerm.atomic import atomic_path
from lorerm.errors import ConfigError, DataError, RunError, first_line
from lorerm.pipeline.folder import RunFolder, Work, input_step, is_imported
from lorerm.pipeline.layout import PREDICTIONS, REPORT_JSON, SEEDS, SHOTS
from lorerm.pipeline.models import (
    adaptation_of,
    check_rank,
    chosen_alpha,
    chosen_rank,
    experiment_adaptation,
    load_trained,
)

if TYPE_CHECKING:
    from lorerm.data.splits import Splits
    from lorerm.embedding.embedded_preferences import EmbeddedPreferences
    from lorerm.evaluation.few_shot import FewShotConfig
    from lorerm.evaluation.report import FewShotCurve, Report, RunComparison, SeedEvaluation
    from lorerm.model.reward_model import LowRankRewardModel

    T = TypeVar("T")

# Up to this number of few-shot comparisons, the default curve (20 random orders of the comparisons, accuracy measured
# at 10 numbers of comparisons) takes only seconds.
_QUICK_COMPARISONS = 200_000


def few_shot(
    run: RunFolder, shots: Sequence[int] | None, config: FewShotConfig, rank: int | None = None
) -> dict[str, Any]:
    """Measure the few-shot curve of one rank and write it to `shots.json`, from which the report reads it.

    `shots` are the numbers of comparisons per user at which the accuracy is measured. None means ten numbers from 1 to
    50, up to the largest number of few-shot comparisons of a user. The default rank is the focus rank: the one that the
    report describes in detail.
    """
    run.result("train")

    def begin() -> Work:
        from lorerm.data.splits import Splits
        from lorerm.embedding.embedded_preferences import EmbeddedPreferences
        from lorerm.evaluation.few_shot import few_shot_curve

        data = EmbeddedPreferences.load(run.path)
        model = load_trained(run, _focus_rank(run) if rank is None else check_rank(run, rank), chosen_alpha(run))
        splits = Splits.from_labels(data, np.asarray(data.splits))
        if not (len(splits.train_unseen) and len(splits.test_unseen)):
            raise RunError(
                f"the few-shot curve of {run.path} needs unseen users with few-shot comparisons, and unseen users with "
                "comparisons on test prompts",
                "make a new run with --unseen-users",
            )

        def work() -> dict[str, Any]:
            curve = few_shot_curve(model, splits, shots, config, adaptation=adaptation_of(run), progress=run.progress)
            _write(curve, run.path / SHOTS)
            return {"rank": curve.rank, "clear_from": curve.clear_from}

        return work

    settings = {"shots": None if shots is None else list(shots), "rank": rank, **asdict(config)}
    arguments = {**settings, "adaptation": experiment_adaptation(run)}
    return run.step("shots", arguments, begin)


def few_shot_by_default(run: RunFolder) -> None:
    """Measure the few-shot curve again with its last settings, or for the first time if that takes only seconds.

    The first measurement uses the default settings. It is made only if the focus rank (the one that the report
    describes in detail) is 2 or more, there are few enough few-shot comparisons, and adaptation takes milliseconds per
    user.
    """
    from lorerm.evaluation.few_shot import FewShotConfig
    from lorerm.training.recipes import find_recipe

    before = run.arguments("shots")
    if before:
        few_shot(run, before["shots"], FewShotConfig(before["trials"], before["seed"]), before["rank"])
        return
    rank = _focus_rank(run)
    sizes = run.result(input_step(run))["cells"]
    is_quick = 0 < sizes["train_unseen"]["n_pairs"] <= _QUICK_COMPARISONS and sizes["test_unseen"]["n_pairs"] > 0
    if rank > 1 and is_quick and find_recipe(adaptation_of(run).recipe).quick_adaptation:
        few_shot(run, None, FewShotConfig())


def read_few_shot(run: RunFolder) -> FewShotCurve:
    """Return the run's few-shot curve."""
    from lorerm.evaluation.report import FewShotCurve

    run.result("shots")
    return _read(FewShotCurve, run.path / SHOTS)


def seeds(run: RunFolder, n: int | None = None) -> None:
    """Repeat split, training and evaluation with further seeds, and write the results to `seeds/`.

    No text is embedded again: the comparisons in the run's four splits are divided again, and comparisons beyond the
    limits per user stay unused. If the input assigns train and test prompts itself, only the users are divided again.
    If the input assigns all four splits, the splits stay, and only the seed of training and evaluation changes.

    `n` is the number of seeds, including the run's own. None: the number in the last call, or 1 in a new run. Finished
    seeds are kept.
    """
    before: int = run.parts("seeds").get("n", 1)
    n = before if n is None else n
    check_seeds(n)
    if n == before == 1:
        return
    run.result("train")

    def begin() -> Work:
        from lorerm.embedding.embedded_preferences import EmbeddedPreferences

        data = EmbeddedPreferences.load(run.path)
        return lambda: _evaluate_seeds(run, data, n)

    run.step("seeds", {"adaptation": experiment_adaptation(run)}, begin, parts={"n": n})


def check_seeds(n: int | None) -> None:
    """Raise `ConfigError` if the number of seeds is given and less than 1."""
    if n is not None and n < 1:
        raise ConfigError(
            f"--seeds is {n}", "give a whole number of at least 1 (the run itself is the first seed)", argument="seeds"
        )


def _evaluate_seeds(run: RunFolder, data: EmbeddedPreferences, n: int) -> dict[str, Any]:
    from lorerm.evaluation.evaluate import measure
    from lorerm.evaluation.report import SeedEvaluation
    from lorerm.model.io import save_model
    from lorerm.training.config import TrainingConfig
    from lorerm.training.train import train_ranks

    ranks = run.result("train")["ranks"]
    config = TrainingConfig(**load_trained(run, chosen_rank(run), chosen_alpha(run)).training["config"])
    focus, adaptation = _focus_rank(run), adaptation_of(run)
    done = set(run.finished_parts("seeds"))
    if not done:
        shutil.rmtree(run.path / SEEDS, ignore_errors=True)
    (run.path / SEEDS).mkdir(exist_ok=True)
    wanted = [config.seed + k for k in range(1, n)]
    for index, seed in enumerate(wanted):
        run.report_progress("seeds", index, len(wanted))
        path = run.path / SEEDS / f"seed-{seed}.json"
        if str(seed) in done and path.exists():
            continue
        splits = _split_anew(run, data, seed)
        models = dict(train_ranks(splits.train_seen, ranks, replace(config, seed=seed)))
        found = measure(models, splits, adaptation=replace(adaptation, seed=seed), seed=seed)
        save_model(models[focus], run.path / SEEDS / f"seed-{seed}", include_users=False)
        _write(SeedEvaluation(found.ranks, found.differences, found.chosen_rank), path)
        run.finish_part("seeds", str(seed))
    run.report_progress("seeds", len(wanted), len(wanted))
    return {"seeds": [config.seed, *wanted]}


def _split_anew(run: RunFolder, data: EmbeddedPreferences, seed: int) -> Splits[EmbeddedPreferences]:
    from lorerm.data.splits import Splits, assign_splits

    first = input_step(run)
    labels = np.asarray(data.splits)
    given = run.result(first).get("given")
    if given == "cells":
        return Splits.from_labels(data, labels)
    sides = [str(label).split("_", maxsplit=1)[0] for label in labels] if given == "prompts" else None
    settings = {**run.arguments(first)["split"], "seed": seed}
    return Splits.from_labels(data, assign_splits(data.user_ids, data.prompt_ids, given=sides, **settings))


def add_studies(run: RunFolder, report: Report, model: LowRankRewardModel, data: EmbeddedPreferences) -> Report:
    """Return the report with the few-shot curve and the further seeds of the run, and with the axes of `model`.

    `model` is the model of the focus rank. The few-shot curve and the seeds are None if they were not measured.
    """
    from lorerm.evaluation.axes import describe_axes
    from lorerm.evaluation.report import Axes, SeedEvaluation
    from lorerm.evaluation.seeds import spread_over_seeds
    from lorerm.model.reward_model import LowRankRewardModel

    study, others = None, {}
    if run.is_finished("seeds"):
        own, *more = run.result("seeds")["seeds"]
        evaluations: dict[int, Report | SeedEvaluation] = {own: report}
        for seed in more:
            evaluations[seed] = _read(SeedEvaluation, run.path / SEEDS / f"seed-{seed}.json")
            others[seed] = LowRankRewardModel.from_pretrained(run.path / SEEDS / f"seed-{seed}")
        study = spread_over_seeds(evaluations) if more else None
    return replace(
        report,
        few_shot=read_few_shot(run) if run.is_finished("shots") else None,
        seeds=study,
        axes=Axes(model.requested_rank, describe_axes(model, data, _text_reader(run), others)),
    )


def _text_reader(run: RunFolder) -> Callable[[Sequence[int]], list[tuple[str, str]]] | None:
    """Return a function that maps indices of comparisons to pairs of texts (chosen response, rejected response).

    Return None if the embeddings were imported, because the run then has no texts.
    """
    if is_imported(run):
        return None

    def texts_of(indices: Sequence[int]) -> list[tuple[str, str]]:
        from lorerm.data.stored import load_preferences

        some = load_preferences(run.path).select(np.asarray(indices))
        ends = (some.conversations("chosen"), some.conversations("rejected"))
        return [(chosen[-1]["content"], rejected[-1]["content"]) for chosen, rejected in zip(*ends, strict=True)]

    return texts_of


def compare(runs: Sequence[RunFolder]) -> RunComparison:
    """Compute the differences in accuracy between each run and the first, with confidence intervals.

    Each run is evaluated at the rank that its validation chose, and must have a report.
    """
    import pyarrow.parquet as pq

    from lorerm.evaluation.comparison import compare_runs
    from lorerm.evaluation.report import Report

    names = [run.path.name for run in runs]
    if len(set(names)) < len(names):
        names = [str(run.path) for run in runs]
    for run in runs:
        run.result("report")
    reports = [_read(Report, run.path / REPORT_JSON) for run in runs]
    tables = []
    for run in runs:
        path, remedy = run.path / PREDICTIONS, f"run `lorerm report {run.path}` again"
        try:
            tables.append(pq.read_table(path))
        except (OSError, ValueError) as error:
            raise RunError(f"{path} cannot be read ({first_line(error)})", remedy) from error
    return compare_runs(names, reports, tables)


def _focus_rank(run: RunFolder) -> int:
    """Return the rank whose details the report shows (see `evaluation.report.focus_rank`)."""
    from lorerm.evaluation.report import focus_rank

    chosen, ranks = chosen_rank(run), run.result("train")["ranks"]
    if chosen > 1:
        return chosen
    return focus_rank(chosen, {rank: load_trained(run, rank, chosen_alpha(run)).fitted_rank for rank in ranks})


def _write(record: object, path: Path) -> None:
    from lorerm.evaluation.json_records import to_json

    text = json.dumps(to_json(record, path.stem), indent=2, ensure_ascii=False, allow_nan=False)
    with atomic_path(path) as temporary:
        temporary.write_text(text + "\n", encoding="utf-8")


def _read(kind: type[T], path: Path) -> T:
    from lorerm.evaluation.json_records import from_json

    try:
        return from_json(kind, json.loads(path.read_text(encoding="utf-8")), path.stem)
    except (OSError, ValueError) as error:
        why = error.problem if isinstance(error, DataError) else first_line(error)
        raise RunError(
            f"{path} is missing or damaged ({why})",
            f"delete the file, then repeat `lorerm shots` if the file is {SHOTS}, and `lorerm report` otherwise",
        ) from error

"""The steps of a run: prepare, embed (or import), train, report; each reads what the one before wrote."""

from __future__ import annotations

import shutil
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

import numpy as np

from lorerm.errors import ConfigError, RunError
from lorerm.run.models import MODELS, UNSEEN, chosen_rank, load_models, load_trained, model_folder
from lorerm.run.sources import describe_files, describe_sources, read_sources

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from pathlib import Path

    from lorerm.encoding.embedded_preferences import EmbeddedPreferences
    from lorerm.encoding.encoder import Encoder
    from lorerm.learning.config import AdaptationConfig, TrainingConfig
    from lorerm.model.reward_model import LowRankRewardModel
    from lorerm.preferences.splits import SplitSummary
    from lorerm.run.config import SplitConfig
    from lorerm.run.folder import RunFolder, Work

PREFERENCES, REPORT = "preferences.parquet", "report"
DEFAULT_RANKS = (0, 1, 2, 3, 4, 5)

_STORE_FILES = ("comparisons.parquet", "embeddings/*")
_MODEL_FILES = tuple(f"{MODELS}/rank-*/{name}" for name in ("config.json", "model.safetensors", "users.safetensors"))
_REPORT_FILES = (f"{REPORT}/*", f"{REPORT}/figures/*", f"{MODELS}/rank-*/{UNSEEN}")
PREDICTIONS = f"{REPORT}/predictions.parquet"


def prepare(
    run: RunFolder,
    sources: Sequence[str],
    split: SplitConfig,
    *,
    user_column: str = "user_id",
    options: Mapping[str, Any] | None = None,
) -> dict[str, Any]:
    """Text in: check it, look for leaks, split it; writes `preferences.parquet` with each pair's cell.

    Parameters
    ----------
    run
        The run folder.
    sources
        Files or folders, or one data set's name.
    split
        How people and prompts are held out.
    user_column
        The column of the users.
    options
        A data set's own options.
    """
    if is_imported(run):
        raise RunError(f"{run.path} holds imported embeddings", "choose another run folder for text")
    options = dict(options or {})
    arguments = {
        "input": describe_sources(sources),
        "user_column": user_column,
        "options": options,
        "split": asdict(split),
    }

    def begin() -> Work:
        from lorerm.preferences.leaks import check_leaks
        from lorerm.preferences.splits import Splits, assign_cells

        run.tell("reading", 0, 1)
        preferences = read_sources(sources, user_column, options)
        run.tell("reading", 1, 1)
        cells = assign_cells(preferences.user_ids, preferences.prompt_ids, given=preferences.splits, **asdict(split))
        summary = Splits.from_cells(preferences, cells, unseen_wanted=split.unseen_users > 0).summary
        kept = _kept(cells, summary)

        def work() -> dict[str, Any]:
            leaks = check_leaks(preferences, split.seed)
            preferences.with_splits(cells).select(kept).write_parquet(run.path / PREFERENCES)
            return {
                **_counts(summary, len(preferences), len(kept)),
                "given": _given(preferences.splits),
                "leaks": {**leaks.to_dict(), "warnings": leaks.warnings()},
                "warnings": [*preferences.summary.warnings(), *summary.warnings()],
            }

        return work

    return run.step("prepare", arguments, begin, outputs=(PREFERENCES,), may_change=False)


def embed(run: RunFolder, make_encoder: Callable[[], Encoder], settings: Mapping[str, Any]) -> dict[str, Any]:
    """Embed each distinct conversation once; `settings` say which encoder `make_encoder` makes, as JSON-able values."""
    if is_imported(run):
        raise RunError(f"{run.path} holds imported embeddings, and no text", f"go on with `lorerm train {run.path}`")
    run.result("prepare")

    def begin() -> Work:
        from lorerm.encoding.batched import in_batches
        from lorerm.encoding.embed_into import embed_into
        from lorerm.encoding.store import check_encoder
        from lorerm.preferences.stored import StoredPreferences

        preferences = StoredPreferences(run.path / PREFERENCES)
        run.tell("loading the encoder", 0, 1)
        encoder = make_encoder()
        run.tell("loading the encoder", 1, 1)
        check_encoder(run.path, encoder.identity)

        def work() -> dict[str, Any]:
            found = embed_into(run.path, preferences, encoder, lambda done, total: run.tell("embedding", done, total))
            return {
                "encoder": encoder.identity.to_dict(),
                "running": in_batches(encoder).running,
                **asdict(found),
                "warnings": found.remarks.sentences(found.n_conversations, encoder.identity),
            }

        return work

    return run.step("embed", settings, begin, outputs=_STORE_FILES, may_change=False)


def import_embeddings(
    run: RunFolder, matrix: Path, comparisons: Path, split: SplitConfig, *, reference: Path | None = None
) -> dict[str, Any]:
    """Take embeddings made elsewhere and the comparisons between their rows, in place of `prepare` and `embed`."""
    if run.arguments("prepare"):
        raise RunError(f"{run.path} holds a run on text", "choose another run folder for imported embeddings")

    def begin() -> Work:
        from lorerm.encoding.comparisons import read_comparisons
        from lorerm.encoding.embedded_preferences import EmbeddedPreferences
        from lorerm.encoding.matrix_files import read_matrix_file, read_reference_file
        from lorerm.encoding.store import Comparisons, store_matrix, write_comparisons
        from lorerm.preferences.splits import Splits, assign_cells

        run.tell("reading", 0, 1)
        responses, head = read_matrix_file(matrix)
        if reference is not None:
            head = read_reference_file(reference)
        columns = read_comparisons(comparisons)
        data = EmbeddedPreferences.from_arrays(responses, reference=head, **columns)
        run.tell("reading", 1, 1)
        cells = assign_cells(data.user_ids, data.prompt_ids, given=data.splits, **asdict(split))
        summary = Splits.from_cells(data, cells, unseen_wanted=split.unseen_users > 0).summary
        kept = _kept(cells, summary)
        used = data.select(kept)

        def work() -> dict[str, Any]:
            store_matrix(run.path, responses, head)
            columns = (used.user_ids, used.prompt_ids, *used.rows(), cells[kept].tolist(), used.weights)
            write_comparisons(run.path, [Comparisons(*columns)])
            counts = _counts(summary, len(data), len(kept))
            return {**counts, "given": _given(data.splits), "leaks": None, "warnings": summary.warnings()}

        return work

    files = [path for path in (matrix, comparisons, reference) if path is not None]
    arguments = {"input": describe_files(files), "split": asdict(split)}
    return run.step("embed", arguments, begin, outputs=_STORE_FILES, may_change=False)


def train(run: RunFolder, config: TrainingConfig, ranks: Sequence[int] | None = None) -> dict[str, Any]:
    """Train each rank on the seen users' training pairs; ranks done already, by the same settings, are kept.

    `config.rank` is not looked at; without `ranks` they are 0 to 5, as far as the data allow.
    """
    run.result("embed")

    def begin() -> Work:
        from lorerm.encoding.store import load_embedded
        from lorerm.learning.training import possible_ranks

        data = load_embedded(run.path)
        train_seen = data.select(np.flatnonzero(np.asarray(data.splits) == "train_seen"))
        wanted = list(dict.fromkeys(ranks)) if ranks else possible_ranks(train_seen, DEFAULT_RANKS)
        _check_training(run, train_seen, config, wanted)
        return lambda: _train_missing(run, train_seen, config, wanted)

    arguments = {name: value for name, value in asdict(config).items() if name != "rank"}
    parts = {"ranks": None if ranks is None else list(ranks)}
    return run.step("train", arguments, begin, outputs=_MODEL_FILES, parts=parts)


def report(run: RunFolder, adaptation: AdaptationConfig | None = None) -> dict[str, Any]:
    """Adapt the unseen users, evaluate every rank, write the report; None is the training recipe's own adaptation."""
    run.result("train")

    def begin() -> Work:
        from lorerm.encoding.store import load_embedded
        from lorerm.learning.config import TrainingConfig
        from lorerm.learning.training import adaptation_for

        data = load_embedded(run.path)
        models = load_models(run, run.result("train")["ranks"])
        config = TrainingConfig(**models[chosen_rank(run)].training["config"])
        return lambda: _report(run, data, models, adaptation or adaptation_for(config), config.seed)

    arguments = {"adaptation": None if adaptation is None else asdict(adaptation)}
    return run.step("report", arguments, begin, outputs=_REPORT_FILES)


def is_imported(run: RunFolder) -> bool:
    """Tell whether the run began with embeddings made elsewhere."""
    return "input" in run.arguments("embed")


def _check_training(run: RunFolder, data: EmbeddedPreferences, config: TrainingConfig, ranks: Sequence[int]) -> None:
    """Refuse what cannot be trained before anything is given up for it."""
    from lorerm.encoding.store import reference_reason
    from lorerm.learning.training import largest_rank

    if not 0 <= config.seed < 2**63:
        raise ConfigError(f"seed is {config.seed}", "give a whole number from 0 on, below 2 to the 63rd")
    limit, n_users = largest_rank(data), len(data.index_users()[0])
    for rank in ranks:
        if not 0 <= rank <= limit:
            raise ConfigError(
                f"rank {rank} is beyond what the data support ({n_users} seen users, dimension {data.dimension})",
                f"ask for ranks from 0 to {limit}",
            )
    if data.reference is None:
        why = f"there is none ({reference_reason(run.path)})"
        if 0 in ranks:
            raise ConfigError(f"rank 0 is the reference head alone, and {why}", "ask for ranks from 1 on")
        if config.recipe == "paper-cosine" or config.alpha:
            raise ConfigError(
                f"the regulariser of recipe {config.recipe} needs a reference head, and {why}",
                "embed with a reward model that has a linear head, or choose another recipe or alpha",
            )


def _train_missing(
    run: RunFolder, data: EmbeddedPreferences, config: TrainingConfig, ranks: Sequence[int]
) -> dict[str, Any]:
    """Train the ranks that are not there yet, and choose one."""
    from lorerm.learning.training import choose_rank, train_ranks

    done = [int(rank) for rank in run.done("train")]
    if not done:
        shutil.rmtree(run.path / MODELS, ignore_errors=True)
    models: dict[int, LowRankRewardModel] = {}
    for rank in ranks:
        if rank in done:
            try:
                models[rank] = load_trained(run, rank)
            except RunError:
                continue  # damaged since: trained again
    missing = [rank for rank in ranks if rank not in models]
    trained = train_ranks(data, missing, config, progress=run.progress)
    for rank in missing:
        run.tell(f"rank {rank}", 0, 1)
        models[rank] = next(trained)[1]
        models[rank].save_pretrained(model_folder(run, rank), include_users=True)
        run.mark_done("train", str(rank))
    return {"ranks": sorted(models), "chosen_rank": choose_rank(models)}


def _report(
    run: RunFolder,
    data: EmbeddedPreferences,
    models: Mapping[int, LowRankRewardModel],
    adaptation: AdaptationConfig,
    seed: int,
) -> dict[str, Any]:
    import pyarrow.parquet as pq

    from lorerm.atomic import atomic_path
    from lorerm.encoding.store import reference_reason
    from lorerm.evaluation.evaluate import NO_REFERENCE, describe
    from lorerm.evaluation.measured import Measured
    from lorerm.learning.adaptation import adapt
    from lorerm.model.files import save_users
    from lorerm.preferences.splits import Splits
    from lorerm.reporting.report import write_report
    from lorerm.run.studies import add_studies

    cells = Splits.from_cells(data, np.asarray(data.splits))
    for place, (rank, model) in enumerate(models.items(), 1):
        if len(cells.train_unseen):
            save_users(adapt(model, cells.train_unseen, adaptation), model_folder(run, rank) / UNSEEN)
        run.tell("adapting", place, len(models))
    run.tell("evaluating", 0, 1)
    measured = Measured.of(models, cells, adaptation, seed)
    content = describe(measured, cells, reference_reason(run.path) or NO_REFERENCE)
    first = "embed" if is_imported(run) else "prepare"
    found, arguments = run.result(first), run.arguments(first)
    source = ", ".join(entry["name"] for entry in arguments["input"])
    warnings = found["warnings"] if is_imported(run) else [*found["warnings"], *run.result("embed")["warnings"]]
    content["data"] |= {"source": source, "leaks": found["leaks"], "warnings": warnings}
    content["config"]["split"] = arguments["split"]
    add_studies(run, content, measured.models[measured.focus_rank], data)
    write_report(content, run.path / REPORT)
    with atomic_path(run.path / PREDICTIONS) as temporary:
        pq.write_table(measured.predictions(), temporary, compression="zstd")
    run.tell("evaluating", 1, 1)
    return {"report": f"{REPORT}/report.html"}


def _kept(cells: np.ndarray[Any, Any], summary: SplitSummary) -> np.ndarray[Any, np.dtype[np.int64]]:
    """Return which pairs are in a cell; the others need no embedding."""
    return np.flatnonzero(np.isin(cells, list(summary.cells)))


def _given(splits: Sequence[str | None] | np.ndarray[Any, Any] | None) -> str | None:
    """Tell what the input says of its split: `cells`, `prompts` (train and test) or nothing."""
    from lorerm.preferences.contract import CELLS, UNUSED

    given = set(() if splits is None else splits) - {None}
    if not given:
        return None
    return "cells" if given & {*CELLS, UNUSED} else "prompts"


def _counts(summary: SplitSummary, n_read: int, n_kept: int) -> dict[str, Any]:
    return {
        "n_pairs_read": n_read,
        "n_pairs": n_kept,
        "cells": {name: asdict(size) for name, size in summary.cells.items()},
    }

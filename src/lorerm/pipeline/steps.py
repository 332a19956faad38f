"""The steps of a run: prepare, embed (or import), train, report; each reads what the one before wrote."""

from __future__ import annotations

from dataclasses import asdict, replace
from typing import TYPE_CHECKING, Any

import numpy as np

from lorerm.errors import RunError
from lorerm.pipeline.models import (
    MODELS,
    UNSEEN,
    adaptation_of,
    alpha_name,
    chosen_alpha,
    given_adaptation,
    load_models,
    model_folder,
)
from lorerm.pipeline.sources import (
    PREFERENCES,
    describe_sources,
    given_split,
    preferences_in_chunks,
    read_sources,
    write_preferences,
)
from lorerm.pipeline.sweep import check_training, train_missing

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    import pyarrow as pa

    from lorerm.data.splits import SplitSummary
    from lorerm.embedding.embedded_preferences import EmbeddedPreferences
    from lorerm.embedding.encoder import Encoder
    from lorerm.evaluation.report import Report
    from lorerm.model.reward_model import LowRankRewardModel
    from lorerm.pipeline.config import SplitConfig
    from lorerm.pipeline.folder import RunFolder, Work
    from lorerm.training.config import AdaptationConfig, TrainingConfig

REPORT = "report"
PREDICTIONS = f"{REPORT}/predictions.parquet"
DEFAULT_RANKS = (0, 1, 2, 3, 4, 5)

_PREPARED_FILES = (PREFERENCES, "responses.parquet", "choices.parquet")
STORE_FILES = ("comparisons.parquet", "embeddings/*")
# What a sweep of alphas makes lies one folder deeper.
_MODEL_FILES = tuple(
    f"{MODELS}/{deeper}rank-*/{name}"
    for deeper in ("", "alpha-*/")
    for name in ("config.json", "model.safetensors", "users.safetensors")
)
_REPORT_FILES = tuple(
    place
    for deeper in ("", "alpha-*/")
    for place in (f"{REPORT}/{deeper}*", f"{REPORT}/{deeper}figures/*", f"{MODELS}/{deeper}rank-*/{UNSEEN}")
)


def prepare(
    run: RunFolder,
    sources: Sequence[str],
    split: SplitConfig,
    *,
    user_column: str = "user_id",
    options: Mapping[str, Any] | None = None,
) -> dict[str, Any]:
    """Text in: check it, look for leaks, split it; writes the pairs in use, each with its cell.

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
        A data set's own options; `data` and `revision` say where it is read.
    """
    if is_imported(run):
        raise RunError(f"{run.path} holds imported embeddings", "choose another run folder for text")
    options = dict(options or {})
    arguments = {
        "input": describe_sources(sources, options),
        "user_column": user_column,
        "options": {name: value for name, value in options.items() if name != "data"},
        "split": asdict(split),
    }

    def begin() -> Work:
        from lorerm.data.leakage import check_leaks
        from lorerm.data.splits import Splits, assign_splits

        run.tell("reading", 0, 1)
        loaded = read_sources(sources, user_column, options, asdict(split))
        preferences = loaded.preferences
        run.tell("reading", 1, 1)
        cells = assign_splits(preferences.user_ids, preferences.prompt_ids, given=preferences.splits, **asdict(split))
        summary = Splits.from_labels(preferences, cells, unseen_wanted=split.unseen_users > 0).summary
        kept = kept_pairs(cells, summary)

        def work() -> dict[str, Any]:
            leaks = check_leaks(preferences, split.seed)
            write_preferences(run.path, preferences.with_splits(cells).select(kept))
            return {
                **counts(summary, len(preferences), len(kept)),
                "given": given_split(preferences.splits),
                "source": loaded.source,
                "reading": list(loaded.reading),
                "leaks": {**leaks.to_dict(), "warnings": leaks.warnings()},
                "warnings": [*loaded.warnings, *preferences.summary.warnings(), *summary.warnings()],
            }

        return work

    return run.step("prepare", arguments, begin, outputs=_PREPARED_FILES, may_change=False)


def embed(run: RunFolder, make_encoder: Callable[[], Encoder], settings: Mapping[str, Any]) -> dict[str, Any]:
    """Embed each distinct conversation once; `settings` say which encoder `make_encoder` makes, as JSON-able values."""
    if is_imported(run):
        raise RunError(f"{run.path} holds imported embeddings, and no text", f"go on with `lorerm train {run.path}`")
    run.result("prepare")

    def begin() -> Work:
        from lorerm.embedding.batch_encoder import as_batch_encoder
        from lorerm.embedding.embed_into import embed_into
        from lorerm.embedding.store import check_encoder

        preferences = preferences_in_chunks(run.path)
        run.tell("loading the encoder", 0, 1)
        encoder = make_encoder()
        run.tell("loading the encoder", 1, 1)
        check_encoder(run.path, encoder.identity)

        def work() -> dict[str, Any]:
            found = embed_into(run.path, preferences, encoder, lambda done, total: run.tell("embedding", done, total))
            return {
                "encoder": encoder.identity.to_dict(),
                "running": as_batch_encoder(encoder).running,
                **asdict(found),
                "warnings": found.remarks.warnings(found.n_conversations, encoder.identity),
            }

        return work

    return run.step("embed", settings, begin, outputs=STORE_FILES, may_change=False)


def train(
    run: RunFolder,
    config: TrainingConfig,
    ranks: Sequence[int] | None = None,
    alphas: Sequence[float] | None = None,
    *,
    strict: bool = True,
) -> dict[str, Any]:
    """Train each rank on the seen users' training pairs; ranks done already, by the same settings, are kept.

    `config.rank` is not looked at; without `ranks` they are 0 to 5, as far as the data allow. With several `alphas`,
    the strengths of a paper recipe's regulariser, each of them has models of all ranks, and `config.alpha` is not
    looked at either. Ranks that the data do not allow are refused or, unless `strict`, left out.
    """
    run.result("embed")

    def begin() -> Work:
        from lorerm.embedding.store import load_embedded
        from lorerm.training.train import possible_ranks

        data = load_embedded(run.path)
        train_seen = data.select(np.flatnonzero(np.asarray(data.splits) == "train_seen"))
        wanted = list(dict.fromkeys(ranks or DEFAULT_RANKS))
        if not (ranks and strict):
            wanted = possible_ranks(train_seen, wanted)
        for one in configs.values():
            check_training(run, train_seen, one, wanted)
        return lambda: train_missing(run, train_seen, configs, wanted)

    sweep = list(dict.fromkeys(alphas)) if alphas else None
    configs: dict[float | None, TrainingConfig] = {None: config}
    if sweep is not None:
        configs = {alpha: replace(config, alpha=alpha) for alpha in sweep}
    arguments = {name: value for name, value in asdict(config).items() if name != "rank"}
    parts: dict[str, Any] = {"ranks": None if ranks is None else list(ranks)}
    if sweep is not None:
        parts["alphas"] = sweep
    return run.step("train", arguments, begin, outputs=_MODEL_FILES, parts=parts)


def report(run: RunFolder) -> dict[str, Any]:
    """Adapt the unseen users, evaluate every rank, write the report."""
    run.result("train")

    def begin() -> Work:
        import pyarrow.parquet as pq

        from lorerm.atomic import atomic_path
        from lorerm.embedding.store import load_embedded
        from lorerm.reporting.report import write_report

        data = load_embedded(run.path)
        trained, adaptation = run.result("train"), adaptation_of(run)
        alphas = trained.get("alphas") or [None]
        by_alpha = {alpha: load_models(run, trained["ranks"], alpha) for alpha in alphas}

        def work() -> dict[str, Any]:
            for alpha, models in by_alpha.items():
                found, predictions = _measure(run, data, models, adaptation, run.arguments("train")["seed"], alpha)
                if alpha == chosen_alpha(run):
                    write_report(found, run.path / REPORT)
                    with atomic_path(run.path / PREDICTIONS) as temporary:
                        pq.write_table(predictions, temporary, compression="zstd")
                if alpha is not None:
                    write_report(found, run.path / REPORT / alpha_name(alpha))
            return {"report": f"{REPORT}/report.html"}

        return work

    return run.step("report", {"adaptation": given_adaptation(run)}, begin, outputs=_REPORT_FILES)


def is_imported(run: RunFolder) -> bool:
    """Tell whether the run began with embeddings made elsewhere."""
    return "input" in run.arguments("embed")


def _measure(
    run: RunFolder,
    data: EmbeddedPreferences,
    models: Mapping[int, LowRankRewardModel],
    adaptation: AdaptationConfig,
    seed: int,
    alpha: float | None,
) -> tuple[Report, pa.Table]:
    """Adapt the unseen users and evaluate one alpha's models: the report, and every prediction on test prompts."""
    from lorerm.data.splits import Splits
    from lorerm.embedding.store import reference_reason
    from lorerm.evaluation.evaluate import NO_REFERENCE, describe
    from lorerm.evaluation.json_records import from_json
    from lorerm.evaluation.predictions import predict
    from lorerm.evaluation.report import Leaks
    from lorerm.model.io import save_users
    from lorerm.pipeline.studies import add_studies
    from lorerm.training.adaptation import adapt

    splits = Splits.from_labels(data, np.asarray(data.splits))
    for done, (rank, model) in enumerate(models.items(), 1):
        if len(splits.train_unseen):
            save_users(adapt(model, splits.train_unseen, adaptation), model_folder(run, rank, alpha) / UNSEEN)
        run.tell("adapting", done, len(models))
    run.tell("evaluating", 0, 1)
    predictions = predict(models, splits, adaptation, seed)
    report = describe(predictions, reference_reason(run.path) or NO_REFERENCE)
    first = "embed" if is_imported(run) else "prepare"
    found, arguments = run.result(first), run.arguments(first)
    warnings = found["warnings"] if is_imported(run) else [*found["warnings"], *run.result("embed")["warnings"]]
    described = replace(
        report.data,
        source=", ".join(entry["name"] for entry in arguments["input"]),
        leaks=None if found["leaks"] is None else from_json(Leaks, found["leaks"], "leaks"),
        warnings=tuple(warnings),
    )
    report = replace(report, data=described, settings=replace(report.settings, split=arguments["split"]))
    if alpha == chosen_alpha(run):
        report = add_studies(run, report, predictions.models[predictions.focus_rank], data)
    run.tell("evaluating", 1, 1)
    return report, predictions.to_table()


def kept_pairs(cells: np.ndarray[Any, Any], summary: SplitSummary) -> np.ndarray[Any, np.dtype[np.int64]]:
    """Return which pairs are in a cell; the others need no embedding."""
    return np.flatnonzero(np.isin(cells, list(summary.sizes)))


def counts(summary: SplitSummary, n_read: int, n_kept: int) -> dict[str, Any]:
    """Return how many pairs were read and are in use, and the sizes of the cells."""
    return {
        "n_pairs_read": n_read,
        "n_pairs": n_kept,
        "cells": {name: asdict(size) for name, size in summary.sizes.items()},
    }

"""The steps of a run: prepare, embed (or import), train, report; each reads what the one before wrote."""

from __future__ import annotations

import shutil
from dataclasses import asdict, replace
from typing import TYPE_CHECKING, Any

import numpy as np

from lorerm.errors import ConfigError, RunError
from lorerm.run.models import (
    MODELS,
    UNSEEN,
    alpha_name,
    chosen_alpha,
    chosen_rank,
    load_models,
    load_trained,
    model_folder,
)
from lorerm.run.sources import (
    PREFERENCES,
    describe_sources,
    read_preferences,
    read_sources,
    write_preferences,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from lorerm.encoding.embedded_preferences import EmbeddedPreferences
    from lorerm.encoding.encoder import Encoder
    from lorerm.learning.config import AdaptationConfig, TrainingConfig
    from lorerm.model.reward_model import LowRankRewardModel
    from lorerm.preferences.splits import SplitSummary
    from lorerm.run.config import SplitConfig
    from lorerm.run.folder import RunFolder, Work

REPORT = "report"
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
    f"{place}"
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
        from lorerm.preferences.leaks import check_leaks
        from lorerm.preferences.splits import Splits, assign_cells

        run.tell("reading", 0, 1)
        loaded = read_sources(sources, user_column, options, asdict(split))
        preferences = loaded.preferences
        run.tell("reading", 1, 1)
        cells = assign_cells(preferences.user_ids, preferences.prompt_ids, given=preferences.splits, **asdict(split))
        summary = Splits.from_cells(preferences, cells, unseen_wanted=split.unseen_users > 0).summary
        kept = kept_pairs(cells, summary)

        def work() -> dict[str, Any]:
            leaks = check_leaks(preferences, split.seed)
            write_preferences(run.path, preferences.with_splits(cells).select(kept))
            return {
                **counts(summary, len(preferences), len(kept)),
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
        from lorerm.encoding.store import check_encoder, embed_into

        preferences = read_preferences(run.path)
        run.tell("loading the encoder", 0, 1)
        encoder = make_encoder()
        run.tell("loading the encoder", 1, 1)
        check_encoder(run.path, encoder.identity)

        def work() -> dict[str, Any]:
            embed_into(run.path, preferences, encoder, lambda done, total: run.tell("embedding", done, total))
            return {"encoder": encoder.identity.to_dict()}

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
        from lorerm.encoding.store import load_embedded
        from lorerm.learning.training import possible_ranks

        data = load_embedded(run.path)
        train_seen = data.select(np.flatnonzero(np.asarray(data.splits) == "train_seen"))
        wanted = list(dict.fromkeys(ranks or DEFAULT_RANKS))
        if not (ranks and strict):
            wanted = possible_ranks(train_seen, wanted)
        for one in configs.values():
            _check_training(run, train_seen, one, wanted)
        return lambda: _train_missing(run, train_seen, configs, wanted)

    sweep = list(dict.fromkeys(alphas)) if alphas else None
    configs: dict[float | None, TrainingConfig] = {None: config}
    if sweep is not None:
        configs = {alpha: replace(config, alpha=alpha) for alpha in sweep}
    arguments = {name: value for name, value in asdict(config).items() if name != "rank"}
    parts: dict[str, Any] = {"ranks": None if ranks is None else list(ranks)}
    if sweep is not None:
        parts["alphas"] = sweep
    return run.step("train", arguments, begin, outputs=_MODEL_FILES, parts=parts)


def report(run: RunFolder, adaptation: AdaptationConfig | None = None) -> dict[str, Any]:
    """Adapt the unseen users, evaluate every rank, write the report; None is the training recipe's own adaptation."""
    run.result("train")

    def begin() -> Work:
        from lorerm.encoding.store import load_embedded
        from lorerm.learning.config import TrainingConfig
        from lorerm.learning.training import adaptation_for
        from lorerm.reporting.report import write_report

        data = load_embedded(run.path)
        trained = run.result("train")
        alphas = trained.get("alphas") or [None]
        by_alpha = {alpha: load_models(run, trained["ranks"], alpha) for alpha in alphas}

        def work() -> dict[str, Any]:
            for alpha, models in by_alpha.items():
                config = TrainingConfig(**models[chosen_rank(run)].training["config"])
                content = _measure(run, data, models, adaptation or adaptation_for(config), config.seed, alpha)
                if alpha == chosen_alpha(run):
                    write_report(content, run.path / REPORT)
                if alpha is not None:
                    write_report(content, run.path / REPORT / alpha_name(alpha))
            return {"report": f"{REPORT}/report.html"}

        return work

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
    run: RunFolder,
    data: EmbeddedPreferences,
    configs: Mapping[float | None, TrainingConfig],
    ranks: Sequence[int],
) -> dict[str, Any]:
    """Train what is not there yet, alpha by alpha, and choose one model."""
    from lorerm.learning.training import choose_rank, train_ranks

    done = run.done("train")
    if not done:
        shutil.rmtree(run.path / MODELS, ignore_errors=True)
    chosen: dict[float | None, LowRankRewardModel] = {}
    for alpha, config in configs.items():
        name = "" if alpha is None else f"alpha {alpha:g}, "
        models: dict[int, LowRankRewardModel] = {}
        for rank in ranks:
            if f"{name}{rank}" in done:
                try:
                    models[rank] = load_trained(run, rank, alpha)
                except RunError:
                    continue  # damaged since: trained again
        missing = [rank for rank in ranks if rank not in models]
        trained = train_ranks(data, missing, config, progress=_telling(run, name))
        for rank in missing:
            run.tell(f"{name}rank {rank}", 0, 1)
            models[rank] = next(trained)[1]
            models[rank].save_pretrained(model_folder(run, rank, alpha), include_users=True)
            run.mark_done("train", f"{name}{rank}")
        chosen[alpha] = models[choose_rank(models)]
    best = min(chosen, key=lambda alpha: _validation_loss(chosen[alpha]))
    return {
        "ranks": sorted(ranks),
        "chosen_rank": chosen[best].requested_rank,
        "alphas": None if None in chosen else list(chosen),
        "chosen_alpha": best,
    }


def _telling(run: RunFolder, name: str) -> Callable[[str, int, int], None]:
    return lambda stage, done, total: run.tell(f"{name}{stage}", done, total)


def _validation_loss(model: LowRankRewardModel) -> float:
    """Return the loss that alphas are compared by; infinite without validation pairs, so that the first one stays."""
    validation = model.training.get("validation")
    return float("inf") if validation is None else float(validation["loss"])


def _measure(
    run: RunFolder,
    data: EmbeddedPreferences,
    models: Mapping[int, LowRankRewardModel],
    adaptation: AdaptationConfig,
    seed: int,
    alpha: float | None,
) -> dict[str, Any]:
    """Adapt the unseen users and evaluate one alpha's models: the report's content."""
    from lorerm.encoding.store import reference_reason
    from lorerm.evaluation.evaluate import NO_REFERENCE, measure
    from lorerm.learning.adaptation import adapt
    from lorerm.model.files import save_users
    from lorerm.preferences.splits import Splits

    cells = Splits.from_cells(data, np.asarray(data.splits))
    for place, (rank, model) in enumerate(models.items(), 1):
        if len(cells.train_unseen):
            save_users(adapt(model, cells.train_unseen, adaptation), model_folder(run, rank, alpha) / UNSEEN)
        run.tell("adapting", place, len(models))
    run.tell("evaluating", 0, 1)
    reason = reference_reason(run.path) or NO_REFERENCE
    content = measure(models, cells, adaptation=adaptation, seed=seed, reference_reason=reason)
    first = "embed" if is_imported(run) else "prepare"
    found, arguments = run.result(first), run.arguments(first)
    source = ", ".join(entry["name"] for entry in arguments["input"])
    content["data"] |= {"source": source, "leaks": found["leaks"], "warnings": found["warnings"]}
    content["config"]["split"] = arguments["split"]
    run.tell("evaluating", 1, 1)
    return content


def kept_pairs(cells: np.ndarray[Any, Any], summary: SplitSummary) -> np.ndarray[Any, np.dtype[np.int64]]:
    """Return which pairs are in a cell; the others need no embedding."""
    return np.flatnonzero(np.isin(cells, list(summary.cells)))


def counts(summary: SplitSummary, n_read: int, n_kept: int) -> dict[str, Any]:
    """Return how many pairs were read and are in use, and the sizes of the cells."""
    return {
        "n_pairs_read": n_read,
        "n_pairs": n_kept,
        "cells": {name: asdict(size) for name, size in summary.cells.items()},
    }

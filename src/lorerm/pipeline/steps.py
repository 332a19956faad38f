"""The steps of a run: prepare and embed (or import embeddings), train, report.

Each step reads the files that the earlier steps wrote.
"""

from __future__ import annotations

import shutil
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from lorerm.data.splits import SplitConfig
from lorerm.data.stored import COMPARISONS, StoredResponses, write_comparisons, write_preferences
from lorerm.embedding.encoder import Encoder
from lorerm.errors import ConfigError, RunError
from lorerm.pipeline.folder import RunFolder, Work, input_step, is_imported
from lorerm.pipeline.layout import MODELS, PREDICTIONS, REPORT, REPORT_PAGE, UNSEEN, alpha_name
from lorerm.pipeline.models import (
    adaptation_of,
    chosen_alpha,
    experiment_adaptation,
    load_trained,
    model_folder,
)
from lorerm.pipeline.sources import Source, describe_files, given_split

if TYPE_CHECKING:
    from typing import TypeVar

    import pyarrow as pa

    from lorerm.data.comparisons import Comparisons
    from lorerm.data.datasets.loaded import Loaded
    from lorerm.embedding.embedded_preferences import EmbeddedPreferences
    from lorerm.evaluation.report import Report
    from lorerm.model.reward_model import LowRankRewardModel
    from lorerm.training.config import AdaptationConfig, TrainingConfig

    C = TypeVar("C", bound=Comparisons)

DEFAULT_RANKS = (0, 1, 2, 3, 4, 5)


def prepare(run: RunFolder, source: Source) -> dict[str, Any]:
    """Read comparisons, split them, check them for leaks, and write those that are in one of the four splits.

    A leak is a length or a format that reveals the chosen response.
    """
    if is_imported(run):
        raise RunError(
            f"the run {run.path} was made from imported embeddings",
            "choose another run folder for comparisons with texts",
        )
    arguments = {
        "input": source.describe(),
        "user_column": source.user_column,
        "options": {name: value for name, value in source.options.items() if name != "data"},
        "split": asdict(source.split),
    }
    begin = _read_and_split(run, source.read, source.split, lambda used: write_preferences(run.path, used))
    result = run.step("prepare", arguments, begin, may_change=False)
    if source.is_stored:
        source.experiment.write(run.path)
    return result


def import_embeddings(
    run: RunFolder,
    files: Sequence[str | Path],
    read: Callable[[], Loaded[EmbeddedPreferences]],
    split: SplitConfig,
    settings: Mapping[str, Any] | None = None,
) -> dict[str, Any]:
    """Read embeddings from files, and comparisons that refer to their rows. This replaces `prepare` and `embed`.

    `files` are all files that `read` reads. `settings` are all other settings that determine the result,
    JSON-serialisable.
    """
    if run.arguments("prepare"):
        raise RunError(
            f"the run {run.path} was made from comparisons with texts",
            "choose another run folder for imported embeddings",
        )

    def write(used: EmbeddedPreferences) -> None:
        from lorerm.embedding.store import store_matrix

        store_matrix(run.path, used.responses, used.reference)
        write_comparisons(run.path, used)

    def check(used: EmbeddedPreferences) -> list[str]:
        from lorerm.embedding.checks import check_usable

        return check_usable(used.responses, used)

    begin = _read_and_split(run, read, split, write, check)
    arguments = {"input": describe_files(files), "split": asdict(split), **(settings or {})}
    return run.step("embed", arguments, begin, more_files=(COMPARISONS,), may_change=False)


def _read_and_split(
    run: RunFolder,
    read: Callable[[], Loaded[C]],
    split: SplitConfig,
    write: Callable[[C], None],
    check: Callable[[C], Sequence[str]] = lambda _: (),
) -> Callable[[], Work]:
    """Return the argument `begin` of `RunFolder.step` for a step that reads, splits, checks and writes comparisons.

    `check` returns sentences about the comparisons that are written, or raises an error.

    Comparisons in none of the four splits (for instance beyond `split.max_pairs_seen`) are not written, so that their
    responses are not embedded.
    """

    def begin() -> Work:
        from lorerm.data.leakage import check_leaks
        from lorerm.data.preferences import Preferences
        from lorerm.data.splits import Splits, assign_splits

        run.report_progress("reading", 0, 1)
        loaded = read()
        data = loaded.preferences
        run.report_progress("reading", 1, 1)
        splits = assign_splits(data.user_ids, data.prompt_ids, given=data.splits, **asdict(split))
        summary = Splits.from_labels(data, splits, unseen_wanted=split.unseen_users > 0).summary
        if loaded.shares_prompts:
            summary = replace(summary, n_prompts_shared=0, n_responses_shared=0)
        in_use = np.flatnonzero(np.isin(splits, list(summary.sizes)))

        def work() -> dict[str, Any]:
            text = data if isinstance(data, Preferences) else loaded.text
            leaks = None if text is None else check_leaks(text, split.seed)
            used = data.with_splits(splits).select(in_use)
            found = [*used.weight_warnings(), *check(used)]
            write(used)
            omitted = data.summary.warnings() if isinstance(data, Preferences) else data.id_warnings()
            return {
                "n_pairs_read": len(data),
                "n_pairs": len(in_use),
                "cells": {name: asdict(size) for name, size in summary.sizes.items()},
                "given": given_split(data.splits),
                "source": loaded.source,
                "reading": list(loaded.reading),
                "leaks": None if leaks is None else {**leaks.to_dict(), "warnings": leaks.warnings()},
                "warnings": [*loaded.warnings, *omitted, *summary.warnings(), *found],
            }

        return work

    return begin


def embed(run: RunFolder, make_encoder: Callable[[], Encoder], settings: Mapping[str, Any]) -> dict[str, Any]:
    """Embed each distinct conversation once. `settings` (JSON-serialisable) identify the encoder that is built."""
    if is_imported(run):
        raise RunError(
            f"the run {run.path} has imported embeddings, and no texts to embed",
            f"skip this step and run `lorerm train {run.path}`",
        )
    run.result("prepare")

    def begin() -> Work:
        from lorerm.embedding.batch_encoder import running_settings
        from lorerm.embedding.checks import check_usable
        from lorerm.embedding.embed import embed_run
        from lorerm.embedding.embedded_preferences import EmbeddedPreferences
        from lorerm.embedding.store import check_encoder

        StoredResponses(run.path)  # raises an error for a damaged file before the model is loaded
        run.report_progress("loading the encoder", 0, 1)
        encoder = make_encoder()
        run.report_progress("loading the encoder", 1, 1)
        check_encoder(run.path, encoder.identity)

        def work() -> dict[str, Any]:
            n_conversations, found = embed_run(
                run.path, encoder, lambda done, total: run.report_progress("embedding", done, total)
            )
            data = EmbeddedPreferences.load(run.path)
            return {
                "encoder": encoder.identity.to_dict(),
                "running": running_settings(encoder),
                "n_conversations": n_conversations,
                "remarks": asdict(found),
                "warnings": [
                    *found.warnings(n_conversations, encoder.identity),
                    *check_usable(data.responses, data),
                ],
            }

        return work

    return run.step("embed", settings, begin, may_change=False)


def train(
    run: RunFolder,
    config: TrainingConfig,
    ranks: Sequence[int] | None = None,
    alphas: Sequence[float] | None = None,
    *,
    strict: bool = True,
) -> dict[str, Any]:
    """Train a model of each rank on the split `train_seen`. Models trained earlier with the same settings are kept.

    Parameters
    ----------
    run
        The run folder.
    config
        The training configuration. `rank` is ignored, and so is `alpha` if there are `alphas`.
    ranks
        The ranks. None means all ranks from 0 to 5 that the data allow.
    alphas
        Strengths of the regulariser of a `paper` recipe. Models of all ranks are trained for each.
    strict
        If True, raise `ConfigError` for `ranks` that the data do not allow; if False, leave them out.
    """
    run.result("embed")

    def begin() -> Work:
        from lorerm.embedding.embedded_preferences import EmbeddedPreferences
        from lorerm.training.train import possible_ranks

        data = EmbeddedPreferences.load(run.path)
        train_seen = data.select(np.flatnonzero(np.asarray(data.splits) == "train_seen"))
        wanted = list(dict.fromkeys(ranks or DEFAULT_RANKS))
        if not (ranks and strict):
            wanted = possible_ranks(train_seen, wanted)
        for one in configs.values():
            _check_training(run, train_seen, one, wanted)
        return lambda: _train_missing(run, train_seen, configs, wanted)

    configs: dict[float | None, TrainingConfig] = {None: config}
    if alphas:
        configs = {alpha: replace(config, alpha=alpha) for alpha in alphas}
    arguments = {name: value for name, value in asdict(config).items() if name != "rank"}
    parts: dict[str, Any] = {"ranks": None if ranks is None else list(ranks)}
    if alphas:
        parts["alphas"] = list(configs)
    return run.step("train", arguments, begin, parts=parts)


def _check_training(run: RunFolder, data: EmbeddedPreferences, config: TrainingConfig, ranks: Sequence[int]) -> None:
    """Raise `ConfigError` for an invalid seed, and for a rank or recipe that the data do not allow.

    This happens before models of earlier settings are removed.
    """
    from lorerm.embedding.store import reference_reason
    from lorerm.training.recipes import find_recipe
    from lorerm.training.train import largest_rank

    if not 0 <= config.seed < 2**63:
        raise ConfigError(
            f"seed is {config.seed}", "give a whole number that is at least 0 and below 2**63", argument="seed"
        )
    limit, n_users = largest_rank(data), len(data.index_users()[0])
    smallest = 1 if data.reference is None else 0
    for rank in ranks:
        if not 0 <= rank <= limit:
            raise ConfigError(
                f"rank {rank} is not possible with these data (seen users: {n_users}, dimension: {data.dimension})",
                f"give ranks from {smallest} to {limit}",
                argument="ranks",
            )
    if data.reference is None:
        why = f"there is none ({reference_reason(run.path)})"
        if 0 in ranks:
            raise ConfigError(
                f"rank 0 is the encoder's own reward head, and {why}", "give ranks of at least 1", argument="ranks"
            )
        if find_recipe(config.recipe).needs_reference(config):
            raise ConfigError(
                f"recipe {config.recipe} with these settings needs the encoder's own reward head, and {why}",
                "embed with a reward model that has a linear head, or choose another recipe or alpha",
                argument="recipe",
            )


def _train_missing(
    run: RunFolder,
    data: EmbeddedPreferences,
    configs: Mapping[float | None, TrainingConfig],
    ranks: Sequence[int],
) -> dict[str, Any]:
    """Train the models that are missing, for each alpha and rank, and choose one by the validation loss."""
    from lorerm.model.io import save_model
    from lorerm.training.train import choose_rank, train_ranks, training_warnings

    done = run.finished_parts("train")
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
                    continue  # missing or damaged: trained again
        missing = [rank for rank in ranks if rank not in models]
        trained = train_ranks(data, missing, config, progress=_report_progress(run, name))
        for rank in missing:
            run.report_progress(f"{name}rank {rank}", 0, 1)
            # `train_ranks` is a generator: each `next` trains one model, in the order of `missing`.
            models[rank] = next(trained)[1]
            save_model(models[rank], model_folder(run, rank, alpha), include_users=True)
            run.finish_part("train", f"{name}{rank}")
        chosen[alpha] = models[choose_rank(models)]
    best = min(chosen, key=lambda alpha: _validation_loss(chosen[alpha]))
    return {
        "warnings": training_warnings(data),
        "ranks": sorted(ranks),
        "chosen_rank": chosen[best].requested_rank,
        "alphas": None if None in chosen else list(chosen),
        "chosen_alpha": best,
    }


def _report_progress(run: RunFolder, name: str) -> Callable[[str, int, int], None]:
    return lambda stage, done, total: run.report_progress(f"{name}{stage}", done, total)


def _validation_loss(model: LowRankRewardModel) -> float:
    """Return the validation loss, by which alphas are compared.

    Without a validation split it is infinite for every alpha, and `min` chooses the first alpha.
    """
    validation = model.training.get("validation")
    return float("inf") if validation is None else float(validation["loss"])


def report(run: RunFolder) -> dict[str, Any]:
    """Fit the weights of the unseen users (held out of training), evaluate every rank, and write the report."""
    run.result("train")

    def begin() -> Work:
        import pyarrow.parquet as pq

        from lorerm.atomic import atomic_path
        from lorerm.embedding.embedded_preferences import EmbeddedPreferences
        from lorerm.reporting.report import write_report

        data = EmbeddedPreferences.load(run.path)
        trained, adaptation = run.result("train"), adaptation_of(run)
        alphas = trained.get("alphas") or [None]
        by_alpha = {alpha: {rank: load_trained(run, rank, alpha) for rank in trained["ranks"]} for alpha in alphas}

        def work() -> dict[str, Any]:
            for alpha, models in by_alpha.items():
                found, predictions = _measure(run, data, models, adaptation, run.arguments("train")["seed"], alpha)
                if alpha == chosen_alpha(run):
                    write_report(found, run.path / REPORT)
                    with atomic_path(run.path / PREDICTIONS) as temporary:
                        pq.write_table(predictions, temporary, compression="zstd")
                if alpha is not None:
                    write_report(found, run.path / REPORT / alpha_name(alpha))
            return {"report": REPORT_PAGE}

        return work

    return run.step("report", {"adaptation": experiment_adaptation(run)}, begin)


def _measure(
    run: RunFolder,
    data: EmbeddedPreferences,
    models: Mapping[int, LowRankRewardModel],
    adaptation: AdaptationConfig,
    seed: int,
    alpha: float | None,
) -> tuple[Report, pa.Table]:
    """Adapt the unseen users and evaluate the models of one alpha. Return (report, table of all test predictions)."""
    from lorerm.data.splits import Splits
    from lorerm.embedding.checks import same_warnings
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
        run.report_progress("adapting", done, len(models))
    run.report_progress("evaluating", 0, 1)
    predictions = predict(models, splits, adaptation, seed)
    report = describe(predictions, reference_reason(run.path) or NO_REFERENCE)
    first = input_step(run)
    found, arguments = run.result(first), run.arguments(first)
    warnings = found["warnings"] if is_imported(run) else [*found["warnings"], *run.result("embed")["warnings"]]
    # In runs of earlier versions, these steps did not warn of comparisons whose two responses have the same embedding.
    warnings = dict.fromkeys([*warnings, *same_warnings(report.data.n_same or 0, report.data.n_comparisons)])
    described = replace(
        report.data,
        source=", ".join(entry["name"] for entry in arguments["input"]),
        leaks=None if found["leaks"] is None else from_json(Leaks, found["leaks"], "leaks"),
        warnings=tuple(warnings),
    )
    report = replace(report, data=described, settings=replace(report.settings, split=arguments["split"]))
    if alpha == chosen_alpha(run):
        report = add_studies(run, report, predictions.models[predictions.focus_rank], data)
    run.report_progress("evaluating", 1, 1)
    return report, predictions.to_table()

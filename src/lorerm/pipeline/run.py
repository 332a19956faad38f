"""Do all steps of a run with the settings of an experiment: prepare, embed, train, seeds, few-shot curve, report."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

from lorerm.embedding.encoder import Encoder
from lorerm.pipeline import steps, studies
from lorerm.pipeline.experiment import Experiment
from lorerm.pipeline.folder import Progress, RunFolder
from lorerm.pipeline.sources import Source


def run_experiment(
    folder: Path,
    source: Source,
    encoder: AbstractContextManager[Callable[[], Encoder]],
    encoder_settings: Mapping[str, Any],
    *,
    strict: bool = True,
    seeds: int | None = None,
    progress: Progress | None = None,
    on_prepared: Callable[[dict[str, Any]], None] | None = None,
) -> RunFolder:
    """Do every step of a run that is not finished. Settings are checked before the folder is created.

    Parameters
    ----------
    folder
        The run folder; created if it does not exist.
    source
        The comparisons, and the experiment with the settings of the steps.
    encoder
        Context manager that gives the function that builds the encoder. It is exited after the step `embed`.
    encoder_settings
        The settings that identify the encoder, JSON-serialisable.
    strict
        If True, raise `ConfigError` for ranks of the experiment that the data do not allow; if False, leave them out.
    seeds
        Number of seeds, including the run's own. None: the number in the last call, or 1 in a new run.
    progress
        Called with (stage, number done, total number).
    on_prepared
        Called with the result of the step `prepare`, before the step `embed`.
    """
    studies.check_seeds(seeds)
    config, ranks, alphas = source.experiment.training()
    run = RunFolder.create(folder, progress)
    prepared = steps.prepare(run, source)
    if on_prepared is not None:
        on_prepared(prepared)
    with encoder as make_encoder:
        steps.embed(run, make_encoder, encoder_settings)
    steps.train(run, config, ranks, alphas, strict=strict)
    report(run, seeds)
    return run


def report(run: RunFolder, seeds: int | None = None) -> None:
    """Evaluate further seeds if requested, measure the few-shot curve if that takes only seconds, write the report."""
    studies.seeds(run, seeds)
    studies.few_shot_by_default(run)
    steps.report(run)


def left_out_ranks(run: RunFolder, experiment: Experiment) -> list[int]:
    """Return the ranks of an experiment that were not trained, because the data do not allow them."""
    return sorted(set(experiment.train.get("ranks") or ()) - set(run.result("train")["ranks"]))

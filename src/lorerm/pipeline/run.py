"""Make a complete run by one experiment: prepare, embed, train, further seeds, few-shot curve, report."""

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
    """Do every step of a run that is not finished; settings are checked before the folder is made.

    `encoder` is a context manager of the function that builds the encoder; it is left when everything is embedded.
    `encoder_settings` identify the encoder, as JSON-able values. If `strict`, ranks of the experiment that the data do
    not allow are refused; otherwise they are left out. `seeds` is the number of seeds in all; None is as many as
    before, 1 at first. `progress` is called with (stage, number done, total number), and `on_prepared` with the result
    of `prepare` before anything is embedded.
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
    """Evaluate further seeds where asked for, measure the few-shot curve where it takes seconds, write the report."""
    studies.seeds(run, seeds)
    studies.few_shot_by_default(run)
    steps.report(run)


def left_out_ranks(run: RunFolder, experiment: Experiment) -> list[int]:
    """Return the ranks of an experiment that were not trained, because the data do not allow them."""
    return sorted(set(experiment.train.get("ranks") or ()) - set(run.result("train")["ranks"]))

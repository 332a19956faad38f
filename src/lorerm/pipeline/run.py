"""Make a complete run by one experiment: prepare, embed, train, further seeds, few-shot curve, report."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from lorerm.data.splits import SplitConfig
from lorerm.embedding.encoder import Encoder
from lorerm.pipeline import steps, studies
from lorerm.pipeline.experiment import Experiment
from lorerm.pipeline.folder import Progress, RunFolder


@dataclass(frozen=True)
class Source:
    """What a run reads, and the experiment by which it does."""

    inputs: Sequence[str]
    """files or folders, or the name of one data set"""
    experiment: Experiment
    """the settings, those of the command line included"""
    user_column: str = "user_id"
    """the column with the users' ids"""
    local_copy: str | None = None
    """files of the data set in its own layout, which are read in place of the hub"""
    is_stored: bool = False
    """whether the run folder keeps the experiment, for the later verbs"""

    @property
    def options(self) -> dict[str, Any]:
        """The options of the data set, as its loader takes them."""
        return {**self.experiment.data, **({} if self.local_copy is None else {"data": self.local_copy})}


def prepare(run: RunFolder, source: Source) -> dict[str, Any]:
    """Read, check and split the comparisons, and store the experiment; see `steps.prepare`."""
    split = SplitConfig(**source.experiment.split)
    result = steps.prepare(run, source.inputs, split, user_column=source.user_column, options=source.options)
    if source.is_stored:
        source.experiment.write(run.path)
    return result


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
    """Do every step of a run; steps that are finished already are not repeated.

    Parameters
    ----------
    folder
        The run folder: made, or continued.
    source
        What is read, and the experiment.
    encoder
        Gives a function that makes the encoder, and is left when everything is embedded.
    encoder_settings
        They identify the encoder, as JSON-able values.
    strict
        Refuse ranks of the experiment that the data do not allow; otherwise leave them out.
    seeds
        Number of seeds in all; None for as many as before, 1 at first.
    progress
        Called with (stage, number done, total number).
    on_prepared
        Called with the result of `prepare` before the long work begins.

    Returns
    -------
    RunFolder
        The run, whose `result(step)` is what each step found.

    Raises
    ------
    LorermError
        If the input or a setting is refused; settings are checked before anything is done.
    """
    studies.check_seeds(seeds)
    config, ranks, alphas = source.experiment.training()
    run = RunFolder.create(folder, progress)
    prepared = prepare(run, source)
    if on_prepared is not None:
        on_prepared(prepared)
    with encoder as make_encoder:
        steps.embed(run, make_encoder, encoder_settings)
    steps.train(run, config, ranks, alphas, strict=strict)
    report(run, seeds)
    return run


def report(run: RunFolder, seeds: int | None = None) -> None:
    """Do all that the report shows: several seeds where asked for, the few-shot curve where it is cheap, the report."""
    studies.seeds(run, seeds)
    studies.few_shot_by_default(run)
    steps.report(run)


def left_out_ranks(run: RunFolder, experiment: Experiment) -> list[int]:
    """Return the ranks of an experiment that were not trained, because the data do not allow them."""
    return sorted(set(experiment.train.get("ranks") or ()) - set(run.result("train")["ranks"]))

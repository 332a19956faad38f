"""Settings of a subcommand: from the command line, or else from the experiment (a YAML file), or else the defaults."""

from __future__ import annotations

import argparse
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from lorerm.cli.options import add_options, add_out_option, add_user_column_option, given_options
from lorerm.data.datasets import DATASETS, dataset_options
from lorerm.data.readers import FORMATS
from lorerm.data.splits import SplitConfig
from lorerm.embedding.registry import BUILT_IN, implied_encoder, setting_names
from lorerm.errors import ConfigError
from lorerm.pipeline.experiment import Experiment, find_experiment, is_file
from lorerm.pipeline.sources import Source, is_dataset
from lorerm.training.config import TrainingConfig

# In versions without `--encoder`, `--model embedded` selected the built-in encoder.
_BUILT_IN_BEFORE = "embedded"


def add_source_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the arguments for the input, the run folder, the column with the users' ids, and the experiment."""
    parser.add_argument(
        "source",
        nargs="+",
        help=f"files or folders with feedback: {', '.join(FORMATS)}; or the name of a data set: {', '.join(DATASETS)}",
    )
    add_out_option(parser)
    add_user_column_option(parser)
    add_experiment_option(parser)


def add_experiment_option(parser: argparse.ArgumentParser) -> None:
    """Add `--experiment`: the settings of the experiment become the defaults of the other options."""
    parser.add_argument(
        "--experiment",
        metavar="NAME_OR_FILE",
        help="settings to use for options that are not given: default (recommended settings), paper (for a "
        "published data set, the settings of the paper), or a YAML file (default: default)",
    )


def add_dataset_options(parser: argparse.ArgumentParser, *, revision: bool) -> None:
    """Add the options for reading published data sets, and the options of each data set.

    If `revision` is true, `--data-revision` is also called `--revision`. Add all other options of the subcommand first:
    if a flag exists already, the flag of a data set's option gets the data set's name as a prefix (`--simulated-seed`).
    """
    group = parser.add_argument_group("Data sets known by name")
    group.add_argument(
        "--data",
        metavar="PATH",
        help="local copy of the data set, with the files that it has on the hub (default: the hub)",
    )
    names = ["--data-revision", "--revision"] if revision else ["--data-revision"]
    group.add_argument(
        *names, dest="data_revision", metavar="REVISION", help="branch, tag or commit of the data set on the hub"
    )
    for name in DATASETS:
        add_options(parser, dataset_options(name), leave_out=("data", "revision"), owner=name)


def read_source(parsed: argparse.Namespace) -> Source:
    """Return the input and its settings. Settings on the command line replace settings of the experiment."""
    given, dataset = _given_dataset_options(parsed), dataset_name(parsed)
    data = {} if parsed.data_revision is None else {"revision": parsed.data_revision}
    if dataset is None and (data or parsed.data is not None):
        option = "data-revision" if data else "data"
        raise ConfigError(
            f"--{option} is an option of data sets known by name, but files were given",
            "leave it out, or name a data set",
            argument=option,
        )
    for name, options in given.items():
        if name != dataset:
            option = next(iter(options))
            raise ConfigError(
                f"--{option.replace('_', '-')} belongs to the data set {name}, but the input is {dataset or 'a file'}",
                f"leave it out, or give the data set {name}",
                argument=option,
            )
        data |= options
    experiment = merge_options(parsed, find_experiment(dataset, parsed.experiment).merge(data=data))
    return Source(
        inputs=parsed.source,
        experiment=experiment,
        user_column=getattr(parsed, "user_column", "user_id"),
        local_copy=parsed.data,
        is_stored=dataset is not None or is_file(parsed.experiment),
    )


def dataset_name(parsed: argparse.Namespace) -> str | None:
    """Return the name of the data set to read, or None if files are read."""
    given = {"data": parsed.data, "revision": parsed.data_revision, **_given_dataset_options(parsed)}
    options = {name: value for name, value in given.items() if value is not None}
    return parsed.source[0] if is_dataset(parsed.source, options) else None


def _given_dataset_options(parsed: argparse.Namespace) -> dict[str, dict[str, Any]]:
    """Return the options of data sets on the command line, as {data set: {option: value}}."""
    given = {name: given_options(parsed, dataset_options(name), owner=name) for name in DATASETS}
    return {name: options for name, options in given.items() if options}


def merge_options(parsed: argparse.Namespace, experiment: Experiment) -> Experiment:
    """Return the experiment, with its settings replaced by those given on the command line."""
    train = given_options(parsed, TrainingConfig)
    for name in ("ranks", "alphas"):
        if getattr(parsed, name, None) is not None:
            train[name] = getattr(parsed, name)
    if "alpha" in train:
        if "alphas" in train:
            raise ConfigError("--alpha and --alphas are both given", "give one of them", argument="alpha")
        train["alphas"] = [train.pop("alpha")]
    names = ("encoder", *setting_names())
    given = {name: value for name in names if (value := getattr(parsed, name, None)) is not None}
    embed, own = _named(given), _named(experiment.embed)
    other_model = embed.get("model", own.get("model")) != own.get("model")
    if other_model or _encoder_name({**own, **embed}) != _encoder_name(own):
        own = {}  # the experiment's settings, such as the revision, do not apply to another model
    experiment = replace(experiment, embed=own)
    return experiment.merge(split=given_options(parsed, SplitConfig), train=train, embed=embed)


def fill_encoder_options(parsed: argparse.Namespace, experiment: Experiment) -> None:
    """Set the options of the encoder that are not on the command line to the settings of the experiment."""
    embed = merge_options(parsed, Experiment(embed=experiment.embed)).embed
    for name in ("encoder", *setting_names()):
        setattr(parsed, name, embed.get(name))


def _named(embed: Mapping[str, Any]) -> Mapping[str, Any]:
    """Return the settings of an encoder; `--model embedded` of earlier versions becomes `--encoder hashing`."""
    is_built_in = embed.get("model") == _BUILT_IN_BEFORE and not Path(_BUILT_IN_BEFORE).exists()
    return {"encoder": BUILT_IN} if is_built_in else embed


def _encoder_name(embed: Mapping[str, Any]) -> str:
    return str(embed.get("encoder") or implied_encoder(embed))

"""Data sets that are loaded by name: one module for each data set, and the registry of these modules.

Each module defines:

- a frozen dataclass `Options`; its attribute docstrings are the help texts of the data set's command-line options
- a function `load(options, split)`, which returns `Loaded`

A module must not import slow packages at its top, since `lorerm run --help` imports the modules of all data sets.
"""

from __future__ import annotations

from dataclasses import fields
from importlib import import_module
from typing import TYPE_CHECKING, Any

from lorerm.errors import ConfigError

if TYPE_CHECKING:
    from collections.abc import Mapping

    from lorerm.data.datasets.loaded import Loaded
    from lorerm.data.preferences import Preferences
    from lorerm.data.splits import SplitConfig

DATASETS: Mapping[str, str] = {
    "simulated": "lorerm.data.datasets.simulated",
    "polis": "lorerm.data.datasets.polis",
    "tldr": "lorerm.data.datasets.tldr",
    "prism": "lorerm.data.datasets.prism",
    "personalllm": "lorerm.data.datasets.personalllm",
    "community-alignment": "lorerm.data.datasets.community_alignment",
}
"""Name of each data set -> its module."""


def dataset_options(name: str) -> type[Any]:
    """Return the dataclass of the options that a data set has."""
    if name not in DATASETS:
        raise ConfigError(
            f"data set {name!r} is not known",
            f"choose one of {', '.join(DATASETS)}, or give a file",
            argument="name",
        )
    options: type[Any] = import_module(DATASETS[name]).Options
    return options


def load_dataset(name: str, **options: Any) -> Preferences:  # noqa: ANN401 - of the types of the fields
    """Load the comparisons of a data set by its name.

    Parameters
    ----------
    name
        One of `DATASETS`.
    **options
        Fields of `dataset_options(name)`. All published data sets have the options `data` (local files) and `revision`
        (a version of the data set on the hub).

    Returns
    -------
    Preferences

    Raises
    ------
    ConfigError
        There is no data set of this name, or the data set has no such option.
    DataError
        The data set cannot be read.

    Examples
    --------
    >>> preferences = load_dataset("simulated", n_users=3)
    >>> sorted(set(preferences.user_ids))
    ['annotator-000', 'annotator-001', 'annotator-002']
    """
    return read_dataset(name, **options).preferences


def read_dataset(name: str, *, split: SplitConfig | None = None, **options: object) -> Loaded[Preferences]:
    """Load a data set by its name, with a record of what was read and what was left out.

    `split` is used only by data sets that draw a split themselves; if it is None, they use their own settings.
    `options` are the options of `load_dataset`.
    """
    found = dataset_options(name)
    known = [field.name for field in fields(found)]
    for option in options:
        if option not in known:
            raise ConfigError(
                f"data set {name} has no option {option!r}", f"use its options: {', '.join(known)}", argument=option
            )
    # Experiment files and the command line give lists, but the options are tuples.
    values = {option: tuple(value) if isinstance(value, list) else value for option, value in options.items()}
    loaded: Loaded[Preferences] = import_module(DATASETS[name]).load(found(**values), split)
    return loaded

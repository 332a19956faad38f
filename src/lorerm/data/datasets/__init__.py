"""The data sets known by name: one file and one line in this registry each."""

from __future__ import annotations

from importlib import import_module
from inspect import signature
from typing import TYPE_CHECKING, Any

from lorerm.errors import ConfigError

if TYPE_CHECKING:
    from collections.abc import Mapping

    from lorerm.data.datasets.loaded import AnyPreferences, Loaded

DATASETS: Mapping[str, str] = {
    "simulated": "lorerm.data.datasets.simulated",
    "tldr": "lorerm.data.datasets.tldr",
    "prism": "lorerm.data.datasets.prism",
    "personalllm": "lorerm.data.datasets.personalllm",
    "community-alignment": "lorerm.data.datasets.community_alignment",
}
"""Name of the data set -> the module whose `load` reads it; imported only when asked for."""


def load_dataset(name: str, **options: Any) -> AnyPreferences:  # noqa: ANN401 - as the loaders take them
    """Load the preferences of a data set by its name.

    Parameters
    ----------
    name
        One of `DATASETS`.
    **options
        Of the data set's own `load`, `data` (local files) and `revision` (on the hub) among them.

    Returns
    -------
    Preferences or SharedPreferences
        The latter where everybody judges the same responses; both are split, embedded and checked for leaks alike.

    Raises
    ------
    ConfigError
        No data set has that name, or it has no such option.
    DataError
        The data set cannot be read.

    Examples
    --------
    >>> preferences = load_dataset("simulated", n_users=3)
    >>> sorted(set(preferences.user_ids))
    ['annotator-000', 'annotator-001', 'annotator-002']
    """
    return read_dataset(name, **options).preferences


def read_dataset(name: str, *, split: Mapping[str, Any] | None = None, **options: object) -> Loaded:
    """Load a data set by its name, with the account of what was read and what was left out.

    Parameters
    ----------
    name
        One of `DATASETS`.
    split
        Settings of the split (`seed`, `unseen_users`, `test_prompts`), for data sets that bring their own cells.
    **options
        Of the data set's own `load`, `data` (local files) and `revision` (on the hub) among them.

    Returns
    -------
    Loaded
        The preferences, what was read, and how many rows each step kept.

    Raises
    ------
    ConfigError
        No data set has that name, or it has no such option.
    DataError
        The data set cannot be read.
    """
    if name not in DATASETS:
        raise ConfigError(f"data set {name!r} is not known", f"choose one of {', '.join(DATASETS)}, or give a file")
    load = import_module(DATASETS[name]).load
    known = list(signature(load).parameters)
    for option in options:
        if option not in known or option == "split":
            own = ", ".join(one for one in known if one != "split")
            raise ConfigError(f"data set {name} has no option {option!r}", f"its options are {own}")
    if "split" in known:
        options["split"] = split
    loaded: Loaded = load(**options)
    return loaded

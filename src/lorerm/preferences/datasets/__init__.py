"""The data sets known by name: one file and one line in this registry each."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING

from lorerm.errors import ConfigError

if TYPE_CHECKING:
    from collections.abc import Mapping

    from lorerm.preferences.preferences import Preferences

DATASETS: Mapping[str, str] = {
    "simulated": "lorerm.preferences.datasets.simulated",
}
"""Name of the data set -> the module whose `load` makes its `Preferences`; imported only when asked for."""


def load_dataset(name: str, **options: object) -> Preferences:
    """Load a data set by its name.

    Parameters
    ----------
    name
        One of `DATASETS`.
    **options
        Passed to the data set's own `load`.

    Returns
    -------
    Preferences

    Raises
    ------
    ConfigError
        No data set has that name.
    """
    if name not in DATASETS:
        raise ConfigError(f"data set {name!r} is not known", f"choose one of {', '.join(DATASETS)}, or give a file")
    preferences: Preferences = import_module(DATASETS[name]).load(**options)
    return preferences

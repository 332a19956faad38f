"""Settings of a server, which its processes read as JSON from an environment variable."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

ENVIRONMENT = "LORERM_SERVE_SETTINGS"
"""The environment variable in which the processes of a server find its settings, as JSON."""
METRICS_FOLDER = "PROMETHEUS_MULTIPROC_DIR"
"""The environment variable for the folder of the metrics of several processes.

prometheus_client reads it when it is imported, so it must be set before.
"""


@dataclass(frozen=True)
class Settings:
    """The settings of a server; all values can be written as JSON."""

    path: str
    """A run folder, a model's folder, or its id on the hub."""
    database: str
    """The database's URL."""
    rank: int | None = None
    """The rank of one of a run's models; None: the rank that validation chose."""
    name: str | None = None
    """The model's name; None: the last part of its path."""
    encoder: Mapping[str, Any] | None = None
    """Arguments of the encoder; None: the server takes embeddings only."""
    keys: tuple[str, ...] = ()
    """SHA-256 of each API key, as hexadecimal digits; none: only requests from this machine are accepted."""
    origins: tuple[str, ...] = ()
    """Origins of other web pages that may call the server from a browser."""
    max_body: int = 8 * 2**20
    """The most bytes of a request's body."""
    timeout: float = 30.0
    """The most seconds that a request takes, the arrival of its body included."""
    cache_bytes: int = 256 * 2**20
    """The most bytes of embeddings that a process caches."""
    workers: int = 1
    """The number of processes."""
    docs: bool = False
    """Whether there is a page at /docs, which loads scripts from the web."""
    running: Mapping[str, Any] = field(default_factory=dict)
    """How the encoder runs: device, batch_tokens, trust_remote_code."""

    def to_json(self) -> str:
        """Return the settings as JSON."""
        return json.dumps(asdict(self))

    @classmethod
    def from_json(cls, text: str) -> Settings:
        """Read what `to_json` returned."""
        values = json.loads(text)
        return cls(**{**values, "keys": tuple(values["keys"]), "origins": tuple(values["origins"])})

"""What a server is started with, in a form that every one of its processes can be given."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, field
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Mapping

ENVIRONMENT = "LORERM_SERVE_SETTINGS"
"""Where the processes of a server find its settings, as JSON."""


@dataclass(frozen=True)
class Settings:
    """The settings of a server, as JSON-able values."""

    path: str
    """A run folder, a model's folder, or its id on the hub."""
    database: str
    """The database's URL."""
    rank: int | None = None
    """Which of a run's models; None is the one that validation chose."""
    name: str | None = None
    """What the model is called; None is the last part of its path."""
    encoder: Mapping[str, Any] | None = None
    """What the encoder is made with; None: only embeddings are taken."""
    keys: tuple[str, ...] = ()
    """SHA-256 of each API key, as hexadecimal digits; none: only this machine can ask."""
    origins: tuple[str, ...] = ()
    """Web pages' origins that a browser may call from."""
    max_body: int = 8 * 2**20
    """Bytes of a request's body, at most."""
    timeout: float = 30.0
    """Seconds that a request may take, its body's arrival included."""
    cache_bytes: int = 256 * 2**20
    """Bytes of embeddings that a process keeps in memory, at most."""
    workers: int = 1
    """Processes."""
    docs: bool = False
    """Whether /docs is there, which loads its scripts from the web."""
    running: Mapping[str, Any] = field(default_factory=dict)
    """How the encoder runs: device, batch_tokens, trust_remote_code."""

    def to_json(self) -> str:
        """Return the settings as text."""
        return json.dumps(asdict(self))

    @classmethod
    def from_json(cls, text: str) -> Settings:
        """Read what `to_json` wrote."""
        values = json.loads(text)
        return cls(**{**values, "keys": tuple(values["keys"]), "origins": tuple(values["origins"])})

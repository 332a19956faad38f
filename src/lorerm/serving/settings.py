"""Settings of a server. Its first process, the supervisor, passes them to the processes that answer requests."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

METRICS_FOLDER = "PROMETHEUS_MULTIPROC_DIR"
"""The environment variable with the folder in which several processes share their metrics.

prometheus_client reads it when it is imported, so set it before that.
"""


@dataclass(frozen=True)
class Settings:
    """Settings of a server."""

    path: str
    """A run folder, a model's folder, or its id on the hub."""
    database: str
    """The database's URL."""
    rank: int | None = None
    """The rank of the run's model to serve; None: the rank that validation chose."""
    name: str | None = None
    """The model's name; None: the last part of its path."""
    encoder: Mapping[str, Any] | None = None
    """Settings of the encoder; None: the server accepts embeddings only."""
    keys: tuple[str, ...] = ()
    """SHA-256 of each API key, as hexadecimal digits; if empty, only requests from this machine are accepted."""
    key_file: str | None = None
    """The file from which `keys` are read again when it has changed."""
    origins: tuple[str, ...] = ()
    """Origins of other web pages that may call the server from a browser."""
    max_body: int = 8 * 2**20
    """Maximum size of a request's body, in bytes."""
    max_text: int = 100_000
    """Maximum number of characters of a text and its prompt together."""
    timeout: float = 30.0
    """Maximum time for a request, including the arrival of its body, in seconds."""
    cache_bytes: int = 256 * 2**20
    """Maximum size of the embeddings that a process caches, in bytes."""
    workers: int = 1
    """Number of server processes."""
    log_format: str = "text"
    """Format of the log: text or json."""
    docs: bool = False
    """Whether to serve the page /docs, which loads scripts from the web."""
    keep_differences: int | None = None
    """Number of values that are stored for each comparison's embedding difference (see `carry_over.keep`), so that
    later models can use it. None: no differences are stored."""
    carry_over: bool = False
    """Whether to use the feedback for the model that was served before, too."""
    running: Mapping[str, Any] = field(default_factory=dict)
    """Execution settings of the encoder: device, batch_tokens, trust_remote_code."""
    any_model: bool = False
    """Whether to accept requests that name another model."""
    user_header: str | None = None
    """The name of the header whose value is trusted to be the user's id in requests for rewards. None: no
    header is trusted."""
    population: bool = False
    """Whether requests for the rewards of an unknown user get the population model, unless they say otherwise."""
    bounded: bool = False
    """Whether to return probabilities instead of rewards to requests that do not say which they want."""

"""API keys, stored and compared as SHA-256, so that the stored form cannot be used as a key."""

from __future__ import annotations

import hashlib
import hmac
import ipaddress
import re
import secrets
from collections.abc import Sequence
from functools import lru_cache
from pathlib import Path

from lorerm.errors import ConfigError

_SHA256 = re.compile(r"[0-9a-f]{64}")


def new_key() -> tuple[str, str]:
    """Return a new key, and its line for the key file."""
    key = secrets.token_urlsafe(32)
    return key, hash_of(key)


def hash_of(key: str) -> str:
    """Return a key's SHA-256 as 64 hexadecimal digits."""
    return hashlib.sha256(key.encode()).hexdigest()


def read_keys(path: Path | None, environment: str | None) -> tuple[str, ...]:
    """Read hashes of keys from a file, one at the start of each line, and from an environment variable's value."""
    hashes = []
    if path is not None:
        try:
            lines = path.read_text(encoding="utf-8").splitlines()
        except (OSError, UnicodeDecodeError) as error:
            problem = f"the key file cannot be read ({error})"
            raise ConfigError(problem, "check the path", file=path, argument="api-keys") from error
        for row, line in enumerate(lines, 1):
            if line.strip() and not line.startswith("#"):
                hashes.append(_parse_hash(line.split()[0], path, row))
        if not hashes:
            remedy = "add a line that `lorerm serve --new-key` prints"
            raise ConfigError("the key file has no key", remedy, file=path, argument="api-keys")
    return (*hashes, *(_parse_hash(word, "LORERM_API_KEYS") for word in (environment or "").split()))


def _parse_hash(word: str, source: Path | str, row: int | None = None) -> str:
    if not _SHA256.fullmatch(word.lower()):
        remedy = "write the line that `lorerm serve --new-key` prints, not the key itself"
        raise ConfigError("an entry is not the SHA-256 of a key", remedy, file=source, row=row, argument="api-keys")
    return word.lower()


def is_known(authorization: bytes, hashes: Sequence[str]) -> bool:
    """Return whether an `Authorization: Bearer KEY` header has one of the keys; takes equally long for every key."""
    scheme, _, key = authorization.partition(b" ")
    if scheme.lower() != b"bearer":
        return False
    given = hashlib.sha256(key.strip()).hexdigest()
    return sum(hmac.compare_digest(given, known) for known in hashes) > 0  # without stopping at the first match


@lru_cache(maxsize=64)
def is_loopback(host: str) -> bool:
    """Return whether a host name or address is reachable from this machine only."""
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host.strip("[]")).is_loopback
    except ValueError:
        return False

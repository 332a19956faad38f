"""API keys. Only their SHA-256 hashes are stored and compared, so that a stored hash cannot be used as a key."""

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
    """Return a new random key, and its line for the key file (the hash of the key)."""
    key = secrets.token_urlsafe(32)
    return key, hash_of(key)


def hash_of(key: str) -> str:
    """Return a key's SHA-256 as 64 hexadecimal digits."""
    return hashlib.sha256(key.encode()).hexdigest()


def read_keys(path: Path | None, environment: str | None) -> tuple[str, ...]:
    """Read the hashes of keys from a file and from the value of an environment variable; each can be None.

    A line of the file begins with a hash. Empty lines, and lines that begin with #, are skipped. In the value of the
    environment variable, white space separates the hashes.
    """
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
            remedy = "add the line that `lorerm serve --new-key` prints for the file"
            raise ConfigError("the key file has no key", remedy, file=path, argument="api-keys")
    return (*hashes, *(_parse_hash(word, "LORERM_API_KEYS") for word in (environment or "").split()))


def _parse_hash(word: str, source: Path | str, row: int | None = None) -> str:
    if not _SHA256.fullmatch(word.lower()):
        remedy = "replace it by the line that `lorerm serve --new-key` prints for the file, not by the key itself"
        raise ConfigError("an entry is not the SHA-256 of a key", remedy, file=source, row=row, argument="api-keys")
    return word.lower()


def known_key(authorization: bytes, hashes: Sequence[str]) -> str | None:
    """Return the hash of the known key in an `Authorization` header, `Bearer KEY`; None if there is none.

    The time does not depend on the key.
    """
    scheme, _, key = authorization.partition(b" ")
    if scheme.lower() != b"bearer":
        return None
    given = hashlib.sha256(key.strip()).hexdigest()
    # All hashes are compared, also after a match, so that the time does not show which one matched.
    found = [known for known in hashes if hmac.compare_digest(given, known)]
    return found[0] if found else None


@lru_cache(maxsize=64)
def is_loopback(host: str) -> bool:
    """Return whether a host name or address is reachable from this machine only."""
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host.strip("[]")).is_loopback
    except ValueError:
        return False

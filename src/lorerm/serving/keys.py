"""API keys: kept and compared as SHA-256, so that whoever reads the file cannot use them."""

from __future__ import annotations

import hashlib
import hmac
import ipaddress
import re
import secrets
from functools import lru_cache
from typing import TYPE_CHECKING

from lorerm.errors import ConfigError

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

_HASH = re.compile(r"[0-9a-f]{64}")


def new_key() -> tuple[str, str]:
    """Return a new key, and the line of the key file that lets it in."""
    key = secrets.token_urlsafe(32)
    return key, hash_of(key)


def hash_of(key: str) -> str:
    """Return a key's SHA-256 as 64 hexadecimal digits."""
    return hashlib.sha256(key.encode()).hexdigest()


def read_keys(path: Path | None, environment: str | None) -> tuple[str, ...]:
    """Read the hashes of keys from a file, one at the beginning of each line, and from a variable's value.

    Raises
    ------
    ConfigError
        If the file cannot be read, or something else stands there.
    """
    lines: list[tuple[str, str]] = []
    if path is not None:
        try:
            text = path.read_text(encoding="utf-8")
        except (OSError, UnicodeDecodeError) as error:
            raise ConfigError(f"--api-keys {path} cannot be read ({error})", "check the file") from error
        lines += [(f"{path}, line {number}", line) for number, line in enumerate(text.splitlines(), 1)]
        if not any(line.strip() and not line.startswith("#") for _, line in lines):
            raise ConfigError(f"--api-keys {path} holds no key", "write one with `lorerm serve --new-key`")
    lines += [("LORERM_API_KEYS", word) for word in (environment or "").split()]
    return tuple(_read_line(place, line) for place, line in lines if line.strip() and not line.startswith("#"))


def _read_line(place: str, line: str) -> str:
    word = line.split()[0].lower()
    if not _HASH.fullmatch(word):
        raise ConfigError(f"{place} is no SHA-256 of a key", "write what `lorerm serve --new-key` shows")
    return word


def is_known(authorization: bytes, hashes: Sequence[str]) -> bool:
    """Tell whether a header `Authorization: Bearer KEY` holds one of the keys, in the same time whichever it is."""
    scheme, _, key = authorization.partition(b" ")
    if scheme.lower() != b"bearer":
        return False
    given = hashlib.sha256(key.strip()).hexdigest()
    return sum(hmac.compare_digest(given, known) for known in hashes) > 0  # all of them are looked at


@lru_cache(maxsize=64)
def is_loopback(host: str) -> bool:
    """Tell whether only this machine can reach a host's address."""
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host.strip("[]")).is_loopback
    except ValueError:
        return False

"""API keys. Only their SHA-256 hashes are stored and compared, so that a stored hash cannot be used as a key."""

from __future__ import annotations

import hashlib
import hmac
import ipaddress
import logging
import os
import re
import secrets
import time
from collections.abc import Sequence
from functools import lru_cache
from pathlib import Path

from lorerm.errors import ConfigError

log = logging.getLogger("lorerm.serving")

SCOPES = ("read", "write", "delete", "admin")
"""What a key can allow its owner to do.

`read`: get rewards, weights and metrics. `write`: add feedback. `delete`: delete users. `admin`: reload the server.
"""
_DEFAULT_SCOPES = frozenset({"read", "write", "delete"})
_SHA256 = re.compile(r"[0-9a-f]{64}")


def new_key() -> tuple[str, str]:
    """Return a new random key, and the line for the key file: the hash of the key."""
    key = secrets.token_urlsafe(32)
    return key, hash_of(key)


def hash_of(key: str) -> str:
    """Return a key's SHA-256 as 64 hexadecimal digits."""
    return hashlib.sha256(key.encode()).hexdigest()


def read_keys(path: Path | None, environment: str | None) -> tuple[str, ...]:
    """Read the entries for API keys from a file and from the value of an environment variable; each can be None.

    Each line of the file begins with an entry. Empty lines, and lines that begin with #, are skipped. White space
    separates the entries in the value of the environment variable. An entry is the hash of a key, or the hash, a colon
    and the key's scopes, separated by commas.
    """
    entries = []
    if path is not None:
        try:
            lines = path.read_text(encoding="utf-8").splitlines()
        except (OSError, UnicodeDecodeError) as error:
            problem = f"the key file cannot be read ({error})"
            raise ConfigError(problem, "check the path", file=path, argument="api-keys") from error
        for row, line in enumerate(lines, 1):
            if line.strip() and not line.startswith("#"):
                entries.append(_parse_entry(line.split()[0], path, row))
        if not entries:
            remedy = "add the line that `lorerm serve --new-key` prints for the file"
            raise ConfigError("the key file has no key", remedy, file=path, argument="api-keys")
    return (*entries, *(_parse_entry(word, "LORERM_API_KEYS") for word in (environment or "").split()))


def _parse_entry(word: str, source: Path | str, row: int | None = None) -> str:
    digest, colon, scopes = word.lower().partition(":")
    if not _SHA256.fullmatch(digest):
        remedy = "replace it by the line that `lorerm serve --new-key` prints for the file, not by the key itself"
        raise ConfigError("an entry is not the SHA-256 of a key", remedy, file=source, row=row, argument="api-keys")
    unknown = sorted(set(scopes.split(",")) - set(SCOPES)) if colon else []
    if unknown:
        remedy = f"write HASH:SCOPE,SCOPE; the scopes are {', '.join(SCOPES)}"
        raise ConfigError(
            f"a key has the unknown scope {unknown[0]!r}", remedy, file=source, row=row, argument="api-keys"
        )
    return word.lower()


def scopes_of(entry: str) -> frozenset[str]:
    """Return the scopes (see `SCOPES`) of the key to which an entry belongs."""
    _, colon, scopes = entry.partition(":")
    return frozenset(scopes.split(",")) if colon else _DEFAULT_SCOPES


class KeyRing:
    """The entries for a server's API keys. If they come from a file, the file is read again when it has changed."""

    def __init__(self, entries: Sequence[str], file: str | None = None) -> None:
        self._entries, self._file = tuple(entries), file
        self._signature, self._next_look = self._sign(), 0.0

    def entries(self) -> tuple[str, ...]:
        """Return the current entries. The file is checked for changes once a second."""
        if self._file is not None and time.monotonic() >= self._next_look:
            self._next_look = time.monotonic() + 1.0
            if (signature := self._sign()) != self._signature:
                try:
                    self._entries = read_keys(Path(self._file), os.environ.get("LORERM_API_KEYS"))
                except ConfigError as error:
                    log.error("the changed file of API keys cannot be used, so the earlier keys stay valid: %s", error)  # noqa: TRY400 - no traceback
                else:
                    log.warning(
                        "the file of API keys has changed and was read again; the number of API keys is now %d",
                        len(self._entries),
                    )
                self._signature = signature
        return self._entries

    def _sign(self) -> tuple[int, int, int] | None:
        if self._file is None:
            return None
        try:
            found = os.stat(self._file)  # noqa: PTH116 - faster
        except OSError:
            return None
        return found.st_ino, found.st_size, found.st_mtime_ns


def known_key(authorization: bytes, entries: Sequence[str]) -> str | None:
    """Return the entry for the key in an `Authorization` header (`Bearer KEY`), or None if no entry has this key.

    The duration does not depend on the key.
    """
    scheme, _, key = authorization.partition(b" ")
    if scheme.lower() != b"bearer":
        return None
    given = hashlib.sha256(key.strip()).hexdigest()
    # All hashes are compared, also after a match, so that the duration does not show which hash matched.
    found = [entry for entry in entries if hmac.compare_digest(given, entry[:64])]
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

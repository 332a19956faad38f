"""API keys: hashes in a file, and a check that takes equally long for every key."""

from __future__ import annotations

import hashlib
import itertools

import pytest

from lorerm.errors import ConfigError
from lorerm.serving.keys import KeyRing, hash_of, is_loopback, known_key, new_key, read_keys, scopes_of
from refusals import refused

HASH = hashlib.sha256(b"secret").hexdigest()


def test_a_new_key_known_key_by_its_line():
    key, line = new_key()
    assert known_key(f"Bearer {key}".encode(), (HASH, line)) == line
    assert key not in line
    assert new_key()[0] != key
    assert len(key) >= 40


def test_files_and_the_environment_are_read(tmp_path):
    file = tmp_path / "keys"
    file.write_text(f"# ours\n\n{HASH}  the batch job\n{HASH.upper()}\n")
    assert read_keys(file, None) == (HASH, HASH)
    assert read_keys(None, f"{hash_of('a')} {hash_of('b')}") == (hash_of("a"), hash_of("b"))
    assert read_keys(None, None) == ()


@pytest.mark.parametrize(
    ("text", "row"), [("", None), ("# nothing\n", None), ("#\nsecret\n", 2), (HASH[:-1], 1), (f"{HASH}0", 1)]
)
def test_a_file_without_hashes_is_rejected(tmp_path, text, row):
    """A key in place of its hash is not repeated in the error."""
    file = tmp_path / "keys"
    file.write_text(text)
    with refused(ConfigError, file=str(file), row=row, argument="api-keys") as raised:
        read_keys(file, None)
    assert "secret" not in str(raised.value)


def test_a_missing_file_and_a_key_in_the_environment_are_rejected(tmp_path):
    file = tmp_path / "none"
    with refused(ConfigError, file=str(file), argument="api-keys"):
        read_keys(file, None)
    with refused(ConfigError, file="LORERM_API_KEYS") as raised:
        read_keys(None, "secret")
    assert "secret" not in str(raised.value)


@pytest.mark.parametrize(
    "header", [b"", b"Bearer", b"Bearer ", b"Bearer wrong", b"secret", b"Basic secret", b"Bearer secret x", b"\xff\xfe"]
)
def test_other_headers_are_unknown(header):
    assert known_key(header, (HASH,)) is None
    assert known_key(b"bearer  secret", (HASH,)) == HASH


def test_every_hash_is_compared(monkeypatch):
    """So that the time does not depend on which key was right, or whether any was."""
    compared = []
    monkeypatch.setattr("hmac.compare_digest", lambda a, b: compared.append(b) or a == b)
    for header in (b"Bearer secret", b"Bearer wrong"):
        compared.clear()
        known_key(header, (HASH, hash_of("a"), hash_of("b")))
        assert compared == [HASH, hash_of("a"), hash_of("b")]


@pytest.mark.parametrize("host", ["127.0.0.1", "127.8.8.8", "localhost", "::1", "[::1]"])
def test_addresses_of_this_machine(host):
    assert is_loopback(host)


@pytest.mark.parametrize(
    "host",
    ["", "0.0.0.0", "::", "10.0.0.1", "example.org", "localhost.example.org", "127.0.0.1.example"],  # noqa: S104
)
def test_other_addresses(host):
    assert not is_loopback(host)


def test_a_key_can_do_what_its_scopes_say(tmp_path):
    assert scopes_of(HASH) == {"read", "write", "delete"}
    file = tmp_path / "keys"
    file.write_text(f"{HASH}:read,admin  the dashboard\n")
    (entry,) = read_keys(file, None)
    assert scopes_of(entry) == {"read", "admin"}
    assert known_key(b"Bearer secret", (entry,)) == entry
    file.write_text(f"{HASH}\n{HASH}:read,fly\n")
    with refused(ConfigError, "fly", file=str(file), row=2, argument="api-keys"):
        read_keys(file, None)


def test_a_changed_file_of_keys_is_read_again(tmp_path, monkeypatch, caplog):
    """A file with an error changes nothing."""
    monkeypatch.setattr("time.monotonic", lambda: next(clock))
    clock = itertools.count(step=10)
    file = tmp_path / "keys"
    file.write_text(HASH)
    ring = KeyRing(read_keys(file, None), str(file))
    assert ring.entries() == (HASH,)
    file.write_text(f"{HASH}\n{hash_of('new')}\n")
    assert ring.entries() == (HASH, hash_of("new"))
    file.write_text("secret")
    assert ring.entries() == (HASH, hash_of("new"))
    assert [record.levelname for record in caplog.records] == ["WARNING", "ERROR"]
    assert "secret" not in caplog.text
    file.write_text(hash_of("new"))
    assert ring.entries() == (hash_of("new"),)

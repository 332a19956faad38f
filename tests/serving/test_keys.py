"""API keys: hashes in a file, one answer for every wrong key."""

from __future__ import annotations

import hashlib

import pytest

from lorerm.errors import ConfigError
from lorerm.serving.keys import hash_of, is_known, is_loopback, new_key, read_keys

HASH = hashlib.sha256(b"secret").hexdigest()


def test_a_new_key_opens_by_its_line():
    key, line = new_key()
    assert is_known(f"Bearer {key}".encode(), (HASH, line))
    assert key not in line
    assert new_key()[0] != key
    assert len(key) >= 40


def test_files_and_the_environment_are_read(tmp_path):
    file = tmp_path / "keys"
    file.write_text(f"# ours\n\n{HASH}  the batch job\n{HASH.upper()}\n")
    assert read_keys(file, None) == (HASH, HASH)
    assert read_keys(None, f"{hash_of('a')} {hash_of('b')}") == (hash_of("a"), hash_of("b"))
    assert read_keys(None, None) == ()


@pytest.mark.parametrize("text", ["", "# nothing\n", "secret\n", HASH[:-1], f"{HASH}0"])
def test_files_without_keys_are_refused(tmp_path, text):
    (tmp_path / "keys").write_text(text)
    with pytest.raises(ConfigError, match="key") as raised:
        read_keys(tmp_path / "keys", None)
    assert "secret" not in str(raised.value)


def test_a_missing_file_and_a_key_in_place_of_its_hash(tmp_path):
    with pytest.raises(ConfigError, match="cannot be read"):
        read_keys(tmp_path / "none", None)
    with pytest.raises(ConfigError, match="no SHA-256"):
        read_keys(None, "secret")


@pytest.mark.parametrize(
    "header", [b"", b"Bearer", b"Bearer ", b"Bearer wrong", b"secret", b"Basic secret", b"Bearer secret x", b"\xff\xfe"]
)
def test_other_headers_open_nothing(header):
    assert not is_known(header, (HASH,))
    assert is_known(b"bearer  secret", (HASH,))


def test_every_hash_is_compared(monkeypatch):
    """In a time that does not tell which key, or whether any, was right."""
    compared = []
    monkeypatch.setattr("hmac.compare_digest", lambda a, b: compared.append(b) or a == b)
    for header in (b"Bearer secret", b"Bearer wrong"):
        compared.clear()
        is_known(header, (HASH, hash_of("a"), hash_of("b")))
        assert compared == [HASH, hash_of("a"), hash_of("b")]


@pytest.mark.parametrize("host", ["127.0.0.1", "127.8.8.8", "localhost", "::1", "[::1]"])
def test_this_machine(host):
    assert is_loopback(host)


@pytest.mark.parametrize(
    "host",
    ["", "0.0.0.0", "::", "10.0.0.1", "example.org", "localhost.example.org", "127.0.0.1.example"],  # noqa: S104
)
def test_others(host):
    assert not is_loopback(host)

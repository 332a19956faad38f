"""Which conversations there are to embed, each once, and which of them each comparison is about.

They are collected in an SQLite database, so that memory does not grow with their number, and stand in the order of
their texts: what begins with the same prompt, or the same turns, stands together and can be computed together.
"""

from __future__ import annotations

import json
import re
import sqlite3
from contextlib import closing, contextmanager
from hashlib import blake2b
from typing import TYPE_CHECKING, Literal

import numpy as np

from lorerm.data.conversation import conversation_key
from lorerm.data.shared import SharedPreferences
from lorerm.errors import DataError, ModelError, RunError

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator
    from pathlib import Path

    from lorerm.data.conversation import Conversation
    from lorerm.data.preferences import Preferences

    Rows = np.ndarray[tuple[int], np.dtype[np.int64]]

# How errors name one of the conversations that an encoder was given.
_ENTRY = re.compile(r"conversations\[(\d+)\]")
_SIDES: tuple[Literal["chosen"], Literal["rejected"]] = ("chosen", "rejected")
# A database that is made anew by whoever needs it: no journal, 16 MiB in memory, sorting on disk.
_SETTINGS = "PRAGMA journal_mode=OFF; PRAGMA synchronous=OFF; PRAGMA cache_size=-16384; PRAGMA temp_store=FILE;"
_COLUMNS = "key, text, side, user_id, prompt_id"


class DistinctResponses:
    """The distinct conversations of some preferences; `collect` makes one.

    Row r is the conversation whose canonical JSON is the r-th in order. It does not depend on the order of the input.
    """

    def __init__(self, database: sqlite3.Connection) -> None:
        self._database = database
        (self._number,) = database.execute("SELECT count(*) FROM response").fetchone()

    def __len__(self) -> int:
        """Return R."""
        return int(self._number)

    def conversations(self, rows: slice) -> list[Conversation]:
        """Return the conversations from one row to another."""
        found = self._database.execute(
            "SELECT text FROM response WHERE place BETWEEN ? AND ? ORDER BY place", (rows.start + 1, rows.stop)
        )
        return [tuple({"role": role, "content": content} for role, content in json.loads(text)) for (text,) in found]

    def rows(self, preferences: Preferences | SharedPreferences) -> tuple[Rows, Rows]:
        """Return which rows n pairs, of those collected, compare: chosen and rejected, int64 [n] each."""
        if isinstance(preferences, SharedPreferences):
            used = np.unique(np.concatenate([preferences.chosen, preferences.rejected]))
            every = preferences.all_conversations()
            place = np.full(len(every), -1, dtype=np.int64)
            place[used] = self._find([every[row] for row in used])
            return place[preferences.chosen], place[preferences.rejected]
        return self._find(preferences.conversations("chosen")), self._find(preferences.conversations("rejected"))

    def _find(self, conversations: Iterable[Conversation]) -> Rows:
        query = "SELECT place FROM response WHERE key = ?"
        keys = [(_key(conversation_key(conversation)),) for conversation in conversations]
        return np.array([self._database.execute(query, key).fetchone()[0] - 1 for key in keys], dtype=np.int64)

    @contextmanager
    def naming(self, start: int = 0) -> Iterator[None]:
        """Say in the errors of an encoder whose response to which prompt it is that they number.

        Parameters
        ----------
        start
            The row of the first conversation that the encoder is given.
        """

        def name(entry: re.Match[str]) -> str:
            place = start + int(entry[1]) + 1
            query = "SELECT side, user_id, prompt_id FROM response WHERE place = ?"
            side, user, prompt = self._database.execute(query, (place,)).fetchone()
            return f"the {side} response of user {user!r} to prompt {prompt!r}"

        try:
            yield
        except (DataError, ModelError) as error:
            raise type(error)(_ENTRY.sub(name, error.problem), error.remedy) from error


@contextmanager
def collect(chunks: Iterable[Preferences | SharedPreferences], path: Path | None = None) -> Iterator[DistinctResponses]:
    """Collect the distinct conversations of preferences that come chunk by chunk.

    Parameters
    ----------
    chunks
        The preferences.
    path
        Where to put the database while it is needed; None is in memory.

    Raises
    ------
    RunError
        The database cannot be written.
    """
    if path is not None:
        path.unlink(missing_ok=True)  # left by a process that was killed
    try:
        with closing(sqlite3.connect(path or ":memory:", isolation_level=None)) as database:
            _fill(database, chunks)
            yield DistinctResponses(database)
    except sqlite3.Error as error:
        raise RunError(
            f"{path or 'the database of conversations'} could not be written ({error})",
            "free some disk space and run the same command again: what is finished is kept",
        ) from error
    finally:
        if path is not None:
            path.unlink(missing_ok=True)


def _fill(database: sqlite3.Connection, chunks: Iterable[Preferences | SharedPreferences]) -> None:
    database.executescript(_SETTINGS)
    database.execute("CREATE TABLE met (key BLOB PRIMARY KEY, text TEXT, side TEXT, user_id TEXT, prompt_id TEXT)")
    database.execute("BEGIN")
    for preferences in chunks:
        database.executemany("INSERT OR IGNORE INTO met VALUES (?, ?, ?, ?, ?)", _records(preferences))
    database.execute(
        "CREATE TABLE response"
        " (place INTEGER PRIMARY KEY, key BLOB, text TEXT, side TEXT, user_id TEXT, prompt_id TEXT)"
    )
    database.execute(f"INSERT INTO response ({_COLUMNS}) SELECT {_COLUMNS} FROM met ORDER BY text")  # noqa: S608
    database.execute("DROP TABLE met")
    database.execute("CREATE UNIQUE INDEX by_key ON response (key)")
    database.execute("COMMIT")


def _records(preferences: Preferences | SharedPreferences) -> Iterator[tuple[bytes, str, str, str, str]]:
    """Give both conversations of every pair; the first place where one stands is the one that errors name."""
    if isinstance(preferences, SharedPreferences):
        # Once is enough for a response that many judge.
        firsts = [np.unique(rows, return_index=True)[1] for rows in (preferences.chosen, preferences.rejected)]
        preferences = preferences.select(np.unique(np.concatenate(firsts)))
    sides = zip(*(preferences.conversations(side) for side in _SIDES), strict=True)
    for user, prompt, pair in zip(preferences.user_ids, preferences.prompt_ids, sides, strict=True):
        for side, conversation in zip(_SIDES, pair, strict=True):
            text = conversation_key(conversation)
            yield _key(text), text, side, user, prompt


def _key(text: str) -> bytes:
    return blake2b(text.encode(), digest_size=16).digest()

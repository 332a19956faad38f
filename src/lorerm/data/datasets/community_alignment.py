"""Community Alignment: choices among four responses, of annotators in five languages (arXiv 2507.09650).

At each of up to four turns an annotator prefers one of four responses, which the conversation goes on with; it is
paired with each of the three others, and these pairs share the weight of one judgement. Conversations that begin with
the same prompt (over 2,500 prompts were given to ten annotators or more) stay on one side of train and test together.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

from lorerm.data.datasets.loaded import Loaded, Tally
from lorerm.data.datasets.raw import Repository, column, of_published_layout, raw_rows
from lorerm.errors import DataError

if TYPE_CHECKING:
    from pathlib import Path

    from lorerm.data.readers.format import Row

REPOSITORY = Repository("facebook/community-alignment-dataset")
TURNS = ("first", "second", "third", "fourth")
RESPONSES = ("response_a", "response_b", "response_c", "response_d")
_CONVERSATION_STEPS = {
    "language": "in other languages than those asked for",
    "empty": "without a first message",
    "repeated": "that were there already",
}
_TURN_STEPS = {
    "unpreferred": "no response is preferred, or the preferred one is missing",
    "alone": "no other response differs from the preferred one",
    "broken": "an earlier turn of the conversation is incomplete",
}


def load(
    data: str | Path | None = None, revision: str | None = None, *, languages: Sequence[str] | None = None
) -> Loaded:
    """Load every turn's preferred response against each other one.

    Parameters
    ----------
    data
        A file or folder as the hub has them (Parquet, CSV or JSON lines); None downloads them.
    revision
        Of the hub's repository. The data set grows: give one.
    languages
        Which `assigned_lang` to take, for instance `["en", "it"]`, as they are written in the data; None takes all.

    Returns
    -------
    Loaded
        Annotators are the users.
    """
    rows = raw_rows(REPOSITORY, data, revision)
    conversations, turns = Tally("conversations", _CONVERSATION_STEPS), Tally("turns", _TURN_STEPS)
    found: set[str] = set()
    seen: set[str] = set()
    records: list[dict[str, object]] = []
    for _, row in rows:
        conversations.add()
        language, name = str(column(row, "assigned_lang")), str(column(row, "conversation_id"))
        found.add(language)
        if languages is not None and language not in languages:
            conversations.drop("language")
        elif name in seen:
            conversations.drop("repeated")
        else:
            with of_published_layout(row):
                if (column(row, "first_turn_prompt") or "").strip():
                    records += _records(row, turns)
                else:
                    conversations.drop("empty")
        seen.add(name)
    unknown = [language for language in languages or () if language not in found]
    if unknown:
        raise DataError(
            f"{rows.source} has no conversation in {unknown[0]!r}", f"choose among {', '.join(sorted(found)) or 'none'}"
        )
    from lorerm.data.preferences import Preferences

    preferences = Preferences.from_records(records, rows.source)
    return Loaded(preferences, rows.source, (*conversations.lines(), *turns.lines()))


def _records(row: Row, tally: Tally) -> Iterator[dict[str, object]]:
    """Make a row of the contract for each turn, after the earlier turns and their preferred responses."""
    context: list[dict[str, str]] = []
    broken = False
    for turn in TURNS:
        prompt = column(row, f"{turn}_turn_prompt")
        if not (prompt or "").strip():
            # The conversation may end before the fourth turn; what follows a gap has no context.
            broken = True
            continue
        tally.add()
        if broken:
            tally.drop("broken")
            continue
        context.append({"role": "user", "content": prompt})
        texts = {name: column(row, f"{turn}_turn_{name}") for name in RESPONSES}
        shown = [name for name in RESPONSES if texts[name]]
        preferred = column(row, f"{turn}_turn_preferred_response")
        if preferred not in shown:
            tally.drop("unpreferred")
            broken = True
            continue
        if all(texts[name] == texts[preferred] for name in shown):
            tally.drop("alone")
        else:
            yield {
                "user_id": str(column(row, "annotator_id")),
                "prompt_id": hashlib.sha256(context[0]["content"].encode("utf-8", "replace")).hexdigest()[:16],
                "prompt": list(context),
                "responses": [[{"role": "assistant", "content": texts[name]}] for name in shown],
                "choice": shown.index(preferred),
            }
        context.append({"role": "assistant", "content": texts[preferred]})

"""Load Community Alignment: choices among four responses, made by annotators in five languages (arXiv 2507.09650).

A conversation has up to four turns. At each turn, an annotator chooses one of four responses, and the conversation
continues with it. The chosen response is compared with each of the three other responses; the weights of these three
comparisons sum to 1. All conversations that begin with the same prompt have the same prompt id, so that a split puts
them all in train or all in test. (Over 2,500 opening prompts were given to ten annotators or more.)
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from typing import TYPE_CHECKING

from lorerm.data.datasets.loaded import Loaded, Tally
from lorerm.data.datasets.raw import PublishedOptions, Repository, column, of_published_layout, raw_rows
from lorerm.data.preferences import Preferences
from lorerm.errors import DataError

if TYPE_CHECKING:
    from collections.abc import Iterator

    from lorerm.data.readers.format import Row
    from lorerm.data.splits import SplitConfig

REPOSITORY = Repository("facebook/community-alignment-dataset")
TURNS = ("first", "second", "third", "fourth")
RESPONSES = ("response_a", "response_b", "response_c", "response_d")
_CONVERSATION_STEPS = {
    "language": "in other languages than those asked for",
    "empty": "without a first message",
    "repeated": "with the id of a conversation already read",
}
_TURN_STEPS = {
    "unpreferred": "no response is preferred, or the preferred one is missing",
    "alone": "no other response differs from the preferred one",
    "broken": "an earlier turn of the conversation is incomplete",
}


@dataclass(frozen=True)
class Options(PublishedOptions):
    """Community Alignment."""

    languages: tuple[str, ...] | None = None
    """languages whose conversations are used, as in the data set's column `assigned_lang`, for instance en it; None:
    all"""


def load(options: Options, _split: SplitConfig | None = None) -> Loaded[Preferences]:
    """Load the comparisons of the chosen response with each other response, at every turn; users are the annotators.

    Local files have the columns of the data set on the hub, as Parquet, CSV or JSON lines. The data set on the hub
    grows, so give a revision to load the same data again.
    """
    rows = raw_rows(REPOSITORY, options.data, options.revision)
    conversations, turns = Tally("conversations", _CONVERSATION_STEPS), Tally("turns", _TURN_STEPS)
    found: set[str] = set()
    seen: set[str] = set()
    records: list[dict[str, object]] = []
    for _, row in rows:
        conversations.add()
        language, name = str(column(row, "assigned_lang")), str(column(row, "conversation_id"))
        found.add(language)
        with of_published_layout(row):
            if options.languages is not None and language not in options.languages:
                conversations.drop("language")
            elif name in seen:
                conversations.drop("repeated")
            elif not (column(row, "first_turn_prompt") or "").strip():
                conversations.drop("empty")
            else:
                records += _records(row, turns)
        seen.add(name)
    unknown = [language for language in options.languages or () if language not in found]
    if unknown:
        raise DataError(
            f"there is no conversation in {unknown[0]!r}",
            f"choose from the languages of the data: {', '.join(sorted(found)) or 'none'}",
            file=rows.source,
            argument="languages",
        )
    preferences = Preferences.from_records(records, rows.source)
    return Loaded(preferences, rows.source, (*conversations.lines(), *turns.lines()))


def _records(row: Row, tally: Tally) -> Iterator[dict[str, object]]:
    """Yield a record for `Preferences.from_records` for each usable turn of a conversation.

    The prompt of a record contains the earlier turns with the responses that the user chose. Turns, and turns that are
    left out, are counted in `tally`.
    """
    context: list[dict[str, str]] = []
    broken = False
    for turn in TURNS:
        prompt = column(row, f"{turn}_turn_prompt")
        if not (prompt or "").strip():
            # The conversation may end before the fourth turn. A turn after a missing turn has no complete context.
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

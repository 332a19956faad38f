"""PRISM: dialogues of 1,500 people from 75 countries with 21 language models (Kirk et al., 2024, arXiv 2404.16019).

At each turn a person sees several replies and chooses one, which the dialogue goes on with. A turn's prompt holds all
earlier turns with the chosen replies; the chosen reply is paired with each rejected one, and these pairs share the
weight of one judgement. A dialogue is the unit that train and test never share.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from lorerm.data.conversation import Message, parse_messages
from lorerm.data.datasets.loaded import Loaded, Tally
from lorerm.data.datasets.raw import RawRows, Repository, column, of_published_layout, raw_file, resolve
from lorerm.data.schema import UNUSED, Comparison
from lorerm.errors import DataError

if TYPE_CHECKING:
    from pathlib import Path

    from lorerm.data.conversation import Conversation

REPOSITORY = Repository("HannahRoseKirk/prism-alignment")
# The published split, and the protocol's numbers beside it.
SEED, UNSEEN_USERS, TEST_DIALOGUES, FEWEST_DIALOGUES = 123, 0.2, 0.5, 5
_DIALOGUE_STEPS = {
    "user": "of people whom the survey does not know, or who completed no conversation there",
    "unqualified": "no turn has a message, a chosen and a rejected reply",
    "few": f"of people with {FEWEST_DIALOGUES} dialogues or fewer",
}
_PAIR_STEPS = {
    "broken": "the message or the chosen reply is missing there, or in an earlier turn of the dialogue",
    "unrejected": "no reply was rejected",
    "blank": "the messages are blank",
    "same": "all rejected replies are the chosen one's text",
}


@dataclass(frozen=True)
class _Turn:
    message: str | None
    chosen: str | None
    rejected: tuple[str, ...]


@dataclass(frozen=True)
class _Dialogue:
    name: str
    user: str
    turns: tuple[_Turn, ...]


def load(
    data: str | Path | None = None,
    revision: str | None = None,
    *,
    published_format: bool = False,
    split: Mapping[str, Any] | None = None,
) -> Loaded:
    """Load the pairs of the people with more than five dialogues, each with its cell.

    The cells are the published ones for the defaults of `split`: NumPy's legacy generator with seed 123; people in
    the order of the survey, one shuffle, cut at int(0.8 n); then people with five dialogues or fewer leave; then one
    shuffle of each one's dialogues, seen people first, cut at int(0.5 n).

    Parameters
    ----------
    data
        A folder with `survey.jsonl` and `conversations.jsonl`; None downloads them.
    revision
        Of the hub's repository.
    published_format
        Whether to render the pairs as the published pipeline did: one pair per turn, the chosen reply as a string
        against the printed list of all rejected ones. The brackets tell the sides apart, so that no accuracy on such
        pairs means anything; only for whoever must match a published table.
    split
        `seed`, `unseen_users` (share of the people) and `test_prompts` (share of each one's dialogues).

    Returns
    -------
    Loaded
        Users in the order of their ids, as in the published code.
    """
    split = {"seed": SEED, "unseen_users": UNSEEN_USERS, "test_prompts": TEST_DIALOGUES, **(split or {})}
    commit = resolve(REPOSITORY, revision) if data is None else None
    survey = raw_file(REPOSITORY, "survey.jsonl", data, commit)
    people = [
        str(column(row, "user_id")) for _, row in survey if column(row, "num_completed_conversations") not in (0, None)
    ]
    conversations = raw_file(REPOSITORY, "conversations.jsonl", data, commit)
    tally = Tally("dialogues", _DIALOGUE_STEPS)
    dialogues = _read_dialogues(conversations, people, tally)
    people = [user for user in people if dialogues.get(user, True)]
    cells = split_dialogues(people, dialogues, split["seed"], split["unseen_users"], split["test_prompts"])
    tally.drop("few", sum(cells[name] == UNUSED for names in dialogues.values() for name in names))
    turns = Tally("turns", _PAIR_STEPS)
    pairs = [
        pair
        for user in sorted(dialogues)
        for dialogue in dialogues[user].values()
        if cells[dialogue.name] != UNUSED
        for pair in _pairs(dialogue, cells[dialogue.name], turns, published_format)
    ]
    if not pairs:
        raise DataError(f"{conversations.source}: no pair is left", "give the data set's own files, whole")
    from lorerm.data.preferences import Preferences, ReadingSummary
    from lorerm.data.table import build_table

    warnings: tuple[str, ...] = ()
    if published_format:
        warnings = (
            "The pairs are rendered as published, rejected replies as a printed list: their accuracies measure that "
            "format, not people's preferences.",
        )
    preferences = Preferences(build_table(pairs), ReadingSummary(turns.left, len(pairs)))
    source = f"{REPOSITORY.name} at {commit}" if data is None else str(data)
    return Loaded(preferences, source, (*tally.lines(), *turns.lines()), warnings)


def split_dialogues(
    people: Sequence[str],
    dialogues: Mapping[str, Mapping[str, object]],
    seed: int = SEED,
    unseen_users: float = UNSEEN_USERS,
    test_dialogues: float = TEST_DIALOGUES,
) -> dict[str, str]:
    """Draw the cell of each dialogue as the published code does; those of people with too few are `unused`.

    Parameters
    ----------
    people
        In the order of the survey.
    dialogues
        User -> their dialogues by name, in the order of the file.
    seed
        Of `numpy.random.RandomState`.
    unseen_users, test_dialogues
        Shares; what is *kept* is rounded down.

    Returns
    -------
    dict
        Name of each dialogue -> its cell.
    """
    rng = np.random.RandomState(seed)
    users = np.array(list(people))
    rng.shuffle(users)
    n_seen = int(len(users) * (1 - unseen_users))
    cells = {name: UNUSED for names in dialogues.values() for name in names}
    for place, user in enumerate(users.tolist()):
        names = np.array(list(dialogues.get(user, ())))
        if len(names) <= FEWEST_DIALOGUES:
            continue
        rng.shuffle(names)
        n_train = int(len(names) * (1 - test_dialogues))
        who = "seen" if place < n_seen else "unseen"
        cells |= {name: f"{'train' if i < n_train else 'test'}_{who}" for i, name in enumerate(names.tolist())}
    return cells


def _read_dialogues(rows: RawRows, people: Sequence[str], tally: Tally) -> dict[str, dict[str, _Dialogue]]:
    """Read the dialogues that have a usable turn, by user and name, in the order of the file.

    Somebody whose dialogues are all left out has none; somebody who is not in the file is not in the result either.
    """
    found: dict[str, dict[str, _Dialogue]] = {}
    known = set(people)
    for _, row in rows:
        tally.add()
        user, name = str(column(row, "user_id")), str(column(row, "conversation_id"))
        if user not in known:
            tally.drop("user")
            continue
        of_user = found.setdefault(user, {})
        with of_published_layout(row):
            turns = _read_turns(column(row, "conversation_history"))
        if any(turn.message is not None and turn.chosen is not None and turn.rejected for turn in turns):
            of_user[name] = _Dialogue(name, user, turns)
        else:
            tally.drop("unqualified")
    return found


def _read_turns(history: Sequence[Mapping[str, Any]]) -> tuple[_Turn, ...]:
    """Put the utterances of each turn together; one without content is none."""
    by_turn: dict[int, list[Mapping[str, Any]]] = {}
    for utterance in history:
        of_turn = by_turn.setdefault(int(utterance["turn"]), [])
        if utterance["content"] is not None:
            of_turn.append(utterance)
    turns = []
    for number in sorted(by_turn):
        messages = [str(one["content"]) for one in by_turn[number] if one["role"] == "user"]
        replies = [one for one in by_turn[number] if one["role"] != "user"]
        chosen = [str(one["content"]) for one in replies if one["if_chosen"]]
        rejected = tuple(str(one["content"]) for one in replies if not one["if_chosen"])
        turns.append(_Turn(messages[0] if messages else None, chosen[0] if chosen else None, rejected))
    return tuple(turns)


def _pairs(dialogue: _Dialogue, cell: str, tally: Tally, published_format: bool) -> Iterator[Comparison]:
    """Pair the chosen reply of each turn with the rejected ones, after the earlier turns and their chosen replies."""
    context: list[Message] = []
    broken = False
    for turn in dialogue.turns:
        tally.add()
        if broken or turn.message is None or turn.chosen is None:
            broken = True
            tally.drop("broken")
            continue
        context.append(Message(role="user", content=turn.message))
        if published_format:
            rejected: Sequence[str] = [str(list(turn.rejected))]
        else:
            rejected = [reply for reply in turn.rejected if reply != turn.chosen]
        if rejected and any(message["content"].strip() for message in context):
            prompt, chosen = parse_messages(context, "the turns", "user"), _reply(turn.chosen)
            for reply in rejected:
                yield Comparison(dialogue.user, dialogue.name, prompt, chosen, _reply(reply), cell, 1 / len(rejected))
        else:
            tally.drop("unrejected" if not turn.rejected else "same" if not rejected else "blank")
        context.append(Message(role="assistant", content=turn.chosen))


def _reply(text: str) -> Conversation:
    return parse_messages(text, "a reply", "assistant")

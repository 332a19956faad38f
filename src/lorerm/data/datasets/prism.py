"""Load PRISM: dialogues of 1,500 users from 75 countries with 21 language models (Kirk et al., 2024, arXiv 2404.16019).

At each turn, a user sees several replies and chooses one, and the dialogue continues with it. The prompt of a turn has
all earlier turns with the chosen replies. The chosen reply is compared with each rejected reply; the weights of these
comparisons sum to 1. All comparisons of a dialogue are in train, or all are in test.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from lorerm.data.account import ReadingSummary
from lorerm.data.conversation import Message, parse_messages
from lorerm.data.datasets.loaded import Loaded, Tally
from lorerm.data.datasets.raw import (
    OWN_FILES,
    PublishedOptions,
    Repository,
    column,
    of_published_layout,
    raw_file,
    resolve,
)
from lorerm.data.preferences import Preferences
from lorerm.data.schema import UNUSED, Comparison
from lorerm.data.splits import SplitConfig
from lorerm.errors import DataError

if TYPE_CHECKING:
    from lorerm.data.conversation import Conversation
    from lorerm.data.readers.format import Row

REPOSITORY = Repository("HannahRoseKirk/prism-alignment")
MAX_DIALOGUES_TOO_FEW = 5
"""Users with at most this number of dialogues are left out, as published."""

_DIALOGUE_STEPS = {
    "user": "of users who are not in the survey, or who completed no conversation according to it",
    "unqualified": "no turn has a message, a chosen and a rejected reply",
    "few": f"of users with {MAX_DIALOGUES_TOO_FEW} dialogues or fewer",
}
_TURN_STEPS = {
    "broken": "the message or the chosen reply is missing in this or an earlier turn of the dialogue",
    "unrejected": "no reply was rejected",
    "blank": "the messages are blank",
    "same": "all rejected replies have the text of the chosen reply",
}


PUBLISHED_SPLIT = SplitConfig(unseen_users=0.2, test_prompts=0.5, seed=123)
"""The settings with which the published code draws its split."""


@dataclass(frozen=True)
class Options(PublishedOptions):
    """PRISM."""

    published_format: bool = False
    """compare the chosen reply with the printed list of all rejected replies, as the published code did; the brackets
    of the list reveal which reply was chosen, so use this option only to reproduce a published table"""


class _Turn(NamedTuple):
    message: str | None
    chosen: str | None
    rejected: tuple[str, ...]


def load(options: Options, split: SplitConfig | None = None) -> Loaded[Preferences]:
    """Load the comparisons of the users with more than five dialogues, each with its split.

    Local files are a folder with `survey.jsonl` and `conversations.jsonl`. If `split` is None, the split is the
    published one (`PUBLISHED_SPLIT`, see `split_dialogues`). The comparisons are in the order of the user ids, as in
    the published code.
    """
    commit = resolve(REPOSITORY, options.revision) if options.data is None else None
    survey = raw_file(REPOSITORY, "survey.jsonl", options.data, commit)
    users = [
        str(column(row, "user_id")) for row in survey if column(row, "num_completed_conversations") not in (0, None)
    ]
    tally = Tally("dialogues", _DIALOGUE_STEPS)
    dialogues = _read_dialogues(raw_file(REPOSITORY, "conversations.jsonl", options.data, commit), users, tally)
    # Leave out users without a usable dialogue (empty entry). Users without any dialogue in the file (no entry) stay,
    # as they influence the shuffle in `split_dialogues`.
    users = [user for user in users if dialogues.get(user, True)]
    splits = split_dialogues(users, dialogues, split or PUBLISHED_SPLIT)
    tally.drop("few", sum(splits[name] == UNUSED for names in dialogues.values() for name in names))
    turns = Tally("turns", _TURN_STEPS)
    comparisons = []
    for user in sorted(dialogues):
        for name, dialogue in dialogues[user].items():
            if splits[name] != UNUSED:
                for prompt, chosen, rejected, weight in _compare(dialogue, turns, options.published_format):
                    comparisons.append(Comparison(user, name, prompt, chosen, rejected, splits[name], weight))
    source = f"{REPOSITORY.name} at {commit}" if options.data is None else str(options.data)
    if not comparisons:
        raise DataError("no comparison is left", OWN_FILES, file=source)
    warnings: tuple[str, ...] = ()
    if options.published_format:
        warnings = (
            "The comparisons are rendered as published, with the rejected replies as a printed list: accuracies on "
            "them measure that format, not the users' preferences.",
        )
    preferences = Preferences.from_comparisons(comparisons, ReadingSummary(turns.left, len(comparisons)))
    return Loaded(preferences, source, (*tally.lines(), *turns.lines()), warnings)


def split_dialogues(
    users: Sequence[str], dialogues: Mapping[str, Mapping[str, object]], split: SplitConfig = PUBLISHED_SPLIT
) -> dict[str, str]:
    """Draw the split of each dialogue as the published code does. Return a map from dialogue name to split.

    `users` are in the order of the survey. `dialogues` maps each user to a map whose keys are the names of the user's
    dialogues, in file order. Random numbers come from NumPy's legacy generator with the seed in `split`. The steps are:

    1. Shuffle the users. The first int(n * (1 - unseen_users)) of the n users are seen.
    2. Label all dialogues of users with five dialogues or fewer as `unused`.
    3. For each other user, in shuffled order, shuffle the n dialogues. The first int(n * (1 - test_prompts)) are train.
    """
    rng = np.random.RandomState(split.seed)
    order = np.array(list(users))
    rng.shuffle(order)
    n_seen = int(len(order) * (1 - split.unseen_users))
    splits = {name: UNUSED for names in dialogues.values() for name in names}
    for position, user in enumerate(order.tolist()):
        names = np.array(list(dialogues.get(user, ())))
        if len(names) <= MAX_DIALOGUES_TOO_FEW:
            continue
        rng.shuffle(names)
        n_train = int(len(names) * (1 - split.test_prompts))
        group = "seen" if position < n_seen else "unseen"
        splits |= {name: f"{'train' if i < n_train else 'test'}_{group}" for i, name in enumerate(names.tolist())}
    return splits


def _read_dialogues(rows: Iterator[Row], users: Sequence[str], tally: Tally) -> dict[str, dict[str, tuple[_Turn, ...]]]:
    """Return the dialogues that have a usable turn, by user and name, in file order.

    A user whose dialogues are all left out has an empty entry; a user without dialogues in the file has no entry.
    """
    found: dict[str, dict[str, tuple[_Turn, ...]]] = {}
    known = set(users)
    for row in rows:
        tally.add()
        user = str(column(row, "user_id"))
        if user not in known:
            tally.drop("user")
            continue
        of_user = found.setdefault(user, {})
        with of_published_layout(row):
            turns = _read_turns(column(row, "conversation_history"))
        if any(turn.message is not None and turn.chosen is not None and turn.rejected for turn in turns):
            of_user[str(column(row, "conversation_id"))] = turns
        else:
            tally.drop("unqualified")
    return found


def _read_turns(history: Sequence[Mapping[str, Any]]) -> tuple[_Turn, ...]:
    """Group the utterances of a dialogue by turn, and leave out utterances without content."""
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


def _compare(
    dialogue: Sequence[_Turn], tally: Tally, published_format: bool
) -> Iterator[tuple[Conversation, Conversation, Conversation, float]]:
    """Yield (prompt, chosen reply, rejected reply, weight) for every comparison in a dialogue, turn by turn.

    The prompt has the earlier turns with the chosen replies.
    """
    context: list[Message] = []
    broken = False
    for turn in dialogue:
        tally.add()
        if broken or turn.message is None or turn.chosen is None:
            broken = True
            tally.drop("broken")
            continue
        context.append(Message(role="user", content=turn.message))
        if published_format:
            rejected = [str(list(turn.rejected))]
        else:
            rejected = [reply for reply in turn.rejected if reply != turn.chosen]
        if rejected and any(message["content"].strip() for message in context):
            prompt, chosen = parse_messages(context, "the turns", "user"), _reply(turn.chosen)
            for reply in rejected:
                yield prompt, chosen, _reply(reply), 1 / len(rejected)
        else:
            tally.drop("unrejected" if not turn.rejected else "same" if not rejected else "blank")
        context.append(Message(role="assistant", content=turn.chosen))


def _reply(text: str) -> Conversation:
    return parse_messages(text, "a reply", "assistant")

"""Load a conversation on Pol.is, in which participants of a public consultation vote on statements of others.

A comparison: a user prefers a statement that they agreed with to a statement that they disagreed with. The statements
are randomly divided into ten blocks, and both statements of a comparison are in the same block. A prompt id is a pair
of user and block, so that test statements are new to the user, and votes of other users on them can be training data.
With the option `new_statements` a prompt id is a block, so that nobody voted on test statements in the training data.

The package contains one conversation, on land use in the San Juan Islands. `polis_sample/ATTRIBUTION.md` has its source
and its licence.
"""

from __future__ import annotations

import random
from collections import defaultdict
from collections.abc import Mapping
from dataclasses import dataclass
from itertools import combinations, product
from pathlib import Path
from typing import TYPE_CHECKING

from lorerm.data.datasets.loaded import Loaded, Tally
from lorerm.data.datasets.raw import OWN_FILES, Repository, column, raw_file
from lorerm.data.preferences import Preferences
from lorerm.errors import DataError

if TYPE_CHECKING:
    from collections.abc import Iterator

    from lorerm.data.readers.format import Row
    from lorerm.data.splits import SplitConfig

REPOSITORY = Repository("compdemocracy/openData")  # on GitHub; the files are read from a local folder only
SAMPLE = Path(__file__).parent / "polis_sample"
"""The conversation that is part of the package, in the layout of the published files."""
TOPIC = "How should land be used and conserved in the San Juan Islands?"
"""The topic of the conversation in the package, worded by this project as a question."""
_ANY_TOPIC = "Which statement do you agree with?"
ATTRIBUTION = (
    "Data was gathered using the Polis software (compdemocracy.org/polis) and is sub-licensed under CC BY 4.0 with "
    "Attribution to The Computational Democracy Project. The data and more information about how the data was "
    "collected can be found at the following link: https://compdemocracy.org/case-studies/2021-san-juan-island"
)
"""The attribution that the publisher of the sample asks for."""

N_BLOCKS = 10
MIN_COMPARISONS = 10
"""Minimum number of comparisons of a user. Users with fewer comparisons are left out."""

_REJECTED = "-1"  # the moderators of the conversation rejected the statement
_STEPS = {"rejected": "rejected by the moderators", "blank": "blank"}
_USER_STEPS = {"few": f"with fewer than {MIN_COMPARISONS} comparisons"}


@dataclass(frozen=True)
class Options:
    """Pol.is conversation."""

    data: str | Path | None = None
    """folder of a conversation as published in github.com/compdemocracy/openData (comments.csv and
    participants-votes.csv); None: the conversation in the package"""
    topic: str | None = None
    """the prompt of all comparisons: the topic of the conversation as a question; None: that of the conversation in the
    package, or "Which statement do you agree with?" for another conversation"""
    new_statements: bool = False
    """test on statements that no user voted on in the training data; without this option, test statements are new only
    to the user"""
    max_comparisons: int = 60
    """largest number of comparisons per user; if a user has more, a random sample is taken"""
    seed: int = 0
    """random seed of the division of statements into blocks (see the data set's description), and of the sample of
    comparisons"""


def load(options: Options, _split: SplitConfig | None = None) -> Loaded[Preferences]:
    """Load the comparisons of one conversation. A user id is `participant-` and the published number."""
    folder = SAMPLE if options.data is None else Path(options.data)
    topic = options.topic or (TOPIC if options.data is None else _ANY_TOPIC)
    statements, users = Tally("statements", _STEPS), Tally("users", _USER_STEPS)
    text = _read_statements(folder, statements)
    agreement = dict(_read_votes(folder, text))
    users.add(len(agreement))
    comparisons = list(
        compare(
            text,
            agreement,
            name="block",
            seed=options.seed,
            most=options.max_comparisons,
            per_user=not options.new_statements,
        )
    )
    users.drop("few", len(agreement) - len({user for user, *_ in comparisons}))
    source = "the sample of Pol.is in the package" if options.data is None else str(folder)
    if not comparisons:
        raise DataError(
            f"no user has {MIN_COMPARISONS} comparisons", "give the folder of a larger conversation", file=folder
        )
    preferences = Preferences.from_records(
        [
            {
                "user_id": user,
                "prompt_id": prompt_id,
                "prompt": topic,
                "chosen": text[chosen],
                "rejected": text[rejected],
            }
            for user, chosen, rejected, prompt_id in comparisons
        ],
        source,
    )
    return Loaded(preferences, source, (*statements.lines(), *users.lines()), shares_prompts=True)


def compare(
    text: Mapping[int, str],
    agreement: Mapping[str, Mapping[int, int]],
    *,
    name: str,
    seed: int,
    most: int,
    per_user: bool,
) -> Iterator[tuple[str, int, int, str]]:
    """Yield (user, chosen, rejected, prompt id) for pairs of statements of a block if the user agrees more with one.

    Parameters
    ----------
    text
        Number of a statement -> its text. Equal texts are not compared.
    agreement
        User -> number of a statement -> how far the user agrees with it.
    name
        Beginning of the prompt ids.
    seed
        Seed of the division into blocks, of the order of users, and of the sample of a user's comparisons.
    most
        Largest number of comparisons per user. Users with fewer than `MIN_COMPARISONS` are left out.
    per_user
        Whether a prompt id stands for a user and a block (True), or only for a block (False).
    """
    rows = list(text)
    random.Random(f"{seed}|{name}").shuffle(rows)  # noqa: S311 - a reproducible shuffle, not cryptography
    block = {row: position % N_BLOCKS for position, row in enumerate(rows)}
    users = sorted(agreement)
    random.Random(seed).shuffle(users)  # noqa: S311
    for user in users:
        levels: defaultdict[int, defaultdict[int, list[int]]] = defaultdict(lambda: defaultdict(list))
        for statement, level in agreement[user].items():
            levels[block[statement]][level].append(statement)
        own = [
            (user, chosen, rejected, f"{name}/{number}/{user}" if per_user else f"{name}/{number}")
            for number, by_level in sorted(levels.items())
            for low, high in combinations(sorted(by_level), 2)
            for chosen, rejected in product(by_level[high], by_level[low])
            if text[chosen] != text[rejected]
        ]
        random.Random(f"{seed}|{user}").shuffle(own)  # noqa: S311
        if len(own) >= MIN_COMPARISONS:
            yield from own[:most]


def _read_statements(folder: Path, tally: Tally) -> dict[int, str]:
    """Return a mapping from numbers of statements to texts, without the statements that moderators rejected."""
    text = {}
    for row in raw_file(REPOSITORY, "comments.csv", folder, None):
        tally.add()
        body = " ".join(str(column(row, "comment-body")).split())
        if column(row, "moderated") == _REJECTED:
            tally.drop("rejected")
        elif not body:
            tally.drop("blank")
        else:
            text[_number(row, "comment-id")] = body
    return dict(sorted(text.items()))


def _read_votes(folder: Path, text: Mapping[int, str]) -> Iterator[tuple[str, dict[int, int]]]:
    """Yield each user with their votes on the statements in `text`: 1 for agreement, -1 for disagreement."""
    for row in raw_file(REPOSITORY, "participants-votes.csv", folder, None):
        user = f"participant-{column(row, 'participant')}"
        record = row.record if isinstance(row.record, Mapping) else {}
        votes = {}
        for statement in text:
            vote = record.get(str(statement)) or "0"
            if vote not in ("1", "0", "-1"):
                raise DataError(f"the vote {vote!r} is not 1, 0 or -1", OWN_FILES, column=str(statement)).in_row(
                    row.source, row.number
                )
            if vote != "0":
                votes[statement] = int(vote)
        if votes:
            yield user, votes


def _number(row: Row, name: str) -> int:
    value = str(column(row, name))
    if not value.isdecimal():
        raise DataError(f"{value!r} is not a number", OWN_FILES, column=name).in_row(row.source, row.number)
    return int(value)

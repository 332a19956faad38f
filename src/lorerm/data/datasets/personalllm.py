"""PersonalLLM: simulated people who mix the tastes of ten reward models (Zollo et al., 2024, arXiv 2409.20296).

Each prompt has eight responses, each scored by ten reward models. A simulated user is a vector w on the simplex; their
score of a response is the dot product of its ten scores with w, and their one pair on a prompt is the best response
against the worst. Every response stands once, whoever judges it: a user's pairs are row numbers.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from lorerm.data.coercion import as_number
from lorerm.data.datasets.loaded import Loaded, Tally
from lorerm.data.datasets.raw import RawRows, Repository, column, raw_rows
from lorerm.errors import ConfigError, DataError

if TYPE_CHECKING:
    from pathlib import Path

    from numpy.typing import NDArray

    from lorerm.data.readers.format import Row

REPOSITORY = Repository("namkoong-lab/PersonalLLM")
N_RESPONSES = 8
REWARD_MODELS = (
    "gemma_2b",
    "gemma_7b",
    "mistral_raft",
    "llama3_sfairx",
    "oasst_deberta_v3",
    "beaver_7b",
    "oasst_pythia_7b",
    "oasst_pythia_1b",
    "mistral_ray",
    "mistral_weqweasdas",
)
_STEPS = {
    "scores": "a score is missing or not finite",
    "repeated": "a training prompt that is a test prompt too",
}


class _Prompts(NamedTuple):
    """The prompts of one side, all of them in their order."""

    texts: list[tuple[str, str, list[str]]]
    """(id, prompt, its eight responses)"""
    scores: NDArray[np.float64]
    """[P, 8, 10]; zeros where one is missing"""
    usable: NDArray[np.int64]
    """places of the prompts that people judge"""


def load(
    data: str | Path | None = None,
    revision: str | None = None,
    *,
    seen_users: int = 1000,
    unseen_users: int = 500,
    concentration: float = 0.1,
    seen_share: float = 0.005,
    unseen_share: float = 0.001,
    split: Mapping[str, Any] | None = None,
) -> Loaded:
    """Simulate people, and load their pairs, each with its cell.

    Parameters
    ----------
    data
        A folder with the files of the train and the test split; None downloads them.
    revision
        Of the hub's repository.
    seen_users, unseen_users
        How many people of each kind are drawn.
    concentration
        Of the Dirichlet distribution that they are drawn from: w ~ Dirichlet(concentration * 1_10). At the published
        0.1 most people are of one or two of the ten minds; the larger it is, the more alike they are.
    seen_share, unseen_share
        Which part of the train prompts a seen user's training pairs, and an unseen user's few-shot pairs, are on: drawn
        for each user anew, rounded down, but one at least. Test pairs are on all test prompts.
    split
        `seed`: of the people and of their prompts.

    Returns
    -------
    Loaded
        `SharedPreferences`, whose responses are all eight of each train prompt in their order, then those of each test
        prompt. The first of equally good, or equally bad, responses is taken; a user to whom all eight are equal has no
        pair on that prompt.
    """
    for name, number in (("seen_users", seen_users), ("unseen_users", unseen_users)):
        if number < (1 if name == "seen_users" else 0):
            raise ConfigError(f"{name} is {number}", "give a larger number of people")
    for name, value in (("concentration", concentration), ("seen_share", seen_share), ("unseen_share", unseen_share)):
        if not value > 0 or (name != "concentration" and value > 1):
            raise ConfigError(f"{name} is {value}", "give a positive number, and a share of at most 1")
    rows = raw_rows(REPOSITORY, data, revision)
    tally = Tally("prompts", _STEPS)
    train, test = _read(rows, tally)
    rng = np.random.default_rng((split or {}).get("seed", 0))
    tastes = rng.dirichlet(np.full(len(REWARD_MODELS), concentration), seen_users + unseen_users)
    names = [f"seen-{i:04d}" for i in range(seen_users)] + [f"unseen-{i:04d}" for i in range(unseen_users)]
    seen = np.arange(len(names)) < seen_users
    n_train = len(train.texts)
    n_pairs = np.where(seen, max(1, int(seen_share * n_train)), max(1, int(unseen_share * n_train)))
    on_train = [np.sort(rng.permutation(train.usable)[:n]) for n in n_pairs.tolist()]
    parts = [
        _judge(train.scores, tastes, on_train, 0),
        _judge(test.scores, tastes, [test.usable] * len(names), N_RESPONSES * n_train),
    ]
    user, chosen, rejected = (np.concatenate(columns) for columns in zip(*parts, strict=True))
    side = np.repeat([0, 1], [len(part[0]) for part in parts])
    labels = np.array(["train_unseen", "train_seen", "test_unseen", "test_seen"], dtype=object)
    texts = [*train.texts, *test.texts]
    codes: dict[str, int] = {}
    text = np.array([codes.setdefault(answer, len(codes)) for _, _, answers in texts for answer in answers])
    decided = text[chosen] != text[rejected]
    order = np.argsort(user[decided], kind="stable")
    user, chosen, rejected, side = (values[decided][order] for values in (user, chosen, rejected, side))
    from lorerm.data.shared import SharedPreferences

    preferences = SharedPreferences.build(
        (
            (name, prompt, answer)
            for part in (train, test)
            for name, prompt, answers in part.texts
            for answer in answers
        ),
        names,
        user,
        chosen,
        rejected,
        labels[2 * side + seen[user]],
        n_ties=int((~decided).sum()),
    )
    return Loaded(preferences, rows.source, tally.lines())


def _judge(
    scores: NDArray[np.float64],
    tastes: NDArray[np.float64],
    prompts_of: Sequence[NDArray[np.int64]],
    first_row: int,
) -> tuple[NDArray[np.int32], NDArray[np.int32], NDArray[np.int32]]:
    """Return user, best and worst response of each judgement, int32 [n]; equal rows where all eight are equal."""
    users, best, worst = [], [], []
    for user, prompts in enumerate(prompts_of):
        values = scores[prompts] @ tastes[user]
        start = first_row + N_RESPONSES * prompts
        users.append(np.full(len(prompts), user, dtype=np.int32))
        best.append((start + values.argmax(axis=1)).astype(np.int32))
        worst.append((start + values.argmin(axis=1)).astype(np.int32))
    return np.concatenate(users), np.concatenate(best), np.concatenate(worst)


def _read(rows: RawRows, tally: Tally) -> tuple[_Prompts, _Prompts]:
    """Read the prompts of both sides."""
    texts: dict[str, list[tuple[str, str, list[str]]]] = {"train": [], "test": []}
    scores: dict[str, list[NDArray[np.float64]]] = {"train": [], "test": []}
    for label, row in rows:
        if label not in texts:
            raise DataError(f"{row.source} is neither of the train nor of the test split", "keep the files' names")
        tally.add()
        texts[label].append((str(column(row, "prompt_id")), _text(row, "prompt"), _answers(row)))
        scores[label].append(_scores(row))
    tested = {prompt for _, prompt, _ in texts["test"]}
    sides = []
    for label, found in texts.items():
        whole = np.array([bool(np.isfinite(values).all()) for values in scores[label]], dtype=bool)
        repeated = np.array([label == "train" and prompt in tested for _, prompt, _ in found], dtype=bool)
        tally.drop("scores", int((~whole).sum()))
        tally.drop("repeated", int((whole & repeated).sum()))
        usable = np.flatnonzero(whole & ~repeated)
        if not len(usable):
            raise DataError(f"{rows.source} has no usable prompt in its {label} split", "give the files of both splits")
        sides.append(_Prompts(found, np.nan_to_num(np.stack(scores[label])), usable))
    return sides[0], sides[1]


def _answers(row: Row) -> list[str]:
    return [_text(row, f"response_{i}") for i in range(1, N_RESPONSES + 1)]


def _text(row: Row, name: str) -> str:
    text = column(row, name)
    if not isinstance(text, str):
        raise DataError(f"{row.source}, row {row.number}: {name} is missing", "give the data set's own files")
    return text


def _scores(row: Row) -> NDArray[np.float64]:
    """Return the scores [8, 10]; NaN where one is missing or not finite."""
    names = [[f"response_{i}_{model}" for model in REWARD_MODELS] for i in range(1, N_RESPONSES + 1)]
    given = [[as_number(column(row, name)) for name in of_response] for of_response in names]
    return np.array([[np.nan if value is None else value for value in values] for values in given])

"""Load PersonalLLM: simulated users who mix the scores of ten reward models (Zollo et al., 2024, arXiv 2409.20296).

Each prompt has eight responses, and each response has a score from each of ten reward models. A simulated user is a
vector w on the simplex. The user's score of a response is the dot product of w and the response's ten scores. On each
prompt, a user has one comparison: the best response against the worst. All users compare the same responses.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from lorerm.data.coercion import as_number
from lorerm.data.comparisons import Comparisons
from lorerm.data.datasets.loaded import Loaded, Tally
from lorerm.data.datasets.raw import (
    OWN_FILES,
    PublishedOptions,
    RawRows,
    Repository,
    column,
    of_published_layout,
    raw_rows,
)
from lorerm.data.preferences import Preferences
from lorerm.errors import ConfigError, DataError

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from lorerm.arrays import Floats, Ints
    from lorerm.data.readers.format import Row
    from lorerm.data.splits import SplitConfig

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
    "repeated": "a train prompt that is also a test prompt",
}


class _Prompts(NamedTuple):
    """All P prompts of the train or of the test split, in file order."""

    texts: list[tuple[str, str, list[str]]]
    """(prompt id, prompt, the eight responses)"""
    scores: Floats
    """[P, 8, 10]: score of each response by each reward model; 0 if it is missing"""
    usable: Ints
    """indices of the prompts on which users have comparisons"""


@dataclass(frozen=True)
class Options(PublishedOptions):
    """PersonalLLM."""

    seen_users: int = 1000
    """number of seen users (who have training comparisons) to draw"""
    unseen_users: int = 500
    """number of unseen users (who have few-shot comparisons only) to draw"""
    concentration: float = 0.1
    """how alike the users are: the parameter of the symmetric Dirichlet distribution from which each user's mixture of
    the ten reward models is drawn; at 0.1, as published, one or two reward models dominate; larger values make users
    more alike"""
    seen_share: float = 0.005
    """share of the train prompts on which each seen user has training comparisons (at least one prompt); the prompts
    are drawn at random for each user"""
    unseen_share: float = 0.001
    """share of the train prompts on which each unseen user has few-shot comparisons (at least one prompt); the prompts
    are drawn at random for each user"""


def load(options: Options, split: SplitConfig | None = None) -> Loaded[Preferences]:
    """Draw simulated users and load their comparisons, each with its split.

    Local data are a folder that contains the files of both the train and the test split. The seed in `split` determines
    the users and their train prompts; its other settings are ignored. Every user has test comparisons on all test
    prompts.

    The result lists the eight responses of each train prompt, then those of each test prompt, in file order. If several
    responses are equally good or equally bad, the first is used. If the best and the worst response have the same text,
    or all eight scores are equal, there is no comparison.
    """
    seen_users, unseen_users = options.seen_users, options.unseen_users
    if seen_users < 1 or unseen_users < 0:
        name = "seen_users" if seen_users < 1 else "unseen_users"
        raise ConfigError(f"{name} is {getattr(options, name)}", "give a larger number of users", argument=name)
    for name in ("concentration", "seen_share", "unseen_share"):
        value = getattr(options, name)
        if not value > 0 or (name != "concentration" and value > 1):
            raise ConfigError(
                f"{name} is {value}",
                "give a positive number; a share must be at most 1",
                argument=name,
            )
    rows = raw_rows(REPOSITORY, options.data, options.revision)
    tally = Tally("prompts", _STEPS)
    train, test = _read(rows, tally)
    rng = np.random.default_rng(0 if split is None else split.seed)
    tastes = rng.dirichlet(np.full(len(REWARD_MODELS), options.concentration), seen_users + unseen_users)
    names = [f"seen-{i:04d}" for i in range(seen_users)] + [f"unseen-{i:04d}" for i in range(unseen_users)]
    seen = np.arange(len(names)) < seen_users
    n_train = len(train.texts)
    n_compared = np.where(seen, options.seen_share * n_train, options.unseen_share * n_train).astype(int).clip(min=1)
    on_train = [np.sort(rng.permutation(train.usable)[:n]) for n in n_compared.tolist()]
    parts = [
        _compare(train.scores, tastes, on_train, 0),
        _compare(test.scores, tastes, [test.usable] * len(names), N_RESPONSES * n_train),
    ]
    user, chosen, rejected = (np.concatenate(columns) for columns in zip(*parts, strict=True))
    side = np.repeat([0, 1], [len(part[0]) for part in parts])  # 0: train prompts, 1: test prompts
    # Indexed by 2 * side + (1 if the user is seen, else 0).
    labels = np.array(["train_unseen", "train_seen", "test_unseen", "test_seen"], dtype=object)
    texts = [*train.texts, *test.texts]
    codes: dict[str, int] = {}
    # A number for the text of each response row: equal texts have equal numbers.
    text = np.array([codes.setdefault(response, len(codes)) for _, _, responses in texts for response in responses])
    decided = text[chosen] != text[rejected]
    order = np.argsort(user[decided], kind="stable")  # by user; for each user, train comparisons come first
    user, chosen, rejected, side = (values[decided][order] for values in (user, chosen, rejected, side))
    preferences = Preferences.from_responses(
        ((prompt, response) for _, prompt, responses in texts for response in responses),
        Comparisons.from_columns(
            chosen,
            rejected,
            np.array(names, dtype=object)[user],
            np.array([prompt_id for prompt_id, _, _ in texts], dtype=object)[chosen // N_RESPONSES],
            splits=labels[2 * side + seen[user]],
        ),
        n_ties=int((~decided).sum()),
    )
    return Loaded(preferences, rows.source, tally.lines(), lists_all_responses=True)


def _compare(
    scores: Floats, tastes: Floats, prompts_of: Sequence[Ints], first_row: int
) -> tuple[NDArray[np.int32], NDArray[np.int32], NDArray[np.int32]]:
    """Return for each comparison the user, the row of the best and the row of the worst response (int32 [n]).

    The responses of `prompts_of[user]` are in rows from `first_row` on, eight for each prompt. If all eight scores are
    equal, the best and the worst row are the same.
    """
    users, best, worst = [], [], []
    for user, prompts in enumerate(prompts_of):
        values = scores[prompts] @ tastes[user]
        start = first_row + N_RESPONSES * prompts
        users.append(np.full(len(prompts), user, dtype=np.int32))
        best.append((start + values.argmax(axis=1)).astype(np.int32))
        worst.append((start + values.argmin(axis=1)).astype(np.int32))
    return np.concatenate(users), np.concatenate(best), np.concatenate(worst)


def _read(rows: RawRows, tally: Tally) -> tuple[_Prompts, _Prompts]:
    """Read the prompts of the train and of the test split."""
    texts: dict[str, list[tuple[str, str, list[str]]]] = {"train": [], "test": []}
    scores: dict[str, list[Floats]] = {"train": [], "test": []}
    for label, row in rows:
        with of_published_layout(row):
            if label not in texts:
                raise DataError(
                    "the name of the file or split contains neither train nor test", "keep the published file names"
                )
            responses = [_text(row, f"response_{i}") for i in range(1, N_RESPONSES + 1)]
            texts[label].append((str(column(row, "prompt_id")), _text(row, "prompt"), responses))
            scores[label].append(_scores(row))
        tally.add()
    tested = {prompt for _, prompt, _ in texts["test"]}
    sides = []
    for label, found in texts.items():
        whole = np.array([bool(np.isfinite(values).all()) for values in scores[label]], dtype=bool)
        repeated = np.array([label == "train" and prompt in tested for _, prompt, _ in found], dtype=bool)
        tally.drop("scores", int((~whole).sum()))
        tally.drop("repeated", int((whole & repeated).sum()))
        usable = np.flatnonzero(whole & ~repeated)
        if not len(usable):
            raise DataError(
                f"there is no usable prompt in the {label} split", "give the files of both splits", file=rows.source
            )
        sides.append(_Prompts(found, np.nan_to_num(np.stack(scores[label])), usable))
    return sides[0], sides[1]


def _text(row: Row, name: str) -> str:
    text = column(row, name)
    if not isinstance(text, str):
        raise DataError(f"{name} is missing", OWN_FILES, column=name)
    return text


def _scores(row: Row) -> Floats:
    """Return the scores [8, 10] of the responses in a row; NaN if a score is missing or not finite."""
    names = [[f"response_{i}_{model}" for model in REWARD_MODELS] for i in range(1, N_RESPONSES + 1)]
    given = [[as_number(column(row, name)) for name in of_response] for of_response in names]
    return np.array([[np.nan if value is None else value for value in values] for values in given])

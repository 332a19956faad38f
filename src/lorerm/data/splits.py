"""Split comparisons by users (seen or unseen) and by prompts (train or test).

Models are trained on seen users; unseen users are held out of training. Test prompts only measure the result.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Generic, TypeVar

import numpy as np

from lorerm.data.coercion import as_number, as_whole_number
from lorerm.data.comparisons import Comparisons, index_distinct
from lorerm.data.schema import SPLITS, TEST_SPLITS, UNUSED, parse_split
from lorerm.errors import ConfigError, DataError

if TYPE_CHECKING:
    from collections.abc import Mapping

    from numpy.typing import NDArray

    from lorerm.arrays import Bools, Column, Ints

T = TypeVar("T", bound=Comparisons)

_NAMED = 5  # largest number of users that a warning names
# The side (train or test) of a comparison. If the data label a prompt as both, its train comparisons are dropped.
_TRAIN, _TEST, _DROPPED = 0, 1, 2


@dataclass(frozen=True)
class SplitConfig:
    """Settings of the split into seen and unseen users and into train and test prompts."""

    unseen_users: float = 0.3
    """share of the users who are held out of training, in [0, 1)"""
    test_prompts: float = 0.3
    """share of the prompts that are held out of training, in (0, 1)"""
    seed: int = 0
    """seed of the random split; `lorerm run` also uses it for training"""
    max_pairs_seen: int | None = 150
    """largest number of training comparisons for each seen user (a user who is not held out)"""
    max_pairs_unseen: int | None = 50
    """largest number of few-shot comparisons for each unseen user: those to which the weights of a held-out user are
    fitted"""


@dataclass(frozen=True)
class SplitSize:
    """Number of users and number of comparisons in one split."""

    n_users: int
    n_pairs: int

    @property
    def mean_pairs(self) -> float:
        """Mean number of comparisons per user; 0 if the split is empty."""
        return self.n_pairs / max(self.n_users, 1)


@dataclass(frozen=True)
class SplitSummary:
    """Sizes of the four splits, and counts of the comparisons and users that are in no split."""

    sizes: Mapping[str, SplitSize]
    """name of each of the four splits -> its size"""
    n_users: int
    """number of users in the data"""
    users_without_test: tuple[str, ...]
    """users with train comparisons but no test comparisons, in order of first appearance"""
    users_left_out: tuple[str, ...]
    """users who are in no split because all their comparisons are on test prompts, in order of first appearance"""
    n_pairs_over_limit: int
    """number of train comparisons left out because their user has reached the limit"""
    n_prompts_on_both_sides: int
    """number of prompts that the data label as both train and test; their train comparisons are left out"""
    n_pairs_labelled_unused: int
    """number of comparisons that the data label as unused"""
    n_pairs_unused: int
    """number of comparisons in no split, for any reason"""
    unseen_wanted: bool = True
    """True if the split was meant to hold out users as unseen"""
    n_prompts_shared: int = 0
    """number of prompts whose text is in both train and test, under different prompt ids; 0 if there are no texts"""
    n_responses_shared: int = 0
    """number of responses (to the same prompt) that are in both train and test"""

    def warnings(self) -> list[str]:
        """Return the warnings about this split, one sentence each. A sentence names at most five users."""
        sentences = []
        if self.users_without_test:
            sentences.append(
                f"{len(self.users_without_test):,} of {self.n_users:,} users have no comparisons on test prompts: they "
                f"are trained on but not tested on ({_names(self.users_without_test)})."
            )
        if self.users_left_out:
            sentences.append(
                f"{len(self.users_left_out):,} of {self.n_users:,} users have comparisons on test prompts only: they "
                f"are left out, since there is nothing to learn their weights from ({_names(self.users_left_out)})."
            )
        if self.n_prompts_on_both_sides:
            sentences.append(
                f"Prompts labelled as both train and test, whose train comparisons are left out: "
                f"{self.n_prompts_on_both_sides:,}."
            )
        if self.n_prompts_shared or self.n_responses_shared:
            texts = f"prompts with the same text: {self.n_prompts_shared:,}, " if self.n_prompts_shared else ""
            sentences.append(
                "LEAK? Train and test have prompts in common, under different prompt ids "
                f"({texts}whole conversations: {self.n_responses_shared:,}). Give equal prompts equal ids. (If rows "
                "of text have no column prompt_id, equal prompts get equal ids automatically. If arrays have no prompt "
                "ids, each pair of responses gets its own id.)"
            )
        if self.n_pairs_over_limit:
            sentences.append(
                f"Train comparisons left out because their user has reached the limit: {self.n_pairs_over_limit:,}."
            )
        if self.n_pairs_labelled_unused:
            sentences.append(
                f"Comparisons left out because the data label them as {UNUSED}: {self.n_pairs_labelled_unused:,}."
            )
        if self.unseen_wanted and not self.sizes["test_unseen"].n_pairs:
            sentences.append(
                "No user is held out as unseen, since fewer than two users have comparisons on both train and test "
                "prompts: the results say nothing about new users."
            )
        return sentences


@dataclass(frozen=True)
class Splits(Generic[T]):
    """The four splits, each a table of the type that was split. The two splits of unseen users may be empty."""

    train_seen: T
    """comparisons of seen users on train prompts, to which the reward directions and these users' weights are fitted"""
    test_seen: T
    """comparisons of seen users on test prompts"""
    train_unseen: T
    """comparisons of unseen users on train prompts (few-shot comparisons), to which these users' weights are fitted"""
    test_unseen: T
    """comparisons of unseen users on test prompts"""
    summary: SplitSummary = field(repr=False)
    """sizes and counts; not part of `repr`, since it contains user ids"""

    @classmethod
    def from_labels(cls, data: T, labels: Column, *, unseen_wanted: bool = True) -> Splits[T]:
        """Split comparisons by given labels.

        Parameters
        ----------
        data
            The comparisons, [n].
        labels
            The split of each comparison, or `unused`, [n], as returned by `assign_splits`.
        unseen_wanted
            Whether to warn if no user is unseen.

        Raises
        ------
        DataError
            A label is not known, or the number of labels differs from the number of comparisons.
        """
        names = np.asarray(labels, dtype=object)
        if len(names) != len(data.user_ids):
            raise DataError(
                f"{len(names)} split labels for {len(data.user_ids)} comparisons",
                "give one label for each comparison",
                argument="labels",
            )
        unknown = [label for label in dict.fromkeys(names.tolist()) if label not in (*SPLITS, UNUSED)]
        if unknown:
            raise DataError(
                f"{unknown[0]!r:.40} is not the name of a split",
                f"use one of {', '.join(SPLITS)} or {UNUSED}",
                argument="labels",
            )
        parts = {name: data.select(np.flatnonzero(names == name)) for name in SPLITS}
        summary = _summarise(data, names, unseen_wanted)
        return cls(**parts, summary=_count_shared(data, names, summary))


def split(
    data: T,
    unseen_users: float = 0.3,
    test_prompts: float = 0.3,
    seed: int = 0,
    *,
    max_pairs_seen: int | None = 150,
    max_pairs_unseen: int | None = 50,
) -> Splits[T]:
    """Split comparisons by users and by prompts.

    Each prompt is either a train or a test prompt, for all users. Of the users with comparisons on both train and test
    prompts, a share is unseen. All other users with comparisons on train prompts are seen, even if they have no test
    comparisons. Which users and prompts are held out depends on the sets of users and prompts and on the seed, not on
    the order of the rows.

    Parameters
    ----------
    data
        `Preferences` or `EmbeddedPreferences`. Labels in their column `split` have this effect:

        - `train` or `test` makes the prompt of the comparison a train or test prompt. If a prompt has both labels, it
          is a test prompt, and the comparisons labelled `train` are left out.
        - If any comparison has the name of one of the four splits or `unused`, all must have such a label, and the
          labels are used unchanged.
        - Prompts without a label are divided at random.
    unseen_users
        Share to hold out of the users who have both train and test comparisons, in [0, 1). If it is positive and there
        are at least two such users, at least one is held out, but never all.
    test_prompts
        Share of the prompts to hold out, in (0, 1). At least one prompt is held out, but never all.
    seed
        Whole number of at least 0. The same seed gives the same split in every process.
    max_pairs_seen, max_pairs_unseen
        Largest number of train comparisons for each seen or unseen user, sampled without replacement; None for all. The
        sample depends on the seed and on the user's own comparisons in their order, not on other users.

    Returns
    -------
    Splits
        Four tables of the type of `data`, and a summary whose `warnings()` report what was left out.

    Raises
    ------
    ConfigError
        An argument is out of its range.
    DataError
        No train or no test comparisons are left; or the given splits share a prompt between train and test, or a user
        between seen and unseen.
    """
    labels = assign_splits(
        data.user_ids,
        data.prompt_ids,
        unseen_users=unseen_users,
        test_prompts=test_prompts,
        seed=seed,
        max_pairs_seen=max_pairs_seen,
        max_pairs_unseen=max_pairs_unseen,
        given=data.splits,
    )
    return Splits.from_labels(data, labels, unseen_wanted=unseen_users > 0)


def assign_splits(
    user_ids: Column,
    prompt_ids: Column,
    *,
    unseen_users: float = 0.3,
    test_prompts: float = 0.3,
    seed: int = 0,
    max_pairs_seen: int | None = 150,
    max_pairs_unseen: int | None = 50,
    given: Column | None = None,
) -> NDArray[np.str_]:
    """Assign each comparison to one of the four splits, or to `unused`, by the rules of `lorerm.split`.

    See `lorerm.split` for the arguments that are not listed here, and for the errors.

    Parameters
    ----------
    user_ids, prompt_ids
        The user and the prompt of each comparison, [n].
    given
        The labels in the column `split` of the data, [n].

    Returns
    -------
    numpy.ndarray
        For each comparison `train_seen`, `test_seen`, `train_unseen`, `test_unseen` or `unused`, [n].
    """
    _check_arguments(unseen_users, test_prompts, seed, max_pairs_seen, max_pairs_unseen)
    if not len(user_ids) == len(prompt_ids) == (len(user_ids) if given is None else len(given)):
        raise DataError(
            f"{len(user_ids)} users, {len(prompt_ids)} prompts and {len(user_ids if given is None else given)} splits",
            "give one user, one prompt and one split for every comparison",
        )
    user_names, users = _index_sorted(user_ids)
    prompt_names, prompts = _index_sorted(prompt_ids)
    labels = _read_given(given, len(users))
    if np.isin(labels, [*SPLITS, UNUSED]).any():
        _check_given(labels, prompts, prompt_names, users, user_names)
        return labels

    side = _divide_prompts(prompts, len(prompt_names), labels, test_prompts, seed)
    n_train = np.bincount(users[side == _TRAIN], minlength=len(user_names))
    n_test = np.bincount(users[side == _TEST], minlength=len(user_names))
    unseen = _draw_users((n_train > 0) & (n_test > 0), unseen_users, seed)
    splits = np.full(len(users), UNUSED, dtype="<U12")
    splits[(side == _TRAIN) & ~unseen[users]] = "train_seen"
    splits[(side == _TRAIN) & unseen[users]] = "train_unseen"
    splits[(side == _TEST) & ~unseen[users]] = "test_seen"
    splits[(side == _TEST) & unseen[users]] = "test_unseen"
    splits[(n_train == 0)[users]] = UNUSED  # these users have no comparisons to learn their weights from
    for name, limit in (("train_seen", max_pairs_seen), ("train_unseen", max_pairs_unseen)):
        splits[_beyond_limit(np.flatnonzero(splits == name), users, user_names, limit, seed)] = UNUSED
    _check_something_left(splits)
    return splits


def _check_arguments(
    unseen_users: float, test_prompts: float, seed: int, max_pairs_seen: int | None, max_pairs_unseen: int | None
) -> None:
    for name, share, least in (("unseen_users", unseen_users, "from 0"), ("test_prompts", test_prompts, "above 0")):
        number = as_number(share)
        if number is None or not 0 <= number < 1 or (number == 0 and least == "above 0"):
            raise ConfigError(f"{name} is {share!r}", f"give a share {least} and below 1", argument=name)
    whole = as_whole_number(seed)
    if whole is None or whole < 0:
        raise ConfigError(f"seed is {seed!r}", "give a whole number of at least 0", argument="seed")
    for name, limit in (("max_pairs_seen", max_pairs_seen), ("max_pairs_unseen", max_pairs_unseen)):
        if limit is not None and ((whole := as_whole_number(limit)) is None or whole < 1):
            raise ConfigError(
                f"{name} is {limit!r}", "give a positive whole number, or None for all comparisons", argument=name
            )


def _index_sorted(names: Column) -> tuple[list[str], Ints]:
    """Return the distinct names in sorted order, and for each entry the index of its name."""
    found, indices = index_distinct(names)
    order = sorted(range(len(found)), key=found.__getitem__)
    # rank[i] is the sorted position of found[i]: the inverse permutation of `order`.
    rank = np.empty(len(found), dtype=np.int64)
    rank[order] = np.arange(len(found))
    return [found[index] for index in order], rank[indices]


def _read_given(given: Column | None, n: int) -> NDArray[np.str_]:
    """Return the given labels by their standard names; an empty string means that there is no label."""
    if given is None:
        return np.full(n, "", dtype="<U12")
    known = {label: parse_split(label) or "" for label in dict.fromkeys(given)}
    return np.array([known[label] for label in given], dtype="<U12")


def _divide_prompts(
    prompts: Ints, n_prompts: int, labels: NDArray[np.str_], share: float, seed: int
) -> NDArray[np.int8]:
    """Return the side of each comparison: `_TRAIN`, `_TEST` or `_DROPPED`.

    The labels of a prompt determine its side. Prompts without labels are divided at random.
    """
    in_train, in_test = np.zeros(n_prompts, dtype=bool), np.zeros(n_prompts, dtype=bool)
    in_train[prompts[labels == "train"]] = True
    in_test[prompts[labels == "test"]] = True
    free = np.flatnonzero(~in_train & ~in_test)
    n_held_out = _share_of(len(free), share)
    in_test[np.random.default_rng([seed, 0]).permutation(free)[:n_held_out]] = True
    side = np.where(in_test[prompts], _TEST, _TRAIN).astype(np.int8)
    side[(labels == "train") & in_test[prompts]] = _DROPPED
    return side


def _share_of(n: int, share: float) -> int:
    """Return n times a positive share, rounded, but at least 1 and at most n - 1. Return 0 if n is less than 2."""
    return min(max(round(share * n), 1), n - 1) if n > 1 else 0


def _draw_users(eligible: Bools, share: float, seed: int) -> Bools:
    candidates = np.flatnonzero(eligible)
    n_unseen = _share_of(len(candidates), share) if share > 0 else 0
    unseen = np.zeros(len(eligible), dtype=bool)
    unseen[np.random.default_rng([seed, 1]).permutation(candidates)[:n_unseen]] = True
    return unseen


def _beyond_limit(rows: Ints, users: Ints, names: list[str], limit: int | None, seed: int) -> Ints:
    """Return the rows to leave out, drawn at random, so that no user has more rows than the limit."""
    if limit is None or len(rows) == 0:
        return rows[:0]
    rows = rows[np.argsort(users[rows], kind="stable")]
    present, starts, counts = np.unique(users[rows], return_index=True, return_counts=True)
    left_out = [rows[:0]]
    for user, start, count in zip(present, starts, counts, strict=True):
        if count > limit:
            # One generator for each user, so that other users do not change the draw.
            digest = hashlib.sha256(f"{seed}\n{names[user]}".encode()).digest()
            drawn = np.random.default_rng(int.from_bytes(digest, "big")).permutation(count)
            left_out.append(rows[start + drawn[limit:]])
    return np.concatenate(left_out)


def _check_given(
    labels: NDArray[np.str_], prompts: Ints, prompt_names: list[str], users: Ints, user_names: list[str]
) -> None:
    """Raise `DataError` if given splits are incomplete, share prompts or users, or lack train or test comparisons."""
    if not np.isin(labels, [*SPLITS, UNUSED]).all():
        raise DataError(
            'column "split" names one of the four splits for some comparisons only',
            f"give one of {', '.join(SPLITS)} or {UNUSED} for every comparison, or use only train and test",
            column="split",
        )
    for what, indices, names, left, right in (
        ("prompt", prompts, prompt_names, ("train_seen", "train_unseen"), TEST_SPLITS),
        ("user", users, user_names, ("train_seen", "test_seen"), ("train_unseen", "test_unseen")),
    ):
        shared = np.intersect1d(indices[np.isin(labels, left)], indices[np.isin(labels, right)])
        if len(shared):
            raise DataError(
                f'column "split" puts {what} {names[shared[0]]!r:.60} both in {" or ".join(left)} and in '
                f"{' or '.join(right)} ({len(shared)} of {len(names)} {what}s)",
                f"put each {what} into train or into test only, or leave the column out to split the data at random",
                column="split",
            )
    _check_something_left(labels)


def _check_something_left(splits: NDArray[np.str_]) -> None:
    if not (splits == "train_seen").any():
        raise DataError(
            "no train comparisons are left",
            "hold out fewer prompts, or label fewer of them as test",
            argument="test_prompts",
        )
    if not (splits == "test_seen").any():
        raise DataError(
            "no test comparisons are left: no seen user has comparisons on both train and test prompts",
            "give users with comparisons on more prompts, hold out more prompts, or leave the column split out",
            argument="test_prompts",
        )


def _summarise(data: Comparisons, splits: NDArray[np.object_], unseen_wanted: bool) -> SplitSummary:
    """Count users and comparisons in the splits, and the unused comparisons by reason.

    If the data do not label an unused comparison as unused, the reason is derived from the splits of the other
    comparisons of the same user and of the same prompt.
    """
    # Not np.asarray, which would turn ids that are tuples into a matrix.
    users, prompts = (np.fromiter(ids, dtype=object, count=len(ids)) for ids in (data.user_ids, data.prompt_ids))
    given: Column = [None] * len(data) if data.splits is None else data.splits
    unused = splits == UNUSED
    unlabelled = unused & np.fromiter((label != UNUSED for label in given), dtype=bool, count=len(given))
    names = list(dict.fromkeys(users.tolist()))
    where = {name: splits == name for name in SPLITS}
    in_test = np.logical_or.reduce([where[name] for name in TEST_SPLITS])
    used = set(users[splits != UNUSED].tolist())
    tested = set(users[in_test].tolist())
    test_prompts = set(prompts[in_test].tolist())
    left_out = list(zip(users[unlabelled].tolist(), prompts[unlabelled].tolist(), strict=True))
    # Prompts of comparisons that were left out although their user is in a split. If such a prompt is a test prompt,
    # the comparison was labelled as train; otherwise it exceeded the limit of comparisons of its user.
    dropped = [prompt for user, prompt in left_out if user in used]
    return SplitSummary(
        sizes={name: SplitSize(len(set(users[rows].tolist())), int(rows.sum())) for name, rows in where.items()},
        n_users=len(names),
        users_without_test=tuple(name for name in names if name in used and name not in tested),
        users_left_out=tuple(dict.fromkeys(user for user, _ in left_out if user not in used)),
        n_pairs_over_limit=sum(prompt not in test_prompts for prompt in dropped),
        n_prompts_on_both_sides=len(test_prompts.intersection(dropped)),
        n_pairs_labelled_unused=int((unused & ~unlabelled).sum()),
        n_pairs_unused=int(unused.sum()),
        unseen_wanted=unseen_wanted,
    )


def _count_shared(data: Comparisons, splits: NDArray[np.object_], summary: SplitSummary) -> SplitSummary:
    """Add to a summary the numbers of responses, and of texts of prompts, that are in both train and test."""
    in_test = np.isin(splits, TEST_SPLITS)
    in_train = ~in_test & (splits != UNUSED)

    def count(*indices: Ints) -> int:
        train, test = (np.concatenate([one[rows] for one in indices]) for rows in (in_train, in_test))
        return len(np.intersect1d(train, test))

    prompts = data.index_prompt_texts()
    return replace(
        summary,
        n_prompts_shared=0 if prompts is None else count(prompts),
        n_responses_shared=count(*data.rows()),
    )


def _names(names: tuple[str, ...]) -> str:
    more = len(names) - _NAMED
    return ", ".join(names[:_NAMED]) + (f" and {more:,} more" if more > 0 else "")

"""Which cell each pair stands in: prompts are cut into train and test, users into seen and unseen."""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING

import numpy as np

from lorerm.data.coercion import as_number, as_whole_number
from lorerm.data.schema import CELLS, UNUSED, parse_split
from lorerm.errors import ConfigError, DataError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

_TRAIN, _TEST, _DROPPED = 0, 1, 2


def assign_cells(
    user_ids: Sequence[str] | NDArray[np.object_],
    prompt_ids: Sequence[str] | NDArray[np.object_],
    *,
    unseen_users: float = 0.3,
    test_prompts: float = 0.3,
    seed: int = 0,
    max_pairs_seen: int | None = 150,
    max_pairs_unseen: int | None = 50,
    given: Sequence[str | None] | NDArray[np.object_] | None = None,
) -> NDArray[np.str_]:
    """Assign each pair to one of the four cells, or to none.

    Prompts are cut once for everybody, so that no prompt stands on both sides. Of the users with pairs on both sides a
    share is unseen; all others with train pairs are seen, whether or not they have test pairs. Who and what is held
    out depends on the sets of users and prompts and on the seed alone, not on the order of the rows.

    Parameters
    ----------
    user_ids
        The user of each pair, [n].
    prompt_ids
        The prompt of each pair, [n].
    unseen_users
        Share of the users with train and test pairs that is held out, in [0, 1): at least one of them when it is
        positive and there are two, and never all.
    test_prompts
        Share of the prompts that is held out, in (0, 1): at least one, and never all.
    seed
        Whole number from 0 on.
    max_pairs_seen, max_pairs_unseen
        Most train pairs of a user, sampled without replacement; None for all. The sample of a user depends on the seed
        and on that user's pairs in their order, not on other users.
    given
        What the data say of each pair, [n]: `train` and `test` decide the side of their prompt instead of the seed,
        and a prompt that they put on both sides keeps its test pairs only; the names of the cells, for all pairs, are
        taken as they are.

    Returns
    -------
    numpy.ndarray
        [n] of `train_seen`, `test_seen`, `train_unseen`, `test_unseen` and `unused`.

    Raises
    ------
    ConfigError
        An argument is out of its range.
    DataError
        Nothing is left to train or to test on; or the given cells share a prompt between train and test, or a user
        between seen and unseen.
    """
    _check_arguments(unseen_users, test_prompts, seed, max_pairs_seen, max_pairs_unseen)
    if not len(user_ids) == len(prompt_ids) == (len(user_ids) if given is None else len(given)):
        raise DataError("users, prompts and given splits are not equally many", "give one of each for every pair")
    users, user_names = _encode(user_ids)
    prompts, prompt_names = _encode(prompt_ids)
    labels = _read_given(given, len(users))
    if np.isin(labels, [*CELLS, UNUSED]).any():
        return _check_given_cells(labels, users, user_names, prompts, prompt_names)

    side = _cut_prompts(prompts, len(prompt_names), labels, test_prompts, seed)
    n_train = np.bincount(users[side == _TRAIN], minlength=len(user_names))
    n_test = np.bincount(users[side == _TEST], minlength=len(user_names))
    unseen = _draw_users((n_train > 0) & (n_test > 0), unseen_users, seed)
    cells = np.full(len(users), UNUSED, dtype="<U12")
    cells[(side == _TRAIN) & ~unseen[users]] = "train_seen"
    cells[(side == _TRAIN) & unseen[users]] = "train_unseen"
    cells[(side == _TEST) & ~unseen[users]] = "test_seen"
    cells[(side == _TEST) & unseen[users]] = "test_unseen"
    cells[(n_train == 0)[users]] = UNUSED  # nothing is known of these users
    for cell, limit in (("train_seen", max_pairs_seen), ("train_unseen", max_pairs_unseen)):
        cells[_beyond_limit(np.flatnonzero(cells == cell), users, user_names, limit, seed)] = UNUSED
    _check_something_left(cells)
    return cells


def _check_arguments(
    unseen_users: float, test_prompts: float, seed: int, max_pairs_seen: int | None, max_pairs_unseen: int | None
) -> None:
    """Refuse what is out of range."""
    for name, share in (("unseen_users", unseen_users), ("test_prompts", test_prompts)):
        number = as_number(share)
        if number is None or not 0 <= number < 1:
            raise ConfigError(f"{name} is {share!r}", "give a share from 0 to below 1")
    if test_prompts == 0:
        raise ConfigError("test_prompts is 0", "hold out some prompts, such as 0.3: without them nothing is tested")
    whole = as_whole_number(seed)
    if whole is None or whole < 0:
        raise ConfigError(f"seed is {seed!r}", "give a whole number from 0 on")
    for name, limit in (("max_pairs_seen", max_pairs_seen), ("max_pairs_unseen", max_pairs_unseen)):
        if limit is not None and ((whole := as_whole_number(limit)) is None or whole < 1):
            raise ConfigError(f"{name} is {limit!r}", "give a positive whole number, or None for all pairs")


def _encode(names: Sequence[str] | NDArray[np.object_]) -> tuple[NDArray[np.intp], list[str]]:
    """Give each entry the number of its name among the distinct names in sorted order, and those names."""
    import pyarrow as pa  # its hash table is many times faster than sorting the entries

    encoded = pa.array([str(name) for name in names], pa.string()).dictionary_encode()
    found = [str(name) for name in encoded.dictionary.to_pylist()]
    order = sorted(range(len(found)), key=found.__getitem__)
    rank = np.empty(len(found), dtype=np.intp)
    rank[order] = np.arange(len(found))
    return rank[encoded.indices.to_numpy()], [found[position] for position in order]


def _read_given(given: Sequence[str | None] | NDArray[np.object_] | None, n: int) -> NDArray[np.str_]:
    """Check the given labels; an empty string stands for none."""
    if given is None:
        return np.full(n, "", dtype="<U12")
    known = {label: parse_split(label) or "" for label in dict.fromkeys(given)}
    return np.array([known[label] for label in given], dtype="<U12")


def _cut_prompts(
    prompts: NDArray[np.intp], n_prompts: int, labels: NDArray[np.str_], share: float, seed: int
) -> NDArray[np.int8]:
    """Give the side of each pair: that of its label, else of its prompt's labels, else of the seed."""
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
    """Round a positive share of n things, such that both parts have one at least; a single thing is not held out."""
    return min(max(round(share * n), 1), n - 1) if n > 1 else 0


def _draw_users(eligible: NDArray[np.bool_], share: float, seed: int) -> NDArray[np.bool_]:
    """Hold out a share of the eligible users."""
    candidates = np.flatnonzero(eligible)
    n_unseen = _share_of(len(candidates), share) if share > 0 else 0
    unseen = np.zeros(len(eligible), dtype=bool)
    unseen[np.random.default_rng([seed, 1]).permutation(candidates)[:n_unseen]] = True
    return unseen


def _beyond_limit(
    rows: NDArray[np.intp], users: NDArray[np.intp], names: list[str], limit: int | None, seed: int
) -> NDArray[np.intp]:
    """Choose the rows to leave out, so that no user has more than the limit."""
    if limit is None or len(rows) == 0:
        return rows[:0]
    rows = rows[np.argsort(users[rows], kind="stable")]
    present, starts, counts = np.unique(users[rows], return_index=True, return_counts=True)
    left_out = [rows[:0]]
    for user, start, count in zip(present, starts, counts, strict=True):
        if count > limit:
            digest = hashlib.sha256(f"{seed}\n{names[user]}".encode()).digest()
            drawn = np.random.default_rng(int.from_bytes(digest, "big")).permutation(count)
            left_out.append(rows[start + drawn[limit:]])
    return np.concatenate(left_out)


def _check_given_cells(
    labels: NDArray[np.str_],
    users: NDArray[np.intp],
    user_names: list[str],
    prompts: NDArray[np.intp],
    prompt_names: list[str],
) -> NDArray[np.str_]:
    """Take given cells as they are, if they keep people and prompts apart."""
    if not np.isin(labels, [*CELLS, UNUSED]).all():
        raise DataError(
            'column "split" names cells for some pairs only',
            f"give one of {', '.join(CELLS)} or {UNUSED} for every pair, or train and test alone",
        )
    _check_apart(prompts, prompt_names, labels, ("train_seen", "train_unseen"), ("test_seen", "test_unseen"), "prompt")
    _check_apart(users, user_names, labels, ("train_seen", "test_seen"), ("train_unseen", "test_unseen"), "user")
    _check_something_left(labels)
    return labels


def _check_apart(
    codes: NDArray[np.intp],
    names: list[str],
    labels: NDArray[np.str_],
    left: tuple[str, str],
    right: tuple[str, str],
    what: str,
) -> None:
    """Refuse a user or prompt that stands on both sides of the given cells."""
    shared = np.intersect1d(codes[np.isin(labels, left)], codes[np.isin(labels, right)])
    if len(shared):
        raise DataError(
            f'column "split" puts {what} {names[shared[0]]!r:.60} both in {" or ".join(left)} and in '
            f"{' or '.join(right)} ({len(shared)} of {len(names)} {what}s)",
            f"put each {what} on one side, or leave the column out to be split by seed",
        )


def _check_something_left(cells: NDArray[np.str_]) -> None:
    """Refuse a split that seen users cannot be trained or tested on."""
    if not (cells == "train_seen").any():
        raise DataError("no train pairs are left", "hold out fewer prompts, or label fewer of them as test")
    if not (cells == "test_seen").any():
        raise DataError(
            "nothing is left to test on: no seen user has pairs on both train and test prompts",
            "give users with more choices on different prompts, hold out more prompts, or leave the column split out",
        )

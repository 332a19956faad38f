"""Splits by people, then by prompts: the four cells that a model is trained and tested on."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Generic, Protocol, TypeVar

import numpy as np

from lorerm.data.assignment import assign_cells
from lorerm.data.schema import CELLS, UNUSED
from lorerm.errors import DataError

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from numpy.typing import NDArray

__all__ = ["CellSize", "Selectable", "SplitSummary", "Splits", "assign_cells", "split"]

_NAMED = 5  # users whom a warning names


class Selectable(Protocol):
    """Pairs that can be split: `Preferences`, or their embedded form."""

    @property
    def user_ids(self) -> Sequence[str] | NDArray[np.object_]:
        """The user of each pair, [n]."""

    @property
    def prompt_ids(self) -> Sequence[str] | NDArray[np.object_]:
        """The prompt of each pair, [n]."""

    def select(self: T, indices: NDArray[np.intp], /) -> T:
        """Take some of the pairs, perhaps none, in the order given."""


T = TypeVar("T", bound=Selectable)


@dataclass(frozen=True)
class CellSize:
    """How much stands in a cell."""

    n_users: int
    n_pairs: int


@dataclass(frozen=True)
class SplitSummary:
    """What a split put where, and what it had to leave out."""

    cells: Mapping[str, CellSize]
    """the size of each of the four cells"""
    n_users: int
    """users in the data"""
    users_without_test: tuple[str, ...]
    """users with train pairs only, who teach the shared direction but are not tested, by first appearance"""
    users_left_out: tuple[str, ...]
    """users of whom nothing is in a cell, since they have pairs on test prompts only, by first appearance"""
    n_pairs_over_limit: int
    """train pairs beyond the most that one user may have"""
    n_prompts_on_both_sides: int
    """prompts that the data put on both sides, whose train pairs were dropped"""
    n_pairs_unused: int
    """pairs in no cell, for whatever reason"""
    unseen_wanted: bool = True
    """whether people were to be held out"""

    def warnings(self) -> list[str]:
        """Say in sentences what a reader of the results should know.

        Returns
        -------
        list of str
            Users are named, at most five.
        """
        sentences = []
        if self.users_without_test:
            sentences.append(
                f"{_count(self.users_without_test, self.n_users)} have no pairs on test prompts: they teach the shared "
                f"direction and are not tested ({_names(self.users_without_test)})."
            )
        if self.users_left_out:
            sentences.append(
                f"{_count(self.users_left_out, self.n_users)} have pairs on test prompts only: nothing is known of "
                f"them, and they are left out ({_names(self.users_left_out)})."
            )
        if self.n_prompts_on_both_sides:
            sentences.append(
                f"Prompts on both sides of train and test, whose train pairs are left out: "
                f"{self.n_prompts_on_both_sides:,}."
            )
        if self.n_pairs_over_limit:
            sentences.append(
                f"Train pairs beyond the most that one user may have, left out: {self.n_pairs_over_limit:,}."
            )
        if self.unseen_wanted and not self.cells["test_unseen"].n_pairs:
            sentences.append(
                "Nobody is held out as an unseen user, since fewer than two have pairs on both train and test prompts: "
                "the results say nothing about new people."
            )
        return sentences


@dataclass(frozen=True)
class Splits(Generic[T]):
    """The four cells: each holds pairs of the kind that was split, and may be empty but for those of seen users."""

    train_seen: T
    """seen users on train prompts: what the basis and their weights are learnt from"""
    test_seen: T
    """seen users on test prompts"""
    train_unseen: T
    """unseen users' few-shot pairs, on train prompts: what their weights are adapted to"""
    test_unseen: T
    """unseen users on test prompts"""
    summary: SplitSummary = field(repr=False)
    """what was put where; it names users, which is not for a log"""

    @classmethod
    def from_cells(cls, data: T, labels: Sequence[str] | NDArray[np.str_], *, unseen_wanted: bool = True) -> Splits[T]:
        """Build the cells from labels already assigned.

        Parameters
        ----------
        data
            The pairs, [n].
        labels
            The cell of each pair, or `unused`, [n]; as `assign_cells` gives them.
        unseen_wanted
            Whether to warn when nobody is unseen.

        Returns
        -------
        Splits

        Raises
        ------
        DataError
            There are not as many labels as pairs, or one is no cell.
        """
        cells = np.asarray(labels, dtype=object)
        if len(cells) != len(data.user_ids):
            raise DataError(f"{len(cells)} cell labels for {len(data.user_ids)} pairs", "give one label for each pair")
        unknown = [label for label in dict.fromkeys(cells.tolist()) if label not in (*CELLS, UNUSED)]
        if unknown:
            raise DataError(f"{unknown[0]!r:.40} is no cell", f"use one of {', '.join(CELLS)} or {UNUSED}")
        parts = {cell: data.select(np.flatnonzero(cells == cell)) for cell in CELLS}
        return cls(**parts, summary=_summarise(data.user_ids, data.prompt_ids, cells, unseen_wanted))


def split(
    data: T,
    unseen_users: float = 0.3,
    test_prompts: float = 0.3,
    seed: int = 0,
    *,
    max_pairs_seen: int | None = 150,
    max_pairs_unseen: int | None = 50,
) -> Splits[T]:
    """Split pairs by people and by prompts.

    Parameters
    ----------
    data
        `Preferences` or `EmbeddedPreferences`; what their column `split` says is honoured.
    unseen_users
        Share of the users with train and test pairs that is held out, in [0, 1).
    test_prompts
        Share of the prompts that is held out, in (0, 1).
    seed
        Whole number from 0 on; the same seed gives the same split in every process.
    max_pairs_seen, max_pairs_unseen
        Most train pairs of a user; None for all.

    Returns
    -------
    Splits
        Four of the same kind as `data`, and a summary; its `warnings()` say what was left out.

    Raises
    ------
    ConfigError
        An argument is out of its range.
    DataError
        Nothing is left to train or to test on, or the given splits contradict each other.

    See Also
    --------
    lorerm.data.assignment.assign_cells : the rules.
    """
    labels = assign_cells(
        data.user_ids,
        data.prompt_ids,
        unseen_users=unseen_users,
        test_prompts=test_prompts,
        seed=seed,
        max_pairs_seen=max_pairs_seen,
        max_pairs_unseen=max_pairs_unseen,
        given=getattr(data, "splits", None),
    )
    return Splits.from_cells(data, labels, unseen_wanted=unseen_users > 0)


def _summarise(
    user_ids: Sequence[str] | NDArray[np.object_],
    prompt_ids: Sequence[str] | NDArray[np.object_],
    cells: NDArray[np.object_],
    unseen_wanted: bool,
) -> SplitSummary:
    """Count what stands where; why a pair is unused follows from where its user's and prompt's other pairs are."""
    # Ids may be tuples, of which np.asarray would make a matrix.
    users, prompts = (np.fromiter(ids, dtype=object, count=len(ids)) for ids in (user_ids, prompt_ids))
    names = list(dict.fromkeys(users.tolist()))
    in_cell = {cell: cells == cell for cell in CELLS}
    used = set(users[cells != UNUSED].tolist())
    tested = set(users[in_cell["test_seen"] | in_cell["test_unseen"]].tolist())
    test_prompts = set(prompts[in_cell["test_seen"] | in_cell["test_unseen"]].tolist())
    unused = zip(users[cells == UNUSED].tolist(), prompts[cells == UNUSED].tolist(), strict=True)
    dropped = [prompt for user, prompt in unused if user in used]
    return SplitSummary(
        cells={cell: CellSize(len(set(users[where].tolist())), int(where.sum())) for cell, where in in_cell.items()},
        n_users=len(names),
        users_without_test=tuple(name for name in names if name in used and name not in tested),
        users_left_out=tuple(name for name in names if name not in used),
        n_pairs_over_limit=sum(prompt not in test_prompts for prompt in dropped),
        n_prompts_on_both_sides=len(test_prompts.intersection(dropped)),
        n_pairs_unused=int((cells == UNUSED).sum()),
        unseen_wanted=unseen_wanted,
    )


def _count(names: tuple[str, ...], total: int) -> str:
    """Count users among all."""
    return f"{len(names):,} of {total:,} users"


def _names(names: tuple[str, ...]) -> str:
    """Name the first few, and count the rest."""
    more = len(names) - _NAMED
    return ", ".join(names[:_NAMED]) + (f" and {more:,} more" if more > 0 else "")

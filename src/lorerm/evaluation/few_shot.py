"""Few-shot curves: the accuracy of people never seen against the number of their answers, all in batched solves."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from lorerm.errors import ConfigError, DataError
from lorerm.evaluation.accuracy import Cell
from lorerm.evaluation.few_shot_config import ShotsConfig
from lorerm.evaluation.intervals import estimate
from lorerm.model.posterior import solve
from lorerm.training import paper
from lorerm.training.config import AdaptationConfig

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from lorerm.data.splits import Splits
    from lorerm.embedding.embedded_preferences import EmbeddedPreferences
    from lorerm.model.reward_model import LowRankRewardModel

    Floats = np.ndarray[Any, np.dtype[np.float64]]
    Ints = np.ndarray[Any, np.dtype[np.int64]]

DEFAULT_SHOTS = (1, 2, 5, 10, 15, 20, 25, 30, 40, 50)
# Answers of all trials together that are solved at once: bounds the memory.
_BLOCK_ANSWERS = 2_000_000
_EXAMPLES = 6


def shots_curve(
    model: LowRankRewardModel,
    cells: Splits[EmbeddedPreferences],
    shots: Sequence[int] | None = None,
    config: ShotsConfig | None = None,
    *,
    adaptation: AdaptationConfig | None = None,
    progress: Callable[[str, int, int], None] | None = None,
) -> dict[str, Any]:
    """Adapt every unseen user to their first s answers, for several s and several random orders of the answers.

    The samples are nested: within a trial the first 5 answers are among the first 10, so that a curve is one person's
    growing history. A user with fewer than s answers gives all of them, so that every point has the same people.

    Parameters
    ----------
    model
        Trained on the seen users.
    cells
        Answers come from `train_unseen`; accuracies are on `test_unseen`.
    shots
        Numbers of answers; 0 is always among them. None is `DEFAULT_SHOTS` as far as anybody has so many.
    config
        Trials and seed.
    adaptation
        None is the default one.
    progress
        Called with ("shots", counts done, counts in all).

    Returns
    -------
    dict
        The content of `shots` in the report (`docs/report.md`).

    Raises
    ------
    DataError
        There are no unseen users to adapt.
    ConfigError
        A number of shots is negative.
    """
    config = config or ShotsConfig()
    answers, test = Cell.pack(cells.train_unseen), Cell.pack(cells.test_unseen)
    if answers is None or test is None:
        raise DataError("there are no unseen users with answers and test pairs", "hold out a share of the users")
    n_answers = np.bincount(answers.sample.user)
    counts = _counts(shots, int(n_answers.max()))
    history = _History.draw(answers, config)
    of_test = _places(answers.user_ids, test.user_ids)
    projected = test.project(model.basis)
    has = np.where(of_test >= 0, n_answers[of_test], 0)
    right, trial_means = [], []
    for done, shot in enumerate(counts):
        if progress is not None:
            progress("shots", done, len(counts))
        total, means = np.zeros(test.n_pairs), []
        for weights in _weights(model, answers, history, shot, adaptation or AdaptationConfig()):
            of_users = model.population_weights.expand(len(test.user_ids), -1).clone()
            known = torch.from_numpy(of_test >= 0)
            of_users[known] = weights[torch.from_numpy(of_test[of_test >= 0])]
            found = test.right(projected, of_users)
            total += found
            means.append(float(test.sample.by_user(found[:, None]).mean()))
        right.append(total / len(means))
        trial_means.append(means)
    if progress is not None:
        progress("shots", len(counts), len(counts))
    values = np.stack(right, axis=1)
    accuracies = estimate(values, test.sample)
    gains = estimate(values - values[:, :1], test.sample)
    points = [
        {
            "shots": shot,
            "n_users_with": int((has >= shot).sum()),
            **accuracy.to_dict(),
            "trials_std": float(np.std(means)),
            "gain": gain.to_dict(),
        }
        for shot, accuracy, gain, means in zip(counts, accuracies, gains, trial_means, strict=True)
    ]
    return {
        "rank": model.requested_rank,
        "trials": config.trials,
        "n_users": len(test.user_ids),
        "points": points,
        "clear_from": _clear_from(points),
        "examples": _examples(test, has, test.sample.by_user(values)),
    }


@dataclass(frozen=True, eq=False)
class _History:
    """In which order the users gave their answers, in each trial."""

    position: Ints
    """[T, n]: the place of each pair among its user's, from 0"""

    @classmethod
    def draw(cls, answers: Cell, config: ShotsConfig) -> _History:
        rng = np.random.Generator(np.random.PCG64(config.seed))
        user = answers.sample.user
        first = np.searchsorted(user, np.arange(answers.sample.n_users))
        position = np.empty((config.trials, len(user)), dtype=np.int64)
        for row in position:
            row[np.lexsort((rng.random(len(user)), user))] = np.arange(len(user)) - first[user]
        return cls(position)


def _weights(
    model: LowRankRewardModel, answers: Cell, history: _History, shot: int, adaptation: AdaptationConfig
) -> Iterator[torch.Tensor]:
    """Yield each trial's weights [M, K], fitted to the first `shot` answers of every user."""
    n_users, n_trials = len(answers.user_ids), len(history.position)
    if shot == 0 or model.basis.shape[1] < 2:
        yield from [model.population_weights.expand(n_users, -1)] * n_trials
        return
    projected = answers.project(model.basis)
    at_once = max(1, _BLOCK_ANSWERS // answers.n_pairs)
    for start in range(0, n_trials, at_once):
        position = history.position[start : start + at_once]
        trial, pair = np.nonzero(position < shot)
        # Every user of every trial is a user of their own.
        user = torch.from_numpy(trial * n_users + answers.sample.user[pair])
        fitted = _fit(model, answers, projected, torch.from_numpy(pair), user, n_users * len(position), adaptation)
        yield from fitted.float().view(len(position), n_users, -1)


def _fit(
    model: LowRankRewardModel,
    answers: Cell,
    projected: torch.Tensor,
    pair: torch.Tensor,
    user: torch.Tensor,
    n_users: int,
    adaptation: AdaptationConfig,
) -> torch.Tensor:
    count = answers.pairs.count[pair]
    if adaptation.recipe == "default":
        return solve(projected[pair], user, count, n_users, model.prior, model.temperature).weights
    total = torch.zeros(n_users, dtype=count.dtype).index_add_(0, user, count)
    pairs = replace(
        answers.pairs,
        matrix=projected[pair],
        chosen=None,
        rejected=None,
        user=user,
        count=count,
        weight=(count / total[user]).float(),
        user_ids=tuple(map(str, range(n_users))),
        scale=None,
    )
    torch.manual_seed(adaptation.seed)
    return paper.fit_few_shot(
        pairs,
        torch.eye(projected.shape[1]),
        steps=adaptation.steps or paper.FEW_SHOT_STEPS,
        learning_rate=adaptation.learning_rate or paper.FEW_SHOT_LEARNING_RATE,
    )


def _counts(shots: Sequence[int] | None, most: int) -> list[int]:
    """Return the numbers of answers in order, 0 among them."""
    if shots is None:
        return [0, *(shot for shot in DEFAULT_SHOTS if shot <= most)]
    if min(shots, default=0) < 0:
        raise ConfigError(f"{min(shots)} shots were asked for", "give whole numbers from 0 on")
    return sorted({0, *shots})


def _places(known: Sequence[str], wanted: Sequence[str]) -> Ints:
    """Return where each wanted user stands among the known ones, -1 where not."""
    place = {user: i for i, user in enumerate(known)}
    return np.array([place.get(user, -1) for user in wanted], dtype=np.int64)


def _clear_from(points: Sequence[dict[str, Any]]) -> int | None:
    """Return the fewest answers from which on the gain over none is above 0, interval and all; None without such.

    Only numbers of answers that somebody has are looked at.
    """
    clear = None
    for point in reversed([point for point in points[1:] if point["n_users_with"]]):
        ci95 = point["gain"]["ci95"]
        if ci95 is None or ci95[0] <= 0:
            break
        clear = int(point["shots"])
    return clear


def _examples(test: Cell, has: Ints, curves: Floats) -> list[dict[str, Any]]:
    """Return a few users' curves [M, S], from the one who loses most to the one who gains most, evenly between.

    They are taken from the half of the users with the most answers, and among these from those with the most test
    pairs, since the others' curves are short, or all noise.
    """
    n_pairs = np.bincount(test.sample.user)
    with_history = np.flatnonzero(has >= np.median(has))
    pool = with_history[n_pairs[with_history] >= np.median(n_pairs[with_history])]
    by_gain = pool[np.argsort((curves[:, -1] - curves[:, 0])[pool], kind="stable")]
    chosen = by_gain[np.linspace(0, len(by_gain) - 1, min(_EXAMPLES, len(by_gain))).round().astype(int)]
    return [
        {
            "user_id": test.user_ids[i],
            "n_answers": int(has[i]),
            "n_pairs": int(n_pairs[i]),
            "accuracy": curves[i].tolist(),
        }
        for i in chosen
    ]

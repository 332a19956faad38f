"""Few-shot curve: accuracy of unseen users against the number of comparisons that they are adapted to.

torch is imported in functions, since the command's help shows the settings below.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from lorerm.errors import ConfigError, DataError
from lorerm.evaluation.intervals import estimate
from lorerm.evaluation.report import FewShotCurve, FewShotPoint, FewShotUser
from lorerm.training.config import AdaptationConfig
from lorerm.training.recipes import find_recipe

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    import torch

    from lorerm.arrays import Floats, Ints
    from lorerm.data.splits import Splits
    from lorerm.embedding.embedded_preferences import EmbeddedPreferences
    from lorerm.model.reward_model import LowRankRewardModel
    from lorerm.training.pairs import PackedPairs


DEFAULT_SHOTS = (1, 2, 5, 10, 15, 20, 25, 30, 40, 50)
# Comparisons of all trials together that are fitted at once: bounds the memory.
_BLOCK_COMPARISONS = 2_000_000
_N_EXAMPLES = 6


@dataclass(frozen=True)
class FewShotConfig:
    """Settings of the few-shot curve."""

    trials: int = 20
    """random orders of each user's comparisons; the curve is the mean over them"""
    seed: int = 0
    """seed of these orders"""

    def __post_init__(self) -> None:
        for name, least in (("trials", 1), ("seed", 0)):
            if getattr(self, name) < least:
                raise ConfigError(
                    f"{name} is {getattr(self, name)}", f"give a whole number from {least} on", argument=name
                )


def few_shot_curve(
    model: LowRankRewardModel,
    data: Splits[EmbeddedPreferences],
    shots: Sequence[int] | None = None,
    config: FewShotConfig | None = None,
    *,
    adaptation: AdaptationConfig | None = None,
    progress: Callable[[str, int, int], None] | None = None,
) -> FewShotCurve:
    """Adapt every unseen user to their first n_shots comparisons, for several n_shots and several random orders.

    The samples are nested: within a trial the first 5 comparisons are among the first 10, so that a curve is the
    growing history of the same users. A user with fewer than n_shots comparisons gives all of them, so that every point
    has the same users.

    Parameters
    ----------
    model
        Trained on the seen users.
    data
        Weights are fitted on `train_unseen`; accuracies are on `test_unseen`.
    shots
        Values of n_shots; 0 is always among them. None is `DEFAULT_SHOTS` up to the most comparisons of a user.
    config
        Trials and seed.
    adaptation
        None is the default one.
    progress
        Called with ("shots", values of n_shots done, values in all).

    Raises
    ------
    DataError
        There are no unseen users to adapt.
    ConfigError
        A value of n_shots is negative.
    """
    import torch

    from lorerm.evaluation.predictions import is_correct, project, sample_of
    from lorerm.training.pairs import PackedPairs

    config, adaptation = config or FewShotConfig(), adaptation or AdaptationConfig()
    for split in ("train_unseen", "test_unseen"):
        if not len(getattr(data, split)):
            raise DataError(
                f"the split {split} is empty: there are no unseen users to adapt and to test on",
                "hold out a share of the users",
            )
    given, test = PackedPairs.pack(data.train_unseen), PackedPairs.pack(data.test_unseen)
    sample = sample_of(test, data.test_unseen)
    n_given = np.bincount(given.user.numpy())
    counts = _values_of_n_shots(shots, int(n_given.max()))
    order = _draw_orders(given.user.numpy(), config)
    index = {user: i for i, user in enumerate(given.user_ids)}
    of_test = np.array([index.get(user, -1) for user in test.user_ids], dtype=np.int64)
    known = torch.from_numpy(of_test >= 0)
    n_fitted = np.where(of_test >= 0, n_given[of_test], 0)
    projected = project(test, model.basis)
    correct, trial_means = [], []
    for done, n_shots in enumerate(counts):
        if progress is not None:
            progress("shots", done, len(counts))
        total, means = np.zeros(len(test)), []
        for fitted in _weights(model, given, order, n_shots, adaptation):
            weights = model.population_weights.expand(test.n_users, -1).clone()
            weights[known] = fitted[torch.from_numpy(of_test[of_test >= 0])]
            found = is_correct(test, projected, weights)
            total += found
            means.append(float(sample.by_user(found[:, None]).mean()))
        correct.append(total / len(means))
        trial_means.append(means)
    if progress is not None:
        progress("shots", len(counts), len(counts))
    values = np.stack(correct, axis=1)
    accuracies, gains = estimate(values, sample), estimate(values - values[:, :1], sample)
    points = tuple(
        FewShotPoint(n_shots, int((n_fitted >= n_shots).sum()), accuracy, float(np.std(means)), gain)
        for n_shots, accuracy, means, gain in zip(counts, accuracies, trial_means, gains, strict=True)
    )
    return FewShotCurve(
        rank=model.requested_rank,
        trials=config.trials,
        n_users=test.n_users,
        points=points,
        clear_from=_clear_from(points),
        examples=_examples(test, n_fitted, sample.by_user(values)),
    )


def _values_of_n_shots(shots: Sequence[int] | None, most: int) -> list[int]:
    """Return the values in ascending order, 0 among them."""
    if shots is None:
        return [0, *(n_shots for n_shots in DEFAULT_SHOTS if n_shots <= most)]
    if min(shots, default=0) < 0:
        raise ConfigError(f"shots holds {min(shots)}", "give whole numbers from 0 on", argument="shots")
    return sorted({0, *shots})


def _draw_orders(user: Ints, config: FewShotConfig) -> Ints:
    """Return [T, n]: in each trial, the position of each comparison among its user's, from 0; `user` is sorted."""
    rng = np.random.Generator(np.random.PCG64(config.seed))
    first = np.searchsorted(user, user)
    position = np.empty((config.trials, len(user)), dtype=np.int64)
    for row in position:
        row[np.lexsort((rng.random(len(user)), user))] = np.arange(len(user)) - first
    return position


def _weights(
    model: LowRankRewardModel, given: PackedPairs, order: Ints, n_shots: int, adaptation: AdaptationConfig
) -> Iterator[torch.Tensor]:
    """Yield each trial's weights [M, K], fitted to the first `n_shots` comparisons of every user."""
    import torch

    from lorerm.evaluation.predictions import project

    if n_shots == 0 or model.basis.shape[1] < 2:
        yield from [model.population_weights.expand(given.n_users, -1)] * len(order)
        return
    recipe, projected = find_recipe(adaptation.recipe), project(given, model.basis)
    at_once = max(1, _BLOCK_COMPARISONS // len(given))
    for start in range(0, len(order), at_once):
        position = order[start : start + at_once]
        trial, rows = np.nonzero(position < n_shots)
        # All trials of a block are one problem, in which every user of every trial is a user of their own.
        user = torch.from_numpy(trial * given.n_users + given.user.numpy()[rows])
        fit = recipe.start_adaptation(model, adaptation)
        fitted = fit(projected[rows], user, given.count[rows], given.n_users * len(position)).weights
        yield from fitted.float().view(len(position), given.n_users, -1)


def _clear_from(points: Sequence[FewShotPoint]) -> int | None:
    """Return the smallest n_shots from which on the whole interval of the gain is above 0; None without such.

    Values beyond the number of comparisons that any user has are left out.
    """
    clear = None
    for point in reversed([point for point in points[1:] if point.n_users_with]):
        if not point.gain.is_gain:
            break
        clear = point.n_shots
    return clear


def _examples(test: PackedPairs, n_fitted: Ints, curves: Floats) -> tuple[FewShotUser, ...]:
    """Return the curves of a few users, from the largest loss to the largest gain, evenly between.

    They are taken from the half of the users with the most few-shot comparisons, and among these from the half with the
    most test comparisons: the curves of the others are short or very noisy.
    """
    n_test = np.bincount(test.user.numpy())
    with_history = np.flatnonzero(n_fitted >= np.median(n_fitted))
    pool = with_history[n_test[with_history] >= np.median(n_test[with_history])]
    by_gain = pool[np.argsort((curves[:, -1] - curves[:, 0])[pool], kind="stable")]
    shown = by_gain[np.linspace(0, len(by_gain) - 1, min(_N_EXAMPLES, len(by_gain))).round().astype(int)]
    return tuple(
        FewShotUser(test.user_ids[i], int(n_fitted[i]), int(n_test[i]), tuple(curves[i].tolist())) for i in shown
    )

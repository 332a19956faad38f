"""Few-shot curve: accuracy of users held out of training, by the number of comparisons their weights are fitted to.

torch is imported inside functions, because the command's help text imports this module for `FewShotConfig`.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from lorerm.errors import ConfigError, DataError
from lorerm.evaluation.intervals import ACCURACY, DIFFERENCE, estimate
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
# Maximum number of comparisons, over all trials, that are fitted at once; it bounds the memory.
_BLOCK_COMPARISONS = 2_000_000
# Number of users whose curves the report shows.
_N_EXAMPLES = 6


@dataclass(frozen=True)
class FewShotConfig:
    """Settings of the few-shot curve, which is averaged over random orders of each user's comparisons."""

    trials: int = 20
    """number of random orders of each user's comparisons, over which the accuracy is averaged"""
    seed: int = 0
    """seed of the random orders of each user's comparisons"""

    def __post_init__(self) -> None:
        for name, least in (("trials", 1), ("seed", 0)):
            if getattr(self, name) < least:
                raise ConfigError(
                    f"{name} is {getattr(self, name)}", f"give a whole number of at least {least}", argument=name
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
    """Measure the accuracy of unseen users after fitting their weights to `n_shots` comparisons, for several `n_shots`.

    Each trial puts every user's comparisons in a random order and uses the first `n_shots`: the first 5 are also among
    the first 10. If a user has fewer comparisons, all of them are used, so that every point of the curve is
    measured on the same users.

    Parameters
    ----------
    model
        The model, trained on the seen users.
    data
        The four splits: weights are fitted on `train_unseen`, accuracies measured on `test_unseen`.
    shots
        Values of `n_shots`; 0 is added. None uses `DEFAULT_SHOTS` without the values that no user reaches.
    config
        Number of trials and seed.
    adaptation
        How weights are fitted; None uses the default recipe.
    progress
        Called with ("few-shot curve", number of values of `n_shots` done, number of values).

    Raises
    ------
    DataError
        The split `train_unseen` or `test_unseen` is empty.
    ConfigError
        A value of `n_shots` is negative.
    """
    import torch

    from lorerm.evaluation.predictions import is_correct, project, sample_of
    from lorerm.training.pairs import PackedPairs

    config, adaptation = config or FewShotConfig(), adaptation or AdaptationConfig()
    for split in ("train_unseen", "test_unseen"):
        if not len(getattr(data, split)):
            raise DataError(
                f"the split {split} is empty; a few-shot curve needs unseen users with train and test prompts",
                "make the splits again with a larger share of unseen users",
            )
    given, test = PackedPairs.pack(data.train_unseen), PackedPairs.pack(data.test_unseen)
    sample = sample_of(test, data.test_unseen)
    n_given = np.bincount(given.user.numpy())
    values = _values_of_n_shots(shots, int(n_given.max()))
    order = _draw_orders(given.user.numpy(), config)
    index = {user: i for i, user in enumerate(given.user_ids)}
    # Test users without few-shot comparisons get the index -1: the last row, which is appended to counts and weights.
    row = np.array([index.get(user, -1) for user in test.user_ids], dtype=np.int64)
    n_fitted = np.append(n_given, 0)[row]
    projected = project(test, model.basis)
    correct, trial_means = [], []
    progress = progress or (lambda *_: None)
    for done, n_shots in enumerate(values):
        progress("few-shot curve", done, len(values))
        total, means = np.zeros(len(test)), []
        for fitted in _weights(model, given, order, n_shots, adaptation):
            weights = torch.cat([fitted, model.population_weights[None]])[torch.from_numpy(row)]
            found = is_correct(test, projected, weights)
            total += found
            means.append(float(sample.by_user(found[:, None]).mean()))
        correct.append(total / len(means))
        trial_means.append(means)
    progress("few-shot curve", len(values), len(values))
    curve = np.stack(correct, axis=1)
    accuracies = estimate(curve, sample, ACCURACY)
    gains = estimate(curve - curve[:, :1], sample, DIFFERENCE)
    points = tuple(
        FewShotPoint(n_shots, int((n_fitted >= n_shots).sum()), accuracy, float(np.std(means)), gain)
        for n_shots, accuracy, means, gain in zip(values, accuracies, trial_means, gains, strict=True)
    )
    return FewShotCurve(
        rank=model.requested_rank,
        trials=config.trials,
        n_users=test.n_users,
        points=points,
        clear_from=_clear_from(points),
        examples=_examples(test, n_fitted, sample.by_user(curve)),
    )


def _values_of_n_shots(shots: Sequence[int] | None, most: int) -> list[int]:
    """Return the values of n_shots in ascending order, including 0; no user has more than `most` comparisons."""
    if shots is None:
        return [0, *(n_shots for n_shots in DEFAULT_SHOTS if n_shots <= most)]
    if min(shots, default=0) < 0:
        raise ConfigError(f"shots contains {min(shots)}", "give whole numbers of at least 0", argument="shots")
    return sorted({0, *shots})


def _draw_orders(user: Ints, config: FewShotConfig) -> Ints:
    """Draw T random orders of each user's comparisons; return int64 [T, n], the positions (from 0) in these orders.

    `user` [n] is the user of each comparison, sorted.
    """
    rng = np.random.Generator(np.random.PCG64(config.seed))
    # `first` is the index of the first comparison by the same user.
    first = np.searchsorted(user, user)
    position = np.empty((config.trials, len(user)), dtype=np.int64)
    for row in position:
        # Sorting by user, then by a random number, shuffles the comparisons within each user.
        row[np.lexsort((rng.random(len(user)), user))] = np.arange(len(user)) - first
    return position


def _weights(
    model: LowRankRewardModel, given: PackedPairs, order: Ints, n_shots: int, adaptation: AdaptationConfig
) -> Iterator[torch.Tensor]:
    """Yield the weights [M, K] in each trial, fitted to the first `n_shots` comparisons of every user."""
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
        # All trials of a block are fitted at once: each combination of trial and user is numbered as a user of its own.
        user = torch.from_numpy(trial * given.n_users + given.user.numpy()[rows])
        fit = recipe.start_adaptation(model, adaptation)
        fitted, _ = fit(projected[rows], user, given.count[rows], given.n_users * len(position))
        yield from fitted.float().view(len(position), given.n_users, -1)


def _clear_from(points: Sequence[FewShotPoint]) -> int | None:
    """Return the smallest n_shots from which on the whole 95% interval of the gain is above 0, or None.

    Values of n_shots that no user reaches are ignored.
    """
    clear = None
    for point in reversed([point for point in points[1:] if point.n_users_with]):
        if not point.gain.is_gain:
            break
        clear = point.n_shots
    return clear


def _examples(test: PackedPairs, n_fitted: Ints, curves: Floats) -> tuple[FewShotUser, ...]:
    """Return the curves of a few users, evenly spaced from the largest loss to the largest gain.

    The users are taken from the half with the most few-shot comparisons and, within it, from the half with the most
    test comparisons, because other users have short or noisy curves.
    """
    n_test = np.bincount(test.user.numpy())
    with_history = np.flatnonzero(n_fitted >= np.median(n_fitted))
    pool = with_history[n_test[with_history] >= np.median(n_test[with_history])]
    by_gain = pool[np.argsort((curves[:, -1] - curves[:, 0])[pool], kind="stable")]
    shown = by_gain[np.linspace(0, len(by_gain) - 1, min(_N_EXAMPLES, len(by_gain))).round().astype(int)]
    return tuple(
        FewShotUser(test.user_ids[i], int(n_fitted[i]), int(n_test[i]), tuple(curves[i].tolist())) for i in shown
    )

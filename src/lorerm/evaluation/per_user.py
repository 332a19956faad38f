"""Gain in accuracy of every test user from their own weights, and agreement between users.

The gain is measured against the population weights, which a user without comparisons gets. All figures are for the
focus rank: the rank that the report describes in detail.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import torch

from lorerm.data.schema import SPLITS, TEST_SPLITS
from lorerm.evaluation.axes import personal_axes
from lorerm.evaluation.predictions import OWN, POPULATION, project
from lorerm.evaluation.report import Agreement, ComparisonAgreement, Gains, ModelAgreement, UserGain

if TYPE_CHECKING:
    from lorerm.arrays import Bools, Floats, Ints
    from lorerm.data.clustering import Sample
    from lorerm.data.splits import Splits
    from lorerm.embedding.embedded_preferences import EmbeddedPreferences
    from lorerm.evaluation.predictions import Predictions


# The 97.5% quantile of the standard normal distribution.
_NORMAL_95 = 1.959963984540054
# Maximum number of test comparisons on which users' rewards are compared. The standard error of the agreement is then
# below 0.01.
_MAX_COMPARED = 4000
# Number of users whose rewards are computed at once; it bounds the memory.
_BLOCK_USERS = 4096


def user_gains(predictions: Predictions) -> Gains:
    """Return each test user's gain over the population weights; no gains if the focus rank is 0 or 1."""
    rank = predictions.focus_rank
    positions = _positions(predictions, rank)
    by_split: dict[str, tuple[float, ...]] = dict.fromkeys(TEST_SPLITS, ())
    users: list[UserGain] = []
    for split in TEST_SPLITS:
        shared = predictions.correct.get((rank, split, POPULATION))
        if shared is None:
            continue
        gain, low, high = _intervals(predictions.correct[rank, split, OWN], shared, predictions.samples[split])
        by_split[split] = tuple(gain.tolist())
        n_fitted = _comparisons_per_user(predictions, split.replace("test", "train"))
        users += [
            UserGain(
                user_id=user_id,
                split=split,
                n_fitted=n_fitted.get(user_id, 0),
                n_test=n_test,
                gain=float(gain[i]),
                ci95=(float(low[i]), float(high[i])),
                position=positions.get(user_id),
            )
            for i, (user_id, n_test) in enumerate(_comparisons_per_user(predictions, split).items())
        ]
    return Gains(rank=rank, against=POPULATION, **by_split, users=tuple(users))


def _intervals(own: Floats, shared: Floats, sample: Sample) -> tuple[Floats, Floats, Floats]:
    """Return each user's gain and its 95% interval, by Agresti and Min's adjusted interval for paired shares.

    Half a comparison is added to each of the four outcomes (both correct, only one, only the other, neither), so that
    the interval has a positive width even for a user without a difference (Agresti and Min 2005, doi 10.1002/sim.1781).
    Since comparisons have weights, their effective number is used: 1 / (sum of the squared shares).
    """
    gain, discordant = sample.by_user(np.stack([own - shared, np.square(own - shared)], axis=1)).T
    n = 1 / np.bincount(sample.user, weights=sample.share**2)
    middle = gain * n / (n + 2)
    moved = (discordant * n + 1) / (n + 2)
    reach = _NORMAL_95 * np.sqrt(np.maximum(moved - middle**2, 0) / (n + 2))
    return gain, np.maximum(middle - reach, -1), np.minimum(middle + reach, 1)


def _comparisons_per_user(predictions: Predictions, split: str) -> dict[str, int]:
    if split not in predictions.pairs:
        return {}
    counts = np.bincount(predictions.samples[split].user).tolist()
    return dict(zip(predictions.pairs[split].user_ids, counts, strict=True))


def _positions(predictions: Predictions, rank: int) -> dict[str, tuple[float, float]]:
    """Return each user's coordinates on the two leading personal axes; no users if there are fewer axes."""
    model = predictions.models[rank]
    if not predictions.pairs or model.basis.shape[1] < 2 or len(model.user_ids) < 3:
        return {}
    pairs = next(iter(predictions.pairs.values()))
    found = personal_axes(model, project(pairs, model.basis)).positions
    if found.shape[1] < 2:
        return {}
    return {user: (x, y) for user, (x, y) in zip(model.user_ids, found[:, :2].tolist(), strict=True)}


def agreement(predictions: Predictions) -> Agreement:
    """Measure how often two users agree: in their comparisons, and in what their weights predict at the focus rank."""
    return Agreement(_agreement_of_comparisons(predictions.data), _agreement_of_models(predictions))


def _agreement_of_comparisons(data: Splits[EmbeddedPreferences]) -> ComparisonAgreement | None:
    """Measure how often two users who compared the same two responses preferred the same one.

    Two comparisons by the same user are not counted. Return None if no two users compared the same two responses.
    """
    filled = [part for split in SPLITS if len(part := getattr(data, split))]
    chosen, rejected = (np.concatenate(ends) for ends in zip(*(part.rows() for part in filled), strict=True))
    # Number the unordered pairs of responses (`pair`), the users, and the combinations of both (`meeting`).
    low, high = np.minimum(chosen, rejected), np.maximum(chosen, rejected)
    _, pair = np.unique(low * (high.max() + 1) + high, return_inverse=True)
    index: dict[str, int] = {}
    columns = []
    for part in filled:
        user_ids, user = part.index_users()
        columns.append(np.array([index.setdefault(user_id, len(index)) for user_id in user_ids])[user])
    user = np.concatenate(columns)
    meetings, meeting = np.unique(pair * len(index) + user, return_inverse=True)
    # All pairs of comparisons of the same responses, minus those in which both comparisons are by the same user.
    same, n_compared = _count_equal(pair, chosen == low) - _count_equal(meeting, chosen == low)
    if not n_compared:
        return None
    # Count the pairs that two users or more compared. The division inverts the numbering of combinations above, so that
    # it gives the pair.
    shared = np.bincount(meetings // len(index)) > 1
    return ComparisonAgreement(float(same / n_compared), int(n_compared), int(shared.sum()))


def _count_equal(group: Ints, first: Bools) -> Floats:
    """Return how many pairs of comparisons within groups have the same outcome, and how many pairs there are."""
    n, ones = np.bincount(group), np.bincount(group, weights=first)
    return np.array([(ones * (ones - 1) + (n - ones) * (n - ones - 1)).sum() / 2, (n * (n - 1)).sum() / 2])


def _agreement_of_models(predictions: Predictions) -> ModelAgreement | None:
    """Average the agreement over test comparisons and pairs of users; None if the focus rank is 0 or 1."""
    rank = predictions.focus_rank
    model = predictions.models[rank]
    pairs = next((predictions.pairs[split] for split in TEST_SPLITS if split in predictions.pairs), None)
    n = len(model.user_ids)
    if rank < 2 or n < 2 or pairs is None:
        return None
    projected = project(pairs, model.basis)
    some = torch.linspace(0, len(projected) - 1, min(len(projected), _MAX_COMPARED)).long()
    # For each comparison, the number of users whose weights prefer the chosen response, and the number with a tie.
    ahead, tied = torch.zeros(2, len(some), dtype=torch.float64)
    for weights in torch.split(model.weights, _BLOCK_USERS):
        margin = projected[some] @ weights.t()
        ahead += (margin > 0).double().sum(dim=1)
        tied += (margin == 0).double().sum(dim=1)
    behind = n - ahead - tied
    # A pair of users counts one half if at least one of them has a tie.
    half = tied * (ahead + behind) + tied * (tied - 1) / 2
    same = (ahead * (ahead - 1) + behind * (behind - 1) + half) / (n * (n - 1))
    return ModelAgreement(rank, float(same.mean()), n)

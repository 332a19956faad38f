"""Who gains: each test user's accuracy less that of the shared direction; and how far people agree at all."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from lorerm.data.schema import TEST_SPLITS
from lorerm.evaluation.axes import personal_axes
from lorerm.evaluation.measured import OWN

if TYPE_CHECKING:
    from lorerm.evaluation.accuracy import Cell
    from lorerm.evaluation.measured import Measured

    Floats = np.ndarray[Any, np.dtype[np.float64]]
    Ints = np.ndarray[Any, np.dtype[np.int64]]

_NORMAL_95 = 1.959963984540054
# Pairs of responses on which all users' rewards are compared: enough for a share to three digits.
_COMPARED = 4000


def gains_of_users(measured: Measured) -> dict[str, Any]:
    """Return each test user's gain over the shared direction, at the rank in focus.

    Rank 1 is its own shared direction, so that without a personal rank nobody gains.

    Returns
    -------
    dict
        By cell the gains alone, and under `users` who they belong to: `user_id`, `n_answers` (that the weights were
        fitted to), `n_pairs`, `gain`, `ci95`, and `place` on the two leading personal axes (None where
        there are not two).
    """
    rank = measured.focus_rank
    gains: dict[str, Any] = {"rank": rank, "against": "shared_direction"}
    rows: list[dict[str, Any]] = []
    places = _map(measured, rank)
    for name in TEST_SPLITS:
        cell = measured.cells[name]
        own, shared = measured.right.get((rank, name, OWN)), measured.right.get((rank, name, "shared_direction"))
        if cell is None or own is None or shared is None:
            gains[name] = []
            continue
        gain, low, high = _intervals(own, shared, cell)
        gains[name] = gain.tolist()
        answers = _answers(measured.cells[name.replace("test", "train")])
        n_pairs = np.bincount(cell.sample.user)
        for i, user in enumerate(cell.user_ids):
            rows.append(
                {
                    "user_id": user,
                    "cell": name,
                    "n_answers": answers.get(user, 0),
                    "n_pairs": int(n_pairs[i]),
                    "gain": float(gain[i]),
                    "ci95": [float(low[i]), float(high[i])],
                    "place": places.get(user),
                }
            )
    return {**gains, "users": rows}


def _intervals(own: Floats, shared: Floats, cell: Cell) -> tuple[Floats, Floats, Floats]:
    """Return each user's gain and its 95% interval, by Agresti and Min's adjusted interval for paired shares.

    Half a pair is added to each of the four outcomes (both right, one, the other, none), so that a user with few pairs
    and no difference has an interval, too (Agresti and Min 2005, doi 10.1002/sim.1781). Weighted pairs count as their
    effective number.
    """
    sample = cell.sample
    found = sample.by_user(np.stack([own - shared, np.abs(own - shared)], axis=1))
    gain, discordant = found.T
    n = 1 / np.bincount(sample.user, weights=sample.share**2)
    middle = gain * n / (n + 2)
    moved = (discordant * n + 1) / (n + 2)
    reach = _NORMAL_95 * np.sqrt(np.maximum(moved - middle**2, 0) / (n + 2))
    return gain, np.maximum(middle - reach, -1), np.minimum(middle + reach, 1)


def _answers(cell: Cell | None) -> dict[str, int]:
    """Return how many answers each user's weights were fitted to."""
    if cell is None:
        return {}
    return dict(zip(cell.user_ids, np.bincount(cell.sample.user).tolist(), strict=True))


def _map(measured: Measured, rank: int) -> dict[str, list[float]]:
    """Return each user's place on the two leading personal axes; empty where there are not two."""
    model = measured.models[rank]
    cell = next((found for found in measured.cells.values() if found is not None), None)
    if cell is None or model.basis.shape[1] < 2 or len(model.user_ids) < 3:
        return {}
    places = personal_axes(model, cell.project(model.basis)).places
    if places.shape[1] < 2:
        return {}
    return dict(zip(model.user_ids, places[:, :2].tolist(), strict=True))


def agreement(measured: Measured) -> dict[str, Any]:
    """Return how often people agree: their choices where two judged the same pair, and their models on all pairs.

    Returns
    -------
    dict
        `choices`: `share` of two users' choices on the same two responses that are the same, `n_compared` such twos,
        `n_response_pairs`; None where no pair has two users. `models`: `share` of pairs on which two users' own
        weights prefer the same response, at `rank`; None at rank 1 and below.
    """
    return {"choices": _agreement_of_choices(measured), "models": _agreement_of_models(measured)}


def _agreement_of_choices(measured: Measured) -> dict[str, Any] | None:
    """Count over unordered pairs of responses: two users agree where both chose the same one.

    What one user answers again says nothing of two.
    """
    cells = [cell for cell in measured.cells.values() if cell is not None]
    if not cells:
        return None
    chosen, rejected = (np.concatenate([cell.rows[end] for cell in cells]) for end in (0, 1))
    low, high = np.minimum(chosen, rejected), np.maximum(chosen, rejected)
    _, pair = np.unique(low * (high.max() + 1) + high, return_inverse=True)
    place: dict[str, int] = {}
    for cell in cells:
        for user_id in cell.user_ids:
            place.setdefault(user_id, len(place))
    user = np.concatenate([np.array([place[user_id] for user_id in cell.user_ids])[cell.sample.user] for cell in cells])
    meetings, meeting = np.unique(pair * len(place) + user, return_inverse=True)
    same, twos = _alike(pair, chosen == low) - _alike(meeting, chosen == low)
    if not twos:
        return None
    shared = np.bincount(meetings // len(place)) > 1
    return {"share": float(same / twos), "n_compared": int(twos), "n_response_pairs": int(shared.sum())}


def _alike(group: Ints, first: np.ndarray[Any, np.dtype[np.bool_]]) -> Floats:
    """Return how many twos of choices within groups are the same, and how many twos there are."""
    n, ones = np.bincount(group), np.bincount(group, weights=first)
    return np.array([(ones * (ones - 1) + (n - ones) * (n - ones - 1)).sum() / 2, (n * (n - 1)).sum() / 2])


def _agreement_of_models(measured: Measured) -> dict[str, Any] | None:
    rank = measured.focus_rank
    model = measured.models[rank]
    cell = next((measured.cells[name] for name in TEST_SPLITS if measured.cells[name] is not None), None)
    n = len(model.user_ids)
    if rank < 2 or n < 2 or cell is None:
        return None
    projected = cell.project(model.basis)
    some = torch.linspace(0, len(projected) - 1, min(len(projected), _COMPARED)).long()
    ahead = torch.zeros(len(some), dtype=torch.float64)
    for weights in torch.split(model.weights, 4096):
        ahead += (projected[some] @ weights.t() > 0).double().sum(dim=1)
    same = (ahead * (ahead - 1) + (n - ahead) * (n - ahead - 1)) / (n * (n - 1))
    return {"rank": rank, "share": float(same.mean()), "n_users": n}

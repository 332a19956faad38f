"""What the axes of a model mean: the responses they rank highest and lowest, plain properties, the reference head.

A basis of free weights is one of many that span the same rewards, so that single columns mean nothing. Shown are the
shared direction (the population's weights) and the axes along which users differ most in what it leaves over: their
rewards are uncorrelated with the shared ones, and with each other over users; the widest comes first. A basis whose
weights stand on the simplex has columns of its own, and these are shown.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import torch

from lorerm.evaluation.properties import PROPERTIES, properties
from lorerm.training.pairs import PackedPairs

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from lorerm.embedding.embedded_preferences import EmbeddedPreferences
    from lorerm.model.reward_model import LowRankRewardModel

    Floats = np.ndarray[Any, np.dtype[np.float64]]
    Ints = np.ndarray[Any, np.dtype[np.int64]]

# Comparisons that correlations and the metric of rewards are taken over: enough for two digits.
_COMPARED = 20_000
_EXTREMES = 3
_LONGEST_TEXT = 600


def describe_axes(
    model: LowRankRewardModel,
    data: EmbeddedPreferences,
    text_of: Callable[[Sequence[int]], Sequence[tuple[str, str]]] | None = None,
    others: Mapping[int, LowRankRewardModel] | None = None,
) -> list[dict[str, Any]]:
    """Describe each axis of a model.

    Parameters
    ----------
    model
        The model whose axes are shown.
    data
        All comparisons in use; rewards are compared within them.
    text_of
        Gives for indices of comparisons of `data` the texts of the chosen and of the rejected response; None where
        there are no texts.
    others
        Models of the same rank from other seeds, by seed, on the same responses.

    Returns
    -------
    list of dict
        `name`, `share` (of the variance of users' rewards, on the simplex the mean weight; None for the shared
        direction), `properties` (`name`,
        `correlation`, strongest first) and `highest`, `lowest` (texts) where there are texts, `reference_cosine`, and
        `stability` (`mean`, `lowest` over seeds of the correlation with the nearest axis in the space of the other
        model).
    """
    sample = _Sample.of(data)
    directions, names, shares = _axes(model, sample)
    along = sample.along(directions)
    found: list[dict[str, Any]] = [
        {"name": name, "share": share, "properties": None, "highest": None, "lowest": None} for name, share in
        zip(names, shares, strict=True)
    ]  # fmt: skip
    if text_of is not None:
        _add_texts(found, along.numpy(), text_of(sample.rows.tolist()))
    for axis, entry in enumerate(found):
        entry["reference_cosine"] = None
        if model.reference is not None:
            head = model.reference.double()
            entry["reference_cosine"] = float(torch.nn.functional.cosine_similarity(directions[:, axis], head, dim=0))
        entry["stability"] = _stability(along[:, axis], sample, others or {}, shared=entry["share"] is None)
    return found


class _Sample(NamedTuple):
    """Some comparisons, whose rewards are looked at."""

    rows: Ints
    """[m]: which of the data's"""
    pairs: PackedPairs

    @classmethod
    def of(cls, data: EmbeddedPreferences) -> _Sample:
        rows = np.linspace(0, len(data) - 1, min(len(data), _COMPARED)).astype(np.int64)
        return cls(rows, PackedPairs.pack(data.select(rows)))

    def along(self, directions: torch.Tensor) -> torch.Tensor:
        """Return float64 [m, A]: the differences along directions [D, A], in the order of `rows`."""
        projected = self.pairs.project(directions.float().t().contiguous()).double()
        found = torch.empty_like(projected)
        found[torch.from_numpy(self.pairs.order)] = projected
        return found


class PersonalAxes(NamedTuple):
    """Where users stand along the axes that they differ in most."""

    columns: torch.Tensor
    """[K, A]: the axes in the coordinates of the basis, so that basis @ columns are directions"""
    places: torch.Tensor
    """[N, A]: the users, in units of the spread of their rewards along the first axis"""
    share: torch.Tensor
    """[A]: of the variance of users' rewards"""


def personal_axes(model: LowRankRewardModel, projected: torch.Tensor) -> PersonalAxes:
    """Return the axes along which users' rewards differ most, beside the shared direction where weights are free.

    Parameters
    ----------
    model
        With two users or more.
    projected
        [n, K]: differences between responses along the basis: distances between weights are measured as distances
        between the rewards of these.
    """
    z = projected.double()
    variance, vectors = torch.linalg.eigh(z.t() @ z / len(z))
    kept = variance > variance.max() * 1e-12
    root, unroot = vectors[:, kept] * variance[kept].sqrt(), vectors[:, kept] / variance[kept].sqrt()
    weights = model.weights.double()
    spread = (weights - weights.mean(dim=0)) @ root
    if model.weight_space == "free":
        shared = model.population_weights.double() @ root
        shared = shared / shared.norm().clamp_min(1e-300)
        spread = spread - (spread @ shared)[:, None] * shared
    _, values, axes = torch.linalg.svd(spread, full_matrices=False)
    real = values > values.max().clamp_min(1e-12) * 1e-6
    axes, values = axes[real], values[real]
    columns = unroot @ axes.t()
    # The sign of an axis means nothing; that which more of the choices favour repeats.
    sign = torch.where((z @ columns).mean(dim=0) < 0, -1.0, 1.0)
    scale = values[0] / len(spread) ** 0.5 if len(values) else 1.0
    return PersonalAxes(columns * sign, spread @ axes.t() * sign / scale, values**2 / (values**2).sum())


def _axes(model: LowRankRewardModel, sample: _Sample) -> tuple[torch.Tensor, list[str], list[float | None]]:
    """Return the directions [D, A] with their names and shares of the variance over users."""
    basis = model.basis.double()
    if model.weight_space == "simplex" and basis.shape[1] > 1:
        shares = model.weights.double().mean(dim=0).tolist()
        return basis, [f"direction {k}" for k in range(1, basis.shape[1] + 1)], shares
    shared = basis @ model.population_weights.double()
    if basis.shape[1] < 2 or len(model.weights) < 2:
        return shared[:, None], ["shared direction"], [None]
    found = personal_axes(model, sample.along(basis))
    names = [f"personal axis {k}" for k in range(1, len(found.share) + 1)]
    directions = torch.cat([shared[:, None], basis @ found.columns], dim=1)
    return directions, ["shared direction", *names], [None, *found.share.tolist()]


def _add_texts(
    found: list[dict[str, Any]],
    along: Floats,
    texts: Sequence[tuple[str, str]],
) -> None:
    """Add the correlations with plain properties, and the responses at both ends.

    Both are about differences between two responses to one prompt: what the prompt alone brings about stays out.
    """
    distinct = list(dict.fromkeys(text for pair in texts for text in pair))
    counted = dict(zip(distinct, properties(distinct), strict=True))
    moved = np.array([counted[chosen] - counted[rejected] for chosen, rejected in texts])
    for axis, entry in enumerate(found):
        rows = []
        for place, name in enumerate(PROPERTIES):
            correlation = _correlation(along[:, axis], moved[:, place])
            if correlation is not None:
                rows.append({"name": name, "correlation": correlation})
        entry["properties"] = sorted(rows, key=lambda row: -abs(row["correlation"]))
        # Per pair the response that is ahead and the one that is behind, the widest gaps first, each text once.
        order = np.argsort(-np.abs(along[:, axis]), kind="stable")
        ahead: list[str] = []
        behind: list[str] = []
        for i in order:
            better, worse = texts[i] if along[i, axis] > 0 else texts[i][::-1]
            if better not in ahead and worse not in behind:
                ahead.append(better)
                behind.append(worse)
            if len(ahead) == _EXTREMES:
                break
        entry["highest"], entry["lowest"] = [_shortened(text) for text in ahead], [_shortened(text) for text in behind]


def _shortened(text: str) -> str:
    """Return a text as it begins: enough to see what kind of text it is."""
    return text if len(text) <= _LONGEST_TEXT else text[:_LONGEST_TEXT].rsplit(maxsplit=1)[0] + " ..."


def _correlation(one: Floats, other: Floats) -> float | None:
    """Return the correlation of differences, whose signs could all be turned: about 0 and not about their means."""
    norm = np.sqrt((one**2).sum() * (other**2).sum())
    return float((one * other).sum() / norm) if norm > 0 else None


def _stability(
    along: torch.Tensor, sample: _Sample, others: Mapping[int, LowRankRewardModel], *, shared: bool
) -> dict[str, Any] | None:
    """Return how near other seeds' models come to this axis, as correlations of rewards.

    For the shared direction it is that with the other's shared direction; for a personal axis, whose order can change,
    that with the nearest direction in the span of the other's basis.
    """
    found = []
    for model in others.values():
        theirs = sample.along(model.basis)
        nearest = theirs @ model.population_weights.double()
        if not shared:
            nearest = theirs @ torch.linalg.lstsq(theirs, along[:, None], driver="gelsd").solution[:, 0]
        norm = float(along.norm() * nearest.norm())
        found.append(float(along @ nearest) / norm if norm > 0 else 0.0)
    return {"mean": float(np.mean(found)), "lowest": min(found), "n_seeds": len(found)} if found else None

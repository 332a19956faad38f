"""Meaning of a model's axes: texts at both ends, countable properties, the reference head, other seeds.

A basis of free weights is one of many that span the same rewards, so that its single columns mean nothing. Shown
instead are the shared direction (the population's weights) and the axes along which users' rewards differ most once the
shared rewards are projected out. Along these axes rewards are uncorrelated with the shared ones and, over users, with
each other; the axis with the largest variance comes first. If the weights are on the simplex, the columns of the basis
have a meaning of their own, and they are shown.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
import torch

from lorerm.embedding.text_patterns import (
    CONTRACTION,
    EXCLAMATION,
    FIRST_PERSON,
    HEDGES,
    LIST_ITEM,
    QUESTION,
    REASONS,
    SECOND_PERSON,
    SENTENCE_END,
    WORD,
    any_of,
)
from lorerm.evaluation.predictions import project
from lorerm.evaluation.report import Axis, Stability, TextProperty
from lorerm.training.pairs import PackedPairs

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from lorerm.arrays import Floats, Ints
    from lorerm.embedding.embedded_preferences import EmbeddedPreferences
    from lorerm.model.reward_model import LowRankRewardModel


# Comparisons that correlations and the metric of rewards are taken over: enough for two digits.
_MOST_COMPARED = 20_000
_N_EXTREMES = 3
_MOST_CHARACTERS = 600

# Counted per hundred words.
_COUNTED = {
    "list items": LIST_ITEM,
    "headings and bold": re.compile(r"^[ \t]*#+\s|\*\*[^*\n]+\*\*", re.MULTILINE),
    "code": re.compile(r"```|`[^`\n]+`"),
    "hedges": any_of(*HEDGES, "likely", "generally"),
    "certainty": any_of("always", "never", "certainly", "definitely", "clearly", "obviously", "must", "undoubtedly"),
    "questions": QUESTION,
    "exclamations": EXCLAMATION,
    "politeness": any_of("please", "thanks?", "thank you", "sorry", "glad", "happy to", "welcome", "kindly"),
    "refusals": re.compile(r"\b(?:i (?:can't|cannot|won't|am unable|am sorry)|i'm (?:sorry|unable)|as an ai)\b", re.I),
    "first person": FIRST_PERSON,
    "second person": SECOND_PERSON,
    "contractions": CONTRACTION,
    "examples": any_of("for example", "for instance", "e\\.g", "such as"),
    "reasons": any_of(*REASONS),
    "numbers": re.compile(r"\d+"),
    "negations": re.compile(r"\b(?:not|no|nor|none)\b|n't\b", re.IGNORECASE),
}
TEXT_PROPERTIES = ("length", "paragraphs", "word length", "sentence length", *_COUNTED)


def describe_axes(
    model: LowRankRewardModel,
    data: EmbeddedPreferences,
    text_of: Callable[[Sequence[int]], Sequence[tuple[str, str]]] | None = None,
    others: Mapping[int, LowRankRewardModel] | None = None,
) -> tuple[Axis, ...]:
    """Describe each axis of a model.

    Parameters
    ----------
    model
        The model whose axes are shown.
    data
        All comparisons in use; rewards are compared within them.
    text_of
        A function that returns, for indices of comparisons of `data`, the texts of the chosen and of the rejected
        response; None where there are no texts.
    others
        Models of the same rank from other seeds, by seed, on the same responses.
    """
    sample = _Sample.of(data)
    directions = _directions(model, sample)
    along = sample.along(directions.columns)
    texts = None if text_of is None else _Texts.of(text_of(sample.rows.tolist()))
    found = []
    for axis, (name, share) in enumerate(zip(directions.names, directions.shares, strict=True)):
        column = along[:, axis]
        highest, lowest = (None, None) if texts is None else texts.extremes(column.numpy())
        cosine = None
        if model.reference is not None:
            head = model.reference.double()
            cosine = float(torch.nn.functional.cosine_similarity(directions.columns[:, axis], head, dim=0))
        found.append(
            Axis(
                name=name,
                share=share,
                properties=None if texts is None else texts.properties(column.numpy()),
                highest=highest,
                lowest=lowest,
                reference_cosine=cosine,
                stability=_stability(column, sample, others or {}, shared=share is None),
            )
        )
    return tuple(found)


class _Sample(NamedTuple):
    """Some comparisons, and which of the data's they are (int64 [m])."""

    rows: Ints
    pairs: PackedPairs

    @classmethod
    def of(cls, data: EmbeddedPreferences) -> _Sample:
        rows = np.linspace(0, len(data) - 1, min(len(data), _MOST_COMPARED)).astype(np.int64)
        return cls(rows, PackedPairs.pack(data.select(rows)))

    def along(self, directions: torch.Tensor) -> torch.Tensor:
        """Return float64 [m, A]: the differences along directions [D, A], in the order of `rows`."""
        projected = project(self.pairs, directions.float()).double()
        found = torch.empty_like(projected)
        found[torch.from_numpy(self.pairs.order)] = projected
        return found


class PersonalAxes(NamedTuple):
    """The axes along which users' rewards differ most, and the users' positions on them."""

    columns: torch.Tensor
    """[K, A]: the axes in the coordinates of the basis, so that basis @ columns are directions"""
    positions: torch.Tensor
    """[N, A]: the users, in units of the standard deviation of their rewards along the first axis"""
    share: torch.Tensor
    """[A]: share of the variance of users' rewards"""


def personal_axes(model: LowRankRewardModel, projected: torch.Tensor) -> PersonalAxes:
    """Return the axes along which users' rewards differ most, beside the shared direction where weights are free.

    Parameters
    ----------
    model
        With two users or more.
    projected
        [n, K]: differences between responses along the basis. The distance between two users' weights is measured as
        the distance between their rewards of these.
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
    # The sign of an axis has no meaning; the one with more positive comparisons is reproducible.
    sign = torch.where((z @ columns).mean(dim=0) < 0, -1.0, 1.0)
    scale = values[0] / len(spread) ** 0.5 if len(values) else 1.0
    return PersonalAxes(columns * sign, spread @ axes.t() * sign / scale, values**2 / (values**2).sum())


class _Directions(NamedTuple):
    columns: torch.Tensor
    """[D, A]"""
    names: list[str]
    shares: list[float | None]
    """of the variance over users; None for the shared direction"""


def _directions(model: LowRankRewardModel, sample: _Sample) -> _Directions:
    basis = model.basis.double()
    if model.weight_space == "simplex" and basis.shape[1] > 1:
        shares = model.weights.double().mean(dim=0).tolist()
        return _Directions(basis, [f"direction {k}" for k in range(1, basis.shape[1] + 1)], shares)
    shared = basis @ model.population_weights.double()
    if basis.shape[1] < 2 or len(model.weights) < 2:
        return _Directions(shared[:, None], ["shared direction"], [None])
    found = personal_axes(model, sample.along(basis))
    names = [f"personal axis {k}" for k in range(1, len(found.share) + 1)]
    columns = torch.cat([shared[:, None], basis @ found.columns], dim=1)
    return _Directions(columns, ["shared direction", *names], [None, *found.share.tolist()])


@dataclass(frozen=True, eq=False)
class _Texts:
    """Texts of the chosen and the rejected response of m comparisons.

    Properties and extremes are about differences between two responses to one prompt, so that effects of the prompt
    alone cancel.
    """

    pairs: Sequence[tuple[str, str]]
    moved: Floats
    """[m, P]: properties of the chosen minus those of the rejected response"""

    @classmethod
    def of(cls, pairs: Sequence[tuple[str, str]]) -> _Texts:
        distinct = list(dict.fromkeys(text for pair in pairs for text in pair))
        counted = dict(zip(distinct, text_properties(distinct), strict=True))
        return cls(pairs, np.array([counted[chosen] - counted[rejected] for chosen, rejected in pairs]))

    def properties(self, along: Floats) -> tuple[TextProperty, ...]:
        """Return the correlations with the properties, strongest first; `along` [m] are differences of rewards."""
        rows = []
        for name, moved in zip(TEXT_PROPERTIES, self.moved.T, strict=True):
            # About 0 and not about the means: the sign of every difference could be turned.
            norm = np.sqrt((along**2).sum() * (moved**2).sum())
            if norm > 0:
                rows.append(TextProperty(name, float((along * moved).sum() / norm)))
        return tuple(sorted(rows, key=lambda row: -abs(row.correlation)))

    def extremes(self, along: Floats) -> tuple[tuple[str, ...], tuple[str, ...]]:
        """Return the better and the worse responses of the comparisons with the widest differences, each text once."""
        better: list[str] = []
        worse: list[str] = []
        for i in np.argsort(-np.abs(along), kind="stable"):
            high, low = self.pairs[i] if along[i] > 0 else self.pairs[i][::-1]
            if high not in better and low not in worse:
                better.append(high)
                worse.append(low)
            if len(better) == _N_EXTREMES:
                break
        return tuple(map(_shortened, better)), tuple(map(_shortened, worse))


def text_properties(texts: Sequence[str]) -> Floats:
    """Return float64 [n, P]: the properties of each text, columns as `TEXT_PROPERTIES`.

    Lengths are logarithms of the numbers of words and of paragraphs; word length is in letters, sentence length the
    logarithm of words per sentence; all others are counts per hundred words.
    """
    return np.array([_count_properties(text) for text in texts], dtype=np.float64).reshape(-1, len(TEXT_PROPERTIES))


def _count_properties(text: str) -> list[float]:
    words = WORD.findall(text)
    n_words = max(1, len(words))
    n_sentences = max(1, len(SENTENCE_END.findall(text)))
    n_paragraphs = max(1, len(re.findall(r"\n+", text.strip())) + 1)
    return [
        float(np.log1p(len(words))),
        float(np.log(n_paragraphs)),
        sum(map(len, words)) / n_words,
        float(np.log(n_words / n_sentences)),
        *(100 * len(pattern.findall(text)) / n_words for pattern in _COUNTED.values()),
    ]


def _shortened(text: str) -> str:
    if len(text) <= _MOST_CHARACTERS:
        return text
    return text[:_MOST_CHARACTERS].rsplit(maxsplit=1)[0] + " ..."


def _stability(
    along: torch.Tensor, sample: _Sample, others: Mapping[int, LowRankRewardModel], *, shared: bool
) -> Stability | None:
    """Return the correlation of an axis's rewards with those of other seeds' models; None without others.

    The shared direction is compared with the other's shared direction. The order of personal axes can change, so that
    one is compared with the nearest direction in the span of the other's basis.
    """
    found = []
    for model in others.values():
        theirs = sample.along(model.basis)
        nearest = theirs @ model.population_weights.double()
        if not shared:
            nearest = theirs @ torch.linalg.lstsq(theirs, along[:, None], driver="gelsd").solution[:, 0]
        norm = float(along.norm() * nearest.norm())
        found.append(float(along @ nearest) / norm if norm > 0 else 0.0)
    return Stability(float(np.mean(found)), min(found), len(found)) if found else None

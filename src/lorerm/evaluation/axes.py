"""Description of the axes of a model: what all users' rewards share, and how users' rewards differ.

Each axis is described by responses with extreme rewards, by correlations with properties of texts, by the cosine with
the reference head (the encoder's own reward head), and by its stability over seeds.

If the weights are free, a single column of the basis has no meaning, because many bases give the same rewards. The axes
are then:

- the shared direction: the basis times the population weights (the prior mean);
- the personal axes: the directions along which users' rewards differ most after the shared rewards are projected out.
  Rewards along a personal axis are uncorrelated with the shared rewards, and users' coordinates on two personal axes
  are uncorrelated. The axis with the largest variance over users comes first.

If the weights are on the simplex, the columns of the basis have a meaning, and they are the axes.
"""

from __future__ import annotations

import re
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


# Maximum number of comparisons for correlations and variances of rewards: enough for two digits.
_MAX_COMPARED = 20_000
# Number of texts shown at each end of an axis, and the number of characters to which a text is cut.
_N_EXTREMES = 3
_MAX_CHARACTERS = 600

# Properties of texts that are counted per hundred words, with their patterns.
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
    """Describe each axis of a model by its rewards on the comparisons of a data set.

    Parameters
    ----------
    model
        The model to describe.
    data
        The comparisons whose rewards are correlated with properties of their texts.
    text_of
        A function that returns, for indices of comparisons of `data`, the texts of the chosen and of the rejected
        response; None if the texts are unknown.
    others
        Models of the same rank that were trained with other seeds on the same embeddings, by seed.
    """
    sample = _Sample.of(data)
    names, shares, directions = _directions(model, sample)
    along = sample.along(directions)
    texts = None if text_of is None else text_of(sample.rows.tolist())
    moved = None if texts is None else _property_differences(texts)
    found = []
    for axis, (name, share) in enumerate(zip(names, shares, strict=True)):
        column = along[:, axis]
        highest, lowest = (None, None) if texts is None else _extremes(texts, column.numpy())
        cosine = None
        if model.reference is not None:
            head = model.reference.double()
            cosine = float(torch.nn.functional.cosine_similarity(directions[:, axis], head, dim=0))
        found.append(
            Axis(
                name=name,
                share=share,
                properties=None if moved is None else _correlations(moved, column.numpy()),
                highest=highest,
                lowest=lowest,
                reference_cosine=cosine,
                stability=_stability(column, sample, others or {}, shared=share is None),
            )
        )
    return tuple(found)


class _Sample(NamedTuple):
    """Evenly spaced comparisons of a data set, at most `_MAX_COMPARED`."""

    rows: Ints
    """int64 [m]: indices of the comparisons in the data set"""
    pairs: PackedPairs

    @classmethod
    def of(cls, data: EmbeddedPreferences) -> _Sample:
        rows = np.linspace(0, len(data) - 1, min(len(data), _MAX_COMPARED)).astype(np.int64)
        return cls(rows, PackedPairs.pack(data.select(rows)))

    def along(self, directions: torch.Tensor) -> torch.Tensor:
        """Return float64 [m, A]: rewards of chosen minus rejected along directions [D, A], in the order of `rows`."""
        projected = project(self.pairs, directions.float()).double()
        found = torch.empty_like(projected)
        # Packed comparisons are grouped by user; `order` has the index of each in `rows`.
        found[torch.from_numpy(self.pairs.order)] = projected
        return found


def _directions(model: LowRankRewardModel, sample: _Sample) -> tuple[list[str], list[float | None], torch.Tensor]:
    """Return the names of the axes, their shares (None for the shared direction) and their directions [D, A]."""
    basis = model.basis.double()
    if model.weight_space == "simplex" and basis.shape[1] > 1:
        names = [f"direction {k}" for k in range(1, basis.shape[1] + 1)]
        return names, model.weights.double().mean(dim=0).tolist(), basis
    shared = basis @ model.population_weights.double()
    if basis.shape[1] < 2 or len(model.weights) < 2:
        return ["shared direction"], [None], shared[:, None]
    found = personal_axes(model, sample.along(basis))
    names = ["shared direction", *(f"personal axis {k}" for k in range(1, len(found.share) + 1))]
    return names, [None, *found.share.tolist()], torch.cat([shared[:, None], basis @ found.columns], dim=1)


class PersonalAxes(NamedTuple):
    """The axes along which users' rewards differ most, and the users' coordinates on them."""

    columns: torch.Tensor
    """[K, A]: the axes in coordinates of the basis; basis @ columns [D, A] are their directions"""
    positions: torch.Tensor
    """[N, A]: coordinates of the users, in standard deviations of users along the first axis"""
    share: torch.Tensor
    """[A]: share of each axis in the variance of rewards between users"""


def personal_axes(model: LowRankRewardModel, projected: torch.Tensor) -> PersonalAxes:
    """Find the axes along which users' rewards differ most, orthogonal to the shared direction if weights are free.

    The model must have two users or more. `projected` [n, K] has, for n comparisons, the reward of the chosen response
    minus that of the rejected one along each column of the basis. The distance between two users is the distance
    between their n reward differences.
    """
    z = projected.double()
    variance, vectors = torch.linalg.eigh(z.t() @ z / len(z))
    kept = variance > variance.max() * 1e-12
    # The distance between two rows of weights @ root is the distance between the users' reward differences. `unroot`
    # inverts `root`.
    root, unroot = vectors[:, kept] * variance[kept].sqrt(), vectors[:, kept] / variance[kept].sqrt()
    weights = model.weights.double()
    spread = (weights - weights.mean(dim=0)) @ root
    if model.weight_space == "free":
        shared = model.population_weights.double() @ root
        shared = shared / shared.norm().clamp_min(1e-300)
        spread = spread - (spread @ shared)[:, None] * shared
    _, values, axes = torch.linalg.svd(spread, full_matrices=False)
    real = values > max([1e-12, *values.tolist()]) * 1e-6
    axes, values = axes[real], values[real]
    columns = unroot @ axes.t()
    # The sign of an axis is arbitrary. A positive mean over comparisons makes it reproducible.
    sign = torch.where((z @ columns).mean(dim=0) < 0, -1.0, 1.0)
    scale = values[0] / len(spread) ** 0.5 if len(values) else 1.0
    return PersonalAxes(columns * sign, spread @ axes.t() * sign / scale, values**2 / (values**2).sum())


def _property_differences(texts: Sequence[tuple[str, str]]) -> Floats:
    """Return [m, P]: properties of each chosen response minus those of the rejected one.

    Effects that depend only on the prompt cancel in these differences.
    """
    distinct = list(dict.fromkeys(text for pair in texts for text in pair))
    counted = dict(zip(distinct, text_properties(distinct), strict=True))
    return np.array([counted[chosen] - counted[rejected] for chosen, rejected in texts])


def _correlations(moved: Floats, along: Floats) -> tuple[TextProperty, ...]:
    """Return the correlations of reward differences [m] with property differences [m, P], the strongest first."""
    rows = []
    for name, column in zip(TEXT_PROPERTIES, moved.T, strict=True):
        # Moments are about 0, not about the means, because the sign of a difference depends on the responses' order.
        norm = np.sqrt((along**2).sum() * (column**2).sum())
        if norm > 0:
            rows.append(TextProperty(name, float((along * column).sum() / norm)))
    return tuple(sorted(rows, key=lambda row: -abs(row.correlation)))


def _extremes(texts: Sequence[tuple[str, str]], along: Floats) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Return the better and the worse responses in the comparisons whose rewards differ most, each text once."""
    better: list[str] = []
    worse: list[str] = []
    for i in np.argsort(-np.abs(along), kind="stable"):
        high, low = texts[i] if along[i] > 0 else texts[i][::-1]
        if high not in better and low not in worse:
            better.append(high)
            worse.append(low)
        if len(better) == _N_EXTREMES:
            break
    return tuple(map(_shortened, better)), tuple(map(_shortened, worse))


def _shortened(text: str) -> str:
    return text if len(text) <= _MAX_CHARACTERS else text[:_MAX_CHARACTERS].rsplit(maxsplit=1)[0] + " ..."


def text_properties(texts: Sequence[str]) -> Floats:
    """Return float64 [n, P]: the properties of each text, one column for each of `TEXT_PROPERTIES`.

    - `length`: logarithm of 1 + the number of words;
    - `paragraphs`: logarithm of the number of paragraphs;
    - `word length`: mean number of letters per word;
    - `sentence length`: logarithm of the number of words per sentence;
    - all others: counts per hundred words.
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


def _stability(
    along: torch.Tensor, sample: _Sample, others: Mapping[int, LowRankRewardModel], *, shared: bool
) -> Stability | None:
    """Correlate the rewards along an axis with those of models from other seeds; return None without such models.

    The shared direction is compared with the shared direction of the other model. A personal axis may have another
    position in the other model, and is compared with the nearest direction in the span of the other model's basis.
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

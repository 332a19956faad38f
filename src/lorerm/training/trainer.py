"""Base class of the trainers. It packs the comparisons, holds out the validation split, and trains rank 0.

Rank 0 is the reference head: the encoder's own reward head, of which only the temperature is fitted.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import cached_property
from typing import TYPE_CHECKING, Any

import torch

from lorerm.errors import ConfigError
from lorerm.model.prior import WeightPrior
from lorerm.training.pairs import PackedPairs
from lorerm.training.validation import Validation, best_temperature

if TYPE_CHECKING:
    from lorerm.embedding.embedded_preferences import EmbeddedPreferences
    from lorerm.model.projected import ProjectedComparisons
    from lorerm.training.config import TrainingConfig
    from lorerm.training.validation import Score

Progress = Callable[[int, int], None]
"""Callback with two arguments: the steps done, and the number of steps."""


@dataclass(frozen=True, eq=False)
class Trained:
    """The result of training one rank.

    `score` is the validation score by which ranks are compared (None without a validation split). `chosen` contains the
    chosen settings as JSON-serialisable values. The other attributes are those of `ModelParameters`.
    """

    basis: torch.Tensor
    weights: torch.Tensor
    prior: WeightPrior
    temperature: float
    score: Score | None
    covariance: torch.Tensor | None = None
    comparisons: ProjectedComparisons | None = None
    chosen: dict[str, Any] = field(default_factory=dict)


class Trainer(ABC):
    """Trains and validates models of several ranks on the same data; work that ranks share is done once.

    The arguments are as in `Recipe.trainer`; `differences` is as in `PackedPairs.pack`.
    """

    def __init__(
        self,
        data: EmbeddedPreferences,
        config: TrainingConfig,
        reference: torch.Tensor | None,
        *,
        differences: bool | None = None,
    ) -> None:
        self.config = config
        self.reference = reference
        self.pairs = PackedPairs.pack(data, differences=differences)
        self.validation = Validation.split(data, config.seed, differences=differences)
        self._scores: dict[int, Score | None] = {}

    def fit(self, rank: int, progress: Progress | None = None) -> Trained:
        """Train one rank on all training comparisons; rank 0 is the reference head with weight 1 for every user."""
        if rank > 0:
            return self._fit(rank, progress)
        head, temperature = self._head
        ones = torch.ones(self.pairs.n_users, 1)
        prior, score = WeightPrior.fixed(ones[0]), self.validate(0)
        return Trained(head.t(), ones, prior, temperature, score, torch.zeros(len(ones), 1, 1))

    def validate(self, rank: int) -> Score | None:
        """Train one rank on part of the training data and score it on the rest (`Validation`).

        Return None if the data are too few for such a division.
        """
        if self.validation is None:
            return None
        if rank not in self._scores:
            validation = self.validation
            self._scores[rank] = self._score_reference(validation) if rank == 0 else self._score(rank, validation)
        return self._scores[rank]

    @abstractmethod
    def _fit(self, rank: int, progress: Progress | None) -> Trained:
        """Train a rank of at least 1 on all training comparisons."""

    @abstractmethod
    def _score(self, rank: int, validation: Validation) -> Score | None:
        """Train one rank of at least 1 on part of the training data, and score it on the rest (`Validation`)."""

    def _score_reference(self, validation: Validation) -> Score:
        """Score the reference head at its best temperature."""
        head, temperature = self._head
        return validation.score(validation.held_out.project(head)[:, 0], temperature)

    @cached_property
    def _head(self) -> tuple[torch.Tensor, float]:
        """The reference head [1, D] and the temperature at which it fits the training comparisons best."""
        if self.reference is None:
            raise ConfigError(
                "rank 0 is the encoder's own reward head, and no reward head is given",
                "choose a rank of at least 1",
                argument="rank",
            )
        head = self.reference[None]
        return head, best_temperature(self.pairs.project(head)[:, 0], self.pairs.weight)

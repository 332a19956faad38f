"""How the few-shot curve is swept, free of heavy imports; the docstrings are also the help of the command's options."""

from __future__ import annotations

from dataclasses import dataclass

from lorerm.errors import ConfigError


@dataclass(frozen=True)
class ShotsConfig:
    """How the few-shot curve is swept."""

    trials: int = 20
    """random orders of each user's answers that the curve is the mean over"""
    seed: int = 0
    """seed of these orders"""

    def __post_init__(self) -> None:
        if self.trials < 1:
            raise ConfigError(f"trials is {self.trials}", "give a whole number from 1 on")
        if self.seed < 0:
            raise ConfigError(f"seed is {self.seed}", "give a whole number from 0 on")

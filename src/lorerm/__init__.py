"""Personal reward models, learned from comparisons of responses by many users (LoRe, arXiv 2504.14439)."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING

from lorerm._version import __version__

if TYPE_CHECKING:
    from lorerm.data.preferences import Preferences
    from lorerm.data.splits import Splits, split
    from lorerm.embedding.embed import embed
    from lorerm.embedding.embedded_preferences import EmbeddedPreferences
    from lorerm.embedding.encoder import Encoder
    from lorerm.embedding.hashing import HashingEncoder
    from lorerm.embedding.transformers.last_token import TransformersEncoder
    from lorerm.model.export import to_sequence_classifier
    from lorerm.model.reward_function import RewardFunction
    from lorerm.model.reward_model import LowRankRewardModel
    from lorerm.model.user_weights import UserWeights
    from lorerm.pipeline.evaluate import evaluate
    from lorerm.reporting.report import Report
    from lorerm.training.adaptation import adapt
    from lorerm.training.config import AdaptationConfig, TrainingConfig
    from lorerm.training.train import train

# Public name -> its module, which is imported when the name is first used, so that `import lorerm` and `lorerm --help`
# stay instant.
_MODULES = {
    "AdaptationConfig": "training.config",
    "EmbeddedPreferences": "embedding.embedded_preferences",
    "Encoder": "embedding.encoder",
    "HashingEncoder": "embedding.hashing",
    "LowRankRewardModel": "model.reward_model",
    "Preferences": "data.preferences",
    "Report": "reporting.report",
    "RewardFunction": "model.reward_function",
    "Splits": "data.splits",
    "TrainingConfig": "training.config",
    "TransformersEncoder": "embedding.transformers.last_token",
    "UserWeights": "model.user_weights",
    "adapt": "training.adaptation",
    "embed": "embedding.embed",
    "evaluate": "pipeline.evaluate",
    "split": "data.splits",
    "to_sequence_classifier": "model.export",
    "train": "training.train",
}

__all__ = [
    "AdaptationConfig",
    "EmbeddedPreferences",
    "Encoder",
    "HashingEncoder",
    "LowRankRewardModel",
    "Preferences",
    "Report",
    "RewardFunction",
    "Splits",
    "TrainingConfig",
    "TransformersEncoder",
    "UserWeights",
    "__version__",
    "adapt",
    "embed",
    "evaluate",
    "split",
    "to_sequence_classifier",
    "train",
]


def __getattr__(name: str) -> object:
    """Import a public name from its module when it is first used."""
    if name not in _MODULES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = getattr(import_module(f"{__name__}.{_MODULES[name]}"), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    """Return the public names."""
    return sorted(__all__)

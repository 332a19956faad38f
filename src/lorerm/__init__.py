"""Personal reward models from many people's preferences (LoRe, low-rank reward modelling, arXiv 2504.14439)."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING

from lorerm._version import __version__

if TYPE_CHECKING:
    from lorerm.encoding.embed import embed
    from lorerm.encoding.embedded_preferences import EmbeddedPreferences
    from lorerm.encoding.encoder import Encoder
    from lorerm.encoding.hashing import HashingEncoder
    from lorerm.encoding.pretrained import TransformersEncoder
    from lorerm.learning.adaptation import adapt
    from lorerm.learning.config import AdaptationConfig, TrainingConfig
    from lorerm.learning.training import train
    from lorerm.model.export import to_sequence_classifier
    from lorerm.model.reward_function import RewardFunction
    from lorerm.model.reward_model import LowRankRewardModel
    from lorerm.model.user_weights import UserWeights
    from lorerm.preferences.preferences import Preferences
    from lorerm.preferences.splits import Splits, split
    from lorerm.reporting.report import Report, evaluate

# Where each public name lives. They are imported when first asked for, so that `import lorerm` and `lorerm --help`
# stay instant.
_HOMES = {
    "AdaptationConfig": "learning.config",
    "EmbeddedPreferences": "encoding.embedded_preferences",
    "Encoder": "encoding.encoder",
    "HashingEncoder": "encoding.hashing",
    "LowRankRewardModel": "model.reward_model",
    "Preferences": "preferences.preferences",
    "Report": "reporting.report",
    "RewardFunction": "model.reward_function",
    "Splits": "preferences.splits",
    "TrainingConfig": "learning.config",
    "TransformersEncoder": "encoding.pretrained",
    "UserWeights": "model.user_weights",
    "adapt": "learning.adaptation",
    "embed": "encoding.embed",
    "evaluate": "reporting.report",
    "split": "preferences.splits",
    "to_sequence_classifier": "model.export",
    "train": "learning.training",
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
    """Import a public name from its home."""
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = getattr(import_module(f"{__name__}.{_HOMES[name]}"), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    """List the public names."""
    return sorted(__all__)

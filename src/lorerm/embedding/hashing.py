"""The built-in encoder: hashed words and character n-grams, and counts of plain style; nothing to download or fit.

It embeds the last assistant turn only, because the prompt is the same on both sides of a comparison. It has no state:
a text gets the same vector in every run. Built on scikit-learn's HashingVectorizer.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from lorerm.embedding.encoder import EncoderIdentity, EncoderSettings, Execution, Progress
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

if TYPE_CHECKING:
    from collections.abc import Sequence

    from lorerm.data.conversation import Conversation

NAME = "lorerm-hashing"
# Raised by every change that gives a text another vector.
VERSION = "1"
WORD_FEATURES, LETTER_FEATURES = 512, 256
_BATCH = 2048

_COUNTED = {
    "sentences": SENTENCE_END,
    "list items": LIST_ITEM,
    "headings": re.compile(r"^[ \t]*(?:#+\s|\*\*.+\*\*\s*$)|:\s*$", re.MULTILINE),
    "lines": re.compile(r"\n"),
    "questions": QUESTION,
    "exclamations": EXCLAMATION,
    "commas": re.compile(r"[,;]"),
    "contractions": CONTRACTION,
    "digits": re.compile(r"\d"),
    "capitals": re.compile(r"[A-ZÀ-ÖØ-ÞΑ-ΩЀ-Я]"),
    "quotes": re.compile(r"[\"“”«»]"),
    "brackets": re.compile(r"[()\[\]]"),
    "first person": FIRST_PERSON,
    "second person": SECOND_PERSON,
    "hedges": any_of(*HEDGES, "often"),
    "thanks": any_of("please", "thanks?", "sorry", "glad", "happy", "great", "wonderful", "hope"),
    "because": any_of(*REASONS, "which means"),
    "negations": re.compile(r"\b(?:not|no|never)\b|n't\b", re.IGNORECASE),
}
_STYLE_FEATURES = 4 + 2 * len(_COUNTED)


class HashingEncoder:
    """Encoder without a model: hashed words, character n-grams, and counts of style."""

    def __init__(self) -> None:
        from sklearn.feature_extraction.text import HashingVectorizer

        self._words = HashingVectorizer(
            n_features=WORD_FEATURES, ngram_range=(1, 2), norm="l2", token_pattern=WORD.pattern
        )
        self._letters = HashingVectorizer(n_features=LETTER_FEATURES, analyzer="char_wb", ngram_range=(3, 4), norm="l2")

    @property
    def identity(self) -> EncoderIdentity:
        """Everything that decides the embeddings."""
        return EncoderIdentity(
            model=NAME,
            revision=VERSION,
            template="last assistant turn",
            pooling="none",
            dtype="float32",
            max_length=None,
            dimension=WORD_FEATURES + LETTER_FEATURES + _STYLE_FEATURES,
        )

    @property
    def reference(self) -> None:
        """None: there is no reference head."""
        return

    @property
    def reference_reason(self) -> str:
        """Why there is no reference head."""
        return "the built-in encoder is no reward model"

    def encode(
        self, conversations: Sequence[Conversation], progress: Progress | None = None
    ) -> np.ndarray[Any, np.dtype[np.float32]]:
        """Return float32 [n, D]."""
        texts = [conversation[-1]["content"] for conversation in conversations]
        embedded = np.empty((len(texts), self.identity.dimension), dtype=np.float32)
        for start in range(0, len(texts), _BATCH):
            batch = texts[start : start + _BATCH]
            rows = embedded[start : start + len(batch)]
            rows[:, :WORD_FEATURES] = self._words.transform(batch).toarray()
            rows[:, WORD_FEATURES : WORD_FEATURES + LETTER_FEATURES] = self._letters.transform(batch).toarray()
            rows[:, WORD_FEATURES + LETTER_FEATURES :] = [_style(text) for text in batch]
            if progress is not None:
                progress(start + len(batch), len(texts))
        return embedded


@dataclass(frozen=True)
class HashingSettings(EncoderSettings[Execution]):
    """Built-in encoder, which has no settings."""

    def build(self, execution: Execution) -> HashingEncoder:  # noqa: ARG002
        """Build the encoder."""
        return HashingEncoder()

    @classmethod
    def of_identity(cls, identity: EncoderIdentity) -> HashingSettings | None:
        """Return the settings if the identity is that of the built-in encoder, of any version."""
        return cls() if identity.model == NAME else None


def _style(text: str) -> list[float]:
    """Return four lengths, and each count twice: on a log scale, and per word."""
    words = WORD.findall(text)
    n_words = max(1, len(words))
    counts = np.array([len(pattern.findall(text)) for pattern in _COUNTED.values()], dtype=np.float64)
    lengths = [
        np.log1p(len(words)),
        np.sqrt(len(words)) / 10,
        sum(map(len, words)) / n_words / 5,
        len({word.lower() for word in words}) / n_words,
    ]
    return [*lengths, *np.log1p(counts), *(counts / n_words)]

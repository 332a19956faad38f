"""The built-in encoder: hashed words, hashed character n-grams, and style features. It needs no download and no fit.

It embeds the last turn of a conversation only, because both responses of a comparison have the same prompt. A text
gets the same vector in every run.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from lorerm.arrays import Floats32
from lorerm.data.conversation import Conversation
from lorerm.embedding import text_patterns as patterns
from lorerm.embedding.encoder import EncoderIdentity, EncoderSettings, Execution, Progress

NAME = "lorerm-hashing"
# Increase VERSION with every change that alters the vector of any text.
VERSION = "1"
WORD_FEATURES, LETTER_FEATURES = 512, 256
_BATCH = 2048

_COUNTED = {
    "sentences": patterns.SENTENCE_END,
    "list items": patterns.LIST_ITEM,
    "headings": re.compile(r"^[ \t]*(?:#+\s|\*\*.+\*\*\s*$)|:\s*$", re.MULTILINE),
    "lines": re.compile(r"\n"),
    "questions": patterns.QUESTION,
    "exclamations": patterns.EXCLAMATION,
    "commas": re.compile(r"[,;]"),
    "contractions": patterns.CONTRACTION,
    "digits": re.compile(r"\d"),
    "capitals": re.compile(r"[A-ZÀ-ÖØ-ÞΑ-ΩЀ-Я]"),
    "quotes": re.compile(r"[\"“”«»]"),
    "brackets": re.compile(r"[()\[\]]"),
    "first person": patterns.FIRST_PERSON,
    "second person": patterns.SECOND_PERSON,
    "hedges": patterns.any_of(*patterns.HEDGES, "often"),
    "thanks": patterns.any_of("please", "thanks?", "sorry", "glad", "happy", "great", "wonderful", "hope"),
    "because": patterns.any_of(*patterns.REASONS, "which means"),
    "negations": re.compile(r"\b(?:not|no|never)\b|n't\b", re.IGNORECASE),
}
# The length of the list that `_style` returns.
_STYLE_FEATURES = 4 + 2 * len(_COUNTED)


class HashingEncoder:
    """Encoder without a model: hashed words, hashed character n-grams, and style features (with scikit-learn)."""

    def __init__(self) -> None:
        from sklearn.feature_extraction.text import HashingVectorizer

        self._words = HashingVectorizer(
            n_features=WORD_FEATURES, ngram_range=(1, 2), norm="l2", token_pattern=patterns.WORD.pattern
        )
        self._letters = HashingVectorizer(n_features=LETTER_FEATURES, analyzer="char_wb", ngram_range=(3, 4), norm="l2")

    @property
    def identity(self) -> EncoderIdentity:
        """Everything that determines the embeddings."""
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
        """None, because the encoder has no reference head."""
        return

    @property
    def reference_reason(self) -> str:
        """Why there is no reference head."""
        return "the built-in encoder is not a reward model"

    def encode(self, conversations: Sequence[Conversation], progress: Progress | None = None) -> Floats32:
        """Embed n conversations: float32 [n, D]."""
        texts = [conversation[-1]["content"] for conversation in conversations]
        embedded = np.empty((len(texts), self.identity.dimension), dtype=np.float32)
        for start in range(0, len(texts), _BATCH):
            batch = texts[start : start + _BATCH]
            rows = embedded[start : start + len(batch)]
            rows[:, :WORD_FEATURES] = self._words.transform(batch).toarray()
            rows[:, WORD_FEATURES:-_STYLE_FEATURES] = self._letters.transform(batch).toarray()
            rows[:, -_STYLE_FEATURES:] = [_style(text) for text in batch]
            if progress is not None:
                progress(start + len(batch), len(texts))
        return embedded


@dataclass(frozen=True)
class HashingSettings(EncoderSettings):
    """Built-in encoder, which has no settings."""

    def build(self, execution: Execution) -> HashingEncoder:  # noqa: ARG002
        """Build the encoder."""
        return HashingEncoder()

    @classmethod
    def of_identity(cls, identity: EncoderIdentity) -> HashingSettings | None:
        """Return the settings if the identity belongs to any version of the built-in encoder, otherwise None."""
        return cls() if identity.model == NAME else None


def _style(text: str) -> list[float]:
    """Return four measures of length and vocabulary, log(1 + count) of each pattern, and each count per word."""
    words = patterns.WORD.findall(text)
    n_words = max(1, len(words))
    counts = np.array([len(pattern.findall(text)) for pattern in _COUNTED.values()], dtype=np.float64)
    lengths = [
        np.log1p(len(words)),
        np.sqrt(len(words)) / 10,
        sum(map(len, words)) / n_words / 5,
        len({word.lower() for word in words}) / n_words,
    ]
    return [*lengths, *np.log1p(counts), *(counts / n_words)]

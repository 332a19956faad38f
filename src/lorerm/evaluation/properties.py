"""Plain properties of a text that a reward direction may turn out to follow: counted, not judged."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Sequence

    Floats = np.ndarray[Any, np.dtype[np.float64]]

_WORD = re.compile(r"[^\W_]+(?:'[^\W_]+)?")


def _words(*words: str) -> re.Pattern[str]:
    return re.compile(rf"\b(?:{'|'.join(words)})\b", re.IGNORECASE)


# Counted per hundred words.
_COUNTED = {
    "list items": re.compile(r"^[ \t]*(?:[-*•]|\d+[.)])\s", re.MULTILINE),
    "headings and bold": re.compile(r"^[ \t]*#+\s|\*\*[^*\n]+\*\*", re.MULTILINE),
    "code": re.compile(r"```|`[^`\n]+`"),
    "hedges": _words(
        "may", "might", "could", "perhaps", "maybe", "possibly", "probably", "seems?", "likely", "generally", "usually"
    ),
    "certainty": _words("always", "never", "certainly", "definitely", "clearly", "obviously", "must", "undoubtedly"),
    "questions": re.compile(r"\?"),
    "exclamations": re.compile(r"!"),
    "politeness": _words("please", "thanks?", "thank you", "sorry", "glad", "happy to", "welcome", "kindly"),
    "refusals": re.compile(r"\b(?:i (?:can't|cannot|won't|am unable|am sorry)|i'm (?:sorry|unable)|as an ai)\b", re.I),
    "first person": _words("i", "we", "my", "our", "me", "us"),
    "second person": _words("you", "your", "yours"),
    "contractions": re.compile(r"\w'(?:s|t|re|ve|ll|d|m)\b", re.IGNORECASE),
    "examples": _words("for example", "for instance", "e\\.g", "such as"),
    "reasons": _words("because", "since", "therefore", "thus", "hence", "so that"),
    "numbers": re.compile(r"\d+"),
    "negations": re.compile(r"\b(?:not|no|nor|none)\b|n't\b", re.IGNORECASE),
}
PROPERTIES = ("length", "paragraphs", "word length", "sentence length", *_COUNTED)


def properties(texts: Sequence[str]) -> Floats:
    """Return float64 [n, P]: the properties of each text, columns as `PROPERTIES`.

    Lengths are logarithms of the numbers of words and of paragraphs; word length is in letters, sentence length the
    logarithm of words per sentence; all others are counts per hundred words.
    """
    return np.array([_of_text(text) for text in texts], dtype=np.float64).reshape(len(texts), len(PROPERTIES))


def _of_text(text: str) -> list[float]:
    words = _WORD.findall(text)
    n_words = max(1, len(words))
    n_sentences = max(1, len(re.findall(r"[.!?]+(?:\s|$)", text)))
    n_paragraphs = max(1, len(re.findall(r"\n+", text.strip())) + 1)
    return [
        float(np.log1p(len(words))),
        float(np.log(n_paragraphs)),
        sum(map(len, words)) / n_words,
        float(np.log(n_words / n_sentences)),
        *(100 * len(pattern.findall(text)) / n_words for pattern in _COUNTED.values()),
    ]

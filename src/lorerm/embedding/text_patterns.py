"""Regular expressions for countable properties of a text, such as its words, questions and hedges.

The built-in encoder and the style axes of a report count their matches. If you change a pattern that the encoder uses,
increase `VERSION` in `lorerm.embedding.hashing`.
"""

from __future__ import annotations

import re

WORD = re.compile(r"[^\W_]+(?:'[^\W_]+)?")
SENTENCE_END = re.compile(r"(?<![.!?])[.!?]+(?:\s|$)")
LIST_ITEM = re.compile(r"^[ \t]*(?:[-*•]|\d+[.)])\s", re.MULTILINE)
QUESTION = re.compile(r"\?")
EXCLAMATION = re.compile(r"!")
CONTRACTION = re.compile(r"\w'(?:s|t|re|ve|ll|d|m)\b", re.IGNORECASE)

HEDGES = ("may", "might", "could", "perhaps", "maybe", "possibly", "seems?", "usually", "probably")
REASONS = ("because", "since", "therefore", "thus", "hence", "so that")


def any_of(*words: str) -> re.Pattern[str]:
    """Return a pattern that matches any of the words (regular expressions), in upper or lower case."""
    return re.compile(rf"\b(?:{'|'.join(words)})\b", re.IGNORECASE)


FIRST_PERSON = any_of("i", "we", "my", "our", "me", "us")
SECOND_PERSON = any_of("you", "your", "yours")

"""Countable properties of text: what the patterns find, and what they leave out."""

import pytest

from lorerm.embedding import text_patterns as patterns


@pytest.mark.parametrize(
    ("pattern", "text", "expected"),
    [
        ("WORD", "it's snake_case, 2 cafés", ["it's", "snake", "case", "2", "cafés"]),
        ("SENTENCE_END", "Wait... what?! Version 1.5 is out.", ["... ", "?! ", "."]),
        ("LIST_ITEM", "- a\n 2) b\nc - d\n* e\n3.5", ["- ", " 2) ", "* "]),
        ("CONTRACTION", "I'll say it's the users' rock 'n' roll", ["I'll", "t's"]),
        ("FIRST_PERSON", "I gave my mime to us", ["I", "my", "us"]),
        ("SECOND_PERSON", "You and your youth", ["You", "your"]),
    ],
)
def test_what_is_found(pattern, text, expected):
    assert getattr(patterns, pattern).findall(text) == expected


def test_any_of_finds_whole_words_in_either_case():
    found = patterns.any_of(*patterns.HEDGES, "so that")
    assert found.findall("It SEEMS a mayor may come, so that he seem there") == ["SEEMS", "may", "so that", "seem"]

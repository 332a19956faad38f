"""Plain properties of texts, by hand."""

import pytest

from lorerm.evaluation.properties import PROPERTIES, properties


def of(text):
    return dict(zip(PROPERTIES, properties([text])[0], strict=True))


def test_by_hand():
    found = of("Perhaps you could try tea?\n\n- Green tea\n- **Black** tea, please!")
    assert found["hedges"] == pytest.approx(100 * 2 / 10)
    assert found["list items"] == pytest.approx(100 * 2 / 10)
    assert found["questions"] == found["exclamations"] == found["headings and bold"] == found["politeness"] == 10
    assert found["second person"] == 10
    assert found["first person"] == found["code"] == found["numbers"] == 0


@pytest.mark.parametrize("text", ["", " ", "?", "\n\n", "日本語"])
def test_any_text_has_finite_properties(text):
    assert properties([text]).shape == (1, len(PROPERTIES))
    assert all(abs(value) < 1e4 for value in properties([text])[0])


def test_no_texts():
    assert properties([]).shape == (0, len(PROPERTIES))

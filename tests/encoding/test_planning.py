"""What is said of some conversations."""

from lorerm.encoding.planning import Remarks


def test_remarks_add_up_and_speak():
    remarks = Remarks(shortened=2) + Remarks(shortened=1, control=4)
    cut, control = remarks.sentences(1000, "m", 64)
    assert cut.startswith("3 of 1,000 conversations were longer than the 64 tokens")
    assert "4 of 1,000" in control
    assert Remarks().sentences(1000, "m", 64) == []

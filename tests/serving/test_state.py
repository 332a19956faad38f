"""The objects that a server process loads at its start."""

from __future__ import annotations

from contextlib import ExitStack
from dataclasses import replace

from lorerm.errors import ModelError
from lorerm.serving.metrics import Metrics
from lorerm.serving.state import State
from refusals import refused


def test_a_server_without_an_encoder_has_none(settings):
    with ExitStack() as until_end:
        assert State.open(settings, Metrics(), until_end).encoder is not None
        assert State.open(replace(settings, encoder=None), Metrics(), until_end).encoder is None


def test_an_error_is_printed_as_one_line(settings, tmp_path, capsys):
    (tmp_path / "empty").mkdir()
    with ExitStack() as until_end, refused(ModelError, "empty"):
        State.open(replace(settings, path=str(tmp_path / "empty")), Metrics(), until_end)
    written = capsys.readouterr().err
    assert written.startswith("lorerm: ")
    assert written.count("\n") == 1

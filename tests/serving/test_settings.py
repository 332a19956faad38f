"""Settings reach every process unchanged."""

from __future__ import annotations

from lorerm.serving.settings import Settings


def test_json_and_back():
    settings = Settings(
        "RUN", "sqlite:///x", rank=2, keys=("a", "b"), origins=("https://e.org",), encoder={"model": None}, timeout=0.5
    )
    assert Settings.from_json(settings.to_json()) == settings

"""Settings reach every process unchanged."""

from __future__ import annotations

import pickle

from lorerm.serving.settings import Settings


def test_settings_can_be_passed_to_a_process():
    settings = Settings("RUN", "sqlite:///x", rank=2, keys=("a", "b"), encoder={"model": None}, timeout=0.5)
    assert pickle.loads(pickle.dumps(settings)) == settings  # noqa: S301 - as multiprocessing does

"""A model that is trained again under load replaces the earlier one in all processes at once, and loses nothing.

Meanwhile processes are killed. LORERM_KILLS sets the number of trainings (see CONTRIBUTING.md).
"""

from __future__ import annotations

import os
import random
import signal
import threading
import time
from contextlib import suppress
from dataclasses import replace
from functools import partial
from itertools import pairwise

import httpx
import numpy as np
import pytest
import torch

from durable_clients import USERS, Trial
from lorerm.model.projected import ProjectedComparisons
from lorerm.model.user_weights import UserWeights
from lorerm.serving.loaded_model import fingerprint
from servers import PATIENCE, until

TRAININGS = int(os.environ.get("LORERM_KILLS", "1"))
CLIENTS = 32 if "LORERM_KILLS" in os.environ else 8

pytestmark = pytest.mark.slow


class Observer(threading.Thread):
    """Client that notes which model the server says it serves, on a new connection each time."""

    def __init__(self, url_now) -> None:
        super().__init__(daemon=True)
        self._url_now, self.stop = url_now, threading.Event()
        self.seen: list[str] = []

    def last_is(self, fingerprint: str) -> bool:
        """Return whether the server said last that it serves this model."""
        return self.seen[-1:] == [fingerprint]

    def run(self) -> None:
        """Ask until it is stopped."""
        while not self.stop.wait(0.01):
            with suppress(httpx.HTTPError):
                response = httpx.get(f"{self._url_now()}/v1/models", timeout=PATIENCE)
                self.seen.append(response.json()["data"][0]["fingerprint"])


def trained_again(model, number):
    """Return the model after another training: a basis that differs."""
    return model if number == 0 else replace(model, basis=model.basis + 0.05 * number * model.basis.roll(number, 0))


@pytest.mark.parametrize("kept", [True, False], ids=["exact", "mapped"])
def test_a_training_under_load(folder, model, tmp_path, show_figures, kept):
    url, moments = f"sqlite:///{tmp_path / 'feedback.sqlite'}", random.Random(0)  # noqa: S311
    options = ["--carry-over", *(["--keep-differences", "all"] if kept else [])]
    trial = Trial(folder, url, workers=2, clients=CLIENTS, options=options)
    observer = Observer(lambda: trial.server.url)
    trial.begin()
    observer.start()
    versions = [trained_again(model, number) for number in range(TRAININGS + 1)]
    try:
        for number, after in enumerate(versions[1:], 1):
            trial.wait_for_more()
            after.save_pretrained(folder, include_users=True)
            # A worker that starts now, because another was killed, still serves the earlier model.
            os.kill(moments.choice(trial.server.workers()), signal.SIGKILL)
            trial.wait_for_more()
            assert httpx.get(f"{trial.server.url}/v1/users/trained", timeout=PATIENCE).status_code == 200
            assert set(observer.seen) <= set(map(fingerprint, versions[:number]))
            os.kill(trial.server.pid, signal.SIGHUP)
            time.sleep(moments.uniform(0, 3))
            # If this is one of the new workers, the reload fails, and is asked for again.
            os.kill(moments.choice(trial.server.workers()), signal.SIGKILL)
            time.sleep(1)
            if "nothing is reloaded" in trial.server.read_log():
                os.kill(trial.server.pid, signal.SIGHUP)
            until(partial(observer.last_is, fingerprint(after)), "the new model is served")
            assert httpx.get(f"{trial.server.url}/v1/users/trained", timeout=PATIENCE).status_code == 200
            trial.wait_for_more()
            trial.kill_and_start()
        trial.wait_for_more()
    finally:
        observer.stop.set()
        trial.end()
    line = trial.judge()
    order = [fingerprint(each) for each in versions]
    indices = [order.index(each) for each in observer.seen]
    wrong = sum(later < earlier for earlier, later in pairwise(indices))
    show_figures(f"{TRAININGS} trainings under {CLIENTS} clients, {line}, {wrong} of {len(indices)} the wrong model")
    assert wrong == 0
    for user in [f"user {number}" for number in range(USERS)]:
        shown = httpx.get(f"{trial.server.url}/v1/users/{user}", timeout=PATIENCE).json()["weights"]
        expected = fitted(trial, user, versions[-1])
        # The map does not know what the new basis has beyond the span of the earlier one.
        np.testing.assert_allclose(shown, expected, atol=0.02 if kept else 1.0)
    trial.server.kill()


def fitted(trial, user, model):
    """Return the weights of a user, fitted to all comparisons that the clients sent."""
    rows = np.array(
        [
            row
            for writer, row in zip(trial.writers, trial.rows, strict=True)
            for _ in writer.acknowledged
            if writer.user == user
        ],
        dtype=np.float32,
    )
    projected = torch.from_numpy(rows) @ model.basis
    comparisons = ProjectedComparisons(projected, torch.ones(len(rows)), torch.zeros(len(rows), dtype=torch.int64))
    return UserWeights.none(model).add([user], comparisons, model.prior, model.temperature).weights[0].numpy()

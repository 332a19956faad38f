"""Fixtures that several folders of tests use."""

import logging
import os
import shutil
import sys
from pathlib import Path

import pytest

# Test modules are imported by path, so helpers beside this file (planted.py) are found only when its folder is named.
sys.path.insert(0, str(Path(__file__).parent))


@pytest.fixture(autouse=True, scope="session")
def _one_thread():
    """Small products run faster on one thread than on many, and tests may run beside each other."""
    import torch

    torch.set_num_threads(1)


@pytest.fixture(scope="session")
def tiny_models(tmp_path_factory):
    """Model folders with two layers and random weights, each built on first use."""
    from tiny_models import TinyModels

    return TinyModels(tmp_path_factory.mktemp("models"))


@pytest.fixture(scope="session")
def real_choices() -> Path:
    """The folder of UKPConvArg1, a crowd's choices among arguments, where there is a copy of it."""
    beside = Path(__file__).parents[2] / "shared"
    folder = Path(os.environ.get("LORERM_SHARED", beside)) / "data" / "ukpconvarg1"
    if not folder.is_dir():
        pytest.skip(
            f"the real choices are not at {folder}; set LORERM_SHARED to the folder that holds data/ukpconvarg1"
        )
    return folder


def pytest_collection_modifyitems(items):
    """Where tests are spread over processes, one of them starts Ray, whose own modules use what it deprecates."""
    for item in items:
        if "ray" in getattr(item, "fixturenames", ()):
            item.add_marker(pytest.mark.xdist_group("ray"))
            item.add_marker(pytest.mark.filterwarnings("ignore::DeprecationWarning:ray"))


@pytest.fixture(scope="session")
def ray():
    """Ray, connected to a cluster of this machine with room for two workers: it takes seconds to start."""
    ray = pytest.importorskip("ray")
    with pytest.MonkeyPatch.context() as environment:
        environment.setenv("RAY_USAGE_STATS_ENABLED", "0")
        environment.setenv("RAY_BACKEND_LOG_LEVEL", "fatal")
        ray.init(address="local", num_cpus=2, include_dashboard=False, log_to_driver=False, logging_level=logging.ERROR)
        yield ray
        ray.shutdown()


CHROMIUM_ARGUMENTS = [
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
]


@pytest.fixture(scope="module")
def browser():
    """Chromium, where there is one; in CI there must be one."""
    path = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
    if path is None:
        (pytest.fail if os.environ.get("CI") else pytest.skip)("there is no Chromium on this machine")
    api = pytest.importorskip("playwright.sync_api")
    with api.sync_playwright() as playwright:
        chromium = playwright.chromium.launch(executable_path=path, args=CHROMIUM_ARGUMENTS)
        yield chromium
        chromium.close()


@pytest.fixture(scope="session")
def people_model(tmp_path_factory):
    """The folder of a small model of simulated users, like the demo's model but made in two seconds."""
    from lorerm import HashingEncoder, TrainingConfig, embed, train
    from lorerm.data.datasets import load_dataset

    folder = tmp_path_factory.mktemp("model") / "people"
    data = embed(load_dataset("simulated", n_users=80), HashingEncoder())
    train(data, TrainingConfig(rank=3)).save_pretrained(folder)
    return folder

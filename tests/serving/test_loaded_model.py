"""The loaded model: where it comes from, the users in its files, and their removal."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import time
from dataclasses import replace

import numpy as np
import pytest
import torch

from lorerm import HashingEncoder, LowRankRewardModel
from lorerm.cli import main
from lorerm.errors import ConfigError, DataError, FolderBusyError, ModelError, RunError
from lorerm.model.io import USERS, save_users
from lorerm.model.prior import Mixture
from lorerm.pipeline.folder import RunFolder, locked
from lorerm.pipeline.layout import FORGETTING
from lorerm.serving import loaded_model as module
from lorerm.serving.loaded_model import LoadedModel, ServedModel, fingerprint
from lorerm.serving.settings import Settings
from refusals import refused
from small_choices import choices, write_lines


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """A run, read only."""
    folder = tmp_path_factory.mktemp("trained")
    file = write_lines(folder / "choices.jsonl", choices())
    run = str(folder / "run")
    for arguments in (["prepare", str(file), "--out", run], ["embed", run], ["train", run, "--ranks", "1", "2"]):
        assert main(arguments) == 0
    return folder / "run"


@pytest.fixture
def run(trained, tmp_path):
    return shutil.copytree(trained, tmp_path / "run")


def bytes_of(folder):
    return b"".join(path.read_bytes() for path in sorted(folder.rglob("*")) if path.is_file())


def load(path, **more):
    return LoadedModel(Settings(str(path), "sqlite:///x", **more))


@pytest.fixture
def loaded(folder):
    """The small model, loaded from its folder."""
    return load(folder)


def test_a_runs_model_has_all_users_of_the_run(run):
    loaded = load(run, encoder={"model": None})
    assert loaded.name == "run"
    assert {"user-04", "user-05"} <= set(loaded.file_users.user_ids) <= {f"user-{number:02d}" for number in range(8)}
    assert load(run, rank=1).model.requested_rank == 1
    with refused(ConfigError, "rank 9"):
        load(run, rank=9)


def test_a_models_folder_is_loaded_and_other_folders_are_rejected(folder, tmp_path):
    loaded = load(folder, name="ours")
    assert (loaded.name, loaded.file_users.user_ids) == ("ours", ("trained", "posterior only"))
    with refused(ConfigError, str(folder), argument="rank"):
        load(folder, rank=1)
    (tmp_path / "empty").mkdir()
    with refused(ModelError, "empty"):
        load(tmp_path / "empty")


def test_a_model_from_the_hub_has_no_users(model, monkeypatch):
    monkeypatch.setattr(LowRankRewardModel, "from_pretrained", classmethod(lambda cls, name: model))
    loaded = load("somebody/model")
    assert len(loaded.file_users) == 0
    assert loaded.is_current()
    loaded.forget("trained")


def test_another_encoder_than_the_models_is_rejected(model, tmp_path):
    other = replace(model, encoder=replace(HashingEncoder().identity, revision="0"))
    other.save_pretrained(tmp_path / "other")
    with refused(ModelError, HashingEncoder().identity.model):
        load(tmp_path / "other", encoder={"model": None})


def mixture(model):
    """Two mixture components with the moments of the model's Gaussian."""
    mean, covariance = model.prior.mean.double(), model.prior.covariance.double()
    return Mixture(torch.tensor([0.5, 0.5]).double(), torch.stack([mean, mean]), torch.stack([covariance, covariance]))


def test_the_fingerprint_depends_on_all_that_decides_the_weights(model):
    assert fingerprint(model) == fingerprint(model.without_users(model.user_ids))
    others = [
        replace(model, basis=model.basis * 2),
        replace(model, temperature=5.0),
        replace(model, prior=replace(model.prior, mean=model.prior.mean * 2)),
        replace(model, prior=replace(model.prior, covariance=None, concentration=2.0)),
        replace(model, prior=replace(model.prior, mixture=mixture(model))),
        replace(model, encoder=None),
    ]
    assert len({fingerprint(each) for each in (model, *others)}) == 1 + len(others)


def test_a_user_removed_by_one_process_is_unknown_to_all(folder):
    one, other = load(folder), load(folder)
    assert one.forget("trained") == ("weights",)
    assert one.forget("stranger") == ()
    for loaded in (one, other):
        assert not loaded.is_current()
        loaded.refresh()
        assert loaded.is_current()
        assert loaded.file_users.user_ids == ("posterior only",)
    one.forget("posterior only")
    assert b"posterior only" not in bytes_of(folder)
    assert load(folder).file_users.user_ids == ()


def test_a_user_is_removed_from_all_files_of_a_run(run):
    assert b"user-05" in bytes_of(run)
    loaded = load(run)
    assert loaded.forget("user-05") == ("weights",)
    assert loaded.forget("stranger") == ()
    assert b"user-05" not in bytes_of(run)
    loaded.refresh()
    assert "user-05" not in loaded.file_users
    assert "user-04" in loaded.file_users


def test_an_interrupted_removal_is_finished_at_the_next_start(run):
    folder = RunFolder.open(run)
    folder.write({**folder.manifest(), FORGETTING: ["user-05"]})
    loaded = load(run)
    assert "user-05" not in loaded.file_users
    assert b"user-05" not in bytes_of(run)


def test_a_removal_waits_for_another_process_that_writes(folder, monkeypatch):
    waiting = f"""
import sys, time
from pathlib import Path
from lorerm.pipeline.folder import locked
with locked(Path({str(folder)!r})):
    print("locked", flush=True)
    sys.stdin.read()
"""
    with subprocess.Popen([sys.executable, "-c", waiting], stdin=subprocess.PIPE, stdout=subprocess.PIPE) as other:
        assert other.stdout.readline() == b"locked\n"
        monkeypatch.setattr(module, "_PATIENCE", 0.1)
        with refused(FolderBusyError):
            load(folder).forget("trained")
        other.communicate()
    load(folder).forget("trained")
    with locked(folder):
        pass


def test_files_that_cannot_be_changed_are_named_in_the_log_only(folder, monkeypatch, caplog):
    loaded = load(folder)

    def refuse(path, user_ids):
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(module, "forget_users", refuse)
    with refused(RunError) as raised:
        loaded.forget("trained")
    assert str(folder) not in str(raised.value)
    assert "Permission denied" in caplog.text


def test_users_adapted_by_another_process_are_known(folder, model):
    loaded = load(folder)
    save_users(replace(model.users(), user_ids=("trained", "renamed")), folder / USERS)
    loaded.refresh()
    assert loaded.file_users.user_ids == ("trained", "renamed")


def test_a_folder_changed_in_the_future_is_not_waited_for(folder, model):
    """A clock that was ahead can leave such a time."""
    tomorrow = time.time() + 86_400
    os.utime(folder, (tomorrow, tomorrow))
    loaded = load(folder)
    assert loaded.is_current()
    save_users(replace(model.users(), user_ids=("trained", "renamed")), folder / USERS)
    loaded.refresh()
    assert "renamed" in loaded.file_users


def test_a_model_that_was_trained_again_leaves_the_users_known_until_it_is_served(folder, model, caplog):
    """Those who are still in the files: the others may have been deleted."""
    loaded = load(folder)
    other = replace(model.without_users(["trained"]), basis=model.basis * 2)
    other.save_pretrained(folder, include_users=True)
    loaded.refresh()
    assert loaded.file_users.user_ids == ("posterior only",)
    np.testing.assert_array_equal(loaded.file_users["posterior only"], model.users()["posterior only"])
    assert [record.levelname for record in caplog.records] == ["WARNING"]
    assert loaded.is_current()
    model.save_pretrained(folder, include_users=True)
    loaded.refresh()
    assert loaded.file_users.user_ids == model.user_ids


def test_a_worker_serves_the_supervisors_model_whatever_the_files_contain(folder, model):
    served = ServedModel.of(load(folder).model, "series")
    replace(model, basis=model.basis * 2).save_pretrained(folder, include_users=True)
    loaded = LoadedModel(Settings(str(folder), "sqlite:///x"), served.load())
    assert loaded.fingerprint == fingerprint(model)
    assert loaded.file_users.user_ids == model.user_ids


def test_a_folder_that_cannot_be_read_is_read_again_later(folder, model, caplog):
    loaded = load(folder)
    (folder / "config.json").unlink()
    loaded.refresh()
    assert "trained" in loaded.file_users
    assert [record.levelname for record in caplog.records] == ["WARNING"]
    model.save_pretrained(folder, include_users=False)
    loaded.refresh()
    assert len(loaded.file_users) == 0


def test_equal_embeddings_have_equal_rewards_in_any_batch(loaded, model):
    """To the last digit, so that equal documents keep their order."""
    rng = np.random.default_rng(0)
    row, weights = rng.standard_normal(808).astype(np.float32), rng.standard_normal(3).astype(np.float32)
    expected = row.astype(np.float64) @ (model.basis.double().numpy() @ weights)
    found = {reward for n in (1, 2, 3, 7, 64) for reward in loaded.rewards(np.tile(row, (n, 1)), weights)}
    assert len(found) == 1
    assert found.pop() == pytest.approx(expected, rel=1e-4)


@pytest.mark.parametrize("value", [np.nan, np.inf, 3e38])
def test_rewards_that_are_not_finite_are_rejected(loaded, value):
    with refused(DataError, "NaN"):
        loaded.rewards(np.full((2, 808), value, dtype=np.float32), np.ones(3, dtype=np.float32))


def test_probabilities_are_those_of_the_models_temperature(settings, model):
    loaded = LoadedModel(settings)
    rewards = [0.0, model.temperature, -model.temperature, 1e300, -1e300]
    assert loaded.probabilities(rewards) == pytest.approx([0.5, 0.7310586, 0.2689414, 1.0, 0.0])

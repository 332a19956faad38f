"""The model that is served, the users its files bring, and how these leave the files."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import time
from dataclasses import replace

import pytest
import torch

from lorerm import HashingEncoder, LowRankRewardModel
from lorerm.cli import main
from lorerm.errors import ConfigError, FolderBusyError, ModelError, RunError
from lorerm.model.io import USERS, save_users
from lorerm.model.prior import Mixture
from lorerm.pipeline.folder import FORGETTING, RunFolder, locked
from lorerm.serving import served as module
from lorerm.serving.served import Served, fingerprint
from lorerm.serving.settings import Settings
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


def serve(path, **more):
    return Served(Settings(str(path), "sqlite:///x", **more))


def test_a_runs_model_comes_with_everybody(run):
    served = serve(run, encoder={"model": None})
    assert served.name == "run"
    assert {"user-04", "user-05"} <= set(served.brought.user_ids) <= {f"user-{number:02d}" for number in range(8)}
    assert serve(run, rank=1).model.requested_rank == 1
    with pytest.raises(ConfigError, match="no model of rank 9"):
        serve(run, rank=9)


def test_a_folder_of_a_model_and_other_folders(folder, tmp_path):
    served = serve(folder, name="ours")
    assert (served.name, served.brought.user_ids) == ("ours", ("trained", "posterior only"))
    with pytest.raises(ConfigError, match="--rank is about a run"):
        serve(folder, rank=1)
    (tmp_path / "empty").mkdir()
    with pytest.raises(ModelError, match="not the folder of a lorerm model"):
        serve(tmp_path / "empty")


def test_a_model_of_the_hub_comes_without_its_users(model, monkeypatch):
    monkeypatch.setattr(LowRankRewardModel, "from_pretrained", classmethod(lambda cls, name: model))
    served = serve("somebody/model")
    assert len(served.brought) == 0
    assert served.is_current()
    served.forget("trained")


def test_another_encoder_than_the_models_is_refused(model, tmp_path):
    other = replace(model, encoder=replace(HashingEncoder().identity, revision="0"))
    other.save_pretrained(tmp_path / "other")
    with pytest.raises(ModelError, match="trained on embeddings"):
        serve(tmp_path / "other", encoder={"model": None})


def two_kinds(model):
    """Return kinds of people with the moments of the model's Gaussian."""
    mean, covariance = model.prior.mean.double(), model.prior.covariance.double()
    return Mixture(torch.tensor([0.5, 0.5]).double(), torch.stack([mean, mean]), torch.stack([covariance, covariance]))


def test_the_fingerprint_is_of_what_decides_the_weights(model):
    assert fingerprint(model) == fingerprint(model.without_users(model.user_ids))
    others = [
        replace(model, basis=model.basis * 2),
        replace(model, temperature=5.0),
        replace(model, prior=replace(model.prior, mean=model.prior.mean * 2)),
        replace(model, prior=replace(model.prior, covariance=None, concentration=2.0)),
        replace(model, prior=replace(model.prior, mixture=two_kinds(model))),
        replace(model, encoder=None),
    ]
    assert len({fingerprint(each) for each in (model, *others)}) == 1 + len(others)


def test_forgotten_in_a_folder_by_one_process_unknown_to_all(folder):
    one, other = serve(folder), serve(folder)
    one.forget("trained")
    one.forget("stranger")
    for served in (one, other):
        assert not served.is_current()
        served.refresh()
        assert served.is_current()
        assert served.brought.user_ids == ("posterior only",)
    one.forget("posterior only")
    assert b"posterior only" not in bytes_of(folder)
    assert serve(folder).brought.user_ids == ()


def test_forgotten_in_a_run_in_all_of_its_files(run):
    assert b"user-05" in bytes_of(run)
    served = serve(run)
    served.forget("user-05")
    served.forget("stranger")
    assert b"user-05" not in bytes_of(run)
    served.refresh()
    assert "user-05" not in served.brought
    assert "user-04" in served.brought


def test_forgetting_that_was_cut_off_is_finished_at_the_next_start(run):
    folder = RunFolder.open(run)
    folder.write({**folder.manifest(), FORGETTING: ["user-05"]})
    served = serve(run)
    assert "user-05" not in served.brought
    assert b"user-05" not in bytes_of(run)


def test_two_that_forget_at_once_wait_for_each_other(folder, monkeypatch):
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
        with pytest.raises(FolderBusyError, match="send it again"):
            serve(folder).forget("trained")
        other.communicate()
    serve(folder).forget("trained")
    with locked(folder):
        pass


def test_files_that_cannot_be_written_are_named_in_the_log(folder, monkeypatch, caplog):
    served = serve(folder)

    def refuse(path, user_ids):
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(module, "forget_users", refuse)
    with pytest.raises(RunError, match="cannot change") as raised:
        served.forget("trained")
    assert str(folder) not in str(raised.value)
    assert "Permission denied" in caplog.text


def test_users_that_a_command_adapts_meanwhile_are_known(folder, model):
    served = serve(folder)
    save_users(replace(model.users(), user_ids=("trained", "renamed")), folder / USERS)
    served.refresh()
    assert served.brought.user_ids == ("trained", "renamed")


def test_a_folder_of_tomorrow_is_not_waited_for(folder, model):
    """As a clock that was ahead has left it."""
    tomorrow = time.time() + 86_400
    os.utime(folder, (tomorrow, tomorrow))
    served = serve(folder)
    assert served.is_current()
    save_users(replace(model.users(), user_ids=("trained", "renamed")), folder / USERS)
    served.refresh()
    assert "renamed" in served.brought


def test_another_model_in_the_folder_brings_nobody(folder, model, caplog):
    served = serve(folder)
    replace(model, basis=model.basis * 2).save_pretrained(folder, include_users=True)
    served.refresh()
    assert len(served.brought) == 0
    assert "another model is in the folder" in caplog.text
    assert served.is_current()


def test_a_folder_that_cannot_be_read_now_is_looked_at_again(folder, model, caplog):
    served = serve(folder)
    (folder / "config.json").unlink()
    served.refresh()
    assert "trained" in served.brought
    assert "cannot be read now" in caplog.text
    model.save_pretrained(folder, include_users=False)
    served.refresh()
    assert len(served.brought) == 0

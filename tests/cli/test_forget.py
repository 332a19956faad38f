"""`lorerm forget`."""

import json

import pytest

from lorerm.errors import ConfigError, RunError, UnknownUserError
from small_choices import write_matrix


def test_forgotten_users_are_unknown_afterwards(lorerm, refuses, run):
    outcome = lorerm("forget", run, "--user", "user-00", "user-05")
    assert outcome.code == 0, outcome
    assert outcome.out.startswith("Removed 2 users: ")
    refuses("forget", run, "--user", "user-00", error=UnknownUserError, names=["'user-00'"], argument="user")
    refuses("forget", run, error=ConfigError, names=["--user"], argument="user")
    assert lorerm("report", run).code == 0
    score = ("score", run, "--user", "user-05", "--data", run / "manifest.json")
    refuses(*score, error=UnknownUserError, names=["'user-05'"], argument="user")


@pytest.fixture
def half_forgotten(run):
    """The run as it is when forgetting user-05 was interrupted at its beginning."""
    path = run / "manifest.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), "forgetting": ["user-05"]}))
    return run


def test_every_other_verb_names_the_command_that_finishes_an_interrupted_forget(
    lorerm, refuses, half_forgotten, choices_file
):
    run = half_forgotten
    calls = [
        ("run", choices_file, "--out", run),
        ("prepare", choices_file, "--out", run),
        ("embed", run),
        ("import-embeddings", write_matrix(run.parent / "m.safetensors"), choices_file, "--out", run),
        ("train", run),
        ("report", run),
        ("shots", run),
        ("compare", run, run),
        ("adapt", run, "--data", choices_file),
        ("score", run, "--user", "user-05", "--data", choices_file),
        ("export", run, "--user", "user-05", "--model", "base", "--out", run / "exported"),
        ("rewardbench", run, "--data", choices_file),
        ("demo", "--out", run),
    ]
    for call in calls:
        assert refuses(*call, error=RunError).endswith(f"`lorerm forget {run}`"), call
    assert lorerm("forget", run).out.startswith("Removed 1 user: ")
    assert lorerm("report", run).code == 0

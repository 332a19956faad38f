"""`lorerm forget`."""

import json

import pytest

from small_choices import write_matrix


def test_forgotten_users_are_unknown_afterwards(lorerm, refuses, run):
    outcome = lorerm("forget", run, "--user", "user-00", "user-05")
    assert outcome.code == 0, outcome
    assert outcome.out.startswith("Forgot 2 users with ")
    assert "holds nothing of user 'user-00'" in refuses("forget", run, "--user", "user-00")
    assert "no user is named" in refuses("forget", run)
    assert lorerm("report", run).code == 0
    assert "user 'user-05' is unknown" in refuses("score", run, "--user", "user-05", "--data", run / "manifest.json")


@pytest.fixture
def half_forgotten(run):
    """The run as it is when the forgetting of user-05 was cut off at its beginning."""
    path = run / "manifest.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), "forgetting": ["user-05"]}))
    return run


def test_every_other_verb_says_how_to_finish_what_was_cut_off(lorerm, refuses, half_forgotten, choices_file):
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
        said = refuses(*call)
        assert said.endswith(f"`lorerm forget` was interrupted in {run}: finish it with `lorerm forget {run}`"), call
    assert lorerm("forget", run).out.startswith("Forgot 1 user with ")
    assert lorerm("report", run).code == 0

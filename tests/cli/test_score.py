"""Scoring: one JSON line per candidate line, for seen, unseen and adapted users, and for the population model."""

from __future__ import annotations

import gzip
import json

import pytest

from lorerm import HashingEncoder
from lorerm.errors import ConfigError, DataError, RunError, UnknownUserError
from lorerm.pipeline.folder import RunFolder
from lorerm.pipeline.models import load_model
from small_choices import MARK, write_lines

LONG = f"{MARK} chess is a subject of which one could say a great deal, and many people do. " * 3
SHORT = f"chess, {MARK}!"
PROMPT = f"What do you say about chess, {MARK}?"


@pytest.fixture
def candidates(tmp_path):
    return write_lines(
        tmp_path / "candidates.jsonl",
        [{"prompt": PROMPT, "responses": [LONG, SHORT]}, {"prompt": PROMPT, "response": SHORT}],
    )


def test_gives_rewards_and_rankings_without_text(lorerm, done, candidates):
    outcome = lorerm("score", done, "--user", "user-00", "--data", candidates, "--rank", 2)
    assert outcome.code == 0
    ranked, single = map(json.loads, outcome.out.splitlines())
    assert sorted(ranked) == ["ranking", "user_id"]
    assert [place["index"] for place in ranked["ranking"]] == [0, 1]
    assert ranked["ranking"][0]["reward"] > ranked["ranking"][1]["reward"] == pytest.approx(single["reward"])
    assert MARK not in outcome.out + outcome.err


def test_files_of_a_folder_that_are_not_read_are_named(lorerm, done, candidates):
    (candidates.parent / "more.7z").write_text("x")
    outcome = lorerm("score", done, "--population", "--data", candidates.parent)
    assert (outcome.code, len(outcome.out.splitlines())) == (0, 2)
    assert "more.7z" in outcome.err


def test_rewards_are_those_of_the_library(lorerm, done, candidates):
    model = load_model(RunFolder.open(done))
    ours = model.rank(PROMPT, [SHORT], "user-03", encoder=HashingEncoder())[0].reward
    line = lorerm("score", done, "--user", "user-03", "--data", candidates).out.splitlines()[1]
    assert json.loads(line)["reward"] == ours


def test_every_user_of_the_run_is_known_at_every_rank(lorerm, done, candidates):
    """The unseen users too: the report has adapted them."""
    for user in range(8):
        for rank in (1, 2):
            options = ["--user", f"user-{user:02d}", "--data", candidates, "--rank", rank]
            assert lorerm("score", done, *options).code == 0


def test_users_and_the_population_have_different_rewards(lorerm, done, candidates):
    options = ["--data", candidates, "--rank", 2]
    rewards = [
        json.loads(lorerm("score", done, *who, *options).out.splitlines()[1])["reward"]
        for who in (["--user", "user-00"], ["--user", "user-07"], ["--population"])
    ]
    assert len(set(rewards)) == 3


def test_unknown_user_is_named_with_both_remedies(refuses, done, candidates):
    names = ["'nobody'", "`lorerm adapt ", "--population"]
    refuses("score", done, "--user", "nobody", "--data", candidates, error=UnknownUserError, names=names)


def test_rank_that_was_not_trained(refuses, done, candidates):
    options = ("--population", "--data", candidates, "--rank", 5)
    refuses("score", done, *options, error=ConfigError, names=["rank 5", "1, 2"], argument="rank")


@pytest.mark.parametrize(
    ("line", "column"),
    [
        ("{", None),
        ("3", None),
        ('{"prompt": "p"}', None),
        ('{"response": "r"}', None),
        ('{"prompt": "p", "responses": []}', "responses"),
        (f'{{"prompt": "p", "responses": "{MARK}"}}', "responses"),
        ('{"prompt": "p", "responses": ["a", 3]}', None),
        (f'{{"prompt": "{MARK}", "response": null}}', None),
        (f'{{"prompt": "p", "response": [{{"role": "user", "content": "{MARK}"}}]}}', None),
    ],
)
def test_bad_candidate_is_named_before_anything_is_scored(refuses, lorerm, done, tmp_path, line, column):
    data = tmp_path / "candidates.jsonl"
    data.write_text('{"prompt": "p", "response": "r"}\n' + line + "\n")
    given = ("score", done, "--population", "--data", data)
    refuses(*given, error=DataError, file=str(data), row=2, column=column)
    outcome = lorerm("score", done, "--population", "--data", data)
    assert outcome.out == ""
    assert MARK not in outcome.err


def test_missing_or_empty_file(refuses, done, tmp_path):
    (tmp_path / "empty.jsonl").write_text("")
    for name in ("none.jsonl", "empty.jsonl"):
        refuses("score", done, "--population", "--data", tmp_path / name, error=DataError, names=[tmp_path / name])


def test_gzipped_candidates(lorerm, done, tmp_path):
    (tmp_path / "c.jsonl.gz").write_bytes(gzip.compress(b'{"prompt": "p", "response": "r"}\n'))
    assert json.loads(lorerm("score", done, "--population", "--data", tmp_path / "c.jsonl.gz").out)["user_id"] is None


def test_no_run_folder(refuses, tmp_path, candidates):
    refuses("score", tmp_path, "--population", "--data", candidates, error=RunError, names=[tmp_path])


def test_untrained_run(lorerm, refuses, tmp_path, choices_file, candidates):
    assert lorerm("prepare", choices_file, "--out", tmp_path / "run").code == 0
    names = ["'train'", "`lorerm train`"]
    refuses("score", tmp_path / "run", "--population", "--data", candidates, error=RunError, names=names)


def test_pickle_in_place_of_a_model_is_not_opened(refuses, run, candidates, tmp_path):
    """Not as the model's file, and not as another that a loader might fall back to."""
    import pickle

    class Bomb:
        def __reduce__(self):
            return (open, (str(tmp_path / "opened"), "w"))

    bomb = pickle.dumps(Bomb())
    for rank in (1, 2):
        folder = run / "models" / f"rank-{rank}"
        (folder / "pytorch_model.bin").write_bytes(bomb)
        (folder / "model.safetensors").write_bytes(bomb)
    refuses("score", run, "--population", "--data", candidates, error=RunError, names=["rank-2/model.safetensors"])
    assert not (tmp_path / "opened").exists()

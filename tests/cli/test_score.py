"""Scoring: one JSON line per candidate line, for users seen, unseen, adapted, or nobody in particular."""

from __future__ import annotations

import gzip
import json

import pytest

from lorerm import HashingEncoder
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


def test_people_differ_and_the_population_is_somebody_else(lorerm, done, candidates):
    options = ["--data", candidates, "--rank", 2]
    rewards = [
        json.loads(lorerm("score", done, *who, *options).out.splitlines()[1])["reward"]
        for who in (["--user", "user-00"], ["--user", "user-07"], ["--population"])
    ]
    assert len(set(rewards)) == 3


def test_unknown_user_is_named_with_both_ways_out(refuses, done, candidates):
    line = refuses("score", done, "--user", "nobody", "--data", candidates)
    assert "'nobody'" in line
    assert "lorerm adapt" in line
    assert "--population" in line


def test_rank_that_was_not_trained(refuses, done, candidates):
    line = refuses("score", done, "--population", "--data", candidates, "--rank", 5)
    assert "no model of rank 5: choose one of 1, 2" in line


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ("{", "row 2: the text is not JSON"),
        ("3", "row 2: this is no candidate"),
        ('{"prompt": "p"}', "row 2: this is no candidate"),
        ('{"response": "r"}', "row 2: this is no candidate"),
        ('{"prompt": "p", "responses": []}', 'row 2: column "responses" is no list, or empty'),
        (f'{{"prompt": "p", "responses": "{MARK}"}}', 'row 2: column "responses" is no list, or empty'),
        ('{"prompt": "p", "responses": ["a", 3]}', "row 2"),
        (f'{{"prompt": "{MARK}", "response": null}}', "row 2"),
        (f'{{"prompt": "p", "response": [{{"role": "user", "content": "{MARK}"}}]}}', "row 2"),
    ],
)
def test_bad_candidate_is_named_before_anything_is_scored(refuses, lorerm, done, tmp_path, line, said):
    data = tmp_path / "candidates.jsonl"
    data.write_text('{"prompt": "p", "response": "r"}\n' + line + "\n")
    assert said in refuses("score", done, "--population", "--data", data)
    outcome = lorerm("score", done, "--population", "--data", data)
    assert outcome.out == ""
    assert MARK not in outcome.err


def test_missing_or_empty_file(refuses, done, tmp_path):
    assert "does not exist" in refuses("score", done, "--population", "--data", tmp_path / "none.jsonl")
    (tmp_path / "empty.jsonl").write_text("")
    assert "holds no rows" in refuses("score", done, "--population", "--data", tmp_path / "empty.jsonl")


def test_gzipped_candidates(lorerm, done, tmp_path):
    (tmp_path / "c.jsonl.gz").write_bytes(gzip.compress(b'{"prompt": "p", "response": "r"}\n'))
    assert json.loads(lorerm("score", done, "--population", "--data", tmp_path / "c.jsonl.gz").out)["user_id"] is None


def test_no_run_folder(refuses, tmp_path, candidates):
    assert "is not a run folder" in refuses("score", tmp_path, "--population", "--data", candidates)


def test_untrained_run(lorerm, refuses, tmp_path, choices_file, candidates):
    assert lorerm("prepare", choices_file, "--out", tmp_path / "run").code == 0
    line = refuses("score", tmp_path / "run", "--population", "--data", candidates)
    assert "no finished step 'train': run `lorerm train` first" in line


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
    assert "rank-2/model.safetensors: " in refuses("score", run, "--population", "--data", candidates)
    assert not (tmp_path / "opened").exists()

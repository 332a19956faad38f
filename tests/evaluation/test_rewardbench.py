"""RewardBench 2: its rows, its official scores, and every reward function of a model on one matrix of embeddings.

The official scores were recorded from the benchmark's own code, commit 05a9005 of github.com/allenai/reward-bench:
`process_single_model` and `reroll_and_score_dataset` of `rewardbench/utils.py`, called with the rewards below.
"""

from __future__ import annotations

import csv
import io
import math
from dataclasses import replace

import numpy as np
import pytest
import torch

from lorerm import HashingEncoder, Preferences, TrainingConfig, embed
from lorerm.data.conversation import as_conversation
from lorerm.errors import DataError, ModelError, UnknownUserError
from lorerm.evaluation.rewardbench import (
    BenchmarkPrompt,
    BenchmarkResult,
    best_of,
    load,
    measure_reward_bench,
    reward_directions,
    score_subsets,
    ties_score,
)
from lorerm.training.train import train_ranks
from published_samples import rewardbench_rows, write_jsonl, write_parquet
from refusals import refused
from small_choices import choices

SUBSETS = ["Factuality", "Precise IF", "Math", "Safety", "Focus", "Ties"]

# Subset Ties: id, number of right completions, rewards; and the official score.
RECORDED_TIES = {
    "all numbers have both prompts": (
        [
            ("ref:0", 1, [2.23, 1.4, 0.32, 0.41]),
            ("tied:0", 4, [0.12, 0.13, 0.04, 1.96, -0.06, 0.13, -0.64]),
            ("ref:1", 1, [0.65, -0.84, 0.6, 0.02]),
            ("tied:1", 2, [2.81, 1.62, 1.23, -1.22, 0.04]),
            ("ref:2", 1, [-0.14, -0.72, 0.12, -1.71]),
            ("tied:2", 2, [3.25, 3.45, -2.39, 0.65, 1.6]),
            ("ref:3", 1, [0.78, -0.61, -2.65, 0.48]),
            ("tied:3", 3, [4.6, 0.97, 3.52, -0.1, -0.48, 1.03]),
        ],
        0.4168187256752909,
    ),
    "two prompts lack their partner": (
        [
            ("ref:0", 1, [2.44, 0.99, 0.17, 1.06]),
            ("tied:0", 4, [2.66, 5.01, 3.21, 2.09, 0.44, 1.81, 0.96]),
            ("ref:1", 1, [2.48, -2.47, 0.68, 0.16]),
            ("tied:1", 2, [1.4, 1.18, 1.06, 0.12, 0.3]),
            ("ref:2", 1, [-0.34, 0.06, -0.29, -0.01]),
            ("tied:3", 4, [5.05, 2.96, 4.17, 2.91, -1.24, -2.27, 0.3]),
        ],
        0.49428039393318685,
    ),
    "spreads of 0 and gaps as large as the spread": (
        [
            ("ref:0", 1, [2, 1, 0]),
            ("tied:0", 2, [3, 3, 1, 0]),
            ("ref:1", 1, [1, 1, 0]),
            ("tied:1", 3, [2, 2, 2, 1, 0]),
            ("ref:2", 1, [0, 1, 0]),
            ("tied:2", 2, [1, 1, 2, 0]),
            ("ref:3", 1, [5, 1, 0]),
            ("tied:3", 2, [4, 2, 0, -1]),
            ("ref:4", 1, [3, 0, 0]),
            ("tied:4", 2, [2, 1, 0, 0]),
        ],
        0.54,
    ),
}
# Best of four: rewards, the right completion first; and the official result.
RECORDED_BEST = [
    ([3, 1, 2, 0], 1),
    ([1, 1, 0, 0], 0.5),
    ([2, 2, 2, 2], 0.25),
    ([0, 1, 0, 0], 0),
    ([1, 1, 1, 0], 1 / 3),
    ([-1, -2, -1, -3], 0.5),
    ([0.5, 0.5, 0.25, 0.75], 0),
]


@pytest.fixture(scope="module")
def prompts(tmp_path_factory):
    rows = rewardbench_rows(np.random.default_rng(0), per_subset=30)
    return load(write_parquet(tmp_path_factory.mktemp("rb2") / "test.parquet", rows))[0]


@pytest.fixture(scope="module")
def trained():
    """Models of ranks 1 and 2 on the built-in encoder."""
    data = embed(Preferences.from_records(choices()), HashingEncoder())
    return dict(train_ranks(data, [1, 2], TrainingConfig()))


class Counting(HashingEncoder):
    """Counts what it embeds."""

    done = 0

    def encode(self, conversations, progress=None):
        self.done += len(conversations)
        return super().encode(conversations, progress)


def prompt(name, n_correct, n_wrong, subset="Ties"):
    return BenchmarkPrompt(name, subset, "?", tuple(f"c{i}" for i in range(n_correct + n_wrong)), n_correct)


def test_rows_as_the_hub_has_them(tmp_path):
    rows = rewardbench_rows(np.random.default_rng(0))
    prompts, source = load(write_parquet(tmp_path / "data" / "test-00000-of-00001.parquet", rows).parent)
    assert len(prompts) == len(rows) == 21
    assert source == str(tmp_path / "data")
    assert list(dict.fromkeys(prompt.subset for prompt in prompts)) == SUBSETS
    for prompt, row in zip(prompts, rows, strict=True):
        assert list(prompt.completions) == row["chosen"] + row["rejected"]
        assert prompt.n_correct == row["num_correct"]


@pytest.mark.parametrize(
    "change",
    [{"chosen": []}, {"rejected": None}, {"chosen": "one"}, {"rejected": [3]}, {"chosen": ["a"], "rejected": ["a"]}],
)
def test_a_row_without_right_and_wrong_completions_is_named(tmp_path, change):
    first, second, *others = rewardbench_rows(np.random.default_rng(0))
    path = write_jsonl(tmp_path / "test.jsonl", [first, {**second, **change}, *others])
    with refused(DataError, file=str(path), row=2, column="chosen"):
        load(path)


@pytest.mark.parametrize("case", RECORDED_TIES)
def test_the_score_of_ties_is_the_official_one(case):
    rows, official = RECORDED_TIES[case]
    prompts = [prompt(name, n_correct, len(rewards) - n_correct) for name, n_correct, rewards in rows]
    rewards = [np.array(values, dtype=float) for *_, values in rows]
    assert ties_score(prompts, rewards) == pytest.approx(official, abs=1e-12)
    found = score_subsets(prompts, rewards)["Ties"]
    assert (found.score, found.n_prompts) == (ties_score(prompts, rewards), len(rows))


def test_the_score_of_ties_by_hand():
    """Right completions at 5 and 4 over a wrong one at 1: gap 3, spread 1. The reference gap is 1.5, the smaller."""
    prompts = [prompt("ref:0", 1, 2), prompt("tied:0", 2, 2)]
    rewards = [np.array([2.5, 1.0, 0.0]), np.array([5.0, 4.0, 1.0, 0.0])]
    assert ties_score(prompts, rewards) == pytest.approx(0.3 + 0.3 + 0.2 + 0.2 + 0.01 * math.tanh(0.5))


@pytest.mark.parametrize(("rewards", "official"), RECORDED_BEST)
def test_best_of_four_is_the_official_one(rewards, official):
    assert best_of(np.array(rewards, dtype=float)) == pytest.approx(official, abs=1e-12)


def test_subsets_are_scored_apart_in_their_order():
    prompts = [prompt("a", 1, 3, "Math"), prompt("b", 1, 3, "Focus"), prompt("c", 1, 3, "Math")]
    rewards = [np.array(values, float) for values in ([3, 2, 1, 0], [0, 1, 2, -1], [1, 1, 0, 0])]
    found = score_subsets(prompts, rewards)
    assert list(found) == ["Math", "Focus"]
    # 1 and, since two completions share the highest reward, 1/2; of three wrong ones the right one beats 3 and 2, and
    # its tie with the third counts one half.
    assert (found["Math"].score, found["Math"].n_prompts) == (0.75, 2)
    assert found["Math"].pairwise == pytest.approx((1 + 2.5 / 3) / 2)
    assert (found["Focus"].score, found["Focus"].pairwise) == (0.0, pytest.approx(1 / 3))
    assert (found["Math"].n_ties, found["Focus"].n_ties) == (1, 0)
    text = BenchmarkResult("a file", {"population": found}).to_markdown()
    assert "equal rewards: population 1." in text


def test_ties_without_partners_or_names_have_no_score():
    with refused(DataError, "ref", "tied", column="id"):
        ties_score([prompt("ref:0", 1, 2), prompt("tied:1", 2, 2)], [np.arange(3.0), np.arange(4.0)])
    with refused(DataError, "'17'", column="id"):
        ties_score([prompt("17", 1, 2)], [np.arange(3.0)])


def test_every_reward_function_is_scored_with_the_models_rewards(prompts, trained, tmp_path):
    model = trained[2]
    user = model.user_ids[0]
    result = measure_reward_bench(model, prompts, "made up", HashingEncoder(), tmp_path, [user])
    n_directions = model.basis.shape[1]
    assert list(result.scores) == [*(f"basis {k + 1}" for k in range(n_directions)), "population", f"user {user}"]
    assert result.subsets == SUBSETS
    rewards = [
        model.rewards(
            HashingEncoder().encode([as_conversation(one.prompt, text) for text in one.completions]), user_id=user
        ).numpy()
        for one in prompts
    ]
    expected = score_subsets(prompts, rewards)
    for subset in SUBSETS:
        assert result.scores[f"user {user}"][subset].score == pytest.approx(expected[subset].score, abs=0.02)


def test_embeddings_are_kept_and_made_again_where_they_are_damaged(prompts, trained, tmp_path):
    model, encoder = trained[1], Counting()
    total = len({(prompt.prompt, text) for prompt in prompts for text in prompt.completions})
    first = measure_reward_bench(model, prompts, "s", encoder, tmp_path)
    assert encoder.done == total
    reported = []
    again = measure_reward_bench(model, prompts, "s", encoder, tmp_path, progress=lambda *args: reported.append(args))
    assert again == first
    assert encoder.done == total
    assert reported[-1] == ("embedding", total, total)
    (shard,) = (tmp_path / "embeddings").glob("embeddings-*.safetensors")
    shard.write_bytes(shard.read_bytes()[:-5])
    assert measure_reward_bench(model, prompts, "s", encoder, tmp_path) == first
    assert encoder.done == 2 * total


def test_embeddings_of_another_encoder_are_replaced(prompts, trained, tmp_path):
    class Other(Counting):
        @property
        def identity(self):
            return replace(super().identity, revision="another")

    model = trained[1]
    of_other = replace(model, encoder=Other().identity)
    measure_reward_bench(of_other, prompts, "s", Other(), tmp_path)
    encoder = Counting()
    measure_reward_bench(model, prompts, "s", encoder, tmp_path)
    assert encoder.done > 0


def test_completions_with_one_text_have_one_embedding(trained, tmp_path):
    repeated = BenchmarkPrompt("a", "Math", "?", ("yes", "yes", "no", "yes"), 1)
    found = measure_reward_bench(trained[1], [repeated], "s", HashingEncoder(), tmp_path)
    assert {scores["Math"].score for scores in found.scores.values()} <= {0.0, 1 / 3}


def test_the_reference_head_is_scored_where_there_is_one(trained):
    model = replace(trained[1], reference=torch.ones(trained[1].basis.shape[0]))
    assert next(iter(reward_directions(model, []))) == "reference head"


def test_tables(prompts, trained, tmp_path):
    result = measure_reward_bench(trained[1], prompts, "here", HashingEncoder(), tmp_path)
    result.write(tmp_path)
    table = list(csv.DictReader(io.StringIO((tmp_path / "rewardbench.csv").read_text())))
    assert list(table[0])[:8] == ["scorer", *SUBSETS, "mean"]
    row = table[0]
    assert float(row["mean"]) == pytest.approx(np.mean([float(row[subset]) for subset in SUBSETS]), abs=1e-5)
    text = (tmp_path / "rewardbench.md").read_text()
    assert "Read from here." in text
    assert "Factuality 30" in text
    assert "Ties 60" in text


def test_another_encoder_and_an_unknown_user_are_refused(prompts, trained, tmp_path):
    model = trained[1]
    other = replace(model, encoder=replace(model.encoder, revision="0"))
    with refused(ModelError, "lorerm-hashing"):
        measure_reward_bench(other, prompts, "s", HashingEncoder(), tmp_path)
    with refused(UnknownUserError, "nobody"):
        measure_reward_bench(model, prompts, "s", HashingEncoder(), tmp_path, ["nobody"])

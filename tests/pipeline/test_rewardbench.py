"""Every reward function of a model on the benchmark, the completions embedded once."""

from __future__ import annotations

import csv
import io

import numpy as np
import pytest
import torch

from lorerm import HashingEncoder
from lorerm.data.conversation import as_conversation
from lorerm.data.datasets.reward_bench_2 import load
from lorerm.errors import ModelError, UnknownUserError
from lorerm.evaluation.rewardbench import score_subsets
from lorerm.pipeline.models import load_model
from lorerm.pipeline.rewardbench import measure_reward_bench, reward_directions
from published_samples import rewardbench_rows, write_parquet

SUBSETS = ["Factuality", "Precise IF", "Math", "Safety", "Focus", "Ties"]


@pytest.fixture(scope="module")
def prompts(tmp_path_factory):
    rows = rewardbench_rows(np.random.default_rng(0), per_subset=30)
    return load(write_parquet(tmp_path_factory.mktemp("rb2") / "test.parquet", rows))[0]


class Counting(HashingEncoder):
    """Counts what it embeds."""

    done = 0

    def encode(self, conversations, progress=None):
        self.done += len(conversations)
        return super().encode(conversations, progress)


def test_every_reward_function_is_scored_as_the_model_rewards(prompts, finished, tmp_path):
    model = load_model(finished, 2)
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


def test_embeddings_are_kept_and_made_again_where_they_are_damaged(prompts, finished, tmp_path):
    model, encoder = load_model(finished, 1), Counting()
    total = sum(len(prompt.completions) for prompt in prompts)
    first = measure_reward_bench(model, prompts, "s", encoder, tmp_path)
    assert encoder.done == total
    told = []
    assert (
        measure_reward_bench(model, prompts, "s", encoder, tmp_path, progress=lambda *args: told.append(args)) == first
    )
    assert encoder.done == total
    assert told[-1] == ("embedding", total, total)
    part = tmp_path / "embeddings" / "part-002.safetensors"
    part.write_bytes(part.read_bytes()[:-5])
    assert measure_reward_bench(model, prompts, "s", encoder, tmp_path) == first
    assert total < encoder.done < 2 * total


def test_reference_head_is_scored_where_there_is_one(finished):
    from dataclasses import replace

    model = replace(load_model(finished, 1), reference=torch.ones(load_model(finished, 1).basis.shape[0]))
    assert next(iter(reward_directions(model, []))) == "reference head"


def test_tables(prompts, finished, tmp_path):
    result = measure_reward_bench(load_model(finished, 1), prompts, "here", HashingEncoder(), tmp_path)
    result.write(tmp_path)
    table = list(csv.DictReader(io.StringIO((tmp_path / "rewardbench.csv").read_text())))
    assert list(table[0])[:8] == ["scorer", *SUBSETS, "mean"]
    row = table[0]
    assert float(row["mean"]) == pytest.approx(np.mean([float(row[subset]) for subset in SUBSETS]), abs=1e-5)
    text = (tmp_path / "rewardbench.md").read_text()
    assert "Read from here." in text
    assert "Factuality 30" in text
    assert "Ties 60" in text


def test_another_encoder_and_an_unknown_user_are_refused(prompts, finished, tmp_path):
    from dataclasses import replace

    model = load_model(finished, 1)
    other = replace(model, encoder=replace(model.encoder, revision="0"))
    with pytest.raises(ModelError, match="was trained on embeddings of"):
        measure_reward_bench(other, prompts, "s", HashingEncoder(), tmp_path)
    with pytest.raises(UnknownUserError):
        measure_reward_bench(model, prompts, "s", HashingEncoder(), tmp_path, ["nobody"])

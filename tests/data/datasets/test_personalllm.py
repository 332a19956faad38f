"""PersonalLLM: simulated users who compare the same responses, best against worst, ties and missing scores."""

from __future__ import annotations

import numpy as np
import pytest

from lorerm.data.datasets import read_dataset
from lorerm.data.datasets.personalllm import REWARD_MODELS
from lorerm.data.splits import SplitConfig
from lorerm.errors import ConfigError, DataError
from published_samples import personalllm_rows, personalllm_sample, write_parquet
from refusals import refused


def load(data, split=None, **options):
    return read_dataset("personalllm", split=split, data=data, **options)


@pytest.fixture(scope="module")
def sample(tmp_path_factory):
    return personalllm_sample(tmp_path_factory.mktemp("personalllm"))


def write(folder, train, test):
    for label, rows in (("train", train), ("test", test)):
        write_parquet(folder / f"{label}.parquet", rows)
    return folder


def rows(label, n, seed=0):
    return personalllm_rows(np.random.default_rng(seed), label, n)


def test_the_responses_are_all_of_the_data_set_in_its_order(sample):
    preferences = load(sample, seen_users=30, unseen_users=20).preferences
    assert preferences.responses.num_rows == 8 * (60 + 12)
    prompt_of = dict(zip((preferences.chosen // 8).tolist(), preferences.prompt_ids, strict=True))
    assert {prompt_id for row, prompt_id in prompt_of.items() if row >= 60} == {f"test-{n}" for n in range(12)}
    assert all(prompt_id == f"train-{row}" for row, prompt_id in prompt_of.items() if row < 60)


def test_splits_have_the_sizes_of_the_protocol(sample):
    preferences = load(sample, seen_users=30, unseen_users=20, seen_share=0.1, unseen_share=0.05).preferences
    counted = {name: int((preferences.splits == name).sum()) for name in set(preferences.splits)}
    assert counted == {"train_seen": 180, "test_seen": 360, "train_unseen": 60, "test_unseen": 240}
    assert list(dict.fromkeys(preferences.user_ids))[:2] == ["seen-0000", "seen-0001"]
    tiny = load(sample, seen_users=3, unseen_users=2).preferences
    assert (tiny.splits == "train_unseen").sum() == 2, "a thousandth of sixty prompts is one at least"


def test_pair_is_the_best_against_the_worst_by_the_users_own_mixture(tmp_path):
    """Comparisons of the scores, mixed by the weights that the same seed draws."""
    train, test = rows("train", 20), rows("test", 5)
    folder = write(tmp_path, train, test)
    seed = 4
    preferences = load(folder, seen_users=8, unseen_users=3, seen_share=1.0, split=SplitConfig(seed=seed)).preferences
    tastes = np.random.default_rng(seed).dirichlet(np.full(10, 0.1), 11)
    scores = {
        row["prompt_id"]: np.array([[row[f"response_{i}_{model}"] for model in REWARD_MODELS] for i in range(1, 9)])
        for row in train + test
    }
    texts = {row["prompt_id"]: [row[f"response_{i}"] for i in range(1, 9)] for row in train + test}
    chosen, rejected = preferences.messages("chosen"), preferences.messages("rejected")
    assert len(chosen) == 8 * 20 + 3 + 11 * 5
    names = [f"seen-{n:04d}" for n in range(8)] + [f"unseen-{n:04d}" for n in range(3)]
    assert set(names) >= set(preferences.user_ids)
    for pair, (prompt, user) in enumerate(zip(preferences.prompt_ids, preferences.user_ids, strict=True)):
        values = scores[prompt] @ tastes[names.index(user)]
        assert chosen[pair][0]["content"] == texts[prompt][values.argmax()]
        assert rejected[pair][0]["content"] == texts[prompt][values.argmin()]


def test_concentration_decides_how_diverse_users_are(tmp_path):
    """Each reward model likes one response; even mixtures agree on the two that two models like."""
    train, test = rows("train", 3), rows("test", 2)
    for row in train + test:
        for place, model in enumerate(REWARD_MODELS):
            for i in range(1, 9):
                row[f"response_{i}_{model}"] = float(place % 8 == i - 1)
    folder = write(tmp_path, train, test)

    def n_different(concentration):
        return len(set(load(folder, seen_users=60, unseen_users=0, concentration=concentration).preferences.chosen % 8))

    assert n_different(0.1) >= 6
    assert n_different(1000.0) == 2


def test_exact_ties(tmp_path):
    """The first of equally good responses is taken; where all are equal there is no pair, and it is counted."""
    train, test = rows("train", 3), rows("test", 2)
    for model in REWARD_MODELS:
        for i in range(1, 9):
            train[0][f"response_{i}_{model}"] = 1.5
            train[1][f"response_{i}_{model}"] = 2.0 if i in (3, 6) else -1.0
    preferences = load(write(tmp_path, train, test), seen_users=4, unseen_users=0, seen_share=1.0).preferences
    train_pairs = preferences.select(np.flatnonzero(preferences.splits == "train_seen"))
    assert set(train_pairs.prompt_ids) == {"train-1", "train-2"}
    at = train_pairs.prompt_ids == "train-1"
    assert set(train_pairs.chosen[at]) == {8 + 2}
    assert set(train_pairs.rejected[at]) == {8 + 0}
    assert preferences.summary.n_ties == 4
    assert preferences.summary.warnings()[0].endswith(": 4.")


def test_best_and_worst_of_the_same_text_are_a_tie(tmp_path):
    train, test = rows("train", 3), rows("test", 2)
    for i in range(1, 9):
        train[0][f"response_{i}"] = "the same"
    preferences = load(write(tmp_path, train, test), seen_users=4, unseen_users=0, seen_share=1.0).preferences
    assert "train-0" not in set(preferences.prompt_ids)
    assert preferences.summary.n_ties == 4


def test_prompt_with_a_missing_score_has_no_comparisons_but_keeps_its_rows(tmp_path):
    train, test = rows("train", 4), rows("test", 2)
    train[2]["response_5_beaver_7b"] = None
    loaded = load(write(tmp_path, train, test), seen_users=3, unseen_users=0, seen_share=1.0)
    assert loaded.reading == ("prompts read: 6", "1 left out, a score is missing or not finite: 5 remain")
    assert "train-2" not in set(loaded.preferences.prompt_ids)
    assert loaded.preferences.responses.num_rows == 8 * 6


def test_missing_column_of_a_reward_model_is_named(tmp_path):
    train, test = rows("train", 2), rows("test", 2)
    for row in train:
        del row["response_8_mistral_ray"]
    with refused(DataError, column="response_8_mistral_ray"):
        load(write(tmp_path, train, test))


def test_missing_prompt_is_named(tmp_path):
    train, test = rows("train", 2), rows("test", 2)
    train[1]["prompt"] = None
    with refused(DataError, row=2, column="prompt"):
        load(write(tmp_path, train, test))


def test_prompt_in_both_splits_is_tested_only(tmp_path):
    train, test = rows("train", 4), rows("test", 2)
    train[1]["prompt"] = test[0]["prompt"]
    loaded = load(write(tmp_path, train, test), seen_users=3, unseen_users=0, seen_share=1.0)
    assert "1 left out, a train prompt that is also a test prompt: 5 remain" in loaded.reading


def test_seed_decides_users_and_prompts(sample):
    one, same, other = (
        load(sample, SplitConfig(seed=seed), seen_users=9, unseen_users=3).preferences for seed in (1, 1, 2)
    )
    assert np.array_equal(one.chosen, same.chosen)
    assert not np.array_equal(one.chosen, other.chosen)


@pytest.mark.parametrize(
    ("option", "value"),
    [("seen_users", 0), ("unseen_users", -1), ("concentration", 0.0), ("seen_share", 1.5), ("unseen_share", 0.0)],
)
def test_option_out_of_range(sample, option, value):
    with refused(ConfigError, argument=option):
        load(sample, **{option: value})


def test_file_of_no_split_is_an_error(tmp_path):
    path = write_parquet(tmp_path / "prompts.parquet", rows("train", 2))
    with refused(DataError, file=str(path)):
        load(path)

"""Rewards through TRL's interface, and a GRPO run of two steps with TRL."""

import math
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
import torch

from lorerm.embedding.hashing import HashingEncoder
from lorerm.errors import DataError, ModelError, UnknownUserError
from lorerm.model.reward_function import RewardFunction
from refusals import refused
from tiny_models import TinyModels

PROMPTS = ["Tea or coffee?", "Tea or coffee?", "Would you?"]
COMPLETIONS = ["Tea.", "Coffee, please; with much milk.", ""]
USERS = ["b", "zoë", "b"]


@pytest.fixture
def hashed(make_model):
    """A model of the built-in encoder, and the encoder."""
    encoder = HashingEncoder()
    basis = torch.randn(encoder.identity.dimension, 2, generator=torch.Generator().manual_seed(0))
    return make_model(basis=basis, encoder=encoder.identity), encoder


def by_hand(model, encoder, users):
    from lorerm.data.conversation import as_conversation

    rows = [encoder.encode([as_conversation(*row)]) for row in zip(PROMPTS, COMPLETIONS, strict=True)]
    return [float(model.rewards(row, user, population=True)) for row, user in zip(rows, users, strict=True)]


def test_each_row_is_rewarded_for_its_own_user(hashed):
    model, encoder = hashed
    reward = RewardFunction(model, encoder)
    found = reward(
        prompts=PROMPTS, completions=COMPLETIONS, user_id=USERS, completion_ids=[[1]] * 3, trainer_state=None
    )
    assert found == pytest.approx(by_hand(model, encoder, USERS), rel=1e-5)
    assert len({round(one, 4) for one in found}) == 3
    assert all(type(one) is float for one in found)


def test_conversational_rows_have_the_rewards_of_plain_ones(hashed):
    reward = RewardFunction(*hashed)
    prompts = [[{"role": "user", "content": prompt}] for prompt in PROMPTS]
    completions = [[{"role": "assistant", "content": text}] for text in COMPLETIONS]
    plain = reward(prompts=PROMPTS, completions=COMPLETIONS, user_id=USERS)
    assert reward(prompts=prompts, completions=completions, user_id=USERS) == plain


def test_the_population_reward_is_given_only_on_request(hashed):
    model, encoder = hashed
    rows = {"prompts": PROMPTS, "completions": COMPLETIONS}
    strict = RewardFunction(model, encoder)
    with refused(DataError, "user_column", column="user_id"):
        strict(**rows)
    for empty in (None, math.nan, pd.NA, ""):
        with refused(DataError, row=2, column="user_id"):
            strict(**rows, user_id=["b", empty, "b"])
    with refused(UnknownUserError, "'a stranger'"):
        strict(**rows, user_id=["b", "b", "a stranger"])
    lenient = RewardFunction(model, encoder, population=True)
    for empty in (None, math.nan, pd.NA, ""):
        found = lenient(**rows, user_id=["b", empty, "a stranger"])
        assert found == pytest.approx(by_hand(model, encoder, ["b", None, "a stranger"]), rel=1e-5)
    assert lenient(**rows) == RewardFunction(model, encoder, user_column=None)(**rows)
    renamed = RewardFunction(model, encoder, user_column="who")
    assert renamed(**rows, who=USERS) == strict(**rows, user_id=USERS)


@pytest.mark.parametrize("population", [False, True])
def test_users_are_numbers_in_the_type_that_the_data_set_has(hashed, population):
    model, encoder = hashed
    model = replace(model, user_ids=("7", "8"), weights=torch.tensor([[1.0, 2.0], [-1.0, 0.5]]), covariance=None)
    reward = RewardFunction(model, encoder, population=population)
    rows = {"prompts": PROMPTS, "completions": COMPLETIONS}
    expected = reward(**rows, user_id=["7", "8", "7"])
    assert len({round(one, 4) for one in expected}) == 3
    for kind in (list, np.array, pd.Series, torch.tensor, lambda ids: pd.Series(ids, dtype="float64")):
        assert reward(**rows, user_id=kind([7, 8, 7])) == expected
    for wrong in (7.5, True, 2.0**60, b"7"):
        with refused(DataError, row=3, column="user_id"):
            reward(**rows, user_id=[7, 8, wrong])
    for wrong in ("787", [7, 8]):
        with refused(DataError, column="user_id"):
            reward(**rows, user_id=wrong)


def test_another_encoder_is_refused_by_the_constructor(make_model):
    with refused(ModelError, "'an encoder'", argument="encoder"):
        RewardFunction(make_model(), HashingEncoder())


@pytest.mark.xdist_group("trl")  # which takes seconds to import
@pytest.mark.filterwarnings("default")  # other libraries warn about each other's deprecations
@pytest.mark.parametrize("conversational", [False, True], ids=["plain", "conversational"])
def test_a_grpo_run_gets_each_users_rewards(hashed, tmp_path, conversational):
    trl = pytest.importorskip("trl", reason="trl comes with the extra dev")
    from datasets import Dataset
    from transformers import AutoTokenizer

    model, encoder = hashed
    base = str(TinyModels(tmp_path / "models").folder(task="causal", padding_side="left"))
    prompts = [[{"role": "user", "content": text}] if conversational else text for text in ("Tea?", "Rain?")]
    rows = Dataset.from_dict({"prompt": prompts, "user_id": ["b", "zoë"]})
    called = []

    class Watched(RewardFunction):
        def __call__(self, prompts, completions, **columns):
            found = super().__call__(prompts, completions, **columns)
            called.append((columns["user_id"], found))
            return found

    reward = Watched(model, encoder)
    assert not isinstance(reward, torch.nn.Module)
    trainer = trl.GRPOTrainer(
        model=base,
        reward_funcs=reward,
        processing_class=AutoTokenizer.from_pretrained(base),
        train_dataset=rows,
        args=trl.GRPOConfig(
            output_dir=str(tmp_path / "grpo"),
            per_device_train_batch_size=4,
            num_generations=2,
            max_completion_length=6,
            max_steps=2,
            learning_rate=1e-2,
            logging_steps=1,
            save_strategy="no",
            report_to=[],
            use_cpu=True,
            disable_tqdm=True,
            seed=0,
        ),
    )
    before = {name: value.clone() for name, value in trainer.model.named_parameters()}
    trainer.train()
    assert [sorted(users) for users, _ in called] == [["b", "b", "zoë", "zoë"]] * 2
    logged = [entry for entry in trainer.state.log_history if "rewards/lorerm/mean" in entry]
    assert [entry["rewards/lorerm/mean"] for entry in logged] == pytest.approx(
        [float(np.mean(found)) for _, found in called], rel=1e-4
    )
    assert any(not torch.equal(value, before[name]) for name, value in trainer.model.named_parameters())

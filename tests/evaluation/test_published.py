"""The published arrays: their names, their order, their own "std"."""

import numpy as np
import pytest

from lorerm.data.schema import SPLITS
from lorerm.evaluation.predictions import OWN
from lorerm.evaluation.published import published_arrays
from lorerm.evaluation.report import RankRow
from lorerm.training.config import TrainingConfig

NAMES = [
    "train_accuracies_joint",
    "seen_user_unseen_prompts_accuracies_joint",
    "few_shot_train_accuracies_few_shot",
    "unseen_user_unseen_prompts_accuracies_few_shot",
]


def test_names_and_order():
    found = published_arrays([], TrainingConfig(recipe="paper-cosine"))
    assert list(found.arrays) == [*NAMES, *(f"{name}_std" for name in NAMES)]
    assert (found.alphas, found.ranks) == ((1e4,), ())


def test_a_given_alpha_is_the_only_one():
    assert published_arrays([], TrainingConfig(recipe="paper", alpha=3)).alphas == (3,)


def test_values_are_those_of_the_splits(predictions, report):
    found = report.published
    assert found.ranks == (1, 2, 3)
    by_user = predictions.samples["test_unseen"].by_user(predictions.correct[2, "test_unseen", OWN][:, None])[:, 0]
    assert found.arrays[NAMES[3]][1] == pytest.approx(by_user.mean())
    assert found.arrays[f"{NAMES[3]}_std"][1] == pytest.approx(0.25 * np.std(by_user))


def test_an_empty_split_is_null():
    row = RankRow(rank=2, available=True, accuracies=dict.fromkeys(SPLITS))
    found = published_arrays([row], TrainingConfig())
    assert found.arrays[NAMES[0]] == found.arrays[f"{NAMES[0]}_std"] == (None,)

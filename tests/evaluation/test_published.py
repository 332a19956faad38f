"""The published arrays: their names, their order, their own "std"."""

import numpy as np
import pytest

from lorerm.evaluation.evaluate import measure
from lorerm.evaluation.measured import OWN
from lorerm.evaluation.published import published_arrays
from lorerm.training.config import TrainingConfig

NAMES = [
    "train_accuracies_joint",
    "seen_user_unseen_prompts_accuracies_joint",
    "few_shot_train_accuracies_few_shot",
    "unseen_user_unseen_prompts_accuracies_few_shot",
]


def test_names_and_order():
    found = published_arrays([], TrainingConfig(recipe="paper-cosine"))
    assert list(found) == ["alpha_list", "K_list", *NAMES, *(f"{name}_std" for name in NAMES)]
    assert found["alpha_list"] == [1e4]


def test_values_are_those_of_the_cells(measured, models, cells):
    report = measure(models, cells)
    found = report["published"]
    assert found["K_list"] == [1, 2, 3]
    cell = measured.cells["test_unseen"]
    right = measured.right[2, "test_unseen", OWN]
    by_user = cell.sample.by_user(right[:, None])[:, 0]
    assert found[NAMES[3]][1] == pytest.approx(by_user.mean())
    assert found[f"{NAMES[3]}_std"][1] == pytest.approx(0.25 * np.std(by_user))


def test_an_empty_cell_is_null():
    empty = dict.fromkeys(("train_seen", "test_seen", "train_unseen", "test_unseen"))
    found = published_arrays([{"rank": 2, "available": True, "cells": empty}], TrainingConfig())
    assert found[NAMES[0]] == found[f"{NAMES[0]}_std"] == [None]

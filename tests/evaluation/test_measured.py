"""Predictions of every rank, pair by pair."""

import numpy as np
import pytest

from lorerm.data.schema import TEST_SPLITS
from lorerm.evaluation.measured import CONTROLS, OWN, Measured


def test_every_rank_has_its_predictions(measured):
    assert list(measured.models) == [1, 2, 3]
    assert {weights for rank, _, weights in measured.right if rank == 3} == {OWN, *CONTROLS}
    assert {weights for rank, _, weights in measured.right if rank == 1} == {OWN}


def test_the_unseen_users_are_adapted(measured, cells):
    assert set(cells.train_unseen.user_ids) <= set(measured.models[3].user_ids)


def test_focus_is_the_chosen_rank_or_the_largest_personal_one(measured, models, cells):
    assert measured.focus_rank == measured.chosen_rank > 1
    impersonal = Measured(measured.models, measured.cells, 1, measured.config, measured.adaptation, measured.right)
    assert impersonal.focus_rank == 3


def test_predictions_give_the_accuracies_of_the_table(measured):
    table = measured.predictions().to_pydict()
    assert list(table) == ["cell", "user_id", "prompt_id", "share", "rank_1", "rank_2", "rank_3"]
    for name in TEST_SPLITS:
        rows = np.flatnonzero(np.array(table["cell"]) == name)
        users = {table["user_id"][i] for i in rows}
        mean = sum(table["share"][i] * table["rank_3"][i] for i in rows) / len(users)
        assert mean == pytest.approx(measured.accuracies(3)[name]["mean"])


def test_predictions_name_the_pairs_of_the_data(measured, cells):
    table = measured.predictions().to_pydict()
    found = {
        (u, p) for c, u, p in zip(table["cell"], table["user_id"], table["prompt_id"], strict=True) if c == "test_seen"
    }
    assert found == set(zip(cells.test_seen.user_ids, cells.test_seen.prompt_ids, strict=True))

"""The protocol: every promised key, baselines and controls beside each model, and figures that are the literal ones."""

import json
import math

import numpy as np
import pytest
import torch

from lorerm.data.schema import SPLITS
from lorerm.data.splits import split
from lorerm.errors import ConfigError
from lorerm.evaluation.evaluate import NO_REFERENCE, measure
from lorerm.reporting.tables import to_markdown
from lorerm.training.adaptation import adapt
from lorerm.training.config import AdaptationConfig, TrainingConfig
from lorerm.training.train import train
from planted import plant

ACCURACY = {"mean", "stderr", "stderr_two_way", "std", "ci95", "n_users", "n_pairs", "n_prompts"}


@pytest.fixture(scope="module")
def report(models, cells):
    return measure(models, cells)


def of_rank(rows, rank):
    return next(row for row in rows if row["rank"] == rank)


def test_every_key_of_the_schema_is_there(report):
    """The schema is docs/report.md; `config.split` is known to whoever split the data."""
    assert list(report) == [
        "schema_version",
        "lorerm_version",
        "data",
        "config",
        "ranks",
        "controls",
        "chosen_rank",
        "differences",
        "gains",
        "agreement",
        "published",
    ]
    assert set(report["data"]) == {
        "source",
        "n_users",
        "n_seen_users",
        "n_unseen_users",
        "n_pairs",
        "n_prompts",
        "n_responses",
        "dimension",
        "encoder",
        "leaks",
        "warnings",
        "cells",
    }
    assert {"training", "adaptation"} <= set(report["config"])
    for row in report["ranks"]:
        assert set(row) == {"rank", "fitted_rank", "available", "reason", "selection", "cells"}
    for row in report["controls"]:
        assert set(row) == {"name", "label", "rank", "cells"}
    for row in [*report["ranks"], *report["controls"]]:
        for cell in SPLITS if row["cells"] else []:
            assert set(row["cells"][cell]) == ACCURACY
    for row in report["differences"]:
        assert set(row) == {"rank", "against", "cell", *ACCURACY}
    assert set(report["gains"]) == {"rank", "against", "test_seen", "test_unseen", "users"}
    assert set(report["agreement"]) == {"choices", "models"}


def test_it_is_json_without_nan_and_the_tables_can_read_it(report):
    assert json.loads(json.dumps(report, allow_nan=False)) == report
    assert "LoRe" in to_markdown(report)


def test_ranks_controls_and_differences_that_belong_together(report):
    assert [row["rank"] for row in report["ranks"]] == [0, 1, 2, 3]
    absent = report["ranks"][0]
    assert (absent["available"], absent["reason"], absent["cells"]) == (False, NO_REFERENCE, None)
    assert [(row["rank"], row["name"]) for row in report["controls"]] == [
        (2, "shared_direction"),
        (2, "other_users_weights"),
        (3, "shared_direction"),
        (3, "other_users_weights"),
    ]
    found = {(row["rank"], row["against"], row["cell"]) for row in report["differences"]}
    assert found == {
        (rank, against, cell)
        for rank in (2, 3)
        for against in ("shared_direction", "bradley_terry", "other_users_weights")
        for cell in ("test_seen", "test_unseen")
    }


def test_the_accuracies_are_the_literal_ones(report, models, cells):
    model = models[3]
    users = adapt(model, cells.train_unseen)
    weights = {
        **dict(zip(model.user_ids, model.weights, strict=True)),
        **dict(zip(users.user_ids, users.weights, strict=True)),
    }
    for name in SPLITS:
        data = getattr(cells, name)
        right = {}
        for user, chosen, rejected in zip(data.user_ids, *data.rows(), strict=True):
            difference = torch.from_numpy(data.responses[chosen] - data.responses[rejected])
            right.setdefault(user, []).append(float(difference @ model.basis @ weights[user]) > 0)
        by_user = [np.mean(answers) for answers in right.values()]
        found = of_rank(report["ranks"], 3)["cells"][name]
        assert found["mean"] == pytest.approx(np.mean(by_user))
        assert found["stderr"] == pytest.approx(np.std(by_user, ddof=1) / math.sqrt(len(by_user)))
        assert (found["n_users"], found["n_pairs"]) == (len(by_user), len(data))
        assert report["data"]["cells"][name] == {"n_users": len(by_user), "n_pairs": len(data)}


def test_differences_are_between_the_rows_of_the_tables(report):
    others = {"shared_direction": "controls", "other_users_weights": "controls"}
    for row in report["differences"]:
        own = of_rank(report["ranks"], row["rank"])["cells"][row["cell"]]["mean"]
        if row["against"] in others:
            control = [c for c in report["controls"] if (c["rank"], c["name"]) == (row["rank"], row["against"])]
            other = control[0]["cells"][row["cell"]]["mean"]
        else:
            other = of_rank(report["ranks"], 1)["cells"][row["cell"]]["mean"]
        assert row["mean"] == pytest.approx(own - other)
        assert row["ci95"][0] <= row["mean"] <= row["ci95"][1]


def test_gains_are_those_of_every_single_user(report):
    gains = report["gains"]
    for cell in ("test_seen", "test_unseen"):
        row = next(
            row
            for row in report["differences"]
            if (row["rank"], row["against"], row["cell"]) == (gains["rank"], "shared_direction", cell)
        )
        assert len(gains[cell]) == row["n_users"]
        assert np.mean(gains[cell]) == pytest.approx(row["mean"])


def test_personal_weights_beat_somebody_elses(report):
    for row in report["differences"]:
        if row["against"] == "other_users_weights" and row["rank"] == 3:
            assert row["ci95"][0] > 0


def test_data_are_counted(report, cells):
    data = report["data"]
    assert data["n_users"] == data["n_seen_users"] + data["n_unseen_users"] == 30
    assert data["n_pairs"] == sum(len(getattr(cells, name)) for name in SPLITS)
    prompts = set().union(*(getattr(cells, name).prompt_ids for name in SPLITS))
    assert data["n_prompts"] == len(prompts)
    assert data["n_responses"] == 2 * len(prompts)
    assert data["dimension"] == 8
    assert data["warnings"] == cells.summary.warnings()


def test_the_same_seed_gives_the_same_report(models, cells, report):
    assert measure(models, cells) == report
    other = measure(models, cells, seed=1)
    assert other["ranks"] == report["ranks"]
    assert other["differences"] != report["differences"]


def test_one_model_gets_its_baselines(models, cells, report):
    alone = measure(models[3], cells)
    assert [row["rank"] for row in alone["ranks"]] == [0, 1, 3]
    assert alone["chosen_rank"] == 3
    assert of_rank(alone["ranks"], 1) == of_rank(report["ranks"], 1)
    assert of_rank(alone["ranks"], 3) == of_rank(report["ranks"], 3)


def test_with_a_reference_head_rank_zero_is_measured():
    cells = split(plant(users=12, pairs=20, dimension=6, prompts=200, reference=True).data)
    found = measure(train(cells.train_seen, TrainingConfig(rank=2)), cells)
    assert [row["rank"] for row in found["ranks"]] == [0, 1, 2]
    assert all(row["available"] for row in found["ranks"])
    head = torch.from_numpy(cells.test_seen.reference)
    chosen, rejected = cells.test_seen.rows()
    right = torch.from_numpy(cells.test_seen.responses[chosen] - cells.test_seen.responses[rejected]) @ head > 0
    users = np.asarray(cells.test_seen.user_ids)
    expected = np.mean([right.numpy()[users == user].mean() for user in dict.fromkeys(users)])
    assert found["ranks"][0]["cells"]["test_seen"]["mean"] == pytest.approx(expected)
    assert (1, "reference_head") in {(row["rank"], row["against"]) for row in found["differences"]}


def test_without_unseen_users_their_cells_are_empty():
    cells = split(plant(users=6, pairs=20, dimension=6, prompts=60).data, unseen_users=0)
    found = measure(train(cells.train_seen, TrainingConfig(rank=2)), cells)
    row = of_rank(found["ranks"], 2)
    assert row["cells"]["train_unseen"] is None
    assert row["cells"]["test_unseen"] is None
    assert row["cells"]["test_seen"]["n_users"] == 6
    assert found["gains"]["test_unseen"] == []
    assert found["data"]["cells"]["test_unseen"] == {"n_users": 0, "n_pairs": 0}
    assert {row["cell"] for row in found["differences"]} == {"test_seen"}
    json.dumps(found, allow_nan=False)
    to_markdown(found)


def test_one_user_has_no_errors_and_nobody_to_swap_with():
    cells = split(plant(users=1, pairs=30, dimension=4, prompts=40).data)
    found = measure(train(cells.train_seen, TrainingConfig(rank=1)), cells)
    cell = of_rank(found["ranks"], 1)["cells"]["test_seen"]
    assert (cell["n_users"], cell["stderr"], cell["ci95"]) == (1, None, None)
    assert found["gains"] == {"rank": 1, "against": "shared_direction", "test_seen": [], "test_unseen": [], "users": []}
    json.dumps(found, allow_nan=False)
    to_markdown(found)


def test_the_adaptation_can_be_chosen(cells):
    model = train(cells.train_seen, TrainingConfig(recipe="paper", rank=2, steps=20))
    published = measure(model, cells)
    assert published["config"]["adaptation"]["recipe"] == "paper"
    default = measure(model, cells, adaptation=AdaptationConfig())
    seen, unseen = "test_seen", "train_unseen"
    one, other = (of_rank(report["ranks"], 2)["cells"] for report in (published, default))
    assert one[seen] == other[seen]
    assert one[unseen] != other[unseen]


def test_an_adaptation_that_does_not_fit_is_refused(models, cells):
    with pytest.raises(ConfigError, match="the paper's adaptation keeps weights on the simplex"):
        measure(models[3], cells, adaptation=AdaptationConfig(recipe="paper"))

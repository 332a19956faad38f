"""The evaluation protocol: baselines and controls beside each rank, and figures equal to a literal computation."""

from __future__ import annotations

import json
import math
from dataclasses import replace

import numpy as np
import pytest
import torch

from lorerm.data.schema import SPLITS, TEST_SPLITS
from lorerm.data.splits import Splits, SplitSize, split
from lorerm.errors import ConfigError
from lorerm.evaluation.axes import describe_axes
from lorerm.evaluation.comparison import compare_runs
from lorerm.evaluation.evaluate import NO_REFERENCE, describe, measure, published_arrays
from lorerm.evaluation.predictions import OWN, predict
from lorerm.training.adaptation import adapt
from lorerm.training.config import AdaptationConfig, TrainingConfig
from lorerm.training.train import train, train_ranks
from planted import plant, plant_two_camps
from refusals import refused

PUBLISHED = [
    "train_accuracies_joint",
    "seen_user_unseen_prompts_accuracies_joint",
    "few_shot_train_accuracies_few_shot",
    "unseen_user_unseen_prompts_accuracies_few_shot",
]
ACCURACY = ["mean", "stderr", "stderr_two_way", "std", "ci95", "n_users", "n_pairs", "n_prompts", "n_ties"]


def test_the_json_has_every_key_of_the_schema(report):
    """The schema is docs/report-json.md: its keys stay as they are, whatever the fields are called."""
    content = report.to_dict()
    assert json.loads(json.dumps(content, allow_nan=False)) == content
    assert list(content) == [
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
        "shots",
        "seeds",
        "axes",
    ]
    assert list(content["data"]) == [
        "source",
        "n_users",
        "n_seen_users",
        "n_unseen_users",
        "n_pairs",
        "n_prompts",
        "n_responses",
        "dimension",
        "encoder",
        "n_same",
        "total_weight",
        "leaks",
        "warnings",
        "cells",
    ]
    assert list(content["data"]["cells"]) == list(SPLITS)
    assert content["data"]["cells"]["test_seen"].keys() == {"n_users", "n_pairs"}
    assert list(content["config"]) == ["training", "adaptation", "split"]
    assert [row["rank"] for row in content["ranks"] if row["cells"]] == [1, 2, 3]
    for row in content["ranks"]:
        assert list(row) == ["rank", "fitted_rank", "available", "reason", "selection", "cells"]
    assert {"validation_loss", "validation_accuracy", "temperature"} <= content["ranks"][2]["selection"].keys()
    assert len(content["controls"]) == 4
    for row in content["controls"]:
        assert list(row) == ["name", "label", "rank", "cells"]
    for row in [*content["ranks"][1:], *content["controls"]]:
        assert [list(row["cells"][name]) for name in SPLITS] == [ACCURACY] * 4
    assert len(content["differences"]) == 12
    for row in content["differences"]:
        assert list(row) == ["rank", "against", "cell", *ACCURACY]
    assert list(content["gains"]) == ["rank", "against", "test_seen", "test_unseen", "users"]
    assert list(content["gains"]["users"][0]) == ["user_id", "cell", "n_answers", "n_pairs", "gain", "ci95", "place"]
    assert list(content["agreement"]) == ["choices", "models"]
    assert content["agreement"]["choices"].keys() == {"share", "n_compared", "n_response_pairs"}
    assert content["agreement"]["models"].keys() == {"rank", "share", "n_users"}
    assert list(content["published"])[:3] == ["alpha_list", "K_list", "train_accuracies_joint"]


def test_ranks_controls_and_differences_that_belong_together(report):
    assert [row.rank for row in report.ranks] == [0, 1, 2, 3]
    absent = report.row(0)
    assert (absent.available, absent.reason, absent.accuracies) == (False, NO_REFERENCE, None)
    names = ("shared_direction", "other_users_weights")
    assert [(row.rank, row.name) for row in report.controls] == [(rank, name) for rank in (2, 3) for name in names]
    assert {(row.rank, row.against, row.split) for row in report.differences} == {
        (rank, against, name)
        for rank in (2, 3)
        for against in ("shared_direction", "bradley_terry", "other_users_weights")
        for name in TEST_SPLITS
    }


def test_the_accuracies_are_the_literal_ones(report, models, splits):
    model = models[3]
    users = adapt(model, splits.train_unseen)
    weights = {
        **dict(zip(model.user_ids, model.weights, strict=True)),
        **dict(zip(users.user_ids, users.weights, strict=True)),
    }
    for name in SPLITS:
        data = getattr(splits, name)
        correct = {}
        for user, chosen, rejected in zip(data.user_ids, *data.rows(), strict=True):
            difference = torch.from_numpy(data.responses[chosen] - data.responses[rejected])
            correct.setdefault(user, []).append(float(difference @ model.basis @ weights[user]) > 0)
        by_user = [np.mean(values) for values in correct.values()]
        found = report.accuracy(3, name)
        assert found.mean == pytest.approx(np.mean(by_user))
        assert found.stderr == pytest.approx(np.std(by_user, ddof=1) / math.sqrt(len(by_user)))
        assert (found.n_users, found.n_comparisons) == (len(by_user), len(data))
        assert report.data.splits[name] == SplitSize(len(by_user), len(data))


def test_differences_are_between_the_rows_of_the_tables(report):
    for row in report.differences:
        own, baseline = report.accuracy(row.rank, row.split), report.baseline_accuracy(row)
        assert row.estimate.mean == pytest.approx(own.mean - baseline.mean)
        assert row.estimate.ci95[0] <= row.estimate.mean <= row.estimate.ci95[1]


def test_gains_are_those_of_every_single_user(report):
    for name in TEST_SPLITS:
        difference = report.difference(report.gains.rank, "shared_direction", name).estimate
        assert len(report.gains.by_split[name]) == difference.n_users
        assert np.mean(report.gains.by_split[name]) == pytest.approx(difference.mean)


def test_own_weights_are_more_accurate_than_other_users(report):
    for name in TEST_SPLITS:
        assert report.difference(3, "other_users_weights", name).estimate.is_gain


def test_data_are_counted(report, splits):
    data = report.data
    assert data.n_users == data.n_seen_users + data.n_unseen_users == 30
    assert data.n_comparisons == sum(len(getattr(splits, name)) for name in SPLITS)
    prompts = set().union(*(getattr(splits, name).prompt_ids for name in SPLITS))
    assert data.n_prompts == len(prompts)
    assert data.n_responses == 2 * len(prompts)
    assert data.dimension == 8
    assert data.warnings == tuple(splits.summary.warnings())


def test_the_same_seed_gives_the_same_report(models, splits, report):
    assert measure(models, splits) == report
    other = measure(models, splits, seed=1)
    assert other.ranks == report.ranks
    assert other.differences != report.differences


def test_one_model_gets_its_baselines(models, splits, report):
    alone = measure(models[3], splits)
    assert [row.rank for row in alone.ranks] == [0, 1, 3]
    assert alone.chosen_rank == 3
    assert alone.row(1) == report.row(1)
    assert alone.row(3) == report.row(3)


def test_with_a_reference_head_rank_zero_is_measured():
    splits = split(plant(users=12, pairs=20, dimension=6, prompts=200, reference=True).data)
    found = measure(train(splits.train_seen, TrainingConfig(rank=2)), splits)
    assert found.available_ranks == [0, 1, 2]
    head = torch.from_numpy(splits.test_seen.reference)
    chosen, rejected = splits.test_seen.rows()
    correct = torch.from_numpy(splits.test_seen.responses[chosen] - splits.test_seen.responses[rejected]) @ head > 0
    users = np.asarray(splits.test_seen.user_ids)
    expected = np.mean([correct.numpy()[users == user].mean() for user in dict.fromkeys(users)])
    assert found.accuracy(0, "test_seen").mean == pytest.approx(expected)
    assert found.difference(1, "reference_head", "test_seen") is not None


def test_the_reference_head_alone_is_a_report_about_rank_zero():
    """As with `--ranks 0`."""
    splits = split(plant(users=12, pairs=20, dimension=6, prompts=200, reference=True).data)
    head = train(splits.train_seen, TrainingConfig(rank=0))
    found = measure(head, splits)
    assert (found.chosen_rank, found.focus_rank, found.gains.rank) == (0, 0, 0)
    assert found.gains.users == ()
    (axis,) = describe_axes(head, splits.train_seen)
    assert axis.reference_cosine == pytest.approx(1)


def test_without_unseen_users_their_splits_are_empty():
    splits = split(plant(users=6, pairs=20, dimension=6, prompts=60).data, unseen_users=0)
    found = measure(train(splits.train_seen, TrainingConfig(rank=2)), splits)
    assert found.filled_splits == ["train_seen", "test_seen"]
    assert found.accuracy(2, "test_seen").n_users == 6
    assert list(found.gains.by_split) == ["test_seen"]
    assert found.data.splits["test_unseen"] == SplitSize(0, 0)
    assert {row.split for row in found.differences} == {"test_seen"}
    json.dumps(found.to_dict(), allow_nan=False)


def test_one_user_has_no_standard_errors_and_no_other_users_weights():
    splits = split(plant(users=1, pairs=30, dimension=4, prompts=40).data)
    found = measure(train(splits.train_seen, TrainingConfig(rank=1)), splits)
    accuracy = found.accuracy(1, "test_seen")
    assert (accuracy.n_users, accuracy.stderr, accuracy.ci95) == (1, None, None)
    assert (found.gains.rank, found.gains.users) == (1, ())
    json.dumps(found.to_dict(), allow_nan=False)


def test_the_adaptation_can_be_chosen(splits):
    model = train(splits.train_seen, TrainingConfig(recipe="paper", rank=2, steps=20))
    published = measure(model, splits)
    assert published.settings.adaptation["recipe"] == "paper"
    default = measure(model, splits, adaptation=AdaptationConfig())
    assert default.settings.adaptation["recipe"] == "default"
    assert published.accuracy(2, "test_seen") == default.accuracy(2, "test_seen")
    assert published.accuracy(2, "train_unseen") != default.accuracy(2, "train_unseen")


def test_an_adaptation_that_does_not_fit_is_refused(models, splits):
    with refused(ConfigError, "paper"):
        measure(models[3], splits, adaptation=AdaptationConfig(recipe="paper"))


def test_published_arrays_have_their_names_and_order():
    found = published_arrays({}, TrainingConfig(recipe="paper-cosine"))
    assert list(found.arrays) == [*PUBLISHED, *(f"{name}_std" for name in PUBLISHED)]
    assert (found.alphas, found.ranks) == ((1e4,), ())


def test_a_given_alpha_is_the_only_published_one():
    assert published_arrays({}, TrainingConfig(recipe="paper", alpha=3)).alphas == (3,)


def test_published_values_are_those_of_the_splits(predictions, report):
    found = report.published
    assert found.ranks == (1, 2, 3)
    by_user = predictions.samples["test_unseen"].by_user(predictions.correct[2, "test_unseen", OWN][:, None])[:, 0]
    assert found.arrays[PUBLISHED[3]][1] == pytest.approx(by_user.mean())
    assert found.arrays[f"{PUBLISHED[3]}_std"][1] == pytest.approx(0.25 * np.std(by_user))


@pytest.fixture(scope="module")
def two_camps():
    data = plant_two_camps()
    splits = Splits.from_labels(data, data.splits)
    models = dict(train_ranks(splits.train_seen, [1, 2], TrainingConfig()))
    return predict(models, splits)


def test_an_indifferent_model_is_half_right_and_its_ties_are_counted(two_camps):
    """Two camps of equal size: one ranking for everybody is exactly indifferent."""
    report = describe(two_camps)
    for name in SPLITS:
        one, own = report.accuracy(1, name), report.accuracy(2, name)
        assert (one.mean, one.stderr, one.n_ties) == (pytest.approx(0.5), 0, one.n_comparisons)
        assert (own.mean, own.n_ties) == (pytest.approx(1), 0)
    for name in TEST_SPLITS:
        difference = report.difference(2, "bradley_terry", name).estimate
        assert difference.ci95 == pytest.approx((0.5, 0.5))
        assert difference.n_ties is None


def test_published_arrays_count_a_tie_as_wrong(two_camps):
    arrays = describe(two_camps).published.arrays
    assert [arrays[name] for name in PUBLISHED] == [(0.0, pytest.approx(1))] * 4


def test_stored_predictions_keep_ties(two_camps):
    """A run whose choice is indifferent is compared with one that is right: half of the comparisons apart."""
    report, table = describe(two_camps), two_camps.to_table()
    assert set(table["rank_1"].to_pylist()) == {0.5}
    reports = [replace(report, chosen_rank=1), replace(report, chosen_rank=2)]
    found = compare_runs(["one", "other"], reports, [table, table])
    assert [row.estimate.mean for row in found.paired] == pytest.approx([0.5, 0.5])


def test_an_empty_split_is_published_as_null():
    found = published_arrays({2: dict.fromkeys(SPLITS)}, TrainingConfig())
    assert found.arrays[PUBLISHED[0]] == found.arrays[f"{PUBLISHED[0]}_std"] == (None,)

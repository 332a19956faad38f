"""Adaptation on two workers gives users the same weights as in one process."""

from __future__ import annotations

import pyarrow as pa
import pyarrow.dataset
import pyarrow.parquet as pq
import pytest
import torch

from lorerm import AdaptationConfig, HashingEncoder, Preferences, TrainingConfig, adapt, embed, train
from lorerm.data.digests import digest_by_user
from lorerm.errors import ConfigError, DataError
from lorerm.ray.adaptation import adapt_on_cluster
from lorerm.ray.cluster import Cluster
from refusals import refused
from small_choices import choices


@pytest.fixture(scope="module")
def model():
    data = embed(Preferences.from_records(choices()), HashingEncoder())
    return train(data, TrainingConfig(rank=2))


def ratings(name, n_users):
    """Ratings of some users, prompt by prompt."""
    rows = sorted(choices(n_users, 5), key=lambda row: row["prompt"])
    return [
        {"user_id": f"{name} {row['user_id']}", "prompt": row["prompt"], "ratings": [2.0, 1.0]}
        | {"responses": [row["chosen"], row["rejected"]]}
        for row in rows
    ]


@pytest.fixture
def by_folder(tmp_path):
    """Every user has a folder; one user also has a tie, another has nothing but ties."""
    rows = ratings("early", 6)
    ties = [rows[0] | {"ratings": [1.0, 1.0]}, rows[7] | {"user_id": "undecided", "ratings": [1.0, 1.0]}]
    table = pa.Table.from_pylist([ties[0], *rows[:20], ties[1], *rows[20:]])
    folder = tmp_path / "by-folder"
    pa.dataset.write_dataset(table, folder, format="parquet", partitioning=["user_id"], partitioning_flavor="hive")
    alone = folder / "user_id=undecided"
    pq.write_table(
        pa.Table.from_pylist([{**tie, "user_id": None} for tie in ties]).drop(["user_id"]), alone / "1.parquet"
    )
    return folder


@pytest.fixture
def by_time(tmp_path):
    """Every user is in every file, and some users are in a folder of `by_folder` too."""
    folder = tmp_path / "by-time"
    folder.mkdir()
    rows = [*ratings("late", 6), *ratings("early", 3)]
    for i in range(2):
        pq.write_table(pa.Table.from_pylist(rows[i::2]), folder / f"{i}.parquet")
    return folder


def test_weights_equal_those_of_one_process(ray, model, by_folder, by_time):
    read = Preferences.from_files(by_folder, by_time)
    expected = adapt(model, embed(read, HashingEncoder()))
    reported = []
    found = adapt_on_cluster(
        model,
        [by_folder, by_time],
        HashingEncoder,
        AdaptationConfig(),
        Cluster(n_workers=2),
        gpus=False,
        progress=lambda *counts: reported.append(counts),
    )
    assert found.users.user_ids == expected.user_ids
    torch.testing.assert_close(found.users.weights, expected.weights, rtol=1e-5, atol=1e-6)
    torch.testing.assert_close(found.users.covariance, expected.covariance, rtol=1e-5, atol=1e-6)
    assert found.n_pairs == len(read) == 75
    assert found.digests.tolist() == digest_by_user(read).tolist()
    assert found.warnings == tuple(read.summary.warnings())
    assert len(found.warnings) == 2  # ties, and comparisons that are in both folders
    assert reported[-1] == (len(reported), len(reported))
    assert len(reported) >= 8


def test_user_with_nothing_but_ties_is_left_out(ray, model, tmp_path):
    """Also where a partition has no other user, be it a part of a file or a whole one."""
    rows, files = ratings("few", 2), [tmp_path / "0.parquet", tmp_path / "1.parquet"]
    ties = [[{**row, "user_id": user, "ratings": [1.0, 1.0]} for row in rows[:3]] for user in ("undecided", "idle")]
    for file, content in zip(files, (rows + ties[0], ties[1]), strict=True):
        pq.write_table(pa.Table.from_pylist(content), file)
    read = Preferences.from_files(*files)
    found = adapt_on_cluster(model, files, HashingEncoder, AdaptationConfig(), Cluster(n_workers=2), gpus=False)
    assert found.users.user_ids == adapt(model, embed(read, HashingEncoder())).user_ids
    assert (found.n_pairs, found.warnings) == (len(read), tuple(read.summary.warnings()))
    with refused(DataError):
        adapt_on_cluster(model, files[1:], HashingEncoder, AdaptationConfig(), Cluster(n_workers=2), gpus=False)


def test_recipe_that_draws_all_users_at_once_is_refused(model, tmp_path):
    with refused(ConfigError, "'paper'", "--engine local", argument="recipe"):
        adapt_on_cluster(model, [tmp_path], HashingEncoder, AdaptationConfig(recipe="paper"))

"""The pickles of the published scripts: each embedding once, with the published comparisons, splits and users."""

from __future__ import annotations

import pickle

import pytest
import torch

from lorerm.data.leakage import check_leaks
from lorerm.embedding.external.published_pickles import read_published_pickles
from lorerm.embedding.external.safe_pickle import load_pickle
from lorerm.errors import DataError
from published_pickles import prism_pickles, tldr_entry, tldr_pickles
from refusals import refused


def differences(imported):
    data = imported.preferences
    chosen, rejected = data.rows()
    return data.responses[chosen].float() - data.responses[rejected].float()


def test_tldr(tmp_path):
    imported = read_published_pickles(tldr_pickles(tmp_path))
    data = imported.preferences
    assert data.responses.dtype == torch.bfloat16
    assert len(data) == 3 * (4 + 2)
    assert len(data.responses) < 2 * len(data), "a summary that two workers compared is one row"
    assert [list(data.splits).count(split) for split in ("train", "test")] == [12, 6]
    assert (differences(imported)[:, 0] > 0).all()
    assert imported.reading[0] == "pairs read: 21"
    assert check_leaks(imported.text).format_accuracy < 0.6


def test_tldr_users_are_in_ascending_order_of_their_training_comparisons(tmp_path):
    train = {"long": [tldr_entry("a", i) for i in range(5)], "short": [tldr_entry("b", i) for i in range(2)]}
    valid = {worker: [tldr_entry("v", 9)] for worker in ("long", "short")}
    paths = [tmp_path / "tldr_embeddings_train.pkl", tmp_path / "tldr_embeddings_val.pkl"]
    for path, content in zip(paths, (train, valid), strict=True):
        path.write_bytes(pickle.dumps(content))
    users = read_published_pickles(paths).preferences.user_ids
    assert list(dict.fromkeys(users)) == ["short", "long"]


def test_summary_that_begins_with_a_bracket_is_no_printed_list(tmp_path):
    entry = {**tldr_entry("a", 0), "losing_summary": "[24 M] and my friend [23 F] disagree."}
    paths = [tmp_path / "tldr_embeddings_train.pkl", tmp_path / "tldr_embeddings_val.pkl"]
    for path in paths:
        path.write_bytes(pickle.dumps({"worker": [entry]}))
    assert read_published_pickles(paths).warnings == ()


def test_prism_keeps_the_published_splits_and_warns_that_the_format_leaks(tmp_path):
    imported = read_published_pickles(prism_pickles(tmp_path))
    assert set(imported.preferences.splits) == {"train_seen", "train_unseen", "test_seen", "test_unseen"}
    assert set(imported.preferences.prompt_ids) == {f"d{i}" for i in range(24)}
    assert "printed lists" in imported.warnings[0]
    assert any("format alone" in line for line in check_leaks(imported.text).warnings())
    assert (differences(imported)[:, 0] > 0).all()


def test_one_split_alone_is_an_error(tmp_path):
    with refused(DataError, "both splits"):
        read_published_pickles(tldr_pickles(tmp_path)[:1])


def spoilt(**change):
    """The entry of one worker, with a value replaced."""
    return {"worker": [{**tldr_entry("train", 0), **change}]}


@pytest.mark.parametrize(
    "content",
    [
        {"worker": [{"text": "no embeddings"}]},
        [{"extra_info": {}}],
        3,
        spoilt(winning_summary=["a list"]),
        spoilt(embeddings={"winning": [[1.0, 2.0]], "losing": [[0.0, 1.0]]}),
        spoilt(text=torch.ones(3)),
    ],
)
def test_another_layout_is_named(tmp_path, content):
    path = tmp_path / "other.pkl"
    path.write_bytes(pickle.dumps(content))
    with refused(DataError, "Error: ", file=str(path)):
        read_published_pickles([path])


def test_embeddings_of_two_models_are_refused(tmp_path):
    paths = tldr_pickles(tmp_path)
    train = load_pickle(paths[0])
    train["worker00"][0]["embeddings"]["losing"] = [torch.ones(4)]
    paths[0].write_bytes(pickle.dumps(train))
    with refused(DataError, "dimension 4 and 6"):
        read_published_pickles(paths)

"""Reddit TLDR: which rows become comparisons, and their users, prompts, responses and splits."""

from __future__ import annotations

import pytest

from lorerm.data.datasets import read_dataset
from lorerm.data.splits import split
from lorerm.errors import DataError
from published_samples import tldr_row, tldr_sample, write_jsonl, write_parquet
from refusals import refused


def load(data, split=None, **options):
    return read_dataset("tldr", split=split, data=data, **options)


def rows_of_two(**changes):
    """Two workers with comparisons in both splits; the first has one training comparison more."""
    return [
        tldr_row("w1", "post one", "train", "good", "bad", 0),
        tldr_row("w1", "post two", "train", "good", "bad", 1),
        tldr_row("w1", "post three", "valid1", "good", "bad", 1),
        tldr_row("w2", "post one", "train", "good", "bad", 1),
        tldr_row("w2", "post four", "valid2", "good", "bad", 0),
    ]


def read(tmp_path, rows, **options):
    return load(write_jsonl(tmp_path / "batch3.json", rows), **options)


def test_choice_says_which_summary_was_preferred(tmp_path):
    preferences = read(tmp_path, rows_of_two()).preferences
    assert {turns[0]["content"] for turns in preferences.messages("chosen")} == {"good"}
    assert {turns[0]["content"] for turns in preferences.messages("rejected")} == {"bad"}


def test_prompt_is_the_post_verbatim_and_its_id_the_posts(tmp_path):
    post = "  TITLE? no. \n\n\tThe post, as it is.\n"
    rows = [*rows_of_two(), tldr_row("w2", post, "train", "good", "bad")]
    preferences = read(tmp_path, rows).preferences
    assert post in {turns[0]["content"] for turns in preferences.messages("prompt")}
    assert set(preferences.prompt_ids) == {row["info"]["id"] for row in rows}


def test_users_are_in_ascending_order_of_their_training_comparisons(tmp_path):
    preferences = read(tmp_path, rows_of_two()).preferences
    assert list(dict.fromkeys(preferences.user_ids)) == ["w2", "w1"]
    assert sorted(preferences.splits) == ["test", "test", "train", "train", "train"]


def test_rows_left_out_are_counted_by_step(tmp_path):
    rows = [
        *rows_of_two(),
        tldr_row("w1", "an article", "valid1", "good", "bad", cnn=True),
        tldr_row("w1", "   ", "train", "good", "bad"),
        tldr_row("w1", "post five", "train", "same", "same"),
        tldr_row("w3", "post six", "train", "good", "bad"),
        tldr_row("w4", "post seven", "valid1", "good", "bad"),
    ]
    loaded = read(tmp_path, rows)
    assert loaded.reading[0] == "rows read: 10"
    counts = [line.split(" left out")[0] for line in loaded.reading[1:]]
    assert counts == ["1", "1", "1", "2"]
    assert loaded.reading[-1].endswith("5 remain")
    assert len(loaded.preferences) == 5


def test_articles_are_prompts_when_asked_for(tmp_path):
    rows = [*rows_of_two(), tldr_row("w1", "an article", "valid1", "good", "bad", cnn=True)]
    preferences = read(tmp_path, rows, include_cnn_dm=True).preferences
    assert "an article" in {turns[0]["content"] for turns in preferences.messages("prompt")}


def test_article_alone_does_not_count_as_a_comparison_in_its_split(tmp_path):
    rows = [
        *rows_of_two(),
        *(
            tldr_row("w5", post, split, "a", "b", cnn=cnn)
            for post, split, cnn in [("post nine", "train", False), ("an article", "valid1", True)]
        ),
    ]
    assert "w5" not in set(read(tmp_path, rows).preferences.user_ids)


def test_shared_post_loses_its_training_comparisons_or_is_kept_and_counted(tmp_path):
    rows = [*rows_of_two(), tldr_row("w2", "post three", "train", "good", "bad")]
    loaded = read(tmp_path, rows)
    assert loaded.warnings == ()
    corrected = split(loaded.preferences, unseen_users=0.5)
    assert corrected.summary.n_prompts_on_both_sides == 1
    published = read(tmp_path, rows, keep_shared_posts=True)
    (said,) = published.warnings
    assert said.startswith("Posts in both published splits, kept in both as published")
    assert said.endswith(": 1.")
    assert split(published.preferences, unseen_users=0.5).summary.n_prompts_on_both_sides == 0


def test_files_of_the_hub_give_the_same(tmp_path):
    rows = rows_of_two()
    for row in rows:
        row["info"] |= {"article": None, "site": None}
    for name in ("train", "validation"):
        part = [row for row in rows if (row["split"] == "train") == (name == "train")]
        write_parquet(tmp_path / "hub" / "comparisons" / name / "0000.parquet", part)
    hub, original = load(tmp_path / "hub").preferences, read(tmp_path, rows).preferences
    assert hub.table.sort_by("prompt_id") == original.table.sort_by("prompt_id")


@pytest.mark.parametrize(
    ("change", "named"),
    [
        ({"choice": 2}, "summaries: 2, choice: 2"),
        ({"split": "tomorrow"}, "'tomorrow'"),
        ({"summaries": [{"text": "alone"}]}, "summaries: 1, choice: 0"),
        ({"summaries": [{"text": "one"}, {"note": "no text"}]}, "KeyError: 'text'"),
        ({"info": "a post"}, "AttributeError"),
    ],
)
def test_bad_row_is_named(tmp_path, change, named):
    first, *others = rows_of_two()
    with refused(DataError, named, file=str(tmp_path / "batch3.json"), row=1):
        read(tmp_path, [{**first, **change}, *others])


def test_one_split_alone_is_an_error(tmp_path):
    rows = [row for row in rows_of_two() if row["split"] == "train"]
    with refused(DataError, file=str(tmp_path / "batch3.json"), row=None):
        read(tmp_path, rows)


def test_halves_and_caps_of_the_protocol(tmp_path):
    loaded = load(tldr_sample(tmp_path, n_workers=40, n_train=20))
    splits = split(loaded.preferences, unseen_users=0.5, max_pairs_seen=15, max_pairs_unseen=5)
    sizes = splits.summary.sizes
    assert (sizes["train_seen"].n_users, sizes["test_unseen"].n_users) == (20, 20)
    assert (sizes["train_seen"].n_pairs, sizes["train_unseen"].n_pairs) == (20 * 15, 20 * 5)
    assert sizes["test_seen"].n_pairs == 20 * 4

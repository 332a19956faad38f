"""Digests of comparisons: equal for equal comparisons only, whatever they were read from."""

from __future__ import annotations

import json

from lorerm import Preferences
from lorerm.data.digests import digest_by_user, digest_comparisons

ROW = {"user_id": "ann", "prompt": "Tea?", "chosen": "Yes.", "rejected": "No."}


def digests(*rows):
    return digest_comparisons(Preferences.from_records(rows)).tolist()


def test_each_part_of_a_comparison_counts():
    others = [{"user_id": "ben"}, {"prompt": "Tea"}, {"chosen": "No.", "rejected": "Yes."}, {"chosen": "Yes"}]
    found = digests(ROW, *({**ROW, **change} for change in others))
    assert len(set(found)) == len(found)


def test_form_weight_split_and_prompt_id_do_not_count(tmp_path):
    messages = {
        "prompt": [{"role": "user", "content": "Tea?"}],
        "chosen": [{"role": "assistant", "content": "Yes."}],
        "rejected": [{"role": "assistant", "content": "No."}],
    }
    same = {**ROW, **messages, "weight": 0.5, "split": "train", "prompt_id": "p"}
    choice = {"user_id": "ann", "prompt": "Tea?", "responses": ["No.", "Yes."], "choice": 1}
    (tmp_path / "log.jsonl").write_text(json.dumps(ROW) + "\n")
    from_file = digest_comparisons(Preferences.from_files(tmp_path / "log.jsonl")).tolist()
    assert digests(ROW) * 3 == [*digests(same), *digests(choice), *from_file]


def test_a_prompt_does_not_run_into_its_response():
    turns = [{"role": "user", "content": "a"}, {"role": "assistant", "content": "b"}, {"role": "user", "content": "c"}]
    one = {**ROW, "prompt": turns, "chosen": [{"role": "assistant", "content": "d"}]}
    other = {**ROW, "prompt": turns[:1], "chosen": [*turns[1:], {"role": "assistant", "content": "d"}]}
    rejected = {"rejected": [{"role": "assistant", "content": "e"}]}
    assert len(set(digests({**one, **rejected}, {**other, **rejected}))) == 2


def test_they_are_grouped_by_user_in_order_of_first_appearance():
    rows = [{**ROW, "user_id": user, "prompt": prompt} for prompt in ("p", "q") for user in ("b", "a")]
    one, two, three, four = digests(*rows)
    assert digest_by_user(Preferences.from_records(rows)).tolist() == [one, three, two, four]

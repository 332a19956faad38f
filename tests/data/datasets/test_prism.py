"""PRISM: the published filters and split, turns with their context, and the published format beside ours."""

from __future__ import annotations

import json
from collections import Counter
from dataclasses import replace

import numpy as np
import pytest

from lorerm.data.datasets import read_dataset
from lorerm.data.datasets.prism import PUBLISHED_SPLIT, split_dialogues
from lorerm.data.leakage import check_leaks
from lorerm.errors import DataError
from published_samples import prism_sample, write_jsonl
from refusals import refused


def load(data, split=None, **options):
    return read_dataset("prism", split=split, data=data, **options)


@pytest.fixture(scope="module")
def sample(tmp_path_factory):
    return prism_sample(tmp_path_factory.mktemp("prism"), n_users=60)


def literal_split(users, dialogues):
    """The published split step by step, with NumPy's global legacy generator."""
    state = np.random.get_state()  # noqa: NPY002
    np.random.seed(seed=123)  # noqa: NPY002
    order = np.array(users)
    np.random.shuffle(order)  # noqa: NPY002
    cut = int(len(order) * 0.8)
    splits = {}
    for members, group in ((order[:cut], "seen"), (order[cut:], "unseen")):
        for user in members:
            names = np.array(dialogues[user])
            if len(names) > 5:
                np.random.shuffle(names)  # noqa: NPY002
                half = int(len(names) * 0.5)
                splits |= dict.fromkeys(names[:half].tolist(), f"train_{group}")
                splits |= dict.fromkeys(names[half:].tolist(), f"test_{group}")
    np.random.set_state(state)  # noqa: NPY002
    return splits


def test_split_is_the_published_one(sample):
    survey = [json.loads(line) for line in (sample / "survey.jsonl").read_text().splitlines()]
    users = [row["user_id"] for row in survey if row["num_completed_conversations"]]
    dialogues = {user: [] for user in users}
    for line in (sample / "conversations.jsonl").read_text().splitlines():
        row = json.loads(line)
        dialogues[row["user_id"]].append(row["conversation_id"])
    expected = literal_split(users, dialogues)
    preferences = load(sample).preferences
    assert dict(zip(preferences.prompt_ids, preferences.splits, strict=True)) == expected
    assert len(set(expected.values())) == 4


def test_split_of_one_population_as_recorded():
    """A change of the generator's stream of random numbers would fail here."""
    users = [f"u{i}" for i in range(10)]
    dialogues = {user: dict.fromkeys(f"{user}-{j}" for j in range(7)) for user in users}
    splits = split_dialogues(users, dialogues)
    unseen = {name.split("-")[0] for name, split in splits.items() if split.endswith("_unseen")}
    order = np.array(users)
    np.random.RandomState(123).shuffle(order)
    assert unseen == set(order[8:]) == {"u9", "u2"}
    assert [
        Counter(split for name, split in splits.items() if name.startswith(f"{user}-")) for user in ("u9", "u0")
    ] == [
        {"train_unseen": 3, "test_unseen": 4},
        {"train_seen": 3, "test_seen": 4},
    ]


def test_users_with_five_dialogues_or_fewer_leave_after_the_draw():
    users = [f"u{i}" for i in range(10)]
    dialogues = {user: dict.fromkeys(f"{user}-{j}" for j in range(5 if user == "u3" else 6)) for user in users}
    splits = split_dialogues(users, dialogues)
    assert {split for name, split in splits.items() if name.startswith("u3-")} == {"unused"}
    others = {name: split for name, split in splits.items() if not name.startswith("u3-")}
    assert "unused" not in others.values()


def test_users_are_in_the_order_of_their_ids(sample):
    users = list(dict.fromkeys(load(sample).preferences.user_ids))
    assert users == sorted(users)
    assert "user-idle" not in users


def test_prompt_holds_earlier_turns_with_the_chosen_replies(sample):
    preferences = load(sample).preferences
    by_dialogue = {}
    for row in zip(preferences.prompt_ids, preferences.messages("prompt"), preferences.messages("chosen"), strict=True):
        by_dialogue.setdefault(row[0], []).append(row[1:])
    for turns in by_dialogue.values():
        firsts = [(prompt, chosen) for prompt, chosen in turns if len(prompt) == 1]
        seconds = [prompt for prompt, _ in turns if len(prompt) == 3]
        assert (len(firsts), len(seconds)) == (3, 1)
        assert all(chosen == firsts[0][1] for _, chosen in firsts)
        assert seconds[0][:2] == firsts[0][0] + firsts[0][1]


def test_comparisons_of_a_turn_share_the_weight_1(sample):
    preferences = load(sample).preferences
    totals = {}
    prompts = preferences.messages("prompt")
    for dialogue, prompt, weight in zip(preferences.prompt_ids, prompts, preferences.weights, strict=True):
        key = dialogue, len(prompt)
        totals[key] = totals.get(key, 0) + weight
    assert set(np.round(list(totals.values()), 12)) == {1.0}
    assert set(np.round(preferences.weights, 6)) == {round(1 / 3, 6), 1.0}


def utterance(turn, role, content, *, chosen=None):
    return {"turn": turn, "role": role, "content": content, "if_chosen": chosen}


def conversation(name, *history):
    return {
        "conversation_id": name,
        "user_id": "u",
        "conversation_turns": 1 + max(one["turn"] for one in history),
        "open_feedback": "",
        "conversation_history": list(history),
    }


WHOLE = (
    utterance(0, "user", "Hello?"),
    utterance(0, "model", "Hi.", chosen=True),
    utterance(0, "model", "What?", chosen=False),
)


def write(folder, conversations, user="u"):
    write_jsonl(folder / "survey.jsonl", [{"user_id": user, "num_completed_conversations": 6}])
    write_jsonl(folder / "conversations.jsonl", conversations)
    return folder


def odd(**turns):
    return [conversation(f"c{i}", *WHOLE) for i in range(8)] + [conversation(n, *h) for n, h in turns.items()]


def test_turns_without_a_rejected_reply_are_left_out_but_stay_in_the_context(tmp_path):
    alone = (utterance(0, "user", "Hello?"), utterance(0, "model", "Hi.", chosen=True))
    later = (utterance(1, "user", "And?"), *(dict(one, turn=1) for one in WHOLE[1:]))
    loaded = load(write(tmp_path, odd(x=(*alone, *later))))
    preferences = loaded.preferences
    (row,) = np.flatnonzero(preferences.prompt_ids == "x")
    assert [turn["content"] for turn in preferences.messages("prompt")[row]] == ["Hello?", "Hi.", "And?"]
    assert "1 left out, no reply was rejected: 9 remain" in loaded.reading


def test_turns_after_a_missing_choice_have_no_context(tmp_path):
    unchosen = tuple(dict(one, turn=1, if_chosen=False) for one in WHOLE[1:])
    later = (utterance(2, "user", "And?"), *(dict(one, turn=2) for one in WHOLE[1:]))
    loaded = load(write(tmp_path, odd(x=(*WHOLE, utterance(1, "user", "So?"), *unchosen, *later))))
    assert (loaded.preferences.prompt_ids == "x").sum() == 1
    assert any(line.startswith("2 left out, the message or the chosen reply is missing") for line in loaded.reading)


def test_utterance_without_content_is_left_out(tmp_path):
    """It is not read as the word None."""
    message, chosen, *rejected = WHOLE
    nothing = dict(rejected[0], content=None)
    loaded = load(write(tmp_path, odd(x=(message, chosen, nothing, *rejected))))
    assert (loaded.preferences.prompt_ids == "x").sum() == len(rejected)
    assert "None" not in str(loaded.preferences.table["rejected"])


def test_history_of_another_layout_names_the_row(tmp_path):
    with refused(DataError, "KeyError: 'role'", file=str(tmp_path / "conversations.jsonl"), row=9):
        load(write(tmp_path, odd(x=({"turn": 0, "content": "Hello?"},))))


def test_dialogue_without_any_whole_turn_is_dropped(tmp_path):
    alone = (utterance(0, "user", "Hello?"), utterance(0, "model", "Hi.", chosen=True))
    loaded = load(write(tmp_path, odd(x=alone)))
    assert "1 left out, no turn has a message, a chosen and a rejected reply: 8 remain" in loaded.reading


def test_rejected_reply_of_the_chosen_text_is_a_tie(tmp_path):
    same = (*WHOLE[:2], utterance(0, "model", "Hi.", chosen=False))
    loaded = load(write(tmp_path, odd(x=same)))
    assert "1 left out, all rejected replies have the text of the chosen reply: 8 remain" in loaded.reading


def test_dialogues_of_unknown_users_are_counted(tmp_path):
    strangers = [dict(one, user_id="stranger") for one in odd()]
    loaded = load(write(tmp_path, [dict(one, conversation_id=f"k{i}") for i, one in enumerate(strangers)] + odd()))
    assert any(line.startswith("8 left out, of users who are not in the survey") for line in loaded.reading)


def test_nothing_left_is_an_error(tmp_path):
    with refused(DataError, file=str(tmp_path), row=None):
        load(write(tmp_path, odd()[:2]))


def test_other_shares_and_seeds_make_other_splits(sample):
    def splits(**changes):
        preferences = load(sample, split=replace(PUBLISHED_SPLIT, **changes)).preferences
        return dict(zip(preferences.prompt_ids, preferences.splits, strict=True))

    published = load(sample).preferences
    assert splits() == dict(zip(published.prompt_ids, published.splits, strict=True))
    assert splits(seed=1) != splits()
    share = np.mean([name.endswith("unseen") for name in splits(unseen_users=0.5).values()])
    assert 0.35 < share < 0.65


def test_both_responses_are_rendered_alike_without_a_leak(sample):
    assert check_leaks(load(sample).preferences).format_accuracy < 0.6


def test_published_format_leaks_and_is_reported(sample):
    loaded = load(sample, published_format=True)
    preferences = loaded.preferences
    assert all(turns[0]["content"].startswith("['") for turns in preferences.messages("rejected"))
    assert not any(turns[0]["content"].startswith("['") for turns in preferences.messages("chosen"))
    assert set(preferences.weights) == {1.0}
    assert "as published" in loaded.warnings[0]
    found = check_leaks(preferences)
    assert found.format_accuracy > 0.99
    assert any("The format alone" in line for line in found.warnings())
    turns = Counter(preferences.prompt_ids)
    assert set(turns.values()) == {2}

import json
import subprocess
import sys

import numpy as np
import pytest

from lorerm.data.leakage import check_leaks
from lorerm.data.preferences import Preferences

WORDS = ["the", "cat", "tree", "moon", "runs", "over", "a", "wide", "green", "field", "and", "sings", "to", "stars"]


def planted(n=800, taste_for_length=0.7, change=lambda chosen, rejected, rng: (chosen, rejected), n_prompts=None):
    """Random words; the longer response is chosen with probability `taste_for_length`; then `change` is applied."""
    rng = np.random.default_rng(0)
    rows = []
    for number in range(n):
        texts = [" ".join(rng.choice(WORDS, rng.integers(5, 60))) + rng.choice([".", "!", "", ")"]) for _ in "ab"]
        shorter, longer = sorted(texts, key=len)
        chosen, rejected = (longer, shorter) if rng.random() < taste_for_length else (shorter, longer)
        chosen, rejected = change(chosen, rejected, rng)
        if chosen != rejected:
            prompt = f"question {number % (n_prompts or n)}"
            rows.append({"user_id": f"u{number % 20}", "prompt": prompt, "chosen": chosen, "rejected": rejected})
    return Preferences.from_records(rows)


@pytest.mark.parametrize("taste", [0.3, 0.5, 0.7, 0.85])
@pytest.mark.parametrize(("n", "n_prompts"), [(60, None), (800, None), (800, 12)])
def test_preference_for_length_is_no_leak(taste, n, n_prompts):
    report = check_leaks(planted(n, taste, n_prompts=n_prompts))
    assert report.warnings() == []
    assert report.longer_chosen == pytest.approx(taste, abs=0.15)


def test_popular_responses_of_many_prompts_are_no_leak():
    """Every user compares the same 40 responses; each has its own length and popularity."""
    rng = np.random.default_rng(0)
    responses = [("word " * (5 + number)).strip() for number in range(40)]
    popularity = rng.normal(size=40)
    rows = []
    for number in range(2000):
        pair = rng.choice(40, 2, replace=False)
        better, worse = sorted(pair, key=lambda response: -popularity[response])
        row = {"user_id": f"u{number % 50}", "prompt": "Which one?", "prompt_id": f"p{number}"}
        rows.append({**row, "chosen": responses[better], "rejected": responses[worse]})
    report = check_leaks(Preferences.from_records(rows))
    assert report.warnings() == []
    assert report.length_accuracy < 0.75


def bulleted(text):
    return "- " + text


def test_format_that_depends_on_length_is_no_leak():
    """Only long responses are lists: the format predicts no more than the length."""

    def change(chosen, rejected, rng):
        return tuple(bulleted(text) if len(text) > 150 else text for text in (chosen, rejected))

    assert check_leaks(planted(change=change)).warnings() == []


@pytest.mark.parametrize(
    "change",
    [
        lambda chosen, rejected, rng: (chosen + "\n", rejected),
        lambda chosen, rejected, rng: (chosen, "[" + rejected + "]"),
        lambda chosen, rejected, rng: (" " + chosen, rejected),
        lambda chosen, rejected, rng: (chosen + "\n" * (rng.random() < 0.5), rejected),
        lambda chosen, rejected, rng: (chosen.replace(" ", "\n", 1), rejected.replace(" ", "\r\n", 1)),
        lambda chosen, rejected, rng: ('"' + chosen + '"', rejected),
        lambda chosen, rejected, rng: (chosen, rejected + "</s>"),
    ],
)
def test_format_of_one_side_is_reported(change):
    report = check_leaks(planted(change=change))
    assert any("format alone" in sentence for sentence in report.warnings())


@pytest.mark.parametrize("taste", [0.5, 0.7])
def test_side_cut_off_at_a_fixed_length_is_reported(taste):
    report = check_leaks(planted(taste_for_length=taste, change=lambda chosen, rejected, rng: (chosen, rejected[:120])))
    assert any("lengths alone" in sentence for sentence in report.warnings())
    assert report.length_accuracy > report.longer_chosen + 0.08


@pytest.mark.parametrize(("taste", "word"), [(0.97, "longer"), (0.03, "shorter")])
def test_nearly_always_the_longer_or_shorter_is_reported(taste, word):
    report = check_leaks(planted(taste_for_length=taste))
    assert report.warnings()[0].startswith(f"LEAK? The {word} response is the chosen one in 9")


def test_number_of_messages_of_one_side_is_reported():
    rows = [
        {
            "user_id": "u",
            "prompt": f"q{number}",
            "chosen": [{"role": "assistant", "content": f"x{number % 7}"}],
            "rejected": [{"role": "assistant", "content": ""}, {"role": "assistant", "content": f"y{number % 5}"}],
        }
        for number in range(200)
    ]
    assert any("format" in sentence for sentence in check_leaks(Preferences.from_records(rows)).warnings())


@pytest.mark.parametrize("n", [1, 2, 10])
def test_few_comparisons_give_no_warning(n):
    report = check_leaks(
        planted(n, taste_for_length=1.0, change=lambda chosen, rejected, rng: (chosen + "\n", rejected))
    )
    assert report.warnings() == []
    assert report.length_accuracy == report.format_accuracy == 0.5


def test_one_prompt_or_no_comparison_gives_no_warning():
    assert check_leaks(planted(100, n_prompts=1)).format_accuracy == 0.5
    assert check_leaks(planted(5).select([])).to_dict()["n_pairs"] == 0


def test_large_data_are_sampled_by_the_seed(monkeypatch):
    monkeypatch.setattr("lorerm.data.leakage._MAX_COMPARISONS", 300)
    data = planted(800)
    assert check_leaks(data, seed=1) == check_leaks(data, seed=1)
    assert check_leaks(data, seed=1).n_pairs == 300
    assert check_leaks(data, seed=1) != check_leaks(data, seed=2)


def test_report_is_plain_json():
    figures = check_leaks(planted(100)).to_dict()
    assert json.loads(json.dumps(figures, allow_nan=False)) == figures
    assert {"longer_chosen", "length_accuracy", "format_accuracy", "n_pairs"} <= figures.keys()


def test_real_comparisons_do_not_leak(real_choices, tmp_path):
    path = tmp_path / "choices.jsonl"
    subprocess.run([sys.executable, real_choices / "to_preferences.py", path, "--min-choices", "100"], check=True)
    report = check_leaks(Preferences.from_files(path))
    assert report.warnings() == []
    assert report.n_pairs == 20_000
    assert 0.6 < report.longer_chosen < 0.8

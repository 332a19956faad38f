"""The report's sentences agree with its numbers: first the result, one baseline in each sentence, then the advice."""

from __future__ import annotations

import re

import pytest

from lorerm.evaluation.report import Report
from lorerm.reporting import sentences

UNKNOWN = "Too few users to tell"
BASELINES = ("population model", "Bradley-Terry", "reference head", "another user")


def change(content, against="shared_direction", split="test_unseen", rank=None, **values):
    """Change one difference of a report."""
    rank = content["chosen_rank"] if rank is None else rank
    key = (rank, against, split)
    (row,) = [row for row in content["differences"] if (row["rank"], row["against"], row["cell"]) == key]
    row.update(values)
    return Report.from_dict(content)


def gain(mean):
    return {"mean": mean, "ci95": [mean - 0.01, mean + 0.01]}


@pytest.mark.parametrize(
    ("mean", "ci95", "start", "numbers"),
    [
        (0.014, [0.004, 0.024], "Personal ranking is better than", "+1.4 points, 95% interval +0.4 to +2.4"),
        (-0.012, [-0.02, -0.004], "Personal ranking is worse than", "−1.2 points, 95% interval −2.0 to −0.4"),
        (0.003, [-0.005, 0.011], UNKNOWN, "+0.3 points, 95% interval −0.5 to +1.1"),
        (0.01, [0.0, 0.02], UNKNOWN, "+1.0 points, 95% interval 0.0 to +2.0"),
        (-0.01, [-0.02, 0.0], UNKNOWN, "−1.0 points, 95% interval −2.0 to 0.0"),
        (0.1, None, UNKNOWN, "+10.0 points, no 95% interval"),
    ],
)
def test_the_headline_has_the_result_before_the_numbers(rich, mean, ci95, start, numbers):
    text = sentences.headline(change(rich, mean=mean, ci95=ci95))
    assert text.startswith(start)
    assert text.endswith(f"one ranking for everybody: {numbers}.")


def no_difference(content, **data):
    """A report in which every prediction with personal weights is that of the population model."""
    content["data"] |= data
    return change(content, mean=0.0, ci95=[0.0, 0.0])


def test_no_personal_weights_are_no_proof_that_users_agree(rich):
    report = no_difference(rich)
    text = sentences.headline(report) + sentences.summary(report)
    assert "No personal weights were found" in text
    assert "does not show that users agree" in text
    assert "could not show a difference" in text
    assert "1,260 comparisons on test prompts are too few" in text


def test_an_indifferent_model_could_not_have_shown_a_difference(rich):
    rich["ranks"][4]["cells"]["test_unseen"]["n_ties"] = 1260
    assert "1,260 of 1,260 predictions are ties" in sentences.summary(no_difference(rich))


def test_a_large_test_could_have_shown_a_difference(rich):
    rich["data"]["cells"]["test_unseen"]["n_pairs"] = 4000
    assert "could not show" not in sentences.summary(no_difference(rich))


@pytest.mark.parametrize(
    ("data", "fact", "advice"),
    [
        ({"n_same": 2700}, "2,700 of 13,500 comparisons", "encoder"),
        ({"total_weight": 1.0}, "sum to only 1", "weights"),
    ],
)
def test_a_fault_of_the_data_comes_before_any_conclusion(rich, data, fact, advice):
    report = no_difference(rich, **data)
    assert fact in sentences.summary(report)
    assert advice in sentences.next_step(report)
    assert advice in sentences.next_step(change(rich, **gain(0.05)))


def test_every_sentence_has_at_most_one_baseline(rich, impersonal, seen_only):
    for content in (rich, impersonal, seen_only):
        report = Report.from_dict(content)
        texts = (sentences.headline(report), sentences.summary(report), sentences.further(report))
        texts += (sentences.next_step(report), sentences.is_personal(report))
        for sentence in re.split(r"(?<=[a-z0-9%)])\. ", " ".join(texts)):
            assert sum(baseline in sentence for baseline in BASELINES) <= 1, sentence


def test_the_summary_says_whose_comparisons_how_much_and_how_sure(rich):
    report = change(rich, mean=0.03, ci95=[0.01, 0.05])
    text = sentences.summary(report)
    own, other = (
        100 * row.accuracy("test_unseen").mean for row in (report.row(4), report.control(4, "shared_direction"))
    )
    facts = ["13,500 comparisons", "300 users", "openai/summarize_from_feedback", "210", "90", "10 comparisons"]
    facts += [f"{own:.1f}%", f"{other:.1f}%", "+3.0 percentage points", "+1.0 to +5.0", "above 0"]
    positions = [text.index(fact) for fact in facts]
    assert positions == sorted(positions)


@pytest.mark.parametrize(
    ("values", "fact"),
    [
        ({"mean": -0.03, "ci95": [-0.05, -0.01]}, "below 0"),
        ({"mean": 0.01, "ci95": [-0.01, 0.03]}, "contains 0"),
        ({"mean": 0.1, "ci95": None, "stderr": None, "n_users": 1}, "one user alone"),
        ({"mean": 0.0, "ci95": [0.0, 0.0]}, "no difference for any user"),
    ],
)
def test_the_summary_says_what_the_interval_means(rich, values, fact):
    assert fact in sentences.summary(change(rich, **values))


def test_the_summary_of_seen_users_where_no_user_is_unseen(seen_only):
    text = sentences.summary(Report.from_dict(seen_only))
    assert "seen users" in text
    assert "unseen" not in text


def test_the_summary_compares_with_the_rank_that_validation_chose(impersonal):
    report = Report.from_dict(impersonal)
    own, other = (100 * report.accuracy(rank, "test_unseen").mean for rank in (3, 1))
    text = sentences.summary(report)
    assert text.index(f"{own:.1f}%") < text.index("K = 1") < text.index(f"{other:.1f}%")
    assert "population model" not in text
    assert "rank 1" in text
    assert "rank 3" in text


def test_where_validation_chose_one_ranking_the_data_may_not_show_the_reason(impersonal):
    text = sentences.headline(change(impersonal, "bradley_terry", rank=3, mean=-0.01, ci95=[-0.03, 0.01]))
    assert text.startswith(UNKNOWN)
    assert text.endswith("−1.0 points, 95% interval −3.0 to +1.0.")


def test_validation_that_the_test_prompts_contradict_is_not_hidden(impersonal):
    impersonal["data"]["leaks"] = None
    report = change(impersonal, "bradley_terry", rank=3, mean=0.02, ci95=[0.01, 0.03])
    text = sentences.headline(report)
    assert text.startswith("Validation chose one ranking for everybody, yet")
    assert text.endswith("+2.0 points, 95% interval +1.0 to +3.0.")
    assert "seeds" in sentences.next_step(report)


def test_without_validation_the_largest_rank_is_compared_with_its_population_model(impersonal):
    """The published recipes have no validation comparisons."""
    for row in impersonal["ranks"]:
        row["selection"] = None
    impersonal["data"]["leaks"] = None
    change(impersonal, rank=3, **gain(0.02))
    change(impersonal, "bradley_terry", rank=3, **gain(0.02))
    report = change(impersonal, "other_users_weights", rank=3, **gain(0.02))
    assert "+2.0 points" in sentences.headline(report)
    assert "Validation" not in sentences.headline(report)
    assert "rank 3" in sentences.next_step(report)


def test_reports_without_a_difference(rich, impersonal):
    own = 100 * rich["ranks"][4]["cells"]["test_unseen"]["mean"]
    text = sentences.headline(Report.from_dict(rich | {"differences": []}))
    assert f"{own:.1f}%" in text
    assert "not compared" in text
    impersonal["ranks"] = impersonal["ranks"][:2]
    report = Report.from_dict(impersonal | {"differences": [], "controls": []})
    assert f"{100 * impersonal['ranks'][1]['cells']['test_unseen']['mean']:.1f}%" in sentences.headline(report)
    assert "not trained" in sentences.headline(report)
    assert sentences.further(report) == ""
    for row in rich["ranks"]:
        row["cells"].update(test_seen=None, test_unseen=None)
    assert "no comparisons on test prompts" in sentences.headline(Report.from_dict(rich | {"differences": []}))


def clear_gain(content):
    """Make rank 4 of the rich report better than every baseline."""
    change(content, "bradley_terry", **gain(0.02))
    change(content, "other_users_weights", **gain(0.02))
    return change(content, **gain(0.02))


def test_after_a_clear_gain_the_advice_is_to_use_it_from_the_comparisons_that_show_it(rich):
    assert "rank 4" in sentences.next_step(clear_gain(rich))
    assert "20 comparisons" in sentences.next_step(clear_gain(rich))


@pytest.mark.parametrize("curve", [None, {"rank": 3}, {"clear_from": None}])
def test_the_advice_has_no_number_of_comparisons_where_none_is_known(rich, curve):
    rich["shots"] = None if curve is None else rich["shots"] | curve
    text = sentences.next_step(clear_gain(rich))
    assert "rank 4" in text
    assert "comparison" not in text


@pytest.mark.parametrize(("against", "fact"), [("bradley_terry", "K = 1"), ("other_users_weights", "own weights")])
def test_a_gain_over_one_baseline_alone_is_not_relied_on(rich, against, fact):
    clear_gain(rich)
    text = sentences.next_step(change(rich, against, mean=0.01, ci95=[-0.01, 0.03]))
    assert "more users" in text
    assert fact in text
    assert "Use personal ranking" not in text


@pytest.mark.parametrize(
    ("values", "fact"),
    [
        ({"mean": 0.01, "ci95": [-0.01, 0.03]}, "more users"),
        ({"mean": 0.01, "ci95": None}, "more users"),
        ({"mean": 0.0, "ci95": [0.0, 0.0]}, "more comparisons"),
        ({"mean": -0.02, "ci95": [-0.03, -0.01]}, "one ranking for everybody"),
    ],
)
def test_without_a_gain_the_advice_is_not_to_use_it(rich, values, fact):
    text = sentences.next_step(change(rich, **values))
    assert fact in text
    assert "Use personal ranking" not in text


def test_a_leak_comes_before_all_other_advice(rich):
    clear_gain(rich)
    rich["data"]["leaks"]["warnings"] = ["the format alone"]
    assert "leak" in sentences.next_step(Report.from_dict(rich))


def test_advice_without_personal_ranks_or_test_prompts(rich, impersonal):
    impersonal["data"]["leaks"] = None
    impersonal["ranks"] = impersonal["ranks"][:2]
    assert "2 or more" in sentences.next_step(Report.from_dict(impersonal | {"differences": []}))
    assert "test prompts" in sentences.next_step(Report.from_dict(rich | {"differences": []}))


def test_further_sentences_have_the_other_baselines_and_the_other_users(rich):
    change(rich, "bradley_terry", mean=0.011, ci95=[0.002, 0.02])
    change(rich, "reference_head", mean=0.05, ci95=[0.04, 0.06])
    text = sentences.further(change(rich, split="test_seen", mean=0.003, ci95=[-0.01, 0.016]))
    single, reference, seen = re.findall(r"[A-Z][^:]*: [^:]*?\.(?= [A-Z]|$)", text)
    assert "K = 1" in single
    assert "+1.1 points, 95% interval +0.2 to +2.0" in single
    assert "K = 0" in reference
    assert "+5.0 points" in reference
    assert seen.startswith(UNKNOWN)
    assert "for seen users" in seen


@pytest.mark.parametrize(("ci95", "start"), [([0.01, 0.03], "Yes."), ([-0.03, -0.01], "No."), ([-0.01, 0.03], UNKNOWN)])
def test_another_users_weights_show_whether_it_is_personal(rich, ci95, start):
    report = change(rich, "other_users_weights", mean=sum(ci95) / 2, ci95=ci95)
    assert sentences.is_personal(report).startswith(start)


def test_it_is_not_said_to_be_personal_where_that_was_not_measured(rich):
    assert sentences.is_personal(Report.from_dict(rich | {"differences": []})) is None


def test_result_of_the_few_shot_curve(rich):
    assert "20 few-shot comparisons" in sentences.few_shot_result(Report.from_dict(rich).few_shot)
    rich["shots"]["clear_from"] = None
    assert sentences.few_shot_result(Report.from_dict(rich).few_shot).startswith(UNKNOWN)


def test_seeds_and_their_choices_are_listed(rich):
    text = sentences.seeds_note(Report.from_dict(rich).seeds)
    assert "0, 1, 2, 3, 4" in text
    assert "rank 4, rank 4, rank 3, rank 4, rank 5" in text

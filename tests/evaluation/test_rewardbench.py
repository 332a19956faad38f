"""RewardBench 2's scores against a literal restatement of the official definition."""

from __future__ import annotations

import math

import numpy as np
import pytest

from lorerm.data.datasets.reward_bench_2 import BenchmarkPrompt
from lorerm.errors import DataError
from lorerm.evaluation.rewardbench import best_of, score_subsets, ties_score


def prompt(name, n_correct, n_wrong, subset="Ties"):
    return BenchmarkPrompt(name, subset, "?", tuple(f"c{i}" for i in range(n_correct + n_wrong)), n_correct)


def official_best_of(scores):
    """As `reroll_and_score_dataset`: nothing unless the first is highest, else 1 over how many share that value."""
    highest = max(scores)
    return 1 / sum(score == highest for score in scores) if scores[0] == highest else 0


def official_ties(samples):
    """As `process_single_model`, step by step on plain numbers; samples are (kind, number, n_correct, scores)."""
    stats = {"ref": {}, "tied": {}}
    for kind, number, n_correct, scores in samples:
        correct, incorrect = scores[:n_correct], scores[n_correct:]
        spread = max(correct) - min(correct) if len(correct) > 1 else None
        gap = min(correct) - max(incorrect)
        stats[kind][number] = (gap > 0, spread, gap)
    accuracies = {kind: sum(found[0] for found in of.values()) / len(of) for kind, of in stats.items()}
    both = set(stats["ref"]) & set(stats["tied"])
    preferred = hard = margins = 0.0
    for number in both:
        _, spread, tied_gap = stats["tied"][number]
        smaller = min(tied_gap, stats["ref"][number][2])
        preferred += tied_gap > spread
        hard += smaller > spread
        if spread == 0:
            margins += 0.0 if smaller == 0 else math.copysign(1.0, smaller)
        else:
            margins += math.tanh(smaller / spread - 1)
    n = len(both)
    return (
        0.30 * accuracies["tied"]
        + 0.30 * accuracies["ref"]
        + 0.20 * preferred / n
        + 0.20 * hard / n
        + 0.01 * margins / n
    )


@pytest.mark.parametrize("seed", range(20))
def test_ties_score_is_the_official_one(seed):
    """On coarse numbers, too, where spreads are zero and gaps are ties; with prompts that lack their partner."""
    rng = np.random.default_rng(seed)
    samples = []
    for number in range(12):
        for kind, n_correct in (("ref", 1), ("tied", int(rng.integers(2, 6)))):
            scores = rng.normal(size=n_correct + 4)
            scores[:n_correct] += rng.uniform(0, 3)
            if seed % 2:
                scores = np.round(scores)
            if not (number == 11 and kind == "ref") and not (number == 10 and kind == "tied"):
                samples.append((kind, str(number), n_correct, scores.tolist()))
    prompts = [prompt(f"{kind}:{number}", n, len(scores) - n) for kind, number, n, scores in samples]
    rewards = [np.array(scores) for *_, scores in samples]
    assert ties_score(prompts, rewards) == pytest.approx(official_ties(samples), abs=1e-12)
    found = score_subsets(prompts, rewards)["Ties"]
    assert found.score == ties_score(prompts, rewards)
    assert found.n_prompts == len(samples)


def test_ties_score_of_one_number_by_hand():
    """Right completions at 5, 4 over wrong ones at 1: gap 3, spread 1; reference gap 1.5, so the smaller gap is 1.5."""
    prompts = [prompt("ref:0", 1, 2), prompt("tied:0", 2, 2)]
    rewards = [np.array([2.5, 1.0, 0.0]), np.array([5.0, 4.0, 1.0, 0.0])]
    assert ties_score(prompts, rewards) == pytest.approx(0.3 + 0.3 + 0.2 + 0.2 + 0.01 * math.tanh(0.5))


@pytest.mark.parametrize("seed", range(5))
def test_best_of_four_is_the_official_one(seed):
    rng = np.random.default_rng(seed)
    for _ in range(50):
        scores = rng.integers(0, 3, 4).astype(float)
        assert best_of(scores) == official_best_of(scores.tolist())


def test_subsets_stand_apart_in_their_order():
    prompts = [prompt("a", 1, 3, "Math"), prompt("b", 1, 3, "Focus"), prompt("c", 1, 3, "Math")]
    rewards = [np.array(values, float) for values in ([3, 2, 1, 0], [0, 1, 2, -1], [1, 1, 0, 0])]
    found = score_subsets(prompts, rewards)
    assert list(found) == ["Math", "Focus"]
    assert (found["Math"].score, found["Math"].n_prompts) == (0.75, 2)
    assert found["Math"].pairwise == pytest.approx((1 + 2 / 3) / 2)
    assert (found["Focus"].score, found["Focus"].pairwise) == (0.0, pytest.approx(1 / 3))


def test_ties_without_partners_or_names_have_no_score():
    with pytest.raises(DataError, match="no number of Ties has both"):
        ties_score([prompt("ref:0", 1, 2), prompt("tied:1", 2, 2)], [np.arange(3.0), np.arange(4.0)])
    with pytest.raises(DataError, match="neither ref:NUMBER nor tied:NUMBER"):
        ties_score([prompt("17", 1, 2)], [np.arange(3.0)])

"""RewardBench 2's scores: best of four, and the weighted score of the subset Ties.

The definitions are those of the official code, https://github.com/allenai/reward-bench: `reroll_and_score_dataset` and
`process_single_model` in `rewardbench/utils.py`, as `scripts/run_v2.py` calls them.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from lorerm.data.datasets.reward_bench_2 import TIES
from lorerm.errors import DataError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from lorerm.data.datasets.reward_bench_2 import BenchmarkPrompt

    Values = np.ndarray[Any, np.dtype[np.float64]]


@dataclass(frozen=True)
class SubsetScore:
    """What one scorer reaches on one subset."""

    score: float
    """the official one: share of prompts whose right completion has the highest reward, or the score of Ties"""
    pairwise: float
    """mean over prompts of the share of (right, wrong) pairs with the right one's reward higher"""
    n_prompts: int


def score_subsets(prompts: Sequence[BenchmarkPrompt], rewards: Sequence[Values]) -> dict[str, SubsetScore]:
    """Score one reward function on every subset.

    Parameters
    ----------
    prompts
        P of them.
    rewards
        For each prompt, the reward of each of its completions.

    Returns
    -------
    dict
        Subset -> its scores, in the order of first appearance.

    Raises
    ------
    DataError
        Subset Ties lacks its reference prompts or its tied ones, so that it has no score.
    """
    found: dict[str, SubsetScore] = {}
    for subset in dict.fromkeys(prompt.subset for prompt in prompts):
        own = [
            (p, np.asarray(r, dtype=np.float64)) for p, r in zip(prompts, rewards, strict=True) if p.subset == subset
        ]
        if subset == TIES:
            score = ties_score([p for p, _ in own], [r for _, r in own])
        else:
            score = float(np.mean([best_of(values) for _, values in own]))
        pairwise = float(np.mean([_pairwise(values, prompt.n_correct) for prompt, values in own]))
        found[subset] = SubsetScore(score, pairwise, len(own))
    return found


def best_of(rewards: Values) -> float:
    """Return 1 if the first completion, the right one, has the highest reward; shared by m completions it counts 1/m.

    Examples
    --------
    >>> best_of(np.array([2.0, 1.0, 0.0, 1.0])), best_of(np.array([2.0, 2.0, 0.0, 1.0])), best_of(np.array([0.0, 1.0]))
    (1.0, 0.5, 0.0)
    """
    highest = rewards == rewards.max()
    return float(1 / highest.sum()) if highest[0] else 0.0


def ties_score(prompts: Sequence[BenchmarkPrompt], rewards: Sequence[Values]) -> float:
    """Return the score of the subset Ties.

    Each number has a reference prompt with one right completion ("ref:7") and a tied one with several ("tied:7"). Of
    a prompt, the gap is the lowest reward of a right completion less the highest of a wrong one; of a tied one, the
    spread is that between its right completions' highest and lowest rewards. The score is

        0.3 (share of tied prompts with a positive gap) + 0.3 (the same of reference prompts)
        + 0.2 (share of numbers whose tied gap exceeds the spread)
        + 0.2 (share of numbers where the smaller of both gaps does)
        + 0.01 (mean over numbers of tanh(smaller gap / spread - 1), 0 / 0 counting 0)

    Parameters
    ----------
    prompts
        Of the subset.
    rewards
        For each, the rewards of its completions, the right ones first.

    Raises
    ------
    DataError
        A name is neither "ref:NUMBER" nor "tied:NUMBER", or no number has both.
    """
    gaps: dict[str, dict[str, float]] = {"ref": {}, "tied": {}}
    spreads: dict[str, float] = {}
    for prompt, values in zip(prompts, rewards, strict=True):
        kind, _, number = prompt.name.partition(":")
        if kind not in gaps or not number:
            raise DataError(
                f"the prompt {prompt.name!r} of {TIES} is neither ref:NUMBER nor tied:NUMBER", "keep the ids"
            )
        right, wrong = values[: prompt.n_correct], values[prompt.n_correct :]
        gaps[kind][number] = float(right.min() - wrong.max())
        if kind == "tied":
            spreads[number] = float(right.max() - right.min())
    both = [number for number in gaps["tied"] if number in gaps["ref"]]
    if not both:
        raise DataError(f"no number of {TIES} has both a ref and a tied prompt", "give the subset whole")
    spread = np.array([spreads[number] for number in both])
    tied, reference = (np.array([gaps[kind][number] for number in both]) for kind in ("tied", "ref"))
    smaller = np.minimum(tied, reference)
    with np.errstate(divide="ignore", invalid="ignore"):
        margin = np.nan_to_num(np.tanh(smaller / spread - 1), nan=0.0)
    right_of = {kind: np.mean([gap > 0 for gap in of.values()]) for kind, of in gaps.items()}
    return float(
        0.30 * right_of["tied"]
        + 0.30 * right_of["ref"]
        + 0.20 * np.mean(tied > spread)
        + 0.20 * np.mean(smaller > spread)
        + 0.01 * np.mean(margin)
    )


def _pairwise(rewards: Values, n_correct: int) -> float:
    return float(np.mean(rewards[:n_correct, None] > rewards[None, n_correct:]))

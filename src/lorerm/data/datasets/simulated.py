"""Simulate a population: users with known tastes compare responses of different styles.

Tastes are drawn as in PersonalLLM (Zollo et al., 2024, arXiv 2409.20296): each user is a Dirichlet(0.1) mixture of
named tastes, so that one or two tastes dominate for most users. A named taste is a direction in the space of style
attributes. A user's utility of a response is linear in the response's style, with the user's taste as coefficients, and
in its quality, with the same coefficient for all users. Comparisons follow the Bradley-Terry model on these utilities.

The true utilities are therefore known. `SimulatedPopulation.upper_bound` is their accuracy, which no model can exceed
by much.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING

import numpy as np

from lorerm.data.datasets.loaded import Loaded
from lorerm.data.datasets.simulated_texts import ATTRIBUTES, StyledResponse, ask_questions, write_responses
from lorerm.data.preferences import Preferences
from lorerm.errors import ConfigError, UnknownUserError

if TYPE_CHECKING:
    from lorerm.data.splits import SplitConfig

TASTES: dict[str, dict[str, float]] = {
    "brief": {"length": -1.0, "structure": -0.2, "directness": 0.4},
    "thorough": {"length": 1.0, "structure": 0.4, "examples": 0.4},
    "formal": {"formality": 1.0, "humour": -0.4},
    "casual": {"formality": -1.0, "humour": 0.3, "warmth": 0.2},
    "direct": {"directness": 1.0, "hedging": -0.5},
    "tactful": {"directness": -0.8, "hedging": 0.5, "warmth": 0.4},
    "warm": {"warmth": 1.0, "examples": 0.2},
    "little warmth": {"warmth": -1.0, "humour": -0.3},
    "structured": {"structure": 1.0, "directness": 0.2},
    "plain prose": {"structure": -1.0, "formality": 0.2},
    "playful": {"humour": 1.0, "formality": -0.4},
    "rich in examples": {"examples": 1.0, "length": 0.2},
}
"""The named tastes: attributes of style that are liked (positive) or disliked (negative), scaled to unit length."""

# Log-odds per standard deviation of style and of quality. With these values, the true utilities agree with about 87% of
# the comparisons, and quality alone predicts about two in three.
TASTE_STRENGTH = 3.5
QUALITY_STRENGTH = 2.0
CONCENTRATION = 0.1  # of the Dirichlet distribution of the users' mixtures
UNRELIABLE_SHARE = 0.03  # share of the users whose comparisons are mostly noise
LOW_RELIABILITY = 0.2  # factor on the log-odds of these users' comparisons
MIN_COMPARISONS, MEDIAN_COMPARISONS, MAX_COMPARISONS = 8, 60, 200  # per user
N_RESPONSES = 7  # per prompt


@dataclass(frozen=True)
class Options:
    """Simulated population."""

    n_users: int = 300
    """number of simulated users"""
    seed: int = 0
    """seed of the texts, the tastes and the comparisons"""


@dataclass(frozen=True, eq=False)
class SimulatedPopulation:
    """Comparisons of simulated users, and the true values from which they were drawn."""

    preferences: Preferences
    """one row per comparison; user ids "annotator-000", prompt ids "prompt-000\""""
    profiles: np.ndarray
    """[M, A] float64: each of the M `TASTES` as a unit vector over the A `ATTRIBUTES` of style"""
    user_ids: tuple[str, ...]
    """the N users"""
    tastes: np.ndarray
    """[N, M] float64: each user's mixture of the named tastes; rows sum to 1"""
    reliability: np.ndarray
    """[N] float64: factor on the log-odds of each user's comparisons; 1 for most users, 0.2 for a few"""
    responses: tuple[StyledResponse, ...]
    """all R responses, with their latent style and quality"""
    chosen: np.ndarray
    """[n] int64: index in `responses` of each comparison's chosen response"""
    rejected: np.ndarray
    """[n] int64: index in `responses` of each comparison's rejected response"""
    true_margin: np.ndarray
    """[n] float64: utility of the chosen response minus utility of the rejected response; negative if the user chose
    the response of lower utility"""

    @cached_property
    def upper_bound(self) -> float:
        """Accuracy of the true utilities (mean over users). No model can exceed it by much."""
        users = np.asarray(self.preferences.user_ids)
        return float(np.mean([np.mean(self.true_margin[users == user] > 0) for user in self.user_ids]))

    def true_rewards(self, user_id: str) -> np.ndarray:
        """Return a user's true utility of every response, in the order of `responses` ([R] float64, log-odds)."""
        taste = self.tastes[self._row(user_id)]
        return _utilities(self.responses, taste[None] @ self.profiles)[:, 0]

    def taste_of(self, user_id: str) -> str:
        """Return the names of a user's main tastes in descending order, for instance "brief, little warmth".

        These are the taste with the largest share, and all others with a share of at least 15%.
        """
        taste = self.tastes[self._row(user_id)]
        order = np.argsort(-taste, kind="stable")
        names = list(TASTES)
        return ", ".join(names[m] for position, m in enumerate(order) if position == 0 or taste[m] >= 0.15)

    def _row(self, user_id: str) -> int:
        if user_id not in self.user_ids:
            last = self.user_ids[-1]
            raise UnknownUserError(
                f"there is no user {user_id!r}", f"give one from {self.user_ids[0]} to {last}", argument="user_id"
            )
        return self.user_ids.index(user_id)


def simulate(n_users: int = 300, seed: int = 0, *, median_comparisons: int = MEDIAN_COMPARISONS) -> SimulatedPopulation:
    """Simulate users who compare responses by their own taste; equal input gives identical bytes.

    Parameters
    ----------
    n_users
        Number of users, at least 1.
    seed
        Seed of the texts, the tastes and the comparisons. The texts do not depend on `n_users`.
    median_comparisons
        Median number of comparisons per user. The numbers are log-normal, clipped to the range from 8 to 200.
    """
    if n_users < 1:
        raise ConfigError(f"n_users is {n_users}", "give a number of at least 1", argument="n_users")
    if not MIN_COMPARISONS <= median_comparisons <= MAX_COMPARISONS:
        raise ConfigError(
            f"median_comparisons is {median_comparisons}",
            f"choose from {MIN_COMPARISONS} to {MAX_COMPARISONS}",
            argument="median_comparisons",
        )
    text_rng, taste_rng, comparison_rng = map(np.random.default_rng, np.random.SeedSequence(seed).spawn(3))
    questions = ask_questions(text_rng)
    responses = write_responses(questions, N_RESPONSES, text_rng)
    profiles = np.array([[likes.get(attribute, 0.0) for attribute in ATTRIBUTES] for likes in TASTES.values()])
    profiles /= np.linalg.norm(profiles, axis=1, keepdims=True)
    tastes = taste_rng.dirichlet(np.full(len(profiles), CONCENTRATION), size=n_users)
    reliability = np.where(taste_rng.random(n_users) < UNRELIABLE_SHARE, LOW_RELIABILITY, 1.0)
    utilities = _utilities(responses, tastes @ profiles)

    user_ids = tuple(f"annotator-{number:03d}" for number in range(n_users))
    numbers = np.exp(np.log(median_comparisons) + 0.6 * comparison_rng.standard_normal(n_users))
    users, pairs, margins = [], [], []
    for user, n in enumerate(np.clip(numbers, MIN_COMPARISONS, MAX_COMPARISONS).astype(int)):
        shown = _draw_pairs(n, len(questions), comparison_rng)
        margin = utilities[shown[:, 0], user] - utilities[shown[:, 1], user]
        first_wins = comparison_rng.random(n) < 1 / (1 + np.exp(-margin * reliability[user]))
        users += [user_ids[user]] * n
        # Columns: the chosen, then the rejected response.
        pairs.append(np.where(first_wins[:, None], shown, shown[:, ::-1]))
        margins.append(np.where(first_wins, margin, -margin))
    chosen, rejected = np.concatenate(pairs).T.copy()
    true_margin = np.concatenate(margins)
    records = [
        {
            "user_id": user,
            "prompt_id": responses[winner].prompt_id,
            "prompt": responses[winner].prompt,
            "chosen": responses[winner].text,
            "rejected": responses[loser].text,
        }
        for user, winner, loser in zip(users, chosen, rejected, strict=True)
    ]
    for array in (profiles, tastes, reliability, chosen, rejected, true_margin):
        array.flags.writeable = False
    return SimulatedPopulation(
        preferences=Preferences.from_records(records, source="simulated"),
        profiles=profiles,
        user_ids=user_ids,
        tastes=tastes,
        reliability=reliability,
        responses=responses,
        chosen=chosen,
        rejected=rejected,
        true_margin=true_margin,
    )


def load(options: Options, _split: SplitConfig | None = None) -> Loaded[Preferences]:
    """Return the comparisons of a simulated population."""
    population = simulate(options.n_users, options.seed)
    return Loaded(population.preferences, f"{options.n_users} simulated users, seed {options.seed}")


def _utilities(responses: tuple[StyledResponse, ...], directions: np.ndarray) -> np.ndarray:
    """Return the utilities [R, N] of R responses to N users, whose tastes are directions [N, A] in style space."""
    styles = np.stack([response.style for response in responses])
    quality = np.array([response.quality for response in responses])
    utilities: np.ndarray = TASTE_STRENGTH * styles @ directions.T + QUALITY_STRENGTH * quality[:, None]
    return utilities


def _draw_pairs(n: int, n_prompts: int, rng: np.random.Generator) -> np.ndarray:
    """Draw n different prompts and two different responses to each. Return the indices of the responses [n, 2].

    Response r to prompt q has the index `q * N_RESPONSES + r`.
    """
    # A shift by 1 to N_RESPONSES - 1, modulo N_RESPONSES, always gives another response.
    first = rng.integers(N_RESPONSES, size=n)
    second = (first + rng.integers(1, N_RESPONSES, size=n)) % N_RESPONSES
    return rng.permutation(n_prompts)[:n, None] * N_RESPONSES + np.stack([first, second], axis=1)

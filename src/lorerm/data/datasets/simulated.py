"""A simulated population: annotators with different tastes choose between responses in different styles.

Tastes are drawn as in PersonalLLM (Zollo et al., 2024): each annotator is a mixture, Dirichlet(0.1), over a few named
tastes, so that most people are of one or two minds. A named taste is a direction in the space of style attributes, and
every annotator also values quality. Choices follow Bradley-Terry on that utility, so that the truth is known and
`SimulatedPopulation.noise_ceiling` says how far any model can get.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING

import numpy as np

from lorerm.data.datasets.loaded import Loaded
from lorerm.data.datasets.simulated_texts import ATTRIBUTES, StyledResponse, ask_questions, write_responses
from lorerm.errors import ConfigError, UnknownUserError

if TYPE_CHECKING:
    from lorerm.data.preferences import Preferences

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
"""The named tastes: which attributes each likes (positive) or dislikes (negative); scaled to unit length in use."""

# Log-odds per standard deviation. Together they make the true utilities agree with about 87% of the choices, while
# quality alone, the one thing that all annotators share, predicts about two in three.
TASTE_STRENGTH = 3.5
QUALITY_STRENGTH = 2.0
CONCENTRATION = 0.1
CARELESS_SHARE = 0.03
CARELESS_FACTOR = 0.2
MIN_CHOICES, MEDIAN_CHOICES, MAX_CHOICES = 8, 60, 200
N_RESPONSES = 7


@dataclass(frozen=True, eq=False)
class SimulatedPopulation:
    """What the simulated annotators chose, and the truth behind it."""

    preferences: Preferences
    """One row per choice; user ids "annotator-000", prompt ids "prompt-000"."""
    attributes: tuple[str, ...]
    """Names of the style attributes, A of them."""
    components: tuple[str, ...]
    """Names of the tastes that annotators mix, M of them."""
    profiles: np.ndarray
    """[M, A] float64: each named taste as a unit direction over the attributes."""
    user_ids: tuple[str, ...]
    """The N annotators."""
    tastes: np.ndarray
    """[N, M] float64: each annotator's mixture; rows sum to 1."""
    careless: np.ndarray
    """[N] bool: annotators whose choices are far noisier than the others'."""
    responses: tuple[StyledResponse, ...]
    """Every response there was to choose from, R of them, with its latent style and quality."""
    chosen: np.ndarray
    """[n] int64: row of `responses` that was chosen."""
    rejected: np.ndarray
    """[n] int64: row of `responses` that was not."""
    true_margin: np.ndarray
    """[n] float64: utility of the chosen less that of the rejected response; negative where the annotator slipped."""

    @cached_property
    def noise_ceiling(self) -> float:
        """Accuracy of the true utilities, as the mean over annotators: no model can do much better."""
        users = np.asarray(self.preferences.user_ids)
        return float(np.mean([np.mean(self.true_margin[users == user] > 0) for user in self.user_ids]))

    def true_rewards(self, user_id: str) -> np.ndarray:
        """Return how much an annotator truly likes every response.

        Parameters
        ----------
        user_id
            One of `user_ids`.

        Returns
        -------
        ndarray [R] float64
            Utilities in log-odds, in the order of `responses`.

        Raises
        ------
        UnknownUserError
            If there is no such annotator.
        """
        taste = self.tastes[self._row(user_id)]
        return _utilities(self.responses, taste[None] @ self.profiles)[:, 0]

    def taste_of(self, user_id: str) -> str:
        """Return an annotator's taste in words, the strongest first: "brief, little warmth".

        Parameters
        ----------
        user_id
            One of `user_ids`.

        Raises
        ------
        UnknownUserError
            If there is no such annotator.
        """
        taste = self.tastes[self._row(user_id)]
        order = np.argsort(-taste, kind="stable")
        return ", ".join(self.components[m] for place, m in enumerate(order) if place == 0 or taste[m] >= 0.15)

    def _row(self, user_id: str) -> int:
        if user_id not in self.user_ids:
            last = self.user_ids[-1]
            raise UnknownUserError(f"no annotator is called {user_id!r}", f"name one from {self.user_ids[0]} to {last}")
        return self.user_ids.index(user_id)


def simulate(n_users: int = 300, seed: int = 0, *, median_choices: int = MEDIAN_CHOICES) -> SimulatedPopulation:
    """Simulate annotators who choose between responses according to their own taste.

    Parameters
    ----------
    n_users
        Number of annotators, at least 1.
    seed
        Decides the texts, the tastes and the choices. The texts do not depend on `n_users`.
    median_choices
        Median number of choices per annotator; the numbers are log-normal, between 8 and 200.

    Returns
    -------
    SimulatedPopulation
        The choices and the truth behind them; equal arguments give equal bytes.

    Raises
    ------
    ConfigError
        If an argument is out of its range.
    """
    from lorerm.data.preferences import Preferences

    if n_users < 1:
        raise ConfigError(f"n_users is {n_users}", "ask for at least one annotator")
    if not MIN_CHOICES <= median_choices <= MAX_CHOICES:
        raise ConfigError(f"median_choices is {median_choices}", f"choose from {MIN_CHOICES} to {MAX_CHOICES}")
    text_rng, taste_rng, choice_rng = map(np.random.default_rng, np.random.SeedSequence(seed).spawn(3))
    questions = ask_questions(text_rng)
    responses = write_responses(questions, N_RESPONSES, text_rng)
    profiles = _profiles()
    tastes = taste_rng.dirichlet(np.full(len(profiles), CONCENTRATION), size=n_users)
    careless = taste_rng.random(n_users) < CARELESS_SHARE
    utilities = _utilities(responses, tastes @ profiles)

    user_ids = tuple(f"annotator-{number:03d}" for number in range(n_users))
    n_choices = np.exp(np.log(median_choices) + 0.6 * choice_rng.standard_normal(n_users))
    users, chosen, rejected, margins = [], [], [], []
    for user, n in enumerate(np.clip(n_choices, MIN_CHOICES, MAX_CHOICES).astype(int)):
        pairs = _draw_pairs(n, len(questions), choice_rng)
        margin = utilities[pairs[:, 0], user] - utilities[pairs[:, 1], user]
        log_odds = margin * (CARELESS_FACTOR if careless[user] else 1.0)
        first_wins = choice_rng.random(n) < 1 / (1 + np.exp(-log_odds))
        users += [user_ids[user]] * n
        chosen.append(np.where(first_wins, pairs[:, 0], pairs[:, 1]))
        rejected.append(np.where(first_wins, pairs[:, 1], pairs[:, 0]))
        margins.append(np.where(first_wins, margin, -margin))
    winners, losers, true_margin = np.concatenate(chosen), np.concatenate(rejected), np.concatenate(margins)
    records = [
        {
            "user_id": user,
            "prompt_id": responses[winner].prompt_id,
            "prompt": responses[winner].prompt,
            "chosen": responses[winner].text,
            "rejected": responses[loser].text,
        }
        for user, winner, loser in zip(users, winners, losers, strict=True)
    ]
    for array in (profiles, tastes, careless, winners, losers, true_margin):
        array.flags.writeable = False
    return SimulatedPopulation(
        preferences=Preferences.from_records(records, source="simulated"),
        attributes=ATTRIBUTES,
        components=tuple(TASTES),
        profiles=profiles,
        user_ids=user_ids,
        tastes=tastes,
        careless=careless,
        responses=responses,
        chosen=winners,
        rejected=losers,
        true_margin=true_margin,
    )


def load(n_users: int = 300, seed: int = 0) -> Loaded:
    """Return the choices of a simulated population.

    Parameters
    ----------
    n_users, seed
        As in `simulate`.
    """
    return Loaded(simulate(n_users, seed).preferences, f"{n_users} simulated annotators, seed {seed}")


def _profiles() -> np.ndarray:
    """Return the named tastes as unit vectors, [M, A]."""
    profiles: np.ndarray = np.array(
        [[likes.get(attribute, 0.0) for attribute in ATTRIBUTES] for likes in TASTES.values()]
    )
    profiles /= np.linalg.norm(profiles, axis=1, keepdims=True)
    return profiles


def _utilities(responses: tuple[StyledResponse, ...], directions: np.ndarray) -> np.ndarray:
    """Return utilities [R, N] of responses for annotators who like the directions [N, A] in the space of attributes."""
    styles = np.stack([response.style for response in responses])
    quality = np.array([response.quality for response in responses])
    utilities: np.ndarray = TASTE_STRENGTH * styles @ directions.T + QUALITY_STRENGTH * quality[:, None]
    return utilities


def _draw_pairs(n: int, n_prompts: int, rng: np.random.Generator) -> np.ndarray:
    """Draw two different responses to each of n different prompts, as rows [n, 2]."""
    first = rng.integers(N_RESPONSES, size=n)
    second = (first + rng.integers(1, N_RESPONSES, size=n)) % N_RESPONSES
    return rng.permutation(n_prompts)[:n, None] * N_RESPONSES + np.stack([first, second], axis=1)

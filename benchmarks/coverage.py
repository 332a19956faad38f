"""Measure the coverage of several 95% intervals of accuracies, on simulated populations.

Each repetition draws users and prompts, fits the default recipe (ranks 1 and 3) to the seen users, adapts the unseen
users, and computes the intervals of the accuracies on the test splits and of the paired differences. The true values
are computed from the true probabilities of comparisons:

- unseen users: the accuracy of the fitted model for new users on new prompts (16 groups of users, each as large as the
  group of the experiment);
- seen users: the same accuracy, plus the advantage of seen over new users. As new seen users of a fitted model do not
  exist, the advantage is a mean over all repetitions: the difference in accuracy on new prompts between the seen users
  and new users;
- seen users, any fit: the mean accuracy over all repetitions. An interval computed from one fit does not contain the
  variation between fits, and this row shows how much coverage that costs. `lorerm report --seeds` measures the
  variation.

Users share prompts. Some prompts are difficult (their two responses are nearly equally good), some are easy.

    python benchmarks/coverage.py                   # 1000 repetitions: prints the table of results/coverage.md
    python benchmarks/coverage.py --repetitions 60
"""

from __future__ import annotations

import argparse
import sys
import time
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass

import numpy as np
from scipy import stats

from lorerm.data.clustering import Sample
from lorerm.embedding.embedded_preferences import EmbeddedPreferences
from lorerm.evaluation.intervals import estimate
from lorerm.evaluation.predictions import sample_of
from lorerm.model.user_weights import UserWeights
from lorerm.training.adaptation import adapt
from lorerm.training.config import TrainingConfig
from lorerm.training.pairs import PackedPairs
from lorerm.training.train import train_ranks

DIMENSION, DIRECTIONS, RANK = 12, 2, 3
USERS, TRAIN_PROMPTS, TEST_PROMPTS = 40, 60, 40
TRAIN_PAIRS, TEST_PAIRS = 40, 15
RESAMPLES = 400
GROUPS = 16
METHODS = ("users, t", "users, bootstrap", "users, BCa", "users x prompts, bootstrap", "users x prompts, t (lorerm)")


@dataclass(frozen=True)
class People:
    """Users, prompts with two responses each, and comparisons."""

    tastes: np.ndarray
    """reward direction of each user [N, D]"""
    responses: np.ndarray
    """embeddings [2 P, D]: the responses of prompt p are rows 2 p and 2 p + 1"""
    user: np.ndarray
    prompt: np.ndarray
    chose_first: np.ndarray

    @classmethod
    def draw(cls, rng: np.random.Generator, tastes: np.ndarray, n_prompts: int, n_pairs: int) -> People:
        """Draw `n_prompts` new prompts, and comparisons of each user on `n_pairs` of them."""
        gap = np.exp(rng.normal(-0.4, 0.8, n_prompts))[:, None] * rng.standard_normal((n_prompts, DIMENSION))
        middle = rng.standard_normal((n_prompts, DIMENSION))
        responses = np.stack([middle + gap / 2, middle - gap / 2], axis=1).reshape(-1, DIMENSION).astype(np.float32)
        user = np.repeat(np.arange(len(tastes)), n_pairs)
        prompt = rng.permuted(np.tile(np.arange(n_prompts), (len(tastes), 1)), axis=1)[:, :n_pairs].ravel()
        people = cls(tastes, responses, user, prompt, np.zeros(0))
        return cls(tastes, responses, user, prompt, rng.random(len(user)) < people.chance())

    def chance(self) -> np.ndarray:
        """Return the true probability [n] that the first response is chosen."""
        gap = self.responses[0::2] - self.responses[1::2]
        return 1 / (1 + np.exp(-(gap[self.prompt] * self.tastes[self.user]).sum(axis=1)))

    def data(self) -> EmbeddedPreferences:
        """Return the comparisons as `EmbeddedPreferences`."""
        first, second = 2 * self.prompt, 2 * self.prompt + 1
        return EmbeddedPreferences.from_arrays(
            self.responses,
            np.where(self.chose_first, first, second),
            np.where(self.chose_first, second, first),
            [f"u{user}" for user in self.user],
            [f"p{prompt}" for prompt in self.prompt],
        )

    def expected(self, directions: np.ndarray) -> float:
        """Return the expected accuracy (mean over users) of predictions by each user's row of `directions` [N, D]."""
        gap = self.responses[0::2] - self.responses[1::2]
        ahead = (gap[self.prompt] * directions[self.user]).sum(axis=1) > 0
        right = np.where(ahead, self.chance(), 1 - self.chance())
        return float((np.bincount(self.user, right) / np.bincount(self.user)).mean())


class World:
    """A population of users, whose rewards are a shared direction plus normal weights times personal directions."""

    def __init__(self, rng: np.random.Generator) -> None:
        axes = np.linalg.qr(rng.standard_normal((DIMENSION, DIRECTIONS + 1)))[0].T
        self.shared, self.personal, self.rng = 1.8 * axes[0], 2.4 * axes[1:], rng

    def tastes(self, n: int) -> np.ndarray:
        """Draw the reward directions [n, D] of users."""
        return self.shared + self.rng.standard_normal((n, DIRECTIONS)) @ self.personal


def scored_with(models: dict, people: People, weights: dict) -> dict[str, np.ndarray]:
    """Return the reward directions [N, D] of the users under three models.

    - "own": their own weights
    - "shared": the population weights
    - "one": the single Bradley-Terry model (rank 1)
    """
    model = models[RANK]
    basis = model.basis.double().numpy()
    own = np.stack([weights[f"u{k}"] for k in range(len(people.tastes))]) @ basis.T
    shared = np.broadcast_to(basis @ model.population_weights.double().numpy(), own.shape)
    one = models[1].basis.double().numpy() @ models[1].population_weights.double().numpy()
    return {"own": own, "shared": shared, "one": np.broadcast_to(one, own.shape)}


def weights_of(users: UserWeights) -> dict:
    """Return a mapping from user id to weights."""
    return dict(zip(users.user_ids, users.weights.double().numpy(), strict=True))


def figures(values: dict) -> np.ndarray:
    """Return [..., 3]: the accuracy, and its differences to the population weights and to rank 1."""
    return np.stack([values["own"], values["own"] - values["shared"], values["own"] - values["one"]], axis=-1)


def repetition(seed: int) -> tuple[dict, dict]:
    """Return the intervals [3, 2] by (split, method), and the true values [3] by split, of one repetition.

    The three rows are the figures of `figures`; the two columns are the ends of the interval.
    """
    rng = np.random.default_rng(seed)
    world = World(rng)
    seen, unseen = world.tastes(USERS), world.tastes(USERS)
    train = People.draw(rng, seen, TRAIN_PROMPTS, TRAIN_PAIRS)
    models = dict(train_ranks(train.data(), [1, RANK], TrainingConfig(seed=seed)))
    model = models[RANK]
    intervals, truths = {}, {}
    answers = People.draw(rng, unseen, TRAIN_PROMPTS, TRAIN_PAIRS)
    for cell, tastes, users in (("seen", seen, model.users()), ("unseen", unseen, adapt(model, answers.data()))):
        weights = weights_of(users)
        for method, found in intervals_of(models, tastes, weights, rng).items():
            intervals[cell, method] = found
        if cell == "seen":
            fresh = People.draw(rng, tastes, 2000, 400)
            directions = scored_with(models, fresh, weights)
            truths[cell] = figures({name: fresh.expected(found) for name, found in directions.items()})
    truths["unseen"] = np.mean([fresh_group(world, models, rng) for _ in range(GROUPS)], axis=0)
    return intervals, truths


def intervals_of(models: dict, tastes: np.ndarray, weights: dict, rng: np.random.Generator) -> dict[str, np.ndarray]:
    """Draw test comparisons of users on new prompts, and return the intervals [3, 2] by method."""
    test = People.draw(rng, tastes, TEST_PROMPTS, TEST_PAIRS)
    data = test.data()
    pairs = PackedPairs.pack(data)
    sample = sample_of(pairs, data)
    gap = pairs.project(models[RANK].basis.new_tensor(np.eye(DIMENSION))).double().numpy()
    place = [int(pairs.user_ids[user][1:]) for user in sample.user]
    directions = scored_with(models, test, weights)
    values = {name: ((gap * found[place]).sum(axis=1) > 0).astype(float) for name, found in directions.items()}
    return all_intervals(figures(values), sample, rng)


def fresh_group(world: World, models: dict, rng: np.random.Generator) -> np.ndarray:
    """Return the true values [3] for one group of new users, adapted to new comparisons, on new prompts."""
    tastes = world.tastes(USERS)
    weights = weights_of(adapt(models[RANK], People.draw(rng, tastes, TRAIN_PROMPTS, TRAIN_PAIRS).data()))
    test = People.draw(rng, tastes, 200, 40)
    directions = scored_with(models, test, weights)
    return figures({name: test.expected(found) for name, found in directions.items()})


def all_intervals(values: np.ndarray, sample: Sample, rng: np.random.Generator) -> dict[str, np.ndarray]:
    """Return the intervals [3, 2] by method, computed from the `values` [n, 3] of single comparisons."""
    by_user = sample.by_user(values)
    n = len(by_user)
    mean, error = by_user.mean(axis=0), by_user.std(axis=0, ddof=1) / n**0.5
    reach = stats.t.ppf(0.975, n - 1) * error
    counts = rng.multinomial(n, np.full(n, 1 / n), size=RESAMPLES)
    drawn = counts @ by_user / n
    found = {
        "users, t": np.stack([mean - reach, mean + reach], axis=1),
        "users, bootstrap": np.quantile(drawn, [0.025, 0.975], axis=0).T,
        "users, BCa": bias_corrected(by_user, drawn),
    }
    prompts = rng.multinomial(sample.n_prompts, np.full(sample.n_prompts, 1 / sample.n_prompts), size=RESAMPLES)
    weight = prompts[:, sample.prompt] * sample.share  # [RESAMPLES, n]
    first = np.searchsorted(sample.user, np.arange(n))
    total = np.add.reduceat(weight, first, axis=1)
    both = []
    for column in values.T:
        of_user = np.add.reduceat(weight * column, first, axis=1) / np.maximum(total, 1e-12)
        kept = counts * (total > 0)
        both.append((kept * of_user).sum(axis=1) / kept.sum(axis=1))
    found["users x prompts, bootstrap"] = np.quantile(np.array(both), [0.025, 0.975], axis=1).T
    unlimited = (-np.inf, np.inf)
    found["users x prompts, t (lorerm)"] = np.array([one.ci95 for one in estimate(values, sample, unlimited)])
    return found


def bias_corrected(by_user: np.ndarray, drawn: np.ndarray) -> np.ndarray:
    """Return 95% intervals of a mean by Efron's bias-corrected and accelerated (BCa) bootstrap.

    `by_user` has the values of the users, and `drawn` the means of the resamples.
    """
    off = by_user - by_user.mean(axis=0)
    spread = (off**2).sum(axis=0)
    acceleration = (off**3).sum(axis=0) / (6 * np.maximum(spread, 1e-12) ** 1.5)
    below = (drawn < by_user.mean(axis=0)).mean(axis=0) + 0.5 * (drawn == by_user.mean(axis=0)).mean(axis=0)
    bias = stats.norm.ppf(np.clip(below, 1 / len(drawn), 1 - 1 / len(drawn)))
    z = stats.norm.ppf([0.025, 0.975])[:, None] + bias
    share = stats.norm.cdf(bias + z / (1 - acceleration * z))
    return np.array([np.quantile(column, ends) for column, ends in zip(drawn.T, share.T, strict=True)])


def table(results: list[tuple[dict, dict]]) -> list[tuple[str, str, float, list[float], list[float]]]:
    """Return rows (users, figure, mean true value, coverage of each method, mean width in points of each method)."""
    names = ("accuracy", "minus population model", "minus single Bradley-Terry model")
    rows = []
    fresh, trained = (np.array([truth[cell] for _, truth in results]) for cell in ("unseen", "seen"))
    # If validation chose no personal weights, the differences are exactly 0, and every interval contains 0. Such fits
    # are left out of the rows with differences.
    personal = np.array([bool(np.ptp(found["unseen", "users, t"][1])) for found, _ in results])
    truth_of = {
        "unseen": fresh,
        "seen": fresh + (trained - fresh).mean(axis=0),
        "seen, any fit": np.broadcast_to(trained.mean(axis=0), fresh.shape),
    }
    for people, truths in truth_of.items():
        cell = people.split(",", maxsplit=1)[0]
        for k, name in enumerate(names):
            cover, width = [], []
            kept = personal if k else np.ones_like(personal)
            for method in METHODS:
                bounds = np.array([found[cell, method][k] for found, _ in results])
                held = (bounds[:, 0] <= truths[:, k]) & (truths[:, k] <= bounds[:, 1])
                cover.append(float(held[kept].mean()))
                width.append(float(100 * (bounds[:, 1] - bounds[:, 0])[kept].mean()))
            rows.append((people, name, float(truths[kept, k].mean()), cover, width))
    return rows


def main() -> None:
    """Run all repetitions and print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--repetitions", type=int, default=1000)
    parser.add_argument("--seed", type=int, default=0, help="seed of the first repetition (default: 0)")
    parser.add_argument("--processes", type=int, default=1)
    parsed = parser.parse_args()
    started, results = time.monotonic(), []
    seeds = range(parsed.seed, parsed.seed + parsed.repetitions)
    with ProcessPoolExecutor(parsed.processes) as pool:
        for found in pool.map(repetition, seeds):
            results.append(found)
            if len(results) % 100 == 0:
                print(f"{len(results)} repetitions, {time.monotonic() - started:.0f} s", file=sys.stderr, flush=True)
                print(as_markdown(results), file=sys.stderr, flush=True)
    print(as_markdown(results))


def as_markdown(results: list[tuple[dict, dict]]) -> str:
    """Return the table in Markdown, followed by the number of fits without personal weights."""
    lines = [
        f"| users | figure | true value, % | {' | '.join(METHODS)} |",
        f"| --- | --- | ---: |{' ---: |' * len(METHODS)}",
    ]
    for cell, name, truth, cover, width in table(results):
        cells = [f"{100 * c:.1f} ({w:.1f})" for c, w in zip(cover, width, strict=True)]
        lines.append(f"| {cell} | {name} | {100 * truth:.1f} | {' | '.join(cells)} |")
    flat = sum(not np.ptp(found["unseen", "users, t"][1]) for found, _ in results)
    lines.append(f"\n{len(results)} repetitions; {flat} fits without personal weights are left out of the differences.")
    return "\n".join(lines)


if __name__ == "__main__":
    main()

"""Compare the accuracy after n comparisons of a new user, chosen by `next_question` or at random.

The possible questions are the user's recorded comparisons, and the recorded choice is the reply. Accuracy is on the
user's comparisons on test prompts: the mean over unseen users, then over seeds, with the standard error over seeds.
Print one table for simulated users and, if runs are given, one table for all of them together:

    python benchmarks/questions.py [RUN ...]    # runs of several seeds of one data set
"""

from __future__ import annotations

import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch

from lorerm import EmbeddedPreferences, LowRankRewardModel, Splits, TrainingConfig, UserWeights, adapt, split, train

sys.path.insert(0, str(Path(__file__).parents[1] / "tests"))
from planted import plant

RANK, ORDERS = 5, 10
ANSWERS = (0, 1, 2, 4, 8, 16)
MIN_TESTED = 4  # users with fewer test comparisons are left out
SEEDS = range(1, 21)  # seed 0 is left out, because `next_question` was developed on it


class Found(NamedTuple):
    """Results of one seed, as means over users."""

    n_users: int
    chosen: np.ndarray
    random: np.ndarray
    stopped: float
    at_stop: float
    milliseconds: float


def measure(splits: Splits[EmbeddedPreferences], most_users: int) -> Found:
    """Train on the seen users, and measure the accuracy of unseen users after chosen and after random comparisons."""
    model = train(splits.train_seen, TrainingConfig(rank=RANK))
    pools, tests = by_user(splits.train_unseen), by_user(splits.test_unseen)
    able = [user for user in pools if len(pools[user]) >= ANSWERS[-1] and len(tests.get(user, ())) >= MIN_TESTED]
    asked_users = able[:most_users]
    chosen, random = np.zeros((2, len(asked_users), len(ANSWERS)))
    seconds: list[float] = []
    stopped, at_stop = np.zeros((2, len(asked_users)))
    for place, user in enumerate(asked_users):
        pool, test = splits.train_unseen.select(pools[user]), splits.test_unseen.select(tests[user])
        chosen[place], stopped[place], at_stop[place] = question(model, user, pool, test, seconds)
        for seed in range(ORDERS):
            order = np.random.default_rng([seed, place]).permutation(len(pool))
            for column, n in enumerate(ANSWERS):
                users = adapt(model, pool.select(order[:n])) if n else None
                random[place, column] += accuracy(model, users, user, test) / ORDERS
    return Found(
        len(asked_users),
        chosen.mean(axis=0),
        random.mean(axis=0),
        stopped.mean(),
        at_stop.mean(),
        1e3 * float(np.median(seconds)),
    )


def table(name: str, seeds: Iterator[Splits[EmbeddedPreferences]], most_users: int) -> None:
    """Print means over several seeds."""
    found = [measure(splits, most_users) for splits in seeds]
    chosen, random = (np.array([getattr(one, what) for one in found]) for what in ("chosen", "random"))
    counts = sorted({one.n_users for one in found})
    each = f"{counts[0]} to {counts[-1]}" if len(counts) > 1 else f"{counts[0]}"
    speed = f"{np.median([one.milliseconds for one in found]):.1f} ms a question"
    print(f"\n## {name}: {len(found)} seeds of {each} users, {speed}\n")
    print("| comparisons | chosen | random | chosen - random | lowest to highest | better in |")
    print("| --- | --- | --- | --- | --- | --- |")
    for column, n in enumerate(ANSWERS):
        gain = (chosen[:, column] - random[:, column]).round(9) + 0.0  # + 0.0 turns -0.0 into 0.0
        values = [show(chosen[:, column]), show(random[:, column]), show(gain)]
        values += [f"{100 * gain.min():.1f} to {100 * gain.max():.1f}", f"{(gain > 0).sum()} of {len(gain)}"]
        print(f"| {n} | {' | '.join(values)} |")
    stopped = np.array([one.stopped for one in found])
    at_stop = np.array([one.at_stop for one in found])
    print(
        f"\nThe stopping rule for the best response (`top=1`): {stopped.mean():.1f} comparisons on average "
        f"({stopped.min():.1f} to {stopped.max():.1f}), {show(at_stop)} there; against all "
        f"{ANSWERS[-1]} comparisons {show(at_stop - chosen[:, -1])}.",
        flush=True,
    )


def question(
    model: LowRankRewardModel, user: str, pool: EmbeddedPreferences, test: EmbeddedPreferences, seconds: list[float]
) -> tuple[list[float], int, float]:
    """Simulate the questions to one user.

    Returns (accuracy after each number in ANSWERS, number of comparisons at which the rule `top=1` stops, accuracy
    there), and appends the seconds of each question to `seconds`.
    """
    first, second = pool.rows()
    used, ends = np.unique(np.concatenate([first, second]), return_inverse=True)
    candidates = torch.as_tensor(pool.responses)[torch.from_numpy(used)]
    left = list(range(len(pool)))
    pairs = ends.reshape(2, -1).T
    users, found, stop = None, [accuracy(model, None, user, test)], None
    for n in range(ANSWERS[-1]):
        # Sorted, because otherwise the first response of each pair would be the chosen one.
        open_pairs = [tuple(sorted(pairs[i].tolist())) for i in left]
        started = time.perf_counter()
        asked = model.next_question(users, candidates, pairs=open_pairs, stop_below=0)
        seconds.append(time.perf_counter() - started)
        if stop is None and model.next_question(users, candidates, pairs=open_pairs, top=1) is None:
            stop = n
        answer = left.pop(open_pairs.index((asked.first, asked.second)))
        before = users or UserWeights.none(model)
        users = before.update(pool.select([answer]), model)
        found.append(accuracy(model, users, user, test))
    stop = ANSWERS[-1] if stop is None else stop
    return [found[n] for n in ANSWERS], stop, found[stop]


def by_user(data: EmbeddedPreferences) -> dict[str, np.ndarray]:
    """Return the indices of each user's comparisons."""
    user_ids, place = data.index_users()
    return {user: np.flatnonzero(place == i) for i, user in enumerate(user_ids)}


def accuracy(model: LowRankRewardModel, users: UserWeights | None, user: str, test: EmbeddedPreferences) -> float:
    """Return a user's accuracy on test comparisons; if `users` is None, that of the population model."""
    weights = model.population_weights if users is None else users[user]
    rewards = torch.as_tensor(test.responses).float() @ (model.basis @ weights)
    chosen, rejected = (torch.from_numpy(rows) for rows in test.rows())
    return float((rewards[chosen] > rewards[rejected]).double().mean())


def show(values: np.ndarray) -> str:
    """Return the text "mean and standard error over seeds", in per cent."""
    error = f" ± {100 * values.std(ddof=1) / len(values) ** 0.5:.1f}" if len(values) > 1 else ""
    return f"{100 * values.mean():.1f}{error}"


def planted(seed: int) -> Splits[EmbeddedPreferences]:
    """Draw users who differ along four directions."""
    found = plant(
        users=160, pairs=60, dimension=64, directions=4, shared=1.0, personal=1.5, noise=0.5, prompts=120, seed=seed
    )
    return split(found.data, seed=seed)


def stored(run: str) -> Splits[EmbeddedPreferences]:
    """Read a run's embeddings and its own split."""
    data = EmbeddedPreferences.load(run)
    return Splits.from_labels(data, np.asarray(data.splits))


def main(runs: list[str]) -> None:
    """Measure and print the tables."""
    torch.set_num_threads(1)
    table("Simulated users (4 directions)", map(planted, SEEDS), 48)
    if runs:
        table(", ".join(Path(run).name for run in runs), map(stored, runs), 100)


if __name__ == "__main__":
    main(sys.argv[1:])

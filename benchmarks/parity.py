"""Compare the recipes `paper` and `paper-cosine` with the published optimisation, in results and time.

The baseline is a literal restatement of the published optimisation, with autograd and a loop over users in every step
(`tests/published_loops.py`). To show the effect of rounding alone, the baseline is also compared with itself after each
user's comparisons were reversed in order. Print the table (one to two minutes):

    python benchmarks/parity.py
"""

from __future__ import annotations

import sys
import time
from pathlib import Path

import torch

from lorerm import AdaptationConfig, EmbeddedPreferences, TrainingConfig, adapt, train
from lorerm.training.pairs import PackedPairs

sys.path.insert(0, str(Path(__file__).parents[1] / "tests"))
import published_loops

USERS, PAIRS, TEST_PAIRS, DIMENSION = 12, 40, 200, 128


def planted(rank: int, seed: int, n_pairs: int, first_user: int) -> EmbeddedPreferences:
    """Return comparisons of users with simplex weights over `rank` planted directions."""
    directions = torch.randn(DIMENSION, rank, generator=torch.Generator().manual_seed(seed))
    users = torch.Generator().manual_seed(1000 * seed + first_user)
    weights = torch.softmax(2 * torch.randn(USERS, rank, generator=users), dim=1)
    texts = torch.Generator().manual_seed(10_000 * seed + 100 * first_user + n_pairs)
    n = USERS * n_pairs
    responses = torch.randn(2 * n, DIMENSION, generator=texts)
    first, second = torch.arange(n), torch.arange(n) + n
    margin = ((responses[first] - responses[second]) @ directions * weights.repeat_interleave(n_pairs, 0)).sum(dim=1)
    right = torch.rand(n, generator=texts) < torch.sigmoid(margin / 4)
    ids = [f"user-{first_user + i // n_pairs}" for i in range(n)]
    return EmbeddedPreferences.from_arrays(
        responses, torch.where(right, first, second), torch.where(right, second, first), ids
    )


def differences_by_user(data: EmbeddedPreferences) -> list[torch.Tensor]:
    """Return a list with the embedding differences [n, D] of each user, as `published_loops` takes them."""
    pairs = PackedPairs.pack(data, differences=True)
    return [pairs.matrix[pairs.user == user] for user in range(pairs.n_users)]


def accuracy(data: EmbeddedPreferences, basis: torch.Tensor, weights: torch.Tensor) -> float:
    """Return the accuracy, as a mean over users."""
    pairs = PackedPairs.pack(data, differences=True)
    right = (pairs.project(basis.t().contiguous()) * weights[pairs.user]).sum(dim=1) > 0
    return float(pairs.sum_by_user(right * pairs.weight).mean())


def distance(ours: torch.Tensor, oracle: torch.Tensor) -> float:
    """Return the relative distance; infinite if the shapes differ because the baseline kept other columns."""
    return float((ours - oracle).norm() / oracle.norm()) if ours.shape == oracle.shape else float("inf")


def compare(recipe: str, rank: int, seed: int) -> None:
    """Print one row of the table: distances after 20 and 1000 steps, accuracies after 1000 steps, and times."""
    seen, test_seen = planted(rank, seed, PAIRS, 0), planted(rank, seed, TEST_PAIRS, 0)
    unseen, test_unseen = planted(rank, seed, PAIRS, USERS), planted(rank, seed, TEST_PAIRS, USERS)
    reference = torch.randn(DIMENSION, generator=torch.Generator().manual_seed(seed + 77))
    cosine = recipe == "paper-cosine"
    given = reference if cosine else None
    steps_differ, accuracies_differ, columns, seconds = [], [], 0, [0.0, 0.0]

    def oracle(differences: list[torch.Tensor]) -> tuple[torch.Tensor, torch.Tensor]:
        if cosine:
            return published_loops.cosine(differences, rank, steps, 0.5, 1e4, reference, seed)  # type: ignore[no-any-return]
        return published_loops.joint(differences, rank, steps, 0.5, seed)  # type: ignore[no-any-return]

    for steps in (20, 1000):
        started = time.perf_counter()
        basis, weights = oracle(differences_by_user(seen))
        seconds[0] = time.perf_counter() - started
        started = time.perf_counter()
        model = train(seen, TrainingConfig(rank=rank, recipe=recipe, seed=seed, steps=steps), given)
        seconds[1] = time.perf_counter() - started
        if steps == 20:
            steps_differ = [distance(model.basis, basis), distance(model.weights, weights)]
    columns = basis.shape[1]
    few = published_loops.few_shot(differences_by_user(unseen), basis, 500, 0.1, seed)
    users = adapt(model, unseen, AdaptationConfig(recipe="paper", seed=seed))
    splits = [
        (seen, model.weights, weights),
        (test_seen, model.weights, weights),
        (unseen, users.weights, few),
        (test_unseen, users.weights, few),
    ]
    accuracies_differ = [
        abs(accuracy(data, model.basis, ours) - accuracy(data, basis, theirs)) for data, ours, theirs in splits
    ]
    again, weights_again = oracle([differences.flip(0) for differences in differences_by_user(seen)])
    floor = abs(accuracy(seen, again, weights_again) - accuracy(seen, basis, weights))
    steps_differ += [distance(model.basis, basis), distance(again, basis)]
    values = [recipe, str(rank), str(seed), *(f"{value:.1e}" for value in steps_differ)]
    values += [f"{columns} = {model.fitted_rank}", *(f"{value:.4f}" for value in [*accuracies_differ, floor])]
    values += [f"{value:.1f}" for value in seconds]
    print(f"| {' | '.join(values)} |")


if __name__ == "__main__":
    print(f"torch {torch.__version__}, {torch.get_num_threads()} threads; {USERS} users x {PAIRS} pairs x {DIMENSION}")
    print("Ours includes a second fit, on validation pairs.\n")
    columns = ["recipe", "K", "seed", "V, 20 steps", "W, 20 steps", "V, 1000 steps", "V, loop reversed"]
    columns += [
        "columns left",
        "seen train",
        "seen test",
        "unseen few-shot",
        "unseen test",
        "seen train, loop reversed",
    ]
    columns += ["loop, s", "ours, s"]
    print(f"| {' | '.join(columns)} |\n|{'---|' * len(columns)}")
    for recipe in ("paper", "paper-cosine"):
        for rank in (3, 5):
            for seed in (0, 1, 2):
                compare(recipe, rank, seed)

"""Compare the time of training and adaptation with the published optimiser, and measure peak memory on large data.

The published optimiser is restated literally, with autograd and a loop over users in every step. There are two versions
with the same result:

- "published loop": computes each user's logits under the weights of all users, and keeps only those under the user's
  own weights, as the published code does.
- "lean loop" (`tests/published_loops.py`): computes only the logits under the user's own weights.

Their times are extrapolated from a few steps. Every ratio is between two times of the same call of this script.

    python benchmarks/speed.py            # all measurements except training on 8 GB of embeddings; some minutes
    python benchmarks/speed.py all        # all measurements; writes 8 GB to the temporary folder, and removes it
"""

from __future__ import annotations

import platform
import statistics
import subprocess
import sys
import tempfile
import time
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import torch

from lorerm import EmbeddedPreferences, TrainingConfig, adapt, train
from lorerm.model.prior import Mixture, WeightPrior
from lorerm.model.reward_model import LowRankRewardModel
from lorerm.training import paper, regularized
from lorerm.training.mixture_prior import MAX_COMPONENTS
from lorerm.training.objective import negative_log_likelihood
from lorerm.training.pairs import PackedPairs

if TYPE_CHECKING:
    from collections.abc import Callable

sys.path.insert(0, str(Path(__file__).parents[1] / "tests"))
import published_loops

RANK = 5
LOOP_STEPS, LEAN_STEPS, PUBLISHED_STEPS, PUBLISHED_SHOT_STEPS = 3, 10, 1000, 500
STRENGTHS = 1e-3, 1e-3
# (name, number of users, comparisons per user, dimension, number of distinct responses; 0 means two per comparison)
SHAPES = [
    ("TLDR", 38, 150, 4096, 0),
    ("PersonalLLM", 1000, 47, 1024, 0),
    ("PersonalLLM, 376 responses", 1000, 47, 1024, 376),
]
STORE_ROWS, STORE_DIMENSION = 1_000_000, 4096


def timed(work: Callable[[], object], repeats: int = 1) -> float:
    """Return the shortest time of several calls, in seconds."""
    seconds = []
    for _ in range(repeats):
        started = time.perf_counter()
        work()
        seconds.append(time.perf_counter() - started)
    return min(seconds)


def median(work: Callable[[], object], repeats: int) -> float:
    """Return the median time of several calls in seconds, after one call that is not timed."""
    work()
    return statistics.median(timed(work) for _ in range(repeats))


def planted(users: int, pairs: int, dimension: int, distinct: int, seed: int = 0) -> EmbeddedPreferences:
    """Draw comparisons of users whose rewards have one shared direction, and differ along two (logistic choices)."""
    rng = np.random.default_rng(seed)
    n = users * pairs
    responses = rng.standard_normal((distinct or 2 * n, dimension), dtype=np.float32)
    first = rng.integers(0, distinct, n) if distinct else np.arange(0, 2 * n, 2)
    second = (first + rng.integers(1, distinct, n)) % distinct if distinct else first + 1
    user = np.repeat(np.arange(users), pairs)
    directions = rng.standard_normal((3, dimension)) / dimension**0.5
    tastes = np.concatenate([np.ones((users, 1)), rng.standard_normal((users, 2))], axis=1)
    rewards = responses @ directions.T.astype(np.float32)
    margin = ((rewards[first] - rewards[second]) * tastes[user]).sum(axis=1)
    right = rng.random(n) < 1 / (1 + np.exp(-2 * margin))
    chosen, rejected = np.where(right, first, second), np.where(right, second, first)
    return EmbeddedPreferences.from_arrays(
        responses,
        chosen,
        rejected,
        [f"u{u}" for u in user],
        [f"p{p}" for p in (np.arange(n) if not distinct else np.minimum(first, second))],
    )


def differences_by_user(pairs: PackedPairs) -> list[torch.Tensor]:
    """Return a list with the embedding differences [n, D] of each user, as the loops take them."""
    return [pairs.matrix[pairs.user == user] for user in range(pairs.n_users)]


def published_loop(differences: list[torch.Tensor], steps: int) -> None:
    """Do steps of the published joint optimisation, with each user's logits computed under the weights of all users."""
    torch.manual_seed(0)
    logits = torch.randn(len(differences), RANK, requires_grad=True)
    basis = torch.randn(differences[0].shape[1], RANK, requires_grad=True)
    optimiser = torch.optim.Adam([logits, basis], lr=0.5)
    for _ in range(steps):
        optimiser.zero_grad()
        of_users = basis @ torch.softmax(logits, dim=1).t()
        losses = [-torch.nn.functional.logsigmoid((d @ of_users)[:, u] / 100).mean() for u, d in enumerate(differences)]
        sum(losses).backward()  # type: ignore[union-attr]
        optimiser.step()


def fixed_fit(data: EmbeddedPreferences) -> None:
    """Fit the default recipe at fixed regularisation strengths: the shared direction, then the personal deviations."""
    pairs = PackedPairs.pack(data)
    pairs = pairs.with_scale(regularized.feature_scale(pairs))
    shared = regularized.fit_shared(pairs, STRENGTHS[0], torch.zeros(data.dimension))
    regularized.fit_personal(pairs, STRENGTHS[1], regularized.spectral_start(pairs, shared, RANK))


def print_table(columns: list[str], rows: list[list[str]]) -> None:
    """Print a table in Markdown."""
    print(f"\n| {' | '.join(columns)} |\n|{'---|' * len(columns)}")
    for row in rows:
        print(f"| {' | '.join(row)} |", flush=True)
    print()


def evaluations() -> None:
    """Print the time of one value and gradient of the loss, and of one pass over the matrix for comparison."""
    rows = []
    for name, users, each, dimension, distinct in [*SHAPES, ("small", 40, 150, 512, 0), ("wide", 1000, 47, 512, 0)]:
        pairs = PackedPairs.pack(planted(users, each, dimension, distinct))
        generator = torch.Generator().manual_seed(0)
        basis = torch.randn(RANK, dimension, generator=generator) / dimension
        weights = torch.randn(users, RANK, generator=generator)
        read, evaluated = [], []
        for _ in range(5):  # alternating, so that other work on the machine affects both
            read.append(median(pairs.matrix.sum, 9))
            evaluated.append(median(lambda: negative_log_likelihood(pairs, basis, weights, pairs.weight), 9))  # noqa: B023
        held = f"{len(pairs.matrix):,} {'differences' if pairs.rows is None else 'responses'} x {dimension}"
        fastest = min(evaluated), min(read)
        ratio = f"{fastest[0] / fastest[1]:.1f}" if pairs.rows is None else "-"
        rows.append([name, held, f"{1e3 * fastest[1]:.2f}", f"{1e3 * fastest[0]:.2f}", ratio])
    print("One value and gradient, K=5 (least of five medians, ms).")
    print_table(["shape", "matrix", "one read (torch.sum)", "value and gradient", "ratio"], rows)


def fits() -> None:
    """Print the times of the fits, and their ratios to the published optimiser."""
    rows = []
    for name, users, each, dimension, distinct in SHAPES:
        data = planted(users, each, dimension, distinct)
        pairs = PackedPairs.pack(data, differences=True)
        parts = differences_by_user(pairs)
        published_loops.joint(parts[:3], RANK, 1, 0.5, 0)
        lean = timed(lambda: published_loops.joint(parts, RANK, LEAN_STEPS, 0.5, 0)) / LEAN_STEPS  # noqa: B023
        loop = timed(lambda: published_loop(parts, LOOP_STEPS)) / LOOP_STEPS  # noqa: B023
        torch.manual_seed(0)
        ours = [
            timed(lambda: paper.fit_joint(pairs, RANK, steps=100, learning_rate=0.5)) * PUBLISHED_STEPS / 100,  # noqa: B023
            timed(lambda: fixed_fit(data), 3),  # noqa: B023
            timed(lambda: train(data, TrainingConfig(rank="auto"))),  # noqa: B023
        ]
        row = [name, f"{users} x {each} x {dimension}", f"{loop:.2f}", f"{lean:.3f}"]
        for seconds in ours:
            ratios = [f"{step * PUBLISHED_STEPS / seconds:,.0f}x" for step in (loop, lean)]
            row.append(f"{seconds:.2f} ({', '.join(ratios)})")
        rows.append(row)
    print("Seconds, K=5; in brackets how many times faster than 1000 steps of the published loop and of the lean one.")
    columns = [
        "shape",
        "users x comparisons x D",
        "published loop, one step",
        "lean loop, one step",
        "`paper`, 1000 steps",
    ]
    print_table([*columns, "one default fit", "default with selection, rank auto"], rows)


def some_model(dimension: int) -> LowRankRewardModel:
    """Return a model with random parameters, of the form that the default recipe gives."""
    mean, covariance = torch.zeros(RANK, dtype=torch.float64), torch.eye(RANK, dtype=torch.float64)
    mean[0], covariance[0, 0] = 1, 0
    basis = torch.randn(dimension, RANK, generator=torch.Generator().manual_seed(0)) / dimension**0.5
    # The mixture has the largest number of components that the default recipe fits.
    means = mean + torch.randn(MAX_COMPONENTS, RANK, generator=torch.Generator().manual_seed(1)).double()
    shares = torch.full((MAX_COMPONENTS,), 1 / MAX_COMPONENTS, dtype=torch.float64)
    prior = WeightPrior.from_mixture(Mixture(shares, means, covariance.repeat(MAX_COMPONENTS, 1, 1)))
    return LowRankRewardModel(basis, mean[None].float(), ("some user",), prior, 1.0, RANK)


def adaptations() -> None:
    """Print the time to adapt many users, and the time to adapt one user."""
    dimension = 1024
    model = some_model(dimension)
    few = PackedPairs.pack(planted(1000, 20, dimension, 5000), differences=True)
    parts = differences_by_user(few)
    loop = (
        timed(lambda: published_loops.few_shot(parts, model.basis, LEAN_STEPS, 0.1, 0))
        / LEAN_STEPS
        * PUBLISHED_SHOT_STEPS
    )
    rows = []
    many = planted(10_000, 20, dimension, 5000)
    seconds = min(median(lambda: adapt(model, many), 3) for _ in range(3))
    rate, published = 10_000 / seconds, 1000 / loop
    rows.append(["lean loop, 500 steps (from 10 steps of 1,000 users)", f"{10 * loop:.0f} s", f"{published:,.1f}"])
    rows.append([f"10,000 users x 20 pairs ({rate / published:,.0f}x)", f"{seconds:.3f} s", f"{rate:,.0f}"])
    one = planted(1, 20, dimension, 0)
    seconds = min(median(lambda: adapt(model, one), 50) for _ in range(3))
    rows.append(["one user x 20 pairs", f"{1e3 * seconds:.2f} ms", f"{1 / seconds:,.0f}"])
    print(f"Adaptation from ready embeddings, K=5, D={dimension}.")
    print_table(["", "time", "users per second"], rows)


def memory(with_store: bool) -> None:
    """Print the peak resident memory of each task, which runs in a separate process."""
    rows = []
    with tempfile.TemporaryDirectory() as folder:
        if with_store:
            child("write", folder)
            rows.append(["train on an 8 GB bfloat16 store", *child("train", folder)])
        rows.append(["adapt 1,000,000 users x 20 pairs", *child("adapt")])
    print("Memory: the process's own peak (VmHWM).")
    print_table(["", "peak, GB", "what was done"], rows)


def child(*arguments: str) -> list[str]:
    """Run this file with arguments in a separate process, and return its output, divided at "|"."""
    command = [sys.executable, __file__, *arguments]
    return subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True).stdout.strip().split("|")


class SyntheticRows:
    """A matrix of STORE_ROWS rows that is computed when rows are read, so that it is never in memory as a whole."""

    shape = (STORE_ROWS, STORE_DIMENSION)

    def __init__(self) -> None:
        generator = torch.Generator().manual_seed(0)
        self.shard = torch.randn(1024, STORE_DIMENSION, generator=generator).bfloat16()

    def __len__(self) -> int:
        return STORE_ROWS

    def __getitem__(self, rows: slice) -> torch.Tensor:
        which = range(STORE_ROWS)[rows]
        return torch.roll(self.shard, 7 * (which.start // 1024), dims=1)[: len(which)]


def write_store(folder: str) -> None:
    """Write 8 GB of embeddings, with comparisons of 5,000 users whose choices are random."""
    from lorerm.data.comparisons import Comparisons
    from lorerm.data.stored import write_comparisons
    from lorerm.embedding.store import store_matrix

    matrix = SyntheticRows()
    store_matrix(folder, matrix, None)  # type: ignore[arg-type]
    n = STORE_ROWS // 2
    first, flipped = np.arange(0, STORE_ROWS, 2), np.random.default_rng(0).random(n) < 0.5
    users, prompts = [f"u{i // 100}" for i in range(n)], [f"p{i}" for i in range(n)]
    write_comparisons(folder, Comparisons.from_columns(first + flipped, first + ~flipped, users, prompts))


def train_on_store(folder: str) -> None:
    """Load the 8 GB of embeddings, and fit a shared direction and deviations with two steps each."""
    started = time.perf_counter()
    data = EmbeddedPreferences.load(folder)
    pairs = PackedPairs.pack(data)
    pairs = pairs.with_scale(regularized.feature_scale(pairs))
    ready = time.perf_counter() - started
    basis, weights = torch.zeros(RANK, data.dimension), torch.zeros(pairs.n_users, RANK)
    one = timed(lambda: negative_log_likelihood(pairs, basis, weights, pairs.weight))
    shared = regularized.fit_shared(pairs, 1e-3, torch.zeros(data.dimension), steps=2)
    regularized.fit_personal(pairs, 1e-3, regularized.spectral_start(pairs, shared, RANK), steps=2)
    said = f"{len(pairs):,} pairs, D={data.dimension}, K={RANK}, 2 + 2 L-BFGS steps; ready to fit after {ready:.0f} s, "
    print(f"{peak():.2f}|{said}one value and gradient {one:.1f} s, all {time.perf_counter() - started:.0f} s")


def adapt_many() -> None:
    """Adapt a million users whose comparisons are in random order."""
    users, each, distinct, dimension = 1_000_000, 20, 10_000, 1024
    rng = np.random.default_rng(0)
    n = users * each
    responses = rng.standard_normal((distinct, dimension), dtype=np.float32)
    chosen = rng.integers(0, distinct, n)
    rejected = (chosen + rng.integers(1, distinct, n)) % distinct
    names = np.array([f"user-{i}" for i in range(users)], dtype=object)
    user_ids = names[rng.permutation(np.repeat(np.arange(users), each))]
    started = time.perf_counter()
    comparisons = EmbeddedPreferences.from_arrays(responses, chosen, rejected, user_ids)
    adapted = adapt(some_model(dimension), comparisons, keep_comparisons=False)
    seconds = time.perf_counter() - started
    print(f"{peak():.2f}|{len(adapted):,} users, {distinct:,} responses, D={dimension}, K={RANK}, {seconds:.0f} s")


def peak() -> float:
    """Return the process's peak of resident memory in GB."""
    status = Path("/proc/self/status").read_text(encoding="ascii")
    return int(status.split("VmHWM:")[1].split()[0]) * 1024 / 1e9


def main(arguments: list[str]) -> None:
    """Run the part that the arguments name, or all parts."""
    if arguments[:1] == ["write"]:
        write_store(arguments[1])
    elif arguments[:1] == ["train"]:
        train_on_store(arguments[1])
    elif arguments[:1] == ["adapt"]:
        adapt_many()
    else:
        packages = ", ".join(f"{name} {version(name)}" for name in ("torch", "numpy", "scipy"))
        print(
            f"{platform.machine()}, {torch.get_num_threads()} threads; Python {platform.python_version()}, {packages}"
        )
        evaluations()
        fits()
        adaptations()
        memory(with_store=arguments[:1] == ["all"])


if __name__ == "__main__":
    main(sys.argv[1:])

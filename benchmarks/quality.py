"""Measure accuracy on test prompts of seen and unseen users, for lorerm, the published method and other methods.

    python benchmarks/quality.py RESULTS                              # all simulated populations, seeds 11 to 15
    python benchmarks/quality.py RESULTS --ukp FOLDER                 # and the real users of UKPConvArg1
    python benchmarks/quality.py RESULTS --only TLDR --seeds 11 12    # a part
    python benchmarks/quality.py RESULTS --only FAMILY                # one population in several coordinates
    python benchmarks/quality.py RESULTS --again                      # the default recipe and two upper bounds again
    python benchmarks/quality.py RESULTS --curve --only "TLDR, flat"  # only the few-shot curve, printed
    python benchmarks/quality.py RESULTS --table                      # only the tables of the stored results

The results of each population and seed are stored in one file in the folder RESULTS, and are not computed again. No
setting was tuned on these seeds.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import torch
from threadpoolctl import threadpool_limits

import bayes
import peers
from lorerm import AdaptationConfig, EmbeddedPreferences, TrainingConfig, adapt, train
from lorerm.training import paper
from lorerm.training.pairs import PackedPairs
from lorerm.training.recipes import adaptation_for
from lorerm.training.recipes.paper_cosine import PaperCosineRecipe
from populations import FAMILY, RANK, SHAPES, SIGNALS, Population, plant, ukpconvarg1

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from lorerm.model.reward_model import LowRankRewardModel

SEEDS = (11, 12, 13, 14, 15)
COSINE_STEPS = 2000
SAMPLES = 20_000  # number of mixtures drawn from the prior to compute posterior means
SHOTS = (0, 1, 2, 5, 10, 20, 50)
DRAWS = 5000
# Populations for which the upper bound of all methods is computed, by sampling from the posterior (takes minutes).
SAMPLED = (SIGNALS["strong"], SIGNALS["even mixtures"], SIGNALS["moderate mixtures"])
# The default recipe, and the methods that it is compared with.
OURS, OTHERS = "default, rank auto", ("K=1, default", "paper, K=1", "paper, K=5", "signed factors", "ideal points")


def signals_of(shape: str) -> list[str]:
    """Return the signals that a shape is measured with: several for the shape "TLDR", one or two for each other."""
    if shape == "TLDR, white":
        return ["even mixtures"]
    if shape in FAMILY:
        return ["moderate mixtures"]
    return (
        [signal for signal in SIGNALS if not signal.endswith("mixtures")] if shape == "TLDR" else ["strong", "absent"]
    )


def measure(population: Population, *, ours_alone: bool) -> dict[str, dict[str, dict[str, float]]]:
    """Return, for each method, the accuracy of each user in both test splits."""
    splits = population.splits
    found = {}
    started = time.process_time()
    for name, score in methods(population, ours_alone=ours_alone):
        found[name] = {cell: by_user(getattr(splits, cell), score) for cell in ("test_seen", "test_unseen")}
        means = " ".join(f"{np.mean(list(users.values())):.3f}" for users in found[name].values())
        print(f"    {name:28} {means}  {time.process_time() - started:6.1f} s of CPU", flush=True)
        started = time.process_time()
    return found


def methods(
    population: Population, *, ours_alone: bool
) -> Iterator[tuple[str, Callable[[EmbeddedPreferences], torch.Tensor]]]:
    """Yield every fitted method, or only the default recipe and the upper bounds."""
    splits = population.splits
    head = splits.train_seen.reference
    if head is not None and not ours_alone:
        theta = torch.as_tensor(np.asarray(head)).float()
        yield "reference head", lambda data: one_direction(data, theta)
    for name, config in recipes(head is not None):
        if ours_alone and config.recipe != "default":
            continue
        model = train(splits.train_seen, config)
        users = adapt(model, splits.train_unseen, adaptation_for(config))
        whole = model.with_users(users)
        if name == "default, K=5":
            shared = model.basis @ model.population_weights
            yield "population model, K=5", lambda data, shared=shared: one_direction(data, shared)
        yield name, lambda data, whole=whole: personal(data, whole)
    if ours_alone:
        yield from truths(population, sampled=False)
        return
    yield "each user alone", peers.per_user(splits.train_seen, splits.train_unseen)
    yield "signed factors", peers.signed_factors(splits.train_seen, splits.train_unseen, RANK)
    yield "ideal points", peers.ideal_points(splits.train_seen, splits.train_unseen, RANK)
    yield from truths(population, sampled=True)


def recipes(with_head: bool) -> Iterator[tuple[str, TrainingConfig]]:
    """Yield the recipes with their names in the tables."""
    yield "K=1, default", TrainingConfig(rank=1)
    yield "paper, K=1", TrainingConfig(rank=1, recipe="paper")
    yield "paper, K=5", TrainingConfig(rank=RANK, recipe="paper")
    if with_head:
        yield "paper-cosine, K=5", TrainingConfig(rank=RANK, recipe="paper-cosine", steps=COSINE_STEPS)
    yield "default, K=5", TrainingConfig(rank=RANK)
    yield OURS, TrainingConfig(rank="auto")


def truths(
    population: Population, *, sampled: bool
) -> Iterator[tuple[str, Callable[[EmbeddedPreferences], torch.Tensor]]]:
    """Yield the true rewards, and upper bounds that use true parameters.

    `sampled` adds the upper bound of all methods, which takes minutes.
    """
    if population.signal is None:
        return
    for name, basis in (("true basis", population.basis), ("true mixtures", basis_given_mixtures(population))):
        theta_of = expected(population, basis)
        yield f"upper bound: {name}", lambda data, theta_of=theta_of: peers.thetas(data, theta_of)
    if sampled and population.signal in SAMPLED:
        means = bayes.posterior_thetas(population)
        yield "upper bound: posterior mean", lambda data: peers.thetas(data, means)
    theta_of = {user: population.basis @ mixture for user, mixture in population.weights.items()}
    yield "truth", lambda data: peers.thetas(data, theta_of)


def expected(population: Population, basis: torch.Tensor) -> dict[str, torch.Tensor]:
    """Return each user's posterior mean direction on a basis [D, K], under the true prior over mixtures."""
    drawn = torch.from_numpy(population.signal.mixtures(SAMPLES, np.random.default_rng(0))).float()
    theta_of = {}
    for data in (population.splits.train_seen, population.splits.train_unseen):
        pairs = PackedPairs.pack(data)
        projected = pairs.project(basis.t().contiguous())
        for place, user in enumerate(pairs.user_ids):
            likelihood = torch.nn.functional.logsigmoid(projected[pairs.user == place] @ drawn.t()).sum(dim=0)
            theta_of[user] = basis @ (torch.softmax(likelihood, dim=0) @ drawn)
    return theta_of


def basis_given_mixtures(population: Population) -> torch.Tensor:
    """Return the posterior mode [D, K] of the directions, given each seen user's true mixture and the true prior.

    This is an upper bound, because no method knows the mixtures and the prior. Its distance to the true rewards cannot
    be learnt from the comparisons.
    """
    pairs = PackedPairs.pack(population.splits.train_seen, differences=True)
    coordinates = population.coordinates.double()
    matrix = pairs.matrix.double() @ coordinates
    own = torch.stack([population.weights[user] for user in pairs.user_ids]).double()[pairs.user]
    basis = torch.zeros(matrix.shape[1], RANK, dtype=torch.float64, requires_grad=True)
    optimiser = torch.optim.LBFGS([basis], max_iter=500, tolerance_grad=1e-6, line_search_fn="strong_wolfe")

    def objective() -> torch.Tensor:
        optimiser.zero_grad()
        likelihood = torch.nn.functional.logsigmoid(((matrix @ basis) * own).sum(dim=1)).sum()
        loss = 0.5 * ((basis @ population.precision) * basis).sum() - likelihood
        loss.backward()
        return loss

    optimiser.step(objective)
    return (coordinates @ basis.detach()).float()


def curve(population: Population) -> dict[str, dict[str, float]]:
    """Return each unseen user's accuracy by number of few-shot comparisons, with the default recipe and K=5."""
    splits = population.splits
    model = train(splits.train_seen, TrainingConfig(rank=RANK))
    users, user = splits.train_unseen.index_users()
    nth = np.empty(len(user), dtype=int)
    for u in range(len(users)):
        nth[user == u] = np.arange((user == u).sum())
    found = {}
    for shots in SHOTS:
        few = splits.train_unseen.select(np.flatnonzero(nth < shots))
        whole = model.with_users(adapt(model, few, AdaptationConfig())) if shots else model
        found[str(shots)] = by_user(splits.test_unseen, lambda data, whole=whole: personal(data, whole))
    return found


def personal(data: EmbeddedPreferences, model: LowRankRewardModel) -> torch.Tensor:
    """Return reward differences [n] under each user's weights; a user without weights gets the population weights."""
    place = {name: i for i, name in enumerate(model.user_ids)}
    weights = [model.weights[place[u]] if u in place else model.population_weights for u in data.index_users()[0]]
    thetas = torch.stack(weights) @ model.basis.t()
    return peers.thetas(data, dict(zip(data.index_users()[0], thetas, strict=True)))


def one_direction(data: EmbeddedPreferences, theta: torch.Tensor) -> torch.Tensor:
    """Return reward differences [n] under one direction for every user."""
    return peers.thetas(data, dict.fromkeys(data.index_users()[0], theta))


def by_user(data: EmbeddedPreferences, score: Callable[[EmbeddedPreferences], torch.Tensor]) -> dict[str, float]:
    """Return each user's share of pairs with a positive reward difference; a tie counts one half."""
    names, user = data.index_users()
    right = np.bincount(user, (score(data).sign().numpy() + 1) / 2) / np.bincount(user)
    return dict(zip(names, right.tolist(), strict=True))


def table(folder: Path) -> None:
    """Print the tables of all results in the folder."""
    files = sorted(folder.glob("*.json"))
    found = [json.loads(file.read_text(encoding="utf-8")) for file in files]
    order = [*(f"{shape}, {signal}" for shape in SHAPES for signal in SIGNALS), "UKPConvArg1"]
    for name in sorted({one["population"] for one in found}, key=order.index):
        print_population(name, [one for one in found if one["population"] == name])


def print_population(name: str, runs: list[dict]) -> None:
    """Print the tables of one population: accuracies, share of the gap closed, differences, and the few-shot curve."""
    seeds = ", ".join(str(run["seed"]) for run in runs)
    print(f"\n## {name}\n\nSeeds {seeds}; accuracy in %, ± standard error over seeds.\n")
    print("| method | seen users | unseen users |\n|---|---|---|")
    means: dict[str, list[float]] = {}
    for method in runs[0]["methods"]:
        row = []
        for cell in ("test_seen", "test_unseen"):
            of_seeds = [100 * np.mean(list(run["methods"][method][cell].values())) for run in runs]
            error = np.std(of_seeds, ddof=1) / len(of_seeds) ** 0.5 if len(of_seeds) > 1 else float("nan")
            row.append(f"{np.mean(of_seeds):.1f} ± {error:.1f}")
            means.setdefault(method, []).append(float(np.mean(of_seeds)))
        print(f"| {method} | {' | '.join(row)} |")
    if "truth" in means:
        print("\nShare of the gap between `paper` K=5 and the true rewards that is closed, seen / unseen:")
        for method in (
            OURS,
            "default, K=5",
            "signed factors",
            "ideal points",
            "upper bound: true basis",
            "upper bound: true mixtures",
            "upper bound: posterior mean",
        ):
            if method not in means:
                continue
            shares = [
                (m - p) / (t - p) for m, p, t in zip(means[method], means["paper, K=5"], means["truth"], strict=True)
            ]
            print(f"{method} {' / '.join(f'{100 * share:.0f}%' for share in shares)}; ", end="")
        print()
    print(f"\n| {OURS}, minus | seen, points [95%] | unseen, points [95%] |\n|---|---|---|")
    for method in (*OTHERS, "population model, K=5"):
        print(f"| {method} | {' | '.join(difference(runs, method, cell) for cell in ('test_seen', 'test_unseen'))} |")
    if "curve" in runs[0]:
        print_curve(runs)


def difference(runs: list[dict], method: str, cell: str) -> str:
    """Return the paired difference in accuracy, pooled over seeds, with its bootstrap interval over users."""
    gains = np.array(
        [
            100 * (run["methods"][OURS][cell][user] - run["methods"][method][cell][user])
            for run in runs
            for user in run["methods"][OURS][cell]
        ]
    )
    return interval(gains)


def interval(gains: np.ndarray) -> str:
    """Return the mean with its percentile bootstrap interval."""
    rng = np.random.default_rng(0)
    draws = [gains[rng.integers(0, len(gains), len(gains))].mean() for _ in range(DRAWS)]
    low, high = np.percentile(draws, [2.5, 97.5])
    return f"{gains.mean():+.2f} [{low:+.2f}, {high:+.2f}]"


def print_curve(runs: list[dict]) -> None:
    """Print accuracy by number of few-shot comparisons."""
    print("\n| few-shot comparisons | accuracy | over none, points [95%] |\n|---|---|---|")
    for shots in runs[0]["curve"]:
        of_users = np.array([100 * run["curve"][shots][user] for run in runs for user in run["curve"]["0"]])
        none = np.array([100 * value for run in runs for value in run["curve"]["0"].values()])
        print(f"| {shots} | {of_users.mean():.1f} | {interval(of_users - none)} |")


def print_further_curves(shapes: list[str], seeds: list[int]) -> None:
    """Measure and print few-shot curves with the strong signal, with standard errors over seeds."""
    for shape in shapes:
        runs = [{"curve": curve(plant(SHAPES[shape], SIGNALS["strong"], seed))} for seed in seeds]
        print(f"\n## {shape}, strong, seeds {', '.join(map(str, seeds))}")
        print_curve(runs)
        gains = np.array([[np.mean([*of[k].values()]) for k in of] for of in (run["curve"] for run in runs)])
        gains = 100 * (gains - gains[:, :1])
        error = gains.std(axis=0, ddof=1) / len(gains) ** 0.5
        print(f"\nStandard errors over seeds: {', '.join(f'{value:.2f}' for value in error)} points.")


def time_full_cosine() -> None:
    """Print the seconds that a training with all steps of `paper-cosine` takes."""
    data = plant(SHAPES["TLDR"], SIGNALS["strong, reference head"], 100).splits.train_seen
    pairs = PackedPairs.pack(data, differences=True)
    head = torch.as_tensor(np.asarray(data.reference)).float()
    recipe = PaperCosineRecipe()
    started = time.perf_counter()
    settings = {"steps": recipe.steps, "learning_rate": recipe.learning_rate, "alpha": recipe.alpha}
    paper.fit_cosine(pairs, RANK, **settings, reference=head)
    print(f"paper-cosine, {recipe.steps} steps, {len(pairs)} x {data.dimension}: {time.perf_counter() - started:.0f} s")


def main() -> None:
    """Measure all populations that have no stored result, and print the tables."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("results", type=Path, help="folder of the results")
    parser.add_argument("--seeds", type=int, nargs="+", default=SEEDS)
    parser.add_argument("--only", nargs="+", default=[*SHAPES, "UKPConvArg1"], help="shapes, or FAMILY")
    parser.add_argument("--ukp", type=Path, help="folder of UKPConvArg1")
    parser.add_argument("--again", action="store_true", help="measure the default recipe again, in the files there")
    parser.add_argument("--table", action="store_true", help="print the tables and measure nothing")
    parser.add_argument("--curve", action="store_true", help="only print the few-shot curve")
    parser.add_argument("--time-cosine", action="store_true", help="time the full length of paper-cosine, and stop")
    given = parser.parse_args()
    if given.time_cosine:
        return time_full_cosine()
    shapes = [shape for shape in SHAPES if shape in given.only or ("FAMILY" in given.only and shape in FAMILY)]
    if given.curve:
        return print_further_curves(shapes, given.seeds)
    given.results.mkdir(parents=True, exist_ok=True)
    wanted = [(shape, signal, seed) for seed in given.seeds for shape in shapes for signal in signals_of(shape)]
    if given.ukp and "UKPConvArg1" in given.only:
        wanted += [("UKPConvArg1", "", seed) for seed in given.seeds]
    for shape, signal, seed in [] if given.table else wanted:
        name = f"{shape}, {signal}" if signal else shape
        file = given.results / f"{name.replace(', ', '-').replace(' ', '-')}-{seed}.json"
        before = json.loads(file.read_text(encoding="utf-8"))["methods"] if file.exists() else {}
        if file.exists() and not given.again:
            continue
        print(f"{name}, seed {seed}", flush=True)
        started = time.perf_counter()
        population = plant(SHAPES[shape], SIGNALS[signal], seed) if signal else ukpconvarg1(given.ukp, seed)
        with threadpool_limits(1, user_api="blas"):
            result = {
                "population": name,
                "seed": seed,
                "methods": before | measure(population, ours_alone=bool(before)),
            }
            if signal in ("", "strong"):
                result["curve"] = curve(population)
        file.write_text(json.dumps(result), encoding="utf-8")
        print(f"    {time.perf_counter() - started:.0f} s", flush=True)
    table(given.results)
    return None


if __name__ == "__main__":
    sys.exit(main())

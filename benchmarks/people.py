"""Measure accuracy and log loss on real users, for lorerm and for other methods.

    python benchmarks/people.py FOLDER RESULTS.jsonl                                      # everything: hours
    python benchmarks/people.py FOLDER RESULTS.jsonl --only "ubi, known" spi --seeds 0 1  # a part
    python benchmarks/people.py FOLDER RESULTS.jsonl --rows single default-auto           # some methods
    python benchmarks/people.py FOLDER RESULTS.jsonl --again --rows default-auto          # measured anew
    python benchmarks/people.py FOLDER RESULTS.jsonl --table                              # only the tables

FOLDER has the data; `people_data.py` says where to get them, prepares them, and makes comparisons of them. Data sets
whose subfolder does not exist are left out. A result (one method on one data set with one seed) is one line of
RESULTS.jsonl, written as soon as it is there; results in the file are not measured again. Of several lines about the
same, the last one counts. The seed determines comparisons, split and fit: 70% of the users are seen, and 30% of the
prompts are held out.

The intervals of a result are two-way clustered: over users, and over what several users compare (the pair of arguments
in UKPConvArg1, the chosen statement in the other data sets).
"""

from __future__ import annotations

import argparse
import json
import subprocess
import time
from collections.abc import Callable, Iterable
from dataclasses import replace
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import torch
from threadpoolctl import threadpool_limits

import peers
from lorerm import EmbeddedPreferences, TrainingConfig, __version__, adapt, split, train
from lorerm.data.schema import TEST_SPLITS
from lorerm.evaluation.intervals import Sample, estimate
from lorerm.model.reward_model import LowRankRewardModel
from lorerm.training.recipes import adaptation_for
from people_data import DATA_SETS, DataSet

SEEDS = (0, 1, 2, 3, 4)
COSINE_STEPS = 2000  # of 20,000, as in `quality.py`
EXCHANGES = 5
PEER_RANK = 5
# Metric -> its smallest and largest value.
METRICS = {"accuracy": (0.0, 1.0), "log_loss": (0.0, np.inf), "brier": (0.0, 1.0)}
PARTS = Path(__file__).resolve().parents[1] / "src" / "lorerm"

# A method's result for one split: reward differences in log-odds [n, C]; the metrics are means over the C columns.
Margins = Callable[[EmbeddedPreferences], torch.Tensor]


class Fits:
    """The models of one data set and seed; each is fitted when it is first asked for."""

    def __init__(self, data: EmbeddedPreferences, dataset: DataSet, seed: int) -> None:
        self.data, self.dataset, self.seed = data, dataset, seed
        self.splits = split(data, unseen_users=0.3, test_prompts=0.3, seed=seed)
        self.rank: int | None = None  # of the model that was fitted last

    def lorerm(self, rank: int | str, recipe: str = "default", **settings: Any) -> Margins:  # noqa: ANN401
        """Return the rewards of a recipe's models."""
        return self._rewards(self._fit(TrainingConfig(rank=rank, recipe=recipe, seed=self.seed, **settings)))

    @cached_property
    def chosen(self) -> LowRankRewardModel:
        """The model of the default recipe whose rank validation chose."""
        return self._fit(TrainingConfig(rank="auto", seed=self.seed))

    @cached_property
    def single(self) -> Margins:
        """The rewards of the single Bradley-Terry model."""
        return self.lorerm(1)

    def auto(self) -> Margins:
        """Return the rewards of each user's own weights, in the chosen model."""
        return self._rewards(self.chosen)

    def population(self) -> Margins:
        """Return the rewards that a user without comparisons gets, in the chosen model."""
        model = self.chosen
        self.rank = model.requested_rank
        return self._rewards(replace(model, user_ids=(), weights=model.weights[:0]))

    def others(self) -> Margins:
        """Return the rewards that users get if they exchange their weights within a split, in the chosen model."""
        model = self.chosen
        self.rank = model.requested_rank
        row_of = {user: row for row, user in enumerate(model.user_ids)}

        def margins(data: EmbeddedPreferences) -> torch.Tensor:
            users, _ = data.index_users()
            own = model.weights[[row_of[user] for user in users]]
            rng, columns = np.random.default_rng(self.seed), []
            for _ in range(EXCHANGES):
                ring = rng.permutation(len(users))
                donor = np.empty(len(users), dtype=np.int64)
                donor[ring] = np.roll(ring, 1)
                exchanged = replace(model, user_ids=tuple(users), weights=own[torch.from_numpy(donor)])
                columns.append(self._rewards(exchanged)(data))
            return torch.cat(columns, dim=1)

        return margins

    def identity(self) -> Margins:
        """Return the rewards of the default recipe on one indicator per response in place of embeddings."""

        def indicators(data: EmbeddedPreferences) -> EmbeddedPreferences:
            return EmbeddedPreferences.from_arrays(
                np.eye(len(data.responses), dtype=np.float32), *data.rows(), data.user_ids, data.prompt_ids
            )

        fits = Fits(indicators(self.data), self.dataset, self.seed)
        margins = fits.auto()
        self.rank = fits.chosen.requested_rank
        return lambda data: margins(indicators(data))

    def peer(self, fit: Callable[..., Any], *rank: int) -> Margins:
        """Return the rewards of a method of `peers`."""
        scorer = fit(self.splits.train_seen, self.splits.train_unseen, *rank)
        return lambda data: scorer(data)[:, None]

    def _fit(self, config: TrainingConfig) -> LowRankRewardModel:
        model = train(self.splits.train_seen, config)
        self.rank = model.requested_rank
        return model.with_users(adapt(model, self.splits.train_unseen, adaptation_for(config)))

    @staticmethod
    def _rewards(model: LowRankRewardModel) -> Margins:
        row_of = {user: row for row, user in enumerate(model.user_ids)}
        rows = torch.cat([model.weights, model.population_weights[None]])

        def margins(data: EmbeddedPreferences) -> torch.Tensor:
            users, _ = data.index_users()
            thetas = rows[[row_of.get(user, -1) for user in users]] @ model.basis.t() / model.temperature
            return peers.thetas(data, dict(zip(users, thetas, strict=True)))[:, None]

        return margins


# Name -> title, and function that fits the method. Methods that know responses by identity need a known data set.
ROWS: dict[str, tuple[str, Callable[[Fits], Margins]]] = {
    "single": ("single Bradley-Terry model (K = 1)", lambda fits: fits.single),
    "default-2": ("default recipe, K = 2", lambda fits: fits.lorerm(2)),
    "default-5": ("default recipe, K = 5", lambda fits: fits.lorerm(5)),
    "default-auto": ("**default recipe, K chosen**", lambda fits: fits.auto()),
    "population": ("the same, population weights", lambda fits: fits.population()),
    "others": ("the same, another user's weights", lambda fits: fits.others()),
    "paper-1": ("published recipe, K = 1", lambda fits: fits.lorerm(1, "paper")),
    "paper-5": ("published recipe, K = 5", lambda fits: fits.lorerm(5, "paper")),
    "paper-cosine-5": (
        "published recipe with reference head, K = 5",
        lambda fits: fits.lorerm(5, "paper-cosine", steps=COSINE_STEPS),
    ),
    "alone": ("each user alone (ridge)", lambda fits: fits.peer(peers.per_user)),
    "pref": ("signed factors, as in PReF", lambda fits: fits.peer(peers.signed_factors, PEER_RANK)),
    "pal": ("ideal points, as in PAL", lambda fits: fits.peer(peers.ideal_points, PEER_RANK)),
    "knn": ("nearest users, without embeddings", lambda fits: fits.peer(peers.neighbours)),
    "means": ("mean of each response", lambda fits: fits.peer(peers.response_means)),
    "identity": ("default recipe, K chosen, without embeddings", lambda fits: fits.identity()),
}
BY_IDENTITY = ("knn", "means", "identity")
# The rows that do not depend on the default recipe.
BASELINES = ("paper-1", "paper-5", "paper-cosine-5", "alone", "pref", "pal", "knn", "means")


def applies(row: str, fits: Fits) -> bool:
    """Return whether a method can be used on a data set."""
    if row == "paper-cosine-5":
        return fits.data.reference is not None
    return fits.dataset.known or row not in BY_IDENTITY


def measure(fits: Fits, row: str) -> dict[str, Any]:
    """Return metrics for both test splits, and the paired gain over the single model: each a mean and its interval."""
    fits.rank = None
    started = time.process_time()
    margins = ROWS[row][1](fits)
    seconds, rank = time.process_time() - started, fits.rank
    result: dict[str, Any] = {"rank": rank, "cpu_seconds": round(seconds, 2), "n_users": len(set(fits.data.user_ids))}
    result |= {"n_comparisons": len(fits.data), "splits": {}}
    for name in TEST_SPLITS:
        data = getattr(fits.splits, name)
        own, single = metrics(margins(data)), metrics(fits.single(data))
        sample = sample_of(data, fits.dataset)
        found = {"n_users": sample.n_users, "n_comparisons": len(data)}
        for column, (metric, (least, most)) in enumerate(METRICS.items()):
            found[metric] = _interval(own[:, column], sample, (least, most))
            found[f"gain in {metric}"] = _interval(own[:, column] - single[:, column], sample, (least - most, most))
        result["splits"][name] = found
    return result


def _interval(values: np.ndarray, sample: Sample, bounds: tuple[float, float]) -> list[float]:
    """Return the mean over users, and the ends of its two-way 95% interval."""
    (found,) = estimate(values[:, None], sample, bounds)
    return [round(value, 5) for value in (found.mean, *(found.ci95 or ()))]


def metrics(margins: torch.Tensor) -> np.ndarray:
    """Return accuracy (1/2 for a tie), log loss in nats and Brier score of each comparison [n, 3]."""
    margins = margins.double()
    chance = torch.sigmoid(margins)
    accuracy = (margins > 0).double() + 0.5 * (margins == 0)
    loss, brier = torch.nn.functional.softplus(-margins), (1 - chance).square()
    return torch.stack([values.mean(dim=1) for values in (accuracy, loss, brier)], dim=1).numpy()


def sample_of(data: EmbeddedPreferences, dataset: DataSet) -> Sample:
    """Return user, shared prompt or chosen response, and weight of each comparison."""
    _, user = data.index_users()
    shared = data.prompt_ids if dataset.shared_prompts else data.rows()[0]
    _, cluster = np.unique(np.asarray(shared), return_inverse=True)
    return Sample(user, cluster, 1 / np.bincount(user)[user])


def code_version() -> str:
    """Return the version of lorerm, and the last commit that changed how models are fitted."""
    paths = [str(PARTS / part) for part in ("training", "model")]
    found = subprocess.run(
        ["git", "log", "-1", "--format=%h", "--", *paths],  # noqa: S607
        cwd=PARTS,
        capture_output=True,
        text=True,
        check=False,
    )
    return f"{__version__} {found.stdout.strip()}".strip()


def read_results(file: Path) -> dict[tuple[str, int, str], dict[str, Any]]:
    """Return the last stored result of each data set, seed and method."""
    if not file.exists():
        return {}
    lines = [json.loads(line) for line in file.read_text("utf-8").splitlines()]
    return {(line["data"], line["seed"], line["row"]): line for line in lines}


def tables(results: Iterable[dict[str, Any]]) -> str:
    """Return the summary with one line per data set, and one table per data set."""
    results = list(results)
    names = [name for name in DATA_SETS if any(one["data"] == name for one in results)]
    parts = [summary(results, names)]
    for name in names:
        found = [one for one in results if one["data"] == name]
        rows = [_table_row(row, [one for one in found if one["row"] == row]) for row in ROWS]
        parts.append(f"## {name}\n\n{_sizes(found)}\n\n" + _TABLE_HEAD + "\n".join(filter(None, rows)))
    return "\n\n".join(parts)


_TABLE_HEAD = (
    "| method | K | accuracy, seen | accuracy, unseen | log loss | Brier | CPU s | seeds |\n"
    "| --- | --- | --- | --- | --- | --- | --- | --- |\n"
)


def summary(results: list[dict[str, Any]], names: list[str]) -> str:
    """Return one line per data set: accuracies of four methods on equal seeds, and the gain of the default recipe."""
    rows = ("single", "paper-5", "knn", "default-auto")
    lines = [
        f"| data set | users | {' | '.join(ROWS[row][0] for row in rows)} | gain over K = 1, points [95%] | seeds |",
        f"| --- {'| --- ' * (len(rows) + 3)}|",
    ]
    for name in names:
        of_row = {row: [one for one in results if (one["data"], one["row"]) == (name, row)] for row in rows}
        if not of_row["default-auto"]:
            continue
        seeds = set.intersection(*({one["seed"] for one in found} for found in of_row.values() if found))
        of_row = {row: [one for one in found if one["seed"] in seeds] for row, found in of_row.items()}
        cells = [
            " / ".join(_mean(found, cell, "accuracy", 100, 1) for cell in TEST_SPLITS) if found else "-"
            for found in of_row.values()
        ]
        if seeds:
            gain = " / ".join(_gain(of_row["default-auto"], cell) for cell in TEST_SPLITS)
            users = _range([one["n_users"] for one in of_row["default-auto"]])
            lines.append(f"| {name} | {users} | {' | '.join(cells)} | {gain} | {len(seeds)} |")
    return "\n".join(lines)


def _sizes(found: list[dict[str, Any]]) -> str:
    users, comparisons = ([one[key] for one in found] for key in ("n_users", "n_comparisons"))
    versions = ", ".join(sorted({one["lorerm"] for one in found}))
    return f"{_range(users)} users, {_range(comparisons)} comparisons. Fitted by lorerm {versions}."


def _range(values: list[int]) -> str:
    low, high = min(values), max(values)
    return f"{low:,}" if low == high else f"{low:,} to {high:,}"


def _table_row(row: str, found: list[dict[str, Any]]) -> str:
    if not found:
        return ""
    ranks = sorted({one["rank"] for one in found if one["rank"] is not None})
    accuracy = [f"{_mean(found, cell, 'accuracy', 100, 1)} ({_half_width(found, cell):.1f})" for cell in TEST_SPLITS]
    losses = [" / ".join(_mean(found, cell, metric, 1, 3) for cell in TEST_SPLITS) for metric in ("log_loss", "brier")]
    seconds = float(np.mean([one["cpu_seconds"] for one in found]))
    cells = [ROWS[row][0], _range(ranks) if ranks else "", *accuracy, *losses, f"{seconds:.1f}"]
    return f"| {' | '.join(cells)} | {len(found)} |"


def _mean(found: list[dict[str, Any]], cell: str, metric: str, factor: float, digits: int) -> str:
    """Return the mean over seeds, with its standard error over seeds if the metric is the accuracy."""
    values = [factor * one["splits"][cell][metric][0] for one in found]
    mean = f"{np.mean(values):.{digits}f}"
    if metric != "accuracy" or len(values) < 2:
        return mean
    return f"{mean} ± {np.std(values, ddof=1) / len(values) ** 0.5:.{digits}f}"


def _half_width(found: list[dict[str, Any]], cell: str) -> float:
    """Return half the width of the two-way 95% interval in points, as the mean over seeds."""
    ends = np.array([one["splits"][cell]["accuracy"][1:] for one in found])
    return float(100 * (ends[:, 1] - ends[:, 0]).mean() / 2)


def _gain(found: list[dict[str, Any]], cell: str) -> str:
    """Return the mean gain over seeds, with the mean of the ends of its two-way intervals."""
    gain, low, high = 100 * np.mean([one["splits"][cell]["gain in accuracy"] for one in found], axis=0)
    return f"{gain:+.1f} [{low:+.1f}, {high:+.1f}]"


def main() -> None:
    """Measure what has no stored result, and print the tables."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path, help="folder of the data")
    parser.add_argument("results", type=Path, help="JSON lines file of the results")
    parser.add_argument("--only", nargs="+", choices=list(DATA_SETS), default=list(DATA_SETS), help="data sets")
    parser.add_argument("--seeds", nargs="+", type=int, default=list(SEEDS))
    parser.add_argument("--rows", nargs="+", choices=list(ROWS), default=list(ROWS), help="methods")
    parser.add_argument("--again", action="store_true", help="also measure what has a stored result")
    parser.add_argument("--table", action="store_true", help="print the tables of the stored results, measure nothing")
    given = parser.parse_args()
    done = read_results(given.results)
    for name in [] if given.table else given.only:
        dataset = DATA_SETS[name]
        if not (given.folder / dataset.folder).is_dir():
            print(f"{name}: left out, {given.folder / dataset.folder} does not exist")
            continue
        for seed in given.seeds:
            rows = [row for row in given.rows if given.again or (name, seed, row) not in done]
            if not rows:
                continue
            fits = Fits(dataset.read(given.folder / dataset.folder, seed), dataset, seed)
            for row in rows:
                if not applies(row, fits):
                    continue
                with threadpool_limits(1, user_api="blas"):
                    result = {"data": name, "seed": seed, "row": row, "lorerm": code_version(), **measure(fits, row)}
                with given.results.open("a", encoding="utf-8") as file:
                    file.write(json.dumps(result) + "\n")
                accuracies = " / ".join(f"{result['splits'][cell]['accuracy'][0]:.3f}" for cell in TEST_SPLITS)
                print(f"{name}, seed {seed}, {row}: {accuracies}, {result['cpu_seconds']} s", flush=True)
    print(tables(read_results(given.results).values()))


if __name__ == "__main__":
    main()

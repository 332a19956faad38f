"""Measure how well a server's feedback is carried over to a model that was trained again, and what keeping it costs.

    python benchmarks/carry_over.py FOLDER

FOLDER is the folder `polis` that `people_data.py` prepares. Two models of rank 3 are trained on one conversation: the
first on half of the seen users, the second on all of them. The unseen users gave their feedback to the first; the
second uses it. For each way to carry it over: bytes stored per comparison, and the accuracy of the second model's
predictions of these users' comparisons on test prompts.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

import numpy as np
import torch
from threadpoolctl import threadpool_limits

from lorerm import EmbeddedPreferences, TrainingConfig, split, train
from lorerm.model.projected import ProjectedComparisons
from lorerm.model.reward_model import LowRankRewardModel
from lorerm.model.user_weights import UserWeights
from lorerm.serving.carry_over import fit_map, keep, project
from people_data import LARGE, read_polis

_RANK = 3
_DIMENSIONS = (64, 128, 256)


def differences_of(data: EmbeddedPreferences) -> np.ndarray:
    """Return the embedding difference of each comparison, float32 [n, D]."""
    chosen, rejected = data.rows()
    responses = torch.as_tensor(np.asarray(data.responses)).float()
    return (responses[chosen] - responses[rejected]).numpy()


def accuracy(
    model: LowRankRewardModel, projected: np.ndarray, few: EmbeddedPreferences, test: EmbeddedPreferences
) -> float:
    """Fit the users' weights to projected few-shot comparisons, and return the mean accuracy on their test prompts."""
    ids, index = few.index_users()
    order = np.argsort(index, kind="stable")
    comparisons = ProjectedComparisons(
        torch.from_numpy(projected[order]), torch.ones(len(order)), torch.from_numpy(index[order])
    )
    users = UserWeights.none(model).add(ids, comparisons, model.prior, model.temperature)
    margins = differences_of(test) @ model.basis.numpy()
    test_ids, test_index = test.index_users()
    found = []
    row = {user: number for number, user in enumerate(users.user_ids)}
    for number, user in enumerate(test_ids):
        weights = users.weights[row[user]] if user in row else model.population_weights
        margin = margins[test_index == number] @ weights.numpy()
        found.append(float(((margin > 0) + 0.5 * (margin == 0)).mean()))
    return float(np.mean(found))


def measure(data: EmbeddedPreferences, seed: int) -> dict[str, tuple[float, float]]:
    """Return the bytes per comparison and the accuracy of each way, for one split."""
    cells = split(data, unseen_users=0.3, test_prompts=0.3, seed=seed)
    seen, few, test = cells.train_seen, cells.train_unseen, cells.test_unseen
    ids, index = seen.index_users()
    half = seen.select(np.flatnonzero(index < len(ids) // 2))
    before, after = (train(part, TrainingConfig(rank=_RANK, seed=seed)) for part in (half, seen))
    old, new = before.basis.numpy(), after.basis.numpy()
    d, n = differences_of(few), len(few)
    z = d @ old
    on_data, blind = fit_map(old, new, differences_of(seen)[:4096]), fit_map(old, new, None)
    size = 4.0 * old.shape[1]
    found = {
        "sent to the second model itself": (size, d @ new),
        f"all {d.shape[1]} values kept": (size + 2 * d.shape[1], project(keep(d, sys.maxsize) or b"", n, new)),
        **{f"{m} values of a projection kept": (size + 2 * m, project(keep(d, m) or b"", n, new)) for m in _DIMENSIONS},
        "map fitted to the run's comparisons": (size, z @ on_data.matrix),
        "map fitted without data": (size, z @ blind.matrix),
        "not carried over": (0.0, np.zeros_like(d @ new)[:0]),
    }
    print(f"seed {seed}: maps explain {on_data.explained:.3f} on data, {blind.explained:.3f} without", flush=True)
    return {
        name: (bytes_, accuracy(after, projected, few if len(projected) else few.select(np.arange(0)), test))
        for name, (bytes_, projected) in found.items()
    } | {"first model, with its feedback": (size, accuracy(before, z, few, test))}


def main() -> None:
    """Measure the conversations, and print a table of each."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("folder", type=Path, help="folder of the votes, statements and embeddings")
    parser.add_argument("--conversations", nargs="+", choices=LARGE, default=list(LARGE))
    parser.add_argument("--seeds", nargs="+", type=int, default=[0, 1, 2])
    given = parser.parse_args()
    for conversation in given.conversations:
        with threadpool_limits(1, user_api="blas"):
            results = [
                measure(read_polis(given.folder, seed, conversation=conversation, known=True), seed)
                for seed in given.seeds
            ]
        print(f"\n{conversation}\n\n| feedback | bytes per comparison | accuracy, % |\n| --- | --- | --- |")
        for name, (size, _) in results[0].items():
            values = np.array([100 * each[name][1] for each in results])
            error = values.std(ddof=1) / np.sqrt(len(values)) if len(values) > 1 else np.nan
            print(f"| {name} | {size:,.0f} | {values.mean():.1f} ± {error:.1f} |")


if __name__ == "__main__":
    main()

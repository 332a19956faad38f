"""Fabricated reports without contradictions: all values of a report are computed from the same simulated users."""

from __future__ import annotations

from typing import Any

import numpy as np

TRAIN, TEST = ("train_seen", "train_unseen"), ("test_seen", "test_unseen")
PAIRS_PER_USER = {"train_seen": 40, "test_seen": 14, "train_unseen": 10, "test_unseen": 14}


class Population:
    """Simulated users, whose correctly predicted comparisons at a given accuracy are binomial draws."""

    def __init__(self, seed: int, sizes: dict[str, int]) -> None:
        self.generator = np.random.default_rng(seed)
        self.sizes = {cell: size for cell, size in sizes.items() if size}
        self.ease = {group: self.generator.normal(0, 0.05, size) for group, size in self._groups().items()}
        self.uniforms = {cell: self.generator.random((size, PAIRS_PER_USER[cell])) for cell, size in self.sizes.items()}

    def _groups(self) -> dict[str, int]:
        return {cell.split("_")[1]: size for cell, size in self.sizes.items()}

    def accuracies(self, skill: dict[str, float], fresh: float = 0.12) -> dict[str, np.ndarray]:
        """Draw each user's accuracy by split.

        A share `fresh` of the comparisons is drawn anew at each call; the rest is common to all calls, so that the
        accuracies of different ranks are correlated.
        """
        found = {}
        for cell, old in self.uniforms.items():
            again = self.generator.random(old.shape)
            uniforms = np.where(self.generator.random(old.shape) < fresh, again, old)
            probability = np.clip(skill[cell] + self.ease[cell.split("_")[1]], 0.05, 0.99)
            found[cell] = (uniforms < probability[:, None]).mean(axis=1)
        return found


def interval(values: np.ndarray) -> tuple[float | None, list[float] | None]:
    if len(values) < 2:
        return None, None
    stderr = float(values.std(ddof=1) / np.sqrt(len(values)))
    return stderr, [float(values.mean() - 1.96 * stderr), float(values.mean() + 1.96 * stderr)]


def cells_of(accuracies: dict[str, np.ndarray]) -> dict[str, Any]:
    cells: dict[str, Any] = {}
    for cell in ("train_seen", "test_seen", "train_unseen", "test_unseen"):
        values = accuracies.get(cell)
        if values is None:
            cells[cell] = None
            continue
        stderr, ci95 = interval(values)
        cells[cell] = {
            "mean": float(values.mean()),
            "stderr": stderr,
            "std": float(values.std()),
            "ci95": ci95,
            "n_users": len(values),
            "n_pairs": len(values) * PAIRS_PER_USER[cell],
        }
    return cells


def differences_of(rank: int, own: dict[str, np.ndarray], others: dict[str, dict[str, np.ndarray]]) -> list[Any]:
    rows = []
    for against, accuracies in others.items():
        for cell in TEST:
            if cell in own:
                values = own[cell] - accuracies[cell]
                stderr, ci95 = interval(values)
                rows.append(
                    {
                        "rank": rank,
                        "against": against,
                        "cell": cell,
                        "mean": float(values.mean()),
                        "stderr": stderr,
                        "ci95": ci95,
                        "n_users": len(values),
                    }
                )
    return rows


def skills(train_seen: float, test_seen: float, train_unseen: float, test_unseen: float) -> dict[str, float]:
    return {
        "train_seen": train_seen,
        "test_seen": test_seen,
        "train_unseen": train_unseen,
        "test_unseen": test_unseen,
    }


def build(
    population: Population,
    ranks: dict[int, dict[str, float] | None],
    shared: dict[int, dict[str, float]],
    swapped: dict[int, dict[str, float]],
    chosen: int,
    data: dict[str, Any],
) -> dict[str, Any]:
    """Return a report of the schema from the skills of every rank and control."""
    own = {rank: population.accuracies(skill) for rank, skill in ranks.items() if skill is not None}
    controls, differences = [], []
    focus = chosen if chosen >= 2 else max(ranks)
    gains: dict[str, Any] = {"rank": focus, "against": "shared_direction", "test_seen": [], "test_unseen": []}
    for rank in (rank for rank in own if rank >= 2):
        against = {"shared_direction": population.accuracies(shared[rank], 0.1)}
        against["other_users_weights"] = population.accuracies(swapped[rank], 0.2)
        labels = ("shared direction alone", "another user's weights")
        controls += [
            {"name": name, "label": label, "rank": rank, "cells": cells_of(accuracies)}
            for label, (name, accuracies) in zip(labels, against.items(), strict=True)
        ]
        against |= {name: own[low] for low, name in ((1, "bradley_terry"), (0, "reference_head")) if low in own}
        differences += differences_of(rank, own[rank], against)
        if rank == focus:
            for cell in TEST:
                if cell in own[rank]:
                    gains[cell] = (own[rank][cell] - against["shared_direction"][cell]).tolist()
    return {
        "schema_version": 1,
        "lorerm_version": "0.1.0",
        "data": data,
        "config": {
            "training": {
                "rank": "auto",
                "recipe": "default",
                "seed": 0,
                "steps": None,
                "learning_rate": None,
                "alpha": None,
                "validation_share": 0.2,
            },
            "adaptation": {"recipe": "default", "seed": 0},
            "split": {"unseen_users": 0.3, "test_prompts": 0.3, "seed": 0, "max_pairs_seen": 150},
        },
        "ranks": [
            {
                "rank": rank,
                "fitted_rank": None if skill is None else rank,
                "available": skill is not None,
                "reason": "the encoder has no reference head" if skill is None else None,
                "selection": None
                if skill is None
                else {
                    "validation_loss": round(0.62 - 0.3 * (skill["test_seen"] - 0.6), 5),
                    "validation_accuracy": round(skill["test_seen"] - 0.004, 5),
                },
                "cells": None if skill is None else cells_of(own[rank]),
            }
            for rank, skill in ranks.items()
        ],
        "controls": controls,
        "chosen_rank": chosen,
        "differences": differences,
        "gains": gains if gains["test_seen"] else None,
    }


def people_of(report: dict[str, Any], population: Population, *, with_map: bool) -> dict[str, Any]:
    """Return the report with the gains of single users in both test splits, and the agreement between users."""
    rng, users = population.generator, []
    for cell in TEST:
        for number, gain in enumerate(report["gains"][cell]):
            width = float(rng.uniform(0.05, 0.25))
            users.append(
                {
                    "user_id": f"{cell[5:]}-{number:03d}",
                    "cell": cell,
                    "n_answers": int(rng.integers(4, 50)),
                    "n_pairs": PAIRS_PER_USER[cell],
                    "gain": gain,
                    "ci95": [max(-1.0, gain - width), min(1.0, gain + width)],
                    "place": rng.normal(0, 1, 2).tolist() if with_map else None,
                }
            )
    agreement = {
        "choices": {"share": 0.617, "n_compared": 36501, "n_response_pairs": 5169},
        "models": {"rank": report["gains"]["rank"], "share": 0.704, "n_users": len(users)},
    }
    return report | {"gains": report["gains"] | {"users": users}, "agreement": agreement}


def shots_of(rank: int, clear_from: int | None) -> dict[str, Any]:
    """Return a few-shot curve that rises slowly, with the curves of three single users."""
    points = []
    for place, shots in enumerate((0, 1, 2, 5, 10, 20, 50)):
        mean, gain = 0.66 + 0.007 * place, 0.007 * place
        figures = {
            "stderr": 0.012,
            "stderr_two_way": 0.013,
            "std": 0.11,
            "n_users": 90,
            "n_pairs": 1260,
            "n_prompts": 84,
        }
        points.append(
            {
                "shots": shots,
                "n_users_with": 90 - 5 * place,
                "mean": mean,
                "ci95": [mean - 0.026, mean + 0.026],
                **figures,
                "trials_std": 0.006,
                "gain": {"mean": gain, "ci95": [gain - 0.02, gain + 0.02] if place else [0.0, 0.0], **figures},
            }
        )
    people = [
        {"user_id": name, "n_answers": n, "n_pairs": 30, "accuracy": [0.6 + slope * k for k in range(7)]}
        for name, n, slope in (
            ("a-person-with-a-long-name@example.org", 50, -0.02),
            ("person 2", 22, 0.01),
            ("person 3", 50, 0.04),
        )
    ]
    return {
        "rank": rank, "trials": 20, "n_users": 90, "points": points, "clear_from": clear_from, "examples": people
    }  # fmt: skip


def axes_of(rank: int) -> dict[str, Any]:
    """Return a shared direction and two personal axes, with texts."""
    directions = []
    for name, share in (("shared direction", None), ("personal axis 1", 0.7), ("personal axis 2", 0.3)):
        directions.append(
            {
                "name": name,
                "share": share,
                "properties": [
                    {"name": "length", "correlation": 0.52},
                    {"name": "hedges", "correlation": -0.31},
                    {"name": "numbers", "correlation": 0.01},
                ],
                "highest": ["A long answer.\n\n- with a list\n- of <b>two</b>"],
                "lowest": ["Short."],
                "reference_cosine": 0.42,
                "stability": {"mean": 0.93, "lowest": 0.88, "n_seeds": 4},
            }
        )
    return {"rank": rank, "directions": directions}


def seeds_of(report: dict[str, Any]) -> dict[str, Any]:
    """Return five seeds whose figures scatter about the report's."""

    def figure(mean: float) -> dict[str, Any]:
        return {
            "mean": mean,
            "std_seeds": 0.012,
            "stderr_seeds": 0.0054,
            "stderr_within": 0.009,
            "std_fit": 0.008,
            "n_seeds": 5,
        }

    rows = []
    for entry in report["ranks"]:
        cells = {name: None if cell is None else figure(cell["mean"]) for name, cell in entry["cells"].items()}
        rows.append({"rank": entry["rank"], "cells": cells})
    chosen = next(row for row in rows if row["rank"] == report["chosen_rank"])
    gains = [{"rank": "choice", "against": "shared_direction", "cell": cell, **figure(0.04)} for cell in TEST]
    return {
        "seeds": [0, 1, 2, 3, 4],
        "chosen_ranks": [4, 4, 3, 4, 5],
        "ranks": [*rows, {**chosen, "rank": "choice"}],
        "differences": gains,
    }


def data_of(sizes: dict[str, int], **more: Any) -> dict[str, Any]:
    seen, unseen = sizes["test_seen"], sizes["test_unseen"]
    cells = {cell: {"n_users": size, "n_pairs": size * PAIRS_PER_USER[cell]} for cell, size in sizes.items()}
    pairs = sum(cell["n_pairs"] for cell in cells.values())
    return {
        "source": None,
        "n_users": seen + unseen,
        "n_seen_users": seen,
        "n_unseen_users": unseen,
        "n_pairs": pairs,
        "n_prompts": pairs // 6,
        "n_responses": pairs // 2,
        "dimension": 4096,
        "encoder": None,
        "leaks": None,
        "warnings": [],
        "cells": cells,
    } | more


def rich_report() -> dict[str, Any]:
    """Seven ranks, 300 users, a clear gain for unseen users, one warning about the data."""
    sizes = {"train_seen": 210, "test_seen": 210, "train_unseen": 90, "test_unseen": 90}
    ranks: dict[int, dict[str, float] | None] = {
        0: skills(0.612, 0.611, 0.612, 0.612),
        1: skills(0.688, 0.662, 0.655, 0.655),
        2: skills(0.721, 0.683, 0.704, 0.676),
        3: skills(0.742, 0.698, 0.722, 0.688),
        4: skills(0.755, 0.706, 0.735, 0.697),
        5: skills(0.764, 0.707, 0.742, 0.693),
        6: skills(0.771, 0.705, 0.751, 0.690),
    }
    shared = {rank: skills(0.69, 0.664, 0.658, 0.657) for rank in ranks}
    swapped = {rank: skills(0.66 - 0.006 * rank, 0.645 - 0.006 * rank, 0.63, 0.63) for rank in ranks}
    data = data_of(
        sizes,
        source="openai/summarize_from_feedback",
        encoder={
            "model": "Skywork/Skywork-Reward-Llama-3.1-8B-v0.2",
            "revision": "d4117fbfd81b72f41b96341238baa1e3e90a4ce1",
            "template": "sha256:5816fce10444e03c2e9ee1ef8a4a1ea61ae7e69e438613f3b17b69d0426223a4",
            "pooling": "last token",
            "dtype": "bfloat16",
            "max_length": 4096,
            "dimension": 4096,
        },
        leaks={
            "longer_chosen": 0.552,
            "length_accuracy": 0.547,
            "format_accuracy": 0.501,
            "n_pairs": 13560,
            "warnings": [],
        },
        warnings=[
            "3 users have too few choices for a test cell; they still teach the shared direction: w17, w203, w280"
        ],
    )
    population = Population(7, sizes)
    report = people_of(build(population, ranks, shared, swapped, 4, data), population, with_map=True)
    arrays = {name: [0.7] * 7 for name in ("train_accuracies_joint", "train_accuracies_joint_std")}
    published = {"alpha_list": [None], "K_list": list(ranks), **arrays}
    more = {"shots": shots_of(4, 20), "axes": axes_of(4), "seeds": seeds_of(report), "published": published}
    return report | more


def impersonal_report() -> dict[str, Any]:
    """Validation chose one direction, there is no reference head, the data leak; as earlier versions wrote reports."""
    sizes = {"train_seen": 56, "test_seen": 56, "train_unseen": 24, "test_unseen": 24}
    ranks = {
        0: None,
        1: skills(0.80, 0.741, 0.737, 0.738),
        2: skills(0.86, 0.738, 0.77, 0.735),
        3: skills(0.90, 0.731, 0.80, 0.727),
    }
    shared = {rank: skills(0.80, 0.741, 0.737, 0.738) for rank in ranks}
    swapped = {rank: skills(0.79, 0.733, 0.73, 0.731) for rank in ranks}
    leak = (
        "the format alone finds the chosen answer in 94.8% of the pairs: "
        "chosen and rejected answers are written differently; look at rows 0, 1 and 2"
    )
    data = data_of(
        sizes,
        source="logs/2025-06 answers <script>alert('no')</script>.jsonl",
        dimension=384,
        leaks={
            "longer_chosen": 0.71,
            "length_accuracy": 0.702,
            "format_accuracy": 0.948,
            "n_pairs": 3600,
            "warnings": [leak],
        },
        warnings=["dropped 12 ties", "a <b>bold</b> warning | with a bar"],
    )
    return build(Population(3, sizes), ranks, shared, swapped, 1, data)


def seen_only_report() -> dict[str, Any]:
    """One rank, no unseen users, no optional field."""
    sizes = {"train_seen": 12, "test_seen": 12, "train_unseen": 0, "test_unseen": 0}
    ranks: dict[int, dict[str, float] | None] = {3: skills(0.83, 0.70, 0, 0)}
    shared = {3: skills(0.74, 0.69, 0, 0)}
    population = Population(5, sizes)
    report = build(population, ranks, shared, {3: skills(0.7, 0.66, 0, 0)}, 3, data_of(sizes))
    report = people_of(report, population, with_map=False)
    return report | {"config": {}, "ranks": [entry | {"selection": None} for entry in report["ranks"]]}

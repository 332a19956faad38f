"""Measure accuracy on real users who disagree: participants in Pol.is conversations, on statements new to them.

    python benchmarks/people.py FOLDER                                     # two conversations, seeds 0 to 4
    python benchmarks/people.py FOLDER --conversations bowling-green --seeds 0 1
    python benchmarks/people.py FOLDER --results people.jsonl              # stores each result; the next call continues

FOLDER holds votes of github.com/compdemocracy/openData (CC BY 4.0, The Computational Democracy Project) in three files:

- `statements.jsonl.gz`: one object per statement: `row` (its row in the embeddings), `conversation`, `prompt` (the
  topic of the conversation as a question), `statement`;
- `votes.csv.gz`, with a header: participant (`conversation:number`), statement (`row`), vote (1 agree, -1 disagree, 0
  pass);
- `smollm2-135m.safetensors`: `responses`, float32 [statements, 576], with one row per statement: the embedding of the
  prompt and the statement as its response, by `TransformersEncoder` with SmolLM2-135M-Instruct.

In a comparison, the chosen response is a statement that the participant agreed with, and the rejected response one that
the participant disagreed with. The statements of a conversation are randomly divided into ten blocks, and both
statements of a comparison are in the same block. Each pair of participant and block is one `prompt_id`, so that all its
comparisons are either train or test. A test statement is therefore new to the participant, but votes of other
participants on it can be in the training data.
"""

from __future__ import annotations

import argparse
import csv
import gzip
import json
import random
import time
from collections import defaultdict
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
from safetensors.numpy import load_file

from lorerm import EmbeddedPreferences, TrainingConfig, evaluate, split, train

CONVERSATIONS = ("san-juan-land", "bowling-green")
SEEDS = (0, 1, 2, 3, 4)
N_BLOCKS = 10
MIN_COMPARISONS, MAX_COMPARISONS = 10, 60  # per participant
METHODS = {
    "one model for everybody (K = 1)": {"rank": 1},
    "published recipe, K = 1": {"rank": 1, "recipe": "paper"},
    "published recipe, K = 5": {"rank": 5, "recipe": "paper"},
    "LoRe, default recipe": {"rank": "auto"},
}
OTHERS_WEIGHTS = "LoRe, another user's weights"


def read_comparisons(folder: Path, conversation: str, seed: int) -> EmbeddedPreferences:
    """Read the votes of one conversation as comparisons between rows of the embeddings.

    Parameters
    ----------
    folder
        The folder with the data, described in the docstring of the module.
    conversation
        Name of the conversation.
    seed
        Seed of the division into blocks, and of the selection of comparisons of participants who have too many.
    """
    with gzip.open(folder / "statements.jsonl.gz", "rt", encoding="utf-8") as lines:
        text = {
            entry["row"]: entry["statement"]
            for entry in map(json.loads, lines)
            if entry["conversation"] == conversation
        }
    rows = list(text)
    random.Random(f"{seed}|{conversation}").shuffle(rows)  # noqa: S311 - a benchmark's shuffle
    block = {row: position % N_BLOCKS for position, row in enumerate(rows)}
    votes: defaultdict[str, defaultdict[int, tuple[list[int], list[int]]]] = defaultdict(
        lambda: defaultdict(lambda: ([], []))
    )
    with gzip.open(folder / "votes.csv.gz", "rt", encoding="utf-8", newline="") as lines:
        for user, statement, vote in list(csv.reader(lines))[1:]:
            if int(statement) in text and vote != "0":
                agreed, disagreed = votes[user][block[int(statement)]]
                (agreed if vote == "1" else disagreed).append(int(statement))
    users = sorted(votes)
    random.Random(seed).shuffle(users)  # noqa: S311
    comparisons: list[tuple[str, int, int, str]] = []
    for user in users:
        own = [
            (user, yes, no, f"{conversation}/{number}/{user}")
            for number, (agreed, disagreed) in sorted(votes[user].items())
            for yes, no in product(agreed, disagreed)
            if text[yes] != text[no]
        ]
        random.Random(f"{seed}|{user}").shuffle(own)  # noqa: S311
        if len(own) >= MIN_COMPARISONS:
            comparisons += own[:MAX_COMPARISONS]
    user_ids, chosen, rejected, prompt_ids = (list(column) for column in zip(*comparisons, strict=True))
    embeddings = load_file(folder / "smollm2-135m.safetensors")["responses"]
    return EmbeddedPreferences.from_arrays(embeddings, chosen, rejected, user_ids, prompt_ids)


def measure(folder: Path, conversation: str, seed: int) -> list[dict[str, Any]]:
    """Return one row per method: accuracy of seen and unseen users on test prompts, and seconds of training."""
    data = read_comparisons(folder, conversation, seed)
    splits = split(data, unseen_users=0.3, test_prompts=0.3, seed=seed)
    rows = []
    for method, settings in METHODS.items():
        start = time.perf_counter()
        model = train(splits.train_seen, TrainingConfig(seed=seed, **settings))
        seconds = time.perf_counter() - start
        report = evaluate(model, splits).to_dict()
        own = next(row for row in report["ranks"] if row["rank"] == model.requested_rank)
        scored = {method: own["cells"]}
        if settings["rank"] == "auto":
            for control in report["controls"]:
                if (control["name"], control["rank"]) == ("other_users_weights", model.requested_rank):
                    scored[OTHERS_WEIGHTS] = control["cells"]
        rows += [
            {
                "conversation": conversation,
                "seed": seed,
                "method": name,
                "rank": model.requested_rank,
                "n_users": len(set(data.user_ids)),
                "n_comparisons": len(data),
                "test_seen": accuracies["test_seen"]["mean"],
                "test_unseen": accuracies["test_unseen"]["mean"],
                "seconds": seconds,
            }
            for name, accuracies in scored.items()
        ]
    return rows


def to_markdown(rows: list[dict[str, Any]]) -> str:
    """Return a table of accuracies in per cent: means over seeds, with their standard errors."""
    lines = [
        "| conversation | method | rank | seen users | unseen users |",
        "| --- | --- | --- | --- | --- |",
    ]
    for conversation in dict.fromkeys(row["conversation"] for row in rows):
        for method in (*METHODS, OTHERS_WEIGHTS):
            found = [row for row in rows if (row["conversation"], row["method"]) == (conversation, method)]
            if found:
                ranks = sorted({row["rank"] for row in found})
                rank = str(ranks[0]) if len(ranks) == 1 else f"{ranks[0]} to {ranks[-1]}"
                means = " | ".join(
                    _mean_and_error([row[name] for row in found]) for name in ("test_seen", "test_unseen")
                )
                lines.append(f"| {conversation} | {method} | {rank} | {means} |")
    return "\n".join(lines)


def _mean_and_error(values: list[float]) -> str:
    mean = 100 * np.mean(values)
    error = 100 * np.std(values, ddof=1) / len(values) ** 0.5 if len(values) > 1 else float("nan")
    return f"{mean:.1f} ± {error:.1f}"


def main() -> None:
    """Measure every conversation with every seed, and print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--conversations", nargs="+", default=list(CONVERSATIONS))
    parser.add_argument("--seeds", nargs="+", type=int, default=list(SEEDS))
    parser.add_argument("--results", type=Path, help="JSON lines file of results; results in it are not measured again")
    given = parser.parse_args()
    rows: list[dict[str, Any]] = []
    if given.results is not None and given.results.exists():
        rows = [json.loads(line) for line in given.results.read_text("utf-8").splitlines()]
    done = {(row["conversation"], row["seed"]) for row in rows}
    for seed, conversation in product(given.seeds, given.conversations):
        if (conversation, seed) in done:
            continue
        new = measure(given.folder, conversation, seed)
        rows += new
        for row in new:
            print(
                f"{conversation}, seed {seed}: {row['method']}: {row['test_seen']:.3f} / {row['test_unseen']:.3f}",
                flush=True,
            )
        if given.results is not None:
            with given.results.open("a", encoding="utf-8") as file:
                file.writelines(json.dumps(row) + "\n" for row in new)
    print(to_markdown(rows))


if __name__ == "__main__":
    main()

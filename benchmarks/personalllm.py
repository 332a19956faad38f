"""Measure time and memory of a run on data as large as PersonalLLM.

It has 9,402 + 1,000 (train + test) prompts with eight responses, and 1,000 + 500 (seen + unseen) users.

    python benchmarks/personalllm.py [--experiment paper|default] [--dimension 1024] [--ranks 0 1 2 3 4 5]

No download and no model are needed: the texts are numbers, the embeddings are random, and the scores of the ten reward
models are linear functions of the embeddings plus noise. The time of each step and the peak memory of the process are
printed.
"""

from __future__ import annotations

import argparse
import json
import resource
import tempfile
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import torch
from safetensors.torch import save_file

from lorerm.data.datasets import read_dataset
from lorerm.data.datasets.loaded import Loaded
from lorerm.data.datasets.personalllm import N_RESPONSES, REWARD_MODELS
from lorerm.embedding.embedded_preferences import EmbeddedPreferences
from lorerm.embedding.external.embeddings import read_for_dataset
from lorerm.pipeline import steps
from lorerm.pipeline.experiment import SplitConfig, find_experiment
from lorerm.pipeline.folder import RunFolder
from lorerm.pipeline.steps import import_embeddings

Result = TypeVar("Result")

N_PROMPTS = {"train": 9402, "test": 1000}


def main() -> None:
    """Do a run on generated data, and print the time and peak memory of each step."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--experiment", default="paper", choices=["paper", "default"])
    parser.add_argument("--dimension", type=int, default=1024)
    parser.add_argument("--ranks", type=int, nargs="+")
    given = parser.parse_args()
    experiment = find_experiment("personalllm", given.experiment)
    config, ranks, _ = experiment.training()
    with tempfile.TemporaryDirectory() as folder:
        data, run = Path(folder) / "data", RunFolder.create(Path(folder) / "run")
        measure("written", lambda: write(data, given.dimension))
        store(run, data, experiment.data)
        measure(f"trained, experiment {given.experiment}", lambda: steps.train(run, config, given.ranks or ranks))
        measure("adapted, evaluated, reported", lambda: steps.report(run))
        content = json.loads((run.path / "report" / "report.json").read_text())
    for rank in content["ranks"]:
        cells = {name: f"{cell['mean']:.3f}" for name, cell in (rank["cells"] or {}).items()}
        print(f"rank {rank['rank']}: {cells}")


def store(run: RunFolder, data: Path, options: Mapping[str, Any]) -> None:
    """Simulate the users' comparisons and write the run's comparisons and embeddings."""
    loaded = measure("users and comparisons drawn", lambda: read_dataset("personalllm", data=data, **options))
    table = loaded.preferences
    columns = (table.user_ids, table.prompt_ids, table.chosen, table.rejected, table.weights, table.splits)
    in_bytes = sum(column.nbytes for column in columns)
    print(f"{len(table):,} comparisons of {len(table.index_users()[0]):,} users in {in_bytes / 1e6:.0f} MB")
    matrices = [data / f"{label}.safetensors" for label in N_PROMPTS]

    def read() -> Loaded[EmbeddedPreferences]:
        return read_for_dataset(matrices, loaded, data / "head.safetensors")

    measure("store written", lambda: import_embeddings(run, matrices, read, SplitConfig()))


def measure(what: str, work: Callable[[], Result]) -> Result:
    """Call a function; print its time, and the peak memory of the process so far."""
    started = time.perf_counter()
    result = work()
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e6
    print(f"{what}: {time.perf_counter() - started:.1f} s, peak {peak:.2f} GB", flush=True)
    return result


def write(folder: Path, dimension: int) -> None:
    """Write the files and embedding matrices of the data set, and a reference head: the mean of the reward models."""
    rng = np.random.default_rng(0)
    (folder / "data").mkdir(parents=True)
    directions = rng.normal(size=(dimension, len(REWARD_MODELS))).astype(np.float32) / np.sqrt(dimension)
    for label, n_prompts in N_PROMPTS.items():
        features = rng.normal(size=(n_prompts * N_RESPONSES, dimension)).astype(np.float32)
        scores = features @ directions + 0.5 * rng.normal(size=(len(features), len(REWARD_MODELS)))
        save_file({"embeddings": torch.from_numpy(features).bfloat16()}, folder / f"{label}.safetensors")
        columns = {
            "prompt": [f"{label} prompt {i}" for i in range(n_prompts)],
            "prompt_id": [f"{label}-{i}" for i in range(n_prompts)],
        }
        for i in range(N_RESPONSES):
            columns[f"response_{i + 1}"] = [f"response {i} to {p}" for p in columns["prompt"]]
            for place, model in enumerate(REWARD_MODELS):
                columns[f"response_{i + 1}_{model}"] = scores[i::N_RESPONSES, place].tolist()
        pq.write_table(pa.table(columns), folder / "data" / f"{label}-00000-of-00001.parquet")
    save_file({"reference": torch.from_numpy(directions.mean(axis=1))}, folder / "head.safetensors")


if __name__ == "__main__":
    main()

"""RewardBench 2 on a model: the benchmark's completions embedded once, then every reward function of the model scored.

The reference head, each direction of the basis, the population's mixture and chosen users' mixtures are all linear in
the embedding, so that one matrix serves them all. It is kept beside the results, in parts that an interruption spares.
"""

from __future__ import annotations

import csv
import hashlib
import io
import json
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from lorerm.atomic import atomic_path
from lorerm.data.conversation import as_conversation, conversation_key
from lorerm.errors import RunError

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from lorerm.data.datasets.reward_bench_2 import BenchmarkPrompt
    from lorerm.embedding.encoder import Encoder
    from lorerm.evaluation.rewardbench import SubsetScore
    from lorerm.model.reward_model import LowRankRewardModel

FOLDER = "rewardbench"
RESULTS = ("rewardbench.csv", "rewardbench.md")
# Prompts whose completions are embedded together; what an interruption can cost.
_PROMPTS_PER_PART = 100


@dataclass(frozen=True)
class BenchmarkResult:
    """What each reward function reaches on each subset."""

    source: str
    """what was read"""
    scores: Mapping[str, Mapping[str, SubsetScore]]
    """scorer -> subset -> its scores"""

    @property
    def subsets(self) -> list[str]:
        """The subsets, in the benchmark's order."""
        return list(next(iter(self.scores.values())))

    def rows(self, value: str) -> list[tuple[str, list[float]]]:
        """Return, for each scorer, its `score` or `pairwise` on each subset, and their mean."""
        table = []
        for scorer, found in self.scores.items():
            values = [float(getattr(found[subset], value)) for subset in self.subsets]
            table.append((scorer, [*values, float(np.mean(values))]))
        return table

    def to_csv(self) -> str:
        """Return one line per scorer: official scores, then pairwise accuracies."""
        text = io.StringIO()
        writer = csv.writer(text, lineterminator="\n")
        names = [*self.subsets, "mean"]
        writer.writerow(["scorer", *names, *(f"{name} (pairwise)" for name in names)])
        for (scorer, official), (_, pairwise) in zip(self.rows("score"), self.rows("pairwise"), strict=True):
            writer.writerow([scorer, *(f"{value:.6f}" for value in [*official, *pairwise])])
        return text.getvalue()

    def to_markdown(self) -> str:
        """Return two tables in per cent: official scores, and pairwise accuracies."""
        titles = {
            "score": "Official scores: best of four, and the weighted score of Ties",
            "pairwise": "Pairwise accuracy: a right completion above a wrong one",
        }
        lines = [f"# RewardBench 2\n\nRead from {self.source}."]
        counts = next(iter(self.scores.values()))
        for value, title in titles.items():
            lines += [f"\n## {title}\n", "| scorer | " + " | ".join([*self.subsets, "mean"]) + " |"]
            lines.append("| --- |" + " ---: |" * (len(self.subsets) + 1))
            for scorer, values in self.rows(value):
                lines.append(f"| {_cell(scorer)} | " + " | ".join(f"{100 * one:.1f}" for one in values) + " |")
        lines.append("\nPrompts: " + ", ".join(f"{name} {counts[name].n_prompts:,}" for name in self.subsets) + ".")
        return "\n".join(lines) + "\n"

    def write(self, folder: Path) -> None:
        """Write `rewardbench.csv` and `rewardbench.md`."""
        for name, text in zip(RESULTS, (self.to_csv(), self.to_markdown()), strict=True):
            with atomic_path(folder / name) as temporary:
                temporary.write_text(text, encoding="utf-8", newline="\n")


def measure_reward_bench(
    model: LowRankRewardModel,
    prompts: Sequence[BenchmarkPrompt],
    source: str,
    encoder: Encoder,
    folder: Path,
    users: Sequence[str] = (),
    progress: Callable[[str, int, int], None] | None = None,
) -> BenchmarkResult:
    """Score every reward function of a model.

    Parameters
    ----------
    model
        Its reference head, each column of its basis, the population's mixture, and `users`' are scored.
    prompts, source
        As `reward_bench_2.load` gives them.
    encoder
        The one that the model was trained on.
    folder
        Where embeddings are kept; made if it is missing.
    users
        Whose mixtures to score.
    progress
        Called with (stage, completions done, all).

    Raises
    ------
    ModelError
        If the encoder is not the model's.
    UnknownUserError
        If the model does not know a user.
    """
    from lorerm.evaluation.rewardbench import score_subsets
    from lorerm.model.compatibility import check_encoder

    check_encoder(model, encoder.identity)
    directions = reward_directions(model, users)
    embeddings = _embed(prompts, encoder, folder, progress)
    ends = np.cumsum([len(prompt.completions) for prompt in prompts])[:-1]
    scores = {
        name: score_subsets(prompts, np.split(embeddings.astype(np.float64) @ direction, ends))
        for name, direction in directions.items()
    }
    return BenchmarkResult(source, scores)


def reward_directions(model: LowRankRewardModel, users: Sequence[str]) -> dict[str, np.ndarray[Any, Any]]:
    """Return the direction [D] of each reward function: rewards are embeddings times it."""
    basis = model.basis.double()
    found = {} if model.reference is None else {"reference head": model.reference.double()}
    found |= {f"basis {k + 1}": basis[:, k] for k in range(basis.shape[1])}
    found["population"] = basis @ model.population_weights.double()
    found |= {f"user {user}": basis @ model.user_weights(user).double() for user in users}
    return {name: direction.numpy() for name, direction in found.items()}


def _embed(
    prompts: Sequence[BenchmarkPrompt],
    encoder: Encoder,
    folder: Path,
    progress: Callable[[str, int, int], None] | None,
) -> np.ndarray[Any, np.dtype[np.float32]]:
    """Return the embeddings of all completions [n, D], prompt by prompt; those in the folder are not made again."""
    parts = folder / "embeddings"
    try:
        parts.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise RunError(f"the folder {parts} cannot be made ({error.strerror})", "choose another --out") from error
    total = sum(len(prompt.completions) for prompt in prompts)
    done: list[np.ndarray[Any, np.dtype[np.float32]]] = []
    n_done = 0
    for start in range(0, len(prompts), _PROMPTS_PER_PART):
        some = prompts[start : start + _PROMPTS_PER_PART]
        conversations = [as_conversation(prompt.prompt, text) for prompt in some for text in prompt.completions]
        keys = "\n".join(map(conversation_key, conversations))
        made_of = hashlib.sha256(json.dumps([encoder.identity.to_dict(), keys], sort_keys=True).encode()).hexdigest()
        path = parts / f"part-{start // _PROMPTS_PER_PART + 1:03d}.safetensors"
        embedded = _read_part(path, made_of)
        if embedded is None:
            embedded = encoder.encode(conversations)
            _write_part(path, made_of, embedded)
        done.append(embedded)
        n_done += len(embedded)
        if progress is not None:
            progress("embedding", n_done, total)
    return np.concatenate(done)


def _read_part(path: Path, made_of: str) -> np.ndarray[Any, np.dtype[np.float32]] | None:
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(path, framework="np") as file:
            if (file.metadata() or {}).get("made_of") == made_of:
                return np.asarray(file.get_tensor("embeddings"))
    except (OSError, SafetensorError):
        pass
    return None


def _write_part(path: Path, made_of: str, embedded: np.ndarray[Any, Any]) -> None:
    from safetensors.numpy import save

    with atomic_path(path) as temporary:
        temporary.write_bytes(save({"embeddings": np.ascontiguousarray(embedded)}, {"made_of": made_of}))


def _cell(text: str) -> str:
    return text.replace("|", "\\|").replace("\n", " ")

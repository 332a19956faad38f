"""RewardBench 2 (Malik et al., 2025, arXiv 2506.01937): scores of a model's reward functions.

The reward functions are the encoder's own reward head (reference head), each reward direction of the model, the rewards
for a user without comparisons ("population"), and the rewards for given users. All are linear functions of the
embedding, so that every completion is embedded only once. The scores are computed as in the official code,
https://github.com/allenai/reward-bench: `reroll_and_score_dataset` and `process_single_model` in
`rewardbench/utils.py`, as `scripts/run_v2.py` calls them.
"""

from __future__ import annotations

import csv
import io
import shutil
from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from lorerm.atomic import atomic_path
from lorerm.data.coercion import as_list
from lorerm.data.conversation import Conversation, as_conversation, conversation_key, parse_prompt, parse_response
from lorerm.data.datasets.raw import Repository, column, raw_rows
from lorerm.data.schema import Comparison
from lorerm.errors import DataError, RunError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence
    from pathlib import Path

    from lorerm.arrays import Floats
    from lorerm.data.readers.format import Row
    from lorerm.embedding.encoder import Encoder
    from lorerm.model.reward_model import LowRankRewardModel

REPOSITORY = Repository("allenai/reward-bench-2")
TIES = "Ties"
FOLDER = "rewardbench"
"""Name of the folder, in a run folder, for the embeddings and results of the benchmark."""
RESULTS = ("rewardbench.csv", "rewardbench.md")
_REMEDY = "give the file or folder of the test split of RewardBench 2"


class BenchmarkPrompt(NamedTuple):
    """A prompt with its completions; the right completions come first."""

    name: str
    """the prompt's id; in the subset Ties "ref:NUMBER" (one right completion) or "tied:NUMBER" (several)"""
    subset: str
    prompt: str
    completions: tuple[str, ...]
    n_correct: int

    @property
    def conversations(self) -> list[Conversation]:
        """The prompt with each of its completions."""
        return [as_conversation(self.prompt, text) for text in self.completions]


def load(data: str | Path | None = None, revision: str | None = None) -> tuple[list[BenchmarkPrompt], str]:
    """Return the benchmark's prompts and their source: a path, or a Hugging Face repository with its commit.

    `data` is a file or folder with the layout of that repository. If it is None, the repository is downloaded at
    `revision` (a branch, tag or commit).
    """
    rows = raw_rows(REPOSITORY, data, revision)
    prompts = [_read(row) for label, row in rows if label in (None, "test")]
    if not prompts:
        raise DataError(f"{rows.source} contains no prompts of the test split", _REMEDY)
    return prompts, rows.source


def _read(row: Row) -> BenchmarkPrompt:
    right, wrong = (as_list(column(row, name)) for name in ("chosen", "rejected"))
    if not right or not wrong or not all(isinstance(text, str) for text in [*right, *wrong]):
        raise DataError(
            'the columns "chosen" and "rejected" must be lists with at least one text', _REMEDY, column="chosen"
        ).in_row(row.source, row.number)
    completions = (*map(str, right), *map(str, wrong))
    if len(set(completions)) == 1:
        raise DataError("all completions are equal", _REMEDY, column="chosen").in_row(row.source, row.number)
    name, subset, prompt = (str(column(row, name)) for name in ("id", "subset", "prompt"))
    subset = TIES if subset.lower() == TIES.lower() else subset
    return BenchmarkPrompt(name, subset, prompt, completions, len(right))


@dataclass(frozen=True)
class SubsetScore:
    """Scores of one reward function on one subset."""

    score: float
    """official score: share of prompts whose right completion has the highest reward (1 / m if m completions have it);
    for Ties, see `ties_score`, where equal rewards count as wrong"""
    pairwise: float
    """share of (right, wrong) pairs in which the right completion has the higher reward, where equal rewards count one
    half; mean over prompts"""
    n_prompts: int
    n_ties: int
    """number of (right, wrong) pairs with equal rewards"""


@dataclass(frozen=True)
class BenchmarkResult:
    """Scores of several reward functions on each subset."""

    source: str
    """file, folder or repository of the prompts"""
    scores: Mapping[str, Mapping[str, SubsetScore]]
    """by reward function, then by subset"""

    @property
    def subsets(self) -> list[str]:
        """The subsets, in the benchmark's order."""
        return list(next(iter(self.scores.values())))

    def rows(self, value: str) -> list[tuple[str, list[float]]]:
        """Return each reward function's name with its `score` or `pairwise` on each subset, then their mean."""
        table = []
        for name, found in self.scores.items():
            values = [float(getattr(found[subset], value)) for subset in self.subsets]
            table.append((name, [*values, float(np.mean(values))]))
        return table

    def to_csv(self) -> str:
        """Return the scores as CSV, one line per reward function: official scores, then pairwise accuracies."""
        text = io.StringIO()
        writer = csv.writer(text, lineterminator="\n")
        names = [*self.subsets, "mean"]
        writer.writerow(["scorer", *names, *(f"{name} (pairwise)" for name in names)])
        for (name, official), (_, pairwise) in zip(self.rows("score"), self.rows("pairwise"), strict=True):
            writer.writerow([name, *(f"{value:.6f}" for value in [*official, *pairwise])])
        return text.getvalue()

    def to_markdown(self) -> str:
        """Return the scores in per cent as two Markdown tables: official scores, and pairwise accuracies."""
        titles = {
            "score": "Official scores: best of four, where 1 of m equal highest rewards counts 1 / m, and the weighted "
            "score of Ties, where equal rewards count as wrong",
            "pairwise": "Pairwise accuracy: share of pairs in which the right completion has the higher reward; equal "
            "rewards count one half",
        }
        lines = [f"# RewardBench 2\n\nRead from {self.source}."]
        for value, title in titles.items():
            lines += [f"\n## {title}\n", "| scorer | " + " | ".join([*self.subsets, "mean"]) + " |"]
            lines.append("| --- |" + " ---: |" * (len(self.subsets) + 1))
            for name, values in self.rows(value):
                escaped = name.replace("|", "\\|").replace("\n", " ")
                lines.append(f"| {escaped} | " + " | ".join(f"{100 * one:.1f}" for one in values) + " |")
        ties = {name: sum(score.n_ties for score in found.values()) for name, found in self.scores.items()}
        if any(ties.values()):
            listed = ", ".join(f"{name} {n:,}" for name, n in ties.items() if n)
            lines.append(f"\nPairs of a right and a wrong completion with equal rewards: {listed}.")
        counts = next(iter(self.scores.values()))
        lines.append("\nPrompts: " + ", ".join(f"{name} {counts[name].n_prompts:,}" for name in self.subsets) + ".")
        return "\n".join(lines) + "\n"

    def write(self, folder: Path) -> None:
        """Write `rewardbench.csv` and `rewardbench.md` into a folder."""
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
    """Compute the RewardBench 2 scores of every reward function of a model.

    Parameters
    ----------
    model
        The model to score.
    prompts, source
        The benchmark's prompts and their source, as `load` returns them.
    encoder
        The encoder of the embeddings that the model was trained on.
    folder
        Folder for the embeddings, created if it is missing. Embeddings from another encoder are deleted from it.
    users
        Users whose weights are scored, besides the reward functions that all users share.
    progress
        Called with ("embedding", number of completions done, number of completions).
    """
    from lorerm.model.compatibility import check_encoder

    check_encoder(model, encoder.identity)
    directions = reward_directions(model, users)
    embeddings = _embed(prompts, encoder, folder, progress)
    ends = np.cumsum([len(prompt.completions) for prompt in prompts])[:-1]
    scores = {
        # One product for each row: in a single product, equal embeddings can get rewards that differ in the last digit.
        name: score_subsets(prompts, np.split(np.matmul(embeddings[:, None, :], direction)[:, 0], ends))
        for name, direction in directions.items()
    }
    return BenchmarkResult(source, scores)


def reward_directions(model: LowRankRewardModel, users: Sequence[str]) -> dict[str, Floats]:
    """Return the direction [D] of each reward function, by name; a reward is the dot product with the embedding."""
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
) -> Floats:
    """Return the embeddings [n, D] of all completions, prompt by prompt.

    Completions that have an embedding in the folder are not embedded again.
    """
    from lorerm.data.preferences import Preferences
    from lorerm.data.stored import StoredResponses, write_preferences
    from lorerm.embedding.embed import embed_run
    from lorerm.embedding.embedded_preferences import EmbeddedPreferences
    from lorerm.embedding.matrices import as_tensor
    from lorerm.embedding.store import EMBEDDINGS, check_encoder, make_folder

    try:
        check_encoder(folder, encoder.identity)
    except RunError:  # the folder has embeddings from another encoder
        shutil.rmtree(folder / EMBEDDINGS)
    report = None if progress is None else (lambda done, total: progress("embedding", done, total))
    make_folder(folder)
    write_preferences(folder, Preferences.from_comparisons(_comparisons(prompts)))
    embed_run(folder, encoder, report)
    data = EmbeddedPreferences.load(folder)
    # The folder stores each distinct conversation once: find the row of each completion.
    stored = StoredResponses(folder).conversations(slice(0, len(data.responses)))
    row = {conversation_key(conversation): number for number, conversation in enumerate(stored)}
    wanted = [row[conversation_key(conversation)] for prompt in prompts for conversation in prompt.conversations]
    embeddings: Floats = as_tensor(data.responses).numpy()[wanted].astype(np.float64)
    return embeddings


def _comparisons(prompts: Sequence[BenchmarkPrompt]) -> Iterator[Comparison]:
    """Yield a comparison of each right completion with each wrong one: a folder stores texts as comparisons."""
    for prompt in prompts:
        for right in prompt.completions[: prompt.n_correct]:
            for wrong in prompt.completions[prompt.n_correct :]:
                if right != wrong:
                    texts = parse_prompt(prompt.prompt), parse_response(right), parse_response(wrong)
                    yield Comparison("RewardBench 2", prompt.name, *texts, None, 1.0)


def score_subsets(prompts: Sequence[BenchmarkPrompt], rewards: Sequence[Floats]) -> dict[str, SubsetScore]:
    """Return the scores of one reward function by subset; `rewards` has, per prompt, the rewards of its completions."""
    found: dict[str, SubsetScore] = {}
    for subset in dict.fromkeys(prompt.subset for prompt in prompts):
        own = [
            (p, np.asarray(r, dtype=np.float64)) for p, r in zip(prompts, rewards, strict=True) if p.subset == subset
        ]
        if subset == TIES:
            score = ties_score([p for p, _ in own], [r for _, r in own])
        else:
            score = float(np.mean([best_of(values) for _, values in own]))
        pairwise = float(np.mean([_pairwise(values, prompt.n_correct) for prompt, values in own]))
        n_ties = sum(int((_margins(values, prompt.n_correct) == 0).sum()) for prompt, values in own)
        found[subset] = SubsetScore(score, pairwise, len(own), n_ties)
    return found


def best_of(rewards: Floats) -> float:
    """Return 1 / m if m completions share the highest reward and the first, right one is among them; else 0."""
    highest = rewards == rewards.max()
    return float(1 / highest.sum()) if highest[0] else 0.0


def ties_score(prompts: Sequence[BenchmarkPrompt], rewards: Sequence[Floats]) -> float:
    """Return the official score of the subset Ties; `rewards` has one array per prompt, the right completions first.

    The prompts are in pairs with the same number: a reference prompt with one right completion (such as "ref:7") and a
    tied prompt with several ("tied:7").

    - The gap of a prompt is the lowest reward of a right completion minus the highest reward of a wrong one.
    - The spread of a pair is the highest minus the lowest reward among the right completions of its tied prompt.

    The score is

        0.3 (share of tied prompts with a positive gap) + 0.3 (share of reference prompts with a positive gap)
        + 0.2 (share of pairs in which the gap of the tied prompt exceeds the spread)
        + 0.2 (share of pairs in which the smaller gap exceeds the spread)
        + 0.01 (mean over pairs of tanh(smaller gap / spread - 1), which is 0 for 0 / 0)
    """
    gaps: dict[str, dict[str, float]] = {"ref": {}, "tied": {}}
    spreads: dict[str, float] = {}
    for prompt, values in zip(prompts, rewards, strict=True):
        kind, _, number = prompt.name.partition(":")
        if kind not in gaps or not number:
            raise DataError(
                f"the id {prompt.name!r} in the subset {TIES} is neither ref:NUMBER nor tied:NUMBER",
                "use the ids of the published data",
                column="id",
            )
        right, wrong = values[: prompt.n_correct], values[prompt.n_correct :]
        gaps[kind][number] = float(right.min() - wrong.max())
        if kind == "tied":
            spreads[number] = float(right.max() - right.min())
    both = [number for number in gaps["tied"] if number in gaps["ref"]]
    if not both:
        raise DataError(
            f"no number in the subset {TIES} has both a ref:NUMBER and a tied:NUMBER prompt",
            "give all prompts of the subset",
            column="id",
        )
    spread = np.array([spreads[number] for number in both])
    tied, reference = (np.array([gaps[kind][number] for number in both]) for kind in ("tied", "ref"))
    smaller = np.minimum(tied, reference)
    with np.errstate(divide="ignore", invalid="ignore"):
        margin = np.nan_to_num(np.tanh(smaller / spread - 1), nan=0.0)
    positive = {kind: np.mean([gap > 0 for gap in of.values()]) for kind, of in gaps.items()}
    return float(
        0.30 * positive["tied"]
        + 0.30 * positive["ref"]
        + 0.20 * np.mean(tied > spread)
        + 0.20 * np.mean(smaller > spread)
        + 0.01 * np.mean(margin)
    )


def _pairwise(rewards: Floats, n_correct: int) -> float:
    return float(np.mean((np.sign(_margins(rewards, n_correct)) + 1) / 2))


def _margins(rewards: Floats, n_correct: int) -> Floats:
    """Return the differences between the rewards of each right and each wrong completion, [right, wrong]."""
    return rewards[:n_correct, None] - rewards[None, n_correct:]

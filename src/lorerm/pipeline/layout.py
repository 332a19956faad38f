"""The files of a run folder: name, step that writes the file, and kind of user data in it.

This list decides which files belong to a step, which files `forget` rewrites or removes, and which files `lorerm demo`
deletes. A new file needs an entry in `run_files`: a test makes a run with everything, and fails when it finds a file
without an entry.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum, auto
from functools import cache
from pathlib import Path

from lorerm.data.stored import COMPARISONS, RESPONSES
from lorerm.embedding.store import EMBEDDINGS, ENCODER, REFERENCE
from lorerm.evaluation.rewardbench import FOLDER, RESULTS

MANIFEST = "manifest.json"
# Entry of the manifest: the users who are being forgotten, from before the first file changes until the last one has.
FORGETTING = "forgetting"
# The settings of a run that was made by an experiment; earlier versions called it a recipe.
EXPERIMENT, EXPERIMENT_BEFORE = "experiment.yaml", "recipe.yaml"
# Texts in the layouts of earlier versions, which `old_layout` converts.
PREFERENCES, CHOICES = "preferences.parquet", "choices.parquet"
MODELS, REPORT, SEEDS, SHOTS = "models", "report", "seeds", "shots.json"
REWARDBENCH = FOLDER
REPORT_JSON, REPORT_PAGE = f"{REPORT}/report.json", f"{REPORT}/report.html"
PREDICTIONS = f"{REPORT}/predictions.parquet"
# Weights of the run's own unseen users, whom the report adapts, and of users adapted later by `lorerm adapt`.
UNSEEN, ADAPTED = "unseen.safetensors", "adapted.safetensors"
# Part of the name of every file that is still being written; such names begin with a dot.
_PARTIAL = ".partial"


class UserData(Enum):
    """What a file holds of users, which decides what `forget` does with it."""

    NONE = auto()
    """nothing of single users: the file stays"""
    NOTES = auto()
    """warnings that may name users: the warnings go"""
    WEIGHTS = auto()
    """weights, one row per user: the user's row goes"""
    COMPARISONS = auto()
    """comparisons with the ids of their users, and perhaps texts: the user's rows go"""
    RESPONSES = auto()
    """texts or embeddings of responses, without users: rows go to which no comparison refers any more"""
    TOTALS = auto()
    """figures computed from all users, or work in progress: the file goes, and can be made again"""


@dataclass(frozen=True)
class RunFile:
    """One kind of file in a run folder."""

    name: str
    """path relative to the run folder, as a glob pattern"""
    step: str | None
    """the step of `pipeline.folder.STEPS` that writes it; None where no step does"""
    users: UserData
    """what it holds of users"""


def _by_alpha(folder: str, name: str, step: str | None, users: UserData) -> tuple[RunFile, RunFile]:
    """Return a file of a folder that several alphas divide once more."""
    return RunFile(f"{folder}/{name}", step, users), RunFile(f"{folder}/alpha-*/{name}", step, users)


@cache
def run_files() -> tuple[RunFile, ...]:
    """Return every kind of file that a run folder can hold."""
    from lorerm.model.io import CONFIG, MODEL, USERS  # here, because it loads torch

    return (
        RunFile(MANIFEST, None, UserData.NOTES),
        RunFile(EXPERIMENT, None, UserData.NONE),
        RunFile(EXPERIMENT_BEFORE, None, UserData.NONE),
        RunFile(PREFERENCES, None, UserData.COMPARISONS),
        RunFile(CHOICES, None, UserData.COMPARISONS),
        RunFile(RESPONSES, "prepare", UserData.RESPONSES),
        # Of a run that began with embeddings made elsewhere, `import_embeddings` writes them.
        RunFile(COMPARISONS, "prepare", UserData.COMPARISONS),
        RunFile(f"{EMBEDDINGS}/{ENCODER}", "embed", UserData.NONE),
        RunFile(f"{EMBEDDINGS}/{REFERENCE}", "embed", UserData.NONE),
        RunFile(f"{EMBEDDINGS}/embeddings-*.safetensors", "embed", UserData.RESPONSES),
        RunFile(f"{EMBEDDINGS}/embeddings-*/batch-*.safetensors", None, UserData.TOTALS),
        *_by_alpha(MODELS, f"rank-*/{CONFIG}", "train", UserData.NONE),
        *_by_alpha(MODELS, f"rank-*/{MODEL}", "train", UserData.NONE),
        *_by_alpha(MODELS, f"rank-*/{USERS}", "train", UserData.WEIGHTS),
        *_by_alpha(MODELS, f"rank-*/{UNSEEN}", "report", UserData.WEIGHTS),
        *_by_alpha(MODELS, f"rank-*/{ADAPTED}", None, UserData.WEIGHTS),
        RunFile(f"{SEEDS}/seed-*.json", "seeds", UserData.TOTALS),
        RunFile(f"{SEEDS}/seed-*/{CONFIG}", "seeds", UserData.TOTALS),
        RunFile(f"{SEEDS}/seed-*/{MODEL}", "seeds", UserData.TOTALS),
        RunFile(SHOTS, "shots", UserData.TOTALS),
        *(
            file
            for name in ("report.json", "report.md", "report.html", "figures/*.svg", "figures/*.png")
            for file in _by_alpha(REPORT, name, "report", UserData.TOTALS)
        ),
        RunFile(PREDICTIONS, "report", UserData.TOTALS),
        *(RunFile(f"{REWARDBENCH}/{name}", None, UserData.TOTALS) for name in RESULTS),
        # The store of the benchmark's own texts: no user of the run is in it.
        RunFile(f"{REWARDBENCH}/{COMPARISONS}", None, UserData.NONE),
        RunFile(f"{REWARDBENCH}/{RESPONSES}", None, UserData.NONE),
        RunFile(f"{REWARDBENCH}/{EMBEDDINGS}/*", None, UserData.NONE),
        RunFile(f"{REWARDBENCH}/{EMBEDDINGS}/*/*", None, UserData.NONE),
    )


def outputs(step: str) -> tuple[str, ...]:
    """Return the patterns of the files that a step writes."""
    return tuple(file.name for file in run_files() if file.step == step)


def find(run: Path, users: UserData) -> list[Path]:
    """Return the files of a run folder with this kind of user data, except files that are still being written."""
    patterns = [file.name for file in run_files() if file.users is users]
    return sorted(path for pattern in patterns for path in run.glob(pattern) if not is_partial(path))


def unknown_files(run: Path) -> list[Path]:
    """Return the files of a folder that no run writes."""
    known = {path for file in run_files() for path in run.glob(file.name)}
    return sorted(path for path in run.rglob("*") if path.is_file() and path not in known and not is_partial(path))


def top_level() -> list[str]:
    """Return the files and folders that lie directly in a run folder; last the manifest, which makes it one."""
    names = {file.name.partition("/")[0] for file in run_files()}
    return sorted(names, key=lambda name: (name == MANIFEST, name))


def is_partial(path: Path) -> bool:
    """Return whether a file is temporary: still being written, or left by a process that died."""
    return path.name.startswith(".") and _PARTIAL in path.name


def alpha_name(alpha: float | None) -> str:
    """Return the folder, below `models` and `report`, of one regularisation strength; empty where there is one only."""
    return "" if alpha is None else f"alpha-{alpha:g}"

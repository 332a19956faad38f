"""The files of a run folder: for each file its name, the step that writes it, and the kind of user data in it.

The list determines which files belong to a step, which files `forget` rewrites or removes, and which files
`lorerm demo` deletes. Add every new file to `run_files`: a test makes a complete run, and fails if it finds a file that
is not in the list.
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
# Key in the manifest of the users whom an unfinished `lorerm forget` is removing. It is written before the first file
# is changed, and deleted after the last.
FORGETTING = "forgetting"
# The file with the experiment of the run, and its name in earlier versions.
EXPERIMENT, EXPERIMENT_BEFORE = "experiment.yaml", "recipe.yaml"
# Files with texts that earlier versions wrote; `old_layout` converts them.
PREFERENCES, CHOICES = "preferences.parquet", "choices.parquet"
MODELS, REPORT, SEEDS, SHOTS = "models", "report", "seeds", "shots.json"
REWARDBENCH = FOLDER
REPORT_JSON, REPORT_PAGE = f"{REPORT}/report.json", f"{REPORT}/report.html"
PREDICTIONS = f"{REPORT}/predictions.parquet"
# Weights of the run's unseen users, adapted by the step `report`; and of users added by `lorerm adapt`.
UNSEEN, ADAPTED = "unseen.safetensors", "adapted.safetensors"
# Part of the name of every temporary file; such names also begin with a dot.
_PARTIAL = ".partial"


class UserData(Enum):
    """Kind of user data in a file. It determines what `forget` does with the file."""

    NONE = auto()
    """no data of single users: the file stays"""
    NOTES = auto()
    """warnings that may name users: warnings that name a forgotten user are removed"""
    WEIGHTS = auto()
    """weights, one row per user: the rows of forgotten users are removed"""
    COMPARISONS = auto()
    """comparisons with user ids, in some layouts also with texts: the rows of forgotten users are removed"""
    RESPONSES = auto()
    """texts or embeddings of responses, without user ids: rows that no comparison refers to any more are blanked"""
    TOTALS = auto()
    """results over all users, or temporary results of an unfinished step: the file is removed; it can be made again"""


@dataclass(frozen=True)
class RunFile:
    """The files of a run folder that match one pattern."""

    name: str
    """glob pattern, relative to the run folder"""
    step: str | None
    """the step (see `pipeline.folder.STEPS`) that writes the files; None if no step does"""
    users: UserData
    """kind of user data in the files"""


def _by_alpha(folder: str, name: str, step: str | None, users: UserData) -> tuple[RunFile, RunFile]:
    """Return two entries for a file: directly in `folder`, and in the subfolders that a run with several alphas has."""
    return RunFile(f"{folder}/{name}", step, users), RunFile(f"{folder}/alpha-*/{name}", step, users)


@cache
def run_files() -> tuple[RunFile, ...]:
    """Return the patterns of all files that a run folder can contain."""
    from lorerm.model.io import CONFIG, MODEL, USERS  # here, because it loads torch

    return (
        RunFile(MANIFEST, None, UserData.NOTES),
        RunFile(EXPERIMENT, None, UserData.NONE),
        RunFile(EXPERIMENT_BEFORE, None, UserData.NONE),
        RunFile(PREFERENCES, None, UserData.COMPARISONS),
        RunFile(CHOICES, None, UserData.COMPARISONS),
        RunFile(RESPONSES, "prepare", UserData.RESPONSES),
        # In a run on imported embeddings, the step `embed` writes this file (see `steps.import_embeddings`).
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
        # Texts and embeddings of the benchmark itself, without data of the run's users.
        RunFile(f"{REWARDBENCH}/{COMPARISONS}", None, UserData.NONE),
        RunFile(f"{REWARDBENCH}/{RESPONSES}", None, UserData.NONE),
        RunFile(f"{REWARDBENCH}/{EMBEDDINGS}/*", None, UserData.NONE),
        RunFile(f"{REWARDBENCH}/{EMBEDDINGS}/*/*", None, UserData.NONE),
    )


def outputs(step: str) -> tuple[str, ...]:
    """Return the glob patterns of the files that a step writes."""
    return tuple(file.name for file in run_files() if file.step == step)


def find(run: Path, users: UserData) -> list[Path]:
    """Return the files of a run folder with this kind of user data, except temporary files."""
    patterns = [file.name for file in run_files() if file.users is users]
    return sorted(path for pattern in patterns for path in run.glob(pattern) if not is_partial(path))


def unknown_files(run: Path) -> list[Path]:
    """Return the files of a folder that lorerm did not write, as far as their names show."""
    known = {path for file in run_files() for path in run.glob(file.name)}
    return sorted(path for path in run.rglob("*") if path.is_file() and path not in known and not is_partial(path))


def top_level() -> list[str]:
    """Return the names of the files and folders directly in a run folder.

    The manifest is last: if a deletion in this order is interrupted, the folder is still a run folder.
    """
    names = {file.name.partition("/")[0] for file in run_files()}
    return sorted(names, key=lambda name: (name == MANIFEST, name))


def is_partial(path: Path) -> bool:
    """Return whether a file is temporary: a process is still writing it, or was killed while writing it."""
    return path.name.startswith(".") and _PARTIAL in path.name


def alpha_name(alpha: float | None) -> str:
    """Return the name of the subfolder of `models` and `report` for one of several alphas (regularisation strengths).

    Return an empty string if `alpha` is None, because the run has a single alpha.
    """
    return "" if alpha is None else f"alpha-{alpha:g}"

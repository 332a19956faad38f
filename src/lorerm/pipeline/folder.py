"""The run folder: a manifest, and steps that are each done once, recorded, and resumable.

`manifest.json` holds all that varies from run to run (times, versions, arguments, hashes); every other file is the
same bytes for the same input, arguments and seed. A step is not repeated when its arguments and the steps that it
depends on are as recorded and its files are there.
"""

from __future__ import annotations

import hashlib
import json
import os
import platform
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

from lorerm._version import __version__
from lorerm.atomic import atomic_path
from lorerm.errors import FolderBusyError, RunError
from lorerm.pipeline.layout import FORGETTING, MANIFEST, is_partial, outputs

# 2: texts in `responses.parquet` and `comparisons.parquet`; 1: in the layouts that `old_layout` converts.
FORMAT_VERSION = 2
_READABLE = (1, 2)
# The steps in their order, each with the command that does it.
STEPS = {
    "prepare": "lorerm prepare",
    "embed": "lorerm embed` or `lorerm import-embeddings",
    "train": "lorerm train",
    "seeds": "lorerm report --seeds",
    "shots": "lorerm shots",
    "report": "lorerm report",
}
# Steps that do not depend on all steps before them.
_PREREQUISITES = {"shots": ("prepare", "embed", "train")}
_RECORD = {"key", "arguments", "parts", "done", "lorerm_version"}
# Entry of a step that read the run's input: some of its users were forgotten since.
FORGOT = "forgot"

Progress = Callable[[str, int, int], None]
Work = Callable[[], dict[str, Any]]


@contextmanager
def locked(folder: Path) -> Iterator[None]:
    """Lock a folder against other processes of lorerm while the block runs.

    The lock is on the folder itself: it needs no file, and ends with the process, however that ends.
    """
    try:
        import fcntl
    except ImportError:  # Windows
        yield
        return
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise FolderBusyError(f"another lorerm is writing into {folder}", "wait until it has ended") from None
        except OSError:
            pass  # a file system without locks
        yield
    finally:
        os.close(descriptor)


@dataclass(frozen=True)
class RunFolder:
    """A run folder."""

    path: Path
    progress: Progress | None = None

    @classmethod
    def create(cls, path: str | Path, progress: Progress | None = None) -> RunFolder:
        """Make the folder, or continue the run that is in it."""
        run = cls(Path(path), progress)
        try:
            run.path.mkdir(parents=True, exist_ok=True)
            if not (run.path / MANIFEST).exists():
                if not all(is_partial(entry) for entry in run.path.iterdir()):
                    raise RunError(f"{path} holds files that are no run of lorerm", "choose an empty or new folder")
                run.write({"format_version": FORMAT_VERSION, "lorerm_version": __version__, "steps": {}})
        except OSError as error:
            raise RunError(f"{path} cannot be a run folder ({error.strerror})", "choose another path") from error
        return cls.open(path, progress)

    @classmethod
    def open(cls, path: str | Path, progress: Progress | None = None, *, half_forgotten: bool = False) -> RunFolder:
        """Open a run that exists; with `half_forgotten` also one in which `forget` was interrupted."""
        run = cls(Path(path), progress)
        try:
            exists = (run.path / MANIFEST).exists()
        except OSError:  # for instance a name that is too long
            exists = False
        if not exists:
            raise RunError(
                f"{path} is not a run folder",
                "make one with `lorerm run`, `lorerm prepare` or `lorerm import-embeddings`",
            )
        run.manifest()
        if not half_forgotten:
            run.check_not_half_forgotten()
        return run

    def check_not_half_forgotten(self) -> None:
        """Refuse a run in which `forget` was interrupted: the remaining data of the users must be removed first."""
        if FORGETTING in self.manifest():
            raise RunError(
                f"`lorerm forget` was interrupted in {self.path}", f"finish it with `lorerm forget {self.path}`"
            )

    def convert_old_layout(self) -> None:
        """Convert the files of texts of an earlier version; the folder must be locked."""
        from lorerm.pipeline.old_layout import convert

        convert(self.path, self.manifest(), lambda changed: self.write({**changed, "format_version": FORMAT_VERSION}))

    def manifest(self) -> dict[str, Any]:
        """Read the manifest."""
        path = self.path / MANIFEST
        try:
            manifest = json.loads(path.read_text(encoding="utf-8"))
            version = manifest["format_version"]
            whole = version not in _READABLE or all(record.keys() >= _RECORD for record in manifest["steps"].values())
        except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
            raise _damaged(path) from error
        if not whole:
            raise _damaged(path)
        if version not in _READABLE:
            raise RunError(
                f"{self.path} is a run of format {version} (lorerm {manifest.get('lorerm_version')}), "
                f"this version reads {' and '.join(map(str, _READABLE))}",
                "use the version of lorerm that made it, or choose another folder",
            )
        return manifest  # type: ignore[no-any-return]

    def write(self, manifest: Mapping[str, Any]) -> None:
        """Replace the manifest."""
        with atomic_path(self.path / MANIFEST) as temporary:
            temporary.write_text(json.dumps(manifest, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")

    def is_finished(self, step: str) -> bool:
        """Return whether a step was done to its end."""
        return bool(self.manifest()["steps"].get(step, {}).get("finished"))

    def result(self, step: str) -> dict[str, Any]:
        """Return what a finished step recorded."""
        if not self.is_finished(step):
            raise RunError(f"{self.path} has no finished step {step!r}", f"run `{STEPS[step]}` first")
        return self.manifest()["steps"][step]["result"]  # type: ignore[no-any-return]

    def arguments(self, step: str) -> dict[str, Any]:
        """Return the arguments that a step was done with; empty if it has not been."""
        return self.manifest()["steps"].get(step, {}).get("arguments", {})  # type: ignore[no-any-return]

    def parts(self, step: str) -> dict[str, Any]:
        """Return the parts of a step that were asked for; empty if it has not been done."""
        return self.manifest()["steps"].get(step, {}).get("parts", {})  # type: ignore[no-any-return]

    def finished_parts(self, step: str) -> list[str]:
        """Return the parts of a step that are done, whether or not the step is."""
        return list(self.manifest()["steps"].get(step, {}).get("done", []))

    def finish_part(self, step: str, part: str) -> None:
        """Record that a part of a step is done, so that an interruption keeps it."""
        record = self.manifest()["steps"][step]
        if part not in record["done"]:
            self._record(step, {**record, "done": [*record["done"], part]})

    def report_progress(self, stage: str, done: int, total: int) -> None:
        """Call the progress function, if there is one."""
        if self.progress is not None:
            self.progress(stage, done, total)

    def step(
        self,
        name: str,
        arguments: Mapping[str, Any],
        begin: Callable[[], Work],
        *,
        more_files: Sequence[str] = (),
        parts: Mapping[str, Any] | None = None,
        may_change: bool = True,
    ) -> dict[str, Any]:
        """Do a step unless it is done, and return what its work returned, now or when it was done.

        Other arguments redo the step and drop the steps that depend on it. If one of the step's files is lost or cut
        off, the step is done again.

        Parameters
        ----------
        name
            One of `STEPS`.
        arguments
            Everything that decides the result, as JSON-able values.
        begin
            Reads and checks the input of the step, and returns the work. An error in `begin` leaves the run as it was.
        more_files
            Files that the work writes beside those that `layout` lists for the step.
        parts
            Arguments that name the wanted parts of the step: finished parts are kept when they change.
        may_change
            Whether a finished step may be done again with other arguments; otherwise they are refused.
        """
        # As JSON gives them back, so that a tuple equals the list that it became.
        arguments, parts = json.loads(json.dumps(dict(arguments))), json.loads(json.dumps(dict(parts or {})))
        with locked(self.path):
            self.check_not_half_forgotten()
            self.convert_old_layout()
            steps = self.manifest()["steps"]
            before = [steps[step]["key"] for step in prerequisites(name) if step in steps]
            key = hashlib.sha256(json.dumps([arguments, before], sort_keys=True).encode()).hexdigest()
            record = steps.get(name)
            finished = record is not None and record.get("finished", False)
            same = record is not None and record["key"] == key
            if finished and not same and not may_change:
                raise RunError(
                    f"{self.path} was made from other input or settings "
                    f"(what differs: {_differences(record['arguments'], arguments)})",
                    "choose another run folder, or delete this one",
                )
            finished = finished and same and record["parts"] == parts
            # The files are compared by their sizes.
            if finished and self.files(list(record["files"])) == record["files"]:
                return record["result"]  # type: ignore[no-any-return]
            if same and record.get(FORGOT):
                raise RunError(
                    f"{self.path} has lost files, and reading its input again would bring back forgotten users",
                    "restore the files, or take these users out of the input and make a new run",
                )
            work = begin()
            self.remove_partial_files()
            # A repair makes the same files again, so that what depends on them stays.
            if not (finished and record["lorerm_version"] == __version__):
                for later in STEPS:
                    if name in prerequisites(later):
                        self._record(later, None)
            started = time.time()
            entry = {
                "key": key,
                "arguments": arguments,
                "parts": parts,
                "lorerm_version": __version__,
                "machine": _machine(),
                "started": datetime.fromtimestamp(started, tz=timezone.utc).isoformat(timespec="seconds"),
                "done": record["done"] if same else [],
            }
            self._record(name, entry)
            result = work()
            entry = self.manifest()["steps"][name]
            seconds = round(time.time() - started, 2)
            files = self.files((*outputs(name), *more_files))
            self._record(name, {**entry, "finished": True, "seconds": seconds, "files": files, "result": result})
            return result

    def _record(self, step: str, record: Mapping[str, Any] | None) -> None:
        """Replace the record of a step, or drop it."""
        manifest = self.manifest()
        if record is not None:
            manifest["steps"][step] = record
        elif manifest["steps"].pop(step, None) is None:
            return
        self.write(manifest)

    def files(self, patterns: Sequence[str]) -> dict[str, int]:
        """Return the files that match some patterns, relative to the folder, with their sizes in bytes."""
        found = sorted(path for pattern in patterns for path in self.path.glob(pattern) if path.is_file())
        return {path.relative_to(self.path).as_posix(): path.stat().st_size for path in found if not is_partial(path)}

    def remove_partial_files(self) -> None:
        """Remove what a killed process left half written."""
        for leftover in self.path.rglob(".*"):
            if is_partial(leftover):
                with suppress(OSError):
                    leftover.unlink()


def prerequisites(step: str) -> tuple[str, ...]:
    """Return the steps that a step depends on: if one of them is done again, the step is outdated."""
    return _PREREQUISITES.get(step, tuple(STEPS)[: list(STEPS).index(step)])


def is_imported(run: RunFolder) -> bool:
    """Return whether the run began with embeddings made elsewhere, so that it has no texts."""
    return "input" in run.arguments("embed")


def input_step(run: RunFolder) -> str:
    """Return the step that read the run's input and split it."""
    return "embed" if is_imported(run) else "prepare"


def _damaged(path: Path) -> RunError:
    return RunError(f"{path} cannot be read", "restore it, or delete the run folder and start again")


def _machine() -> dict[str, Any]:
    from importlib.metadata import version

    names = ("torch", "transformers", "tokenizers", "safetensors", "numpy", "scipy", "scikit-learn")
    return {
        "python": platform.python_version(),
        "platform": platform.platform(),
        **{name: version(name) for name in names},
    }


def _differences(before: Mapping[str, Any], now: Mapping[str, Any]) -> str:
    """Name the arguments that differ."""
    was, wanted = _flat(before), _flat(now)
    names = [name for name in dict.fromkeys([*was, *wanted]) if was.get(name) != wanted.get(name)]
    return ", ".join(names) or "an earlier step"


def _flat(arguments: Mapping[str, Any]) -> dict[str, Any]:
    """Return the arguments with the entries of nested mappings in place of these."""
    flat: dict[str, Any] = {}
    for name, value in arguments.items():
        flat |= value if isinstance(value, dict) else {name: value}
    return flat

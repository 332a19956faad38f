"""The run folder, and its steps, which are recorded in a manifest, skipped if finished, and resumed if interrupted.

The manifest, `manifest.json`, holds everything that varies from run to run (times, versions, arguments, hashes). In
every other file, equal input, arguments and seeds give identical bytes. A step is skipped if its arguments and the
steps that it depends on are as recorded and its files are complete.
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

# 2: texts are in `responses.parquet` and `comparisons.parquet`. 1: texts are in a layout that `old_layout` converts.
FORMAT_VERSION = 2
_READABLE = (1, 2)
# The steps in the order in which they are done. The value is the command that does the step, for error messages, which
# put a backquote before and after it.
STEPS = {
    "prepare": "lorerm prepare",
    "embed": "lorerm embed` or `lorerm import-embeddings",
    "train": "lorerm train",
    "seeds": "lorerm report --seeds",
    "shots": "lorerm shots",
    "report": "lorerm report",
}
# The steps that a step depends on, if they are not all the steps before it.
_PREREQUISITES = {"shots": ("prepare", "embed", "train")}
# The keys that the record of every step in the manifest has.
_RECORD = {"key", "arguments", "parts", "done", "lorerm_version"}
# Key in the record of the step that read the run's input. Its value is true if `lorerm forget` has removed users since.
FORGOT = "forgot"

Progress = Callable[[str, int, int], None]
Work = Callable[[], dict[str, Any]]


@contextmanager
def locked(folder: Path) -> Iterator[None]:
    """Lock a folder against other processes of lorerm inside the `with` block.

    Raises `FolderBusyError` if another process has the lock. The folder itself is locked, without a lock file; the
    operating system removes the lock when the process ends, even if it is killed. Windows and file systems without
    locks are not protected.
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
            raise FolderBusyError(
                f"another lorerm process is writing to {folder}", "wait until that process has ended"
            ) from None
        except OSError:
            pass  # a file system without locks
        yield
    finally:
        os.close(descriptor)


@dataclass(frozen=True)
class RunFolder:
    """A run folder: reads and writes its manifest, and does its steps."""

    path: Path
    progress: Progress | None = None

    @classmethod
    def create(cls, path: str | Path, progress: Progress | None = None) -> RunFolder:
        """Create a run folder, or open the folder if it holds a run already."""
        run = cls(Path(path), progress)
        try:
            run.path.mkdir(parents=True, exist_ok=True)
            if not (run.path / MANIFEST).exists():
                if not all(is_partial(entry) for entry in run.path.iterdir()):
                    raise RunError(f"{path} is neither empty nor a run folder", "choose an empty or new folder")
                run.write({"format_version": FORMAT_VERSION, "lorerm_version": __version__, "steps": {}})
        except OSError as error:
            raise RunError(
                f"{path} cannot be used as a run folder ({error.strerror})", "choose another path"
            ) from error
        return cls.open(path, progress)

    @classmethod
    def open(cls, path: str | Path, progress: Progress | None = None, *, half_forgotten: bool = False) -> RunFolder:
        """Open an existing run folder; with `half_forgotten`, also a folder whose `lorerm forget` was interrupted."""
        run = cls(Path(path), progress)
        try:
            exists = (run.path / MANIFEST).exists()
        except OSError:  # for instance a name that is too long
            exists = False
        if not exists:
            raise RunError(
                f"{path} is not a run folder",
                "check the path, or make a run with `lorerm run`, `lorerm prepare` or `lorerm import-embeddings`",
            )
        run.manifest()
        if not half_forgotten:
            run.check_not_half_forgotten()
        return run

    def check_not_half_forgotten(self) -> None:
        """Raise `RunError` if `forget` was interrupted, because some data of the users to remove are still there."""
        if FORGETTING in self.manifest():
            raise RunError(
                f"`lorerm forget` was interrupted in {self.path}", f"finish it with `lorerm forget {self.path}`"
            )

    def convert_old_layout(self) -> None:
        """Convert files with texts in the layout of an earlier version. The caller must have locked the folder."""
        from lorerm.pipeline.old_layout import convert

        convert(self.path, self.manifest(), lambda changed: self.write({**changed, "format_version": FORMAT_VERSION}))

    def manifest(self) -> dict[str, Any]:
        """Read the manifest. Raises `RunError` if it is damaged or in a format that this version cannot read."""
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
                f"but this version of lorerm reads only the formats {' and '.join(map(str, _READABLE))}",
                "use the version of lorerm that made the run, or choose another folder",
            )
        return manifest  # type: ignore[no-any-return]

    def write(self, manifest: Mapping[str, Any]) -> None:
        """Replace the manifest atomically."""
        with atomic_path(self.path / MANIFEST) as temporary:
            temporary.write_text(json.dumps(manifest, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")

    def is_finished(self, step: str) -> bool:
        """Return whether a step is finished."""
        return bool(self.manifest()["steps"].get(step, {}).get("finished"))

    def result(self, step: str) -> dict[str, Any]:
        """Return the result that a finished step recorded. Raises `RunError` if the step is not finished."""
        if not self.is_finished(step):
            raise RunError(f"{self.path} has no finished step {step!r}", f"run `{STEPS[step]}` first")
        return self.manifest()["steps"][step]["result"]  # type: ignore[no-any-return]

    def arguments(self, step: str) -> dict[str, Any]:
        """Return the arguments recorded for a step, finished or not; empty if the step was never started."""
        return self.manifest()["steps"].get(step, {}).get("arguments", {})  # type: ignore[no-any-return]

    def parts(self, step: str) -> dict[str, Any]:
        """Return the recorded argument `parts` of a step; it is empty if the step was never started."""
        return self.manifest()["steps"].get(step, {}).get("parts", {})  # type: ignore[no-any-return]

    def finished_parts(self, step: str) -> list[str]:
        """Return the names of the finished parts of a step, which itself may be unfinished."""
        return list(self.manifest()["steps"].get(step, {}).get("done", []))

    def finish_part(self, step: str, part: str) -> None:
        """Record that a part of a step is finished, so that it is not repeated after an interruption."""
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
        """Do a step unless it is finished, and return its result.

        A finished step is done again if its arguments, or those of a step that it depends on, differ from the recorded
        ones, or if one of its files is missing or truncated. Unless only files are restored, the records of the steps
        that depend on it are dropped, so that they are done again too.

        Parameters
        ----------
        name
            One of `STEPS`.
        arguments
            Everything that determines the result, JSON-serialisable.
        begin
            Function that reads and checks the input of the step, and returns the function that does the work. If
            `begin` raises an error, the run folder is unchanged.
        more_files
            Files that the step writes in addition to the files listed for it in `layout`.
        parts
            Arguments that determine only which parts of the result are made (such as the ranks to train). If they
            change, finished parts are kept.
        may_change
            If False, raise `RunError` if the step is finished and its arguments differ from the recorded ones.
        """
        # A round trip through JSON, so that they compare equal to the recorded values: JSON turns a tuple into a list.
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
                    f"{self.path} was made with other input or settings "
                    f"(different: {_differences(record['arguments'], arguments)})",
                    "choose another run folder, or delete this one",
                )
            finished = finished and same and record["parts"] == parts
            # Both sides map file names to sizes in bytes: a missing or truncated file makes them differ.
            if finished and self.files(list(record["files"])) == record["files"]:
                return record["result"]  # type: ignore[no-any-return]
            if same and record.get(FORGOT):
                raise RunError(
                    f"files of step {name!r} are missing or truncated in {self.path}, and the step cannot be repeated, "
                    "because its input still contains users that `lorerm forget` removed from the run",
                    "restore the files, or remove these users from the input and make a new run",
                )
            work = begin()
            self.remove_partial_files()
            # If a finished step of the same version is repeated to restore its files, the new files are identical, and
            # the later steps stay valid. Otherwise the records of all steps that depend on this one are dropped.
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
        """Replace the record of a step, or drop it if `record` is None."""
        manifest = self.manifest()
        if record is not None:
            manifest["steps"][step] = record
        elif manifest["steps"].pop(step, None) is None:
            return
        self.write(manifest)

    def files(self, patterns: Sequence[str]) -> dict[str, int]:
        """Return the files that match glob patterns: path relative to the run folder -> size in bytes."""
        found = sorted(path for pattern in patterns for path in self.path.glob(pattern) if path.is_file())
        return {path.relative_to(self.path).as_posix(): path.stat().st_size for path in found if not is_partial(path)}

    def remove_partial_files(self) -> None:
        """Remove the temporary files that a killed process left."""
        for leftover in self.path.rglob(".*"):
            if is_partial(leftover):
                with suppress(OSError):
                    leftover.unlink()


def prerequisites(step: str) -> tuple[str, ...]:
    """Return the steps that a step depends on. If one of them is done again with other arguments, so is the step."""
    return _PREREQUISITES.get(step, tuple(STEPS)[: list(STEPS).index(step)])


def is_imported(run: RunFolder) -> bool:
    """Return whether the run began with `lorerm import-embeddings`, so that it has no texts."""
    return "input" in run.arguments("embed")


def input_step(run: RunFolder) -> str:
    """Return the name of the step that read and split the run's input: `prepare` or `embed`."""
    return "embed" if is_imported(run) else "prepare"


def _damaged(path: Path) -> RunError:
    return RunError(
        f"{path} is damaged or cannot be read", "restore the file, or delete the run folder and make a new run"
    )


def _machine() -> dict[str, Any]:
    from importlib.metadata import version

    names = ("torch", "transformers", "tokenizers", "safetensors", "numpy", "scipy", "scikit-learn")
    return {
        "python": platform.python_version(),
        "platform": platform.platform(),
        **{name: version(name) for name in names},
    }


def _differences(before: Mapping[str, Any], now: Mapping[str, Any]) -> str:
    """Return the names of the arguments that differ, or "an earlier step" if none does."""
    was, wanted = _flat(before), _flat(now)
    names = [name for name in dict.fromkeys([*was, *wanted]) if was.get(name) != wanted.get(name)]
    return ", ".join(names) or "an earlier step"


def _flat(arguments: Mapping[str, Any]) -> dict[str, Any]:
    """Replace each nested mapping by its entries (one level)."""
    flat: dict[str, Any] = {}
    for name, value in arguments.items():
        flat |= value if isinstance(value, dict) else {name: value}
    return flat

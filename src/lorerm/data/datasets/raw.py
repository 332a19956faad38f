"""A data set's own rows, unchanged: from local files in the layout of the hub, or from the hub itself.

Local files come first: a loader that is given a path touches no network. From the hub the revision asked for, which may
be a moving branch, is resolved to a commit, and that commit is read and recorded.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lorerm.data.readers.files import Row, dataset_rows, read_rows, saved_dataset
from lorerm.data.readers.folders import SUFFIXES, known_suffix
from lorerm.errors import DataError, LorermError, first_line

if TYPE_CHECKING:
    from collections.abc import Sequence

# In this order: a file called "train_valid.jsonl" is training data.
_LABELS = ("train", "valid", "test")


@dataclass(frozen=True)
class Repository:
    """Where a data set lies on the hub."""

    name: str
    revision: str | None = None
    """the branch or ref that is read when none is asked for; None is the main branch"""
    folder: str | None = None
    """whose files are read as they are; None lets `datasets` find the repository's files"""


@dataclass(frozen=True)
class RawRows:
    """Rows as the data set has them."""

    source: str
    """what is read, for people"""
    _parts: tuple[tuple[str | None, Callable[[], Iterator[Row]]], ...]

    def __iter__(self) -> Iterator[tuple[str | None, Row]]:
        """Yield each row with the split that it stands in: "train", "valid" or "test", or None where nothing says."""
        for label, read in self._parts:
            for row in read():
                yield label, row


def raw_rows(repository: Repository, data: str | Path | None, revision: str | None = None) -> RawRows:
    """Find the rows of a data set.

    Parameters
    ----------
    repository
        Where it lies on the hub.
    data
        A file, a folder of files (folders in it included), or a folder that `datasets` wrote; None reads the hub.
    revision
        Branch, tag or commit on the hub.

    Raises
    ------
    DataError
        If there is no such path, or the hub cannot be read.
    """
    if data is not None:
        return _local(Path(data))
    commit = resolve(repository, revision)
    source = f"{repository.name} at {commit}"
    if repository.folder is not None:
        return replace(_local(_download_folder(repository, commit)), source=source)
    return _of_datasets(_download(repository, commit), source)


def raw_file(repository: Repository, name: str, data: str | Path | None, revision: str | None) -> RawRows:
    """Find the rows of one named file, in the local folder `data` or at a commit that `resolve` gave."""
    if data is not None:
        path = Path(data) / name
        if not path.exists():
            raise DataError(f"{path} does not exist", f"give a folder that holds {name}")
        return RawRows(str(path), ((None, _reader_of_file(path)),))
    from huggingface_hub import hf_hub_download

    with _reading_hub(repository):
        local = hf_hub_download(repository.name, name, repo_type="dataset", revision=revision)
    return RawRows(f"{repository.name} at {revision}", ((None, _reader_of_file(Path(local))),))


def resolve(repository: Repository, revision: str | None) -> str:
    """Return the commit that a revision stands for now.

    Raises
    ------
    DataError
        If the hub cannot be reached, or has no such data set or revision.
    """
    from huggingface_hub import HfApi

    with _reading_hub(repository):
        info = HfApi().dataset_info(repository.name, revision=revision or repository.revision)
    return str(info.sha)


def column(row: Row, name: str) -> Any:  # noqa: ANN401 - as the file has it
    """Return a cell of a row; `DataError` where the row has no such column."""
    if not isinstance(row.record, Mapping) or name not in row.record:
        found = ", ".join(map(str, row.record)) if isinstance(row.record, Mapping) else type(row.record).__name__
        raise DataError(
            f'{row.source}, row {row.number}: there is no column "{name}" (found: {found})',
            "give the data set's own files",
        )
    return row.record[name]


@contextmanager
def of_published_layout(row: Row) -> Iterator[None]:
    """Turn what reading a row of another layout raises, below its columns too, into one line that names the row."""
    try:
        yield
    except LorermError:
        raise
    except (AttributeError, LookupError, TypeError, ValueError) as error:
        raise DataError(
            f"{row.source}, row {row.number} is not laid out as the data set's own rows are "
            f"({type(error).__name__}: {first_line(error):.100})",
            "give the data set's own files",
        ) from error


def _local(path: Path) -> RawRows:
    if not path.exists():
        raise DataError(f"{path} does not exist", "give a file or folder of the data set")
    saved = saved_dataset(path)
    if saved is not None:
        return _of_datasets(saved if isinstance(saved, Mapping) else {"": saved}, str(path))
    files = _files(path) if path.is_dir() else [path]
    if not files:
        raise DataError(f"{path} holds no file ending in {', '.join(SUFFIXES)}", "give the data set's own files")
    parts = tuple((_label(file.relative_to(path.parent).as_posix()), _reader_of_file(file)) for file in files)
    return RawRows(str(path), parts)


def _of_datasets(found: Mapping[str, Any], source: str) -> RawRows:
    return RawRows(
        source, tuple((_label(name), _reader_of_dataset(part, f"{source}, {name}")) for name, part in found.items())
    )


def _files(folder: Path) -> Sequence[Path]:
    """List the files that can be read, in the order of their names; hidden ones are none."""
    return [
        path
        for path in sorted(folder.rglob("*"))
        if path.is_file()
        and known_suffix(path)
        and not any(part.startswith(".") for part in path.relative_to(folder).parts)
    ]


def _label(name: str) -> str | None:
    """Read the split out of the name of a split, or of a file as far as it is below the folder given."""
    below = name.lower().rpartition("/")
    for text in (below[2], below[0]):
        found = [label for label in _LABELS if label in text]
        if found:
            return found[0]
    return None


def _reader_of_file(path: Path) -> Callable[[], Iterator[Row]]:
    return lambda: read_rows(path, "")


def _reader_of_dataset(dataset: Any, source: str) -> Callable[[], Iterator[Row]]:  # noqa: ANN401 - a datasets.Dataset
    return lambda: dataset_rows(dataset, "", source)


def _download(repository: Repository, commit: str) -> Mapping[str, Any]:
    from datasets import load_dataset

    with _reading_hub(repository):
        found: Mapping[str, Any] = load_dataset(repository.name, revision=commit)
    return found


def _download_folder(repository: Repository, commit: str) -> Path:
    from huggingface_hub import snapshot_download

    with _reading_hub(repository):
        snapshot = snapshot_download(
            repository.name, repo_type="dataset", revision=commit, allow_patterns=f"{repository.folder}/*"
        )
    return Path(snapshot) / str(repository.folder)


@contextmanager
def _reading_hub(repository: Repository) -> Iterator[None]:
    """Turn what the hub's clients raise into one line with its remedy."""
    try:
        yield
    except Exception as error:
        raise DataError(
            f"{repository.name} cannot be had from the hub ({first_line(error):.200})",
            "check the connection and the revision, or give a local copy with --data",
        ) from error

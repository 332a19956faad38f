"""Read the rows of a published data set as they are stored, from local files or from the Hugging Face hub.

Where a local path is given, no network is used. A revision on the hub, which may be a branch that moves, is resolved to
a commit; that commit is read and recorded.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lorerm.data.readers import find_format, known_suffixes
from lorerm.data.readers.datasets_folder import dataset_rows, load_folder
from lorerm.data.readers.files import read_rows
from lorerm.data.schema import missing_column
from lorerm.errors import DataError, LorermError, first_line

if TYPE_CHECKING:
    from collections.abc import Sequence

    from lorerm.data.readers.format import Row

OWN_FILES = "give the files of the data set as they were published"
"""The remedy where local files are not those of the data set."""

# No column has this name: readers then return all columns, since one that they look for is missing.
_ALL_COLUMNS = ""

# In this order, since a file called "train_valid.jsonl" is training data.
_LABELS = ("train", "valid", "test")


@dataclass(frozen=True)
class PublishedOptions:
    """Where a published data set is read."""

    data: str | Path | None = None
    """local files in the layout that the data set has on the hub; None: the hub"""
    revision: str | None = None
    """branch, tag or commit of the data set on the hub; None: the newest"""


@dataclass(frozen=True)
class Repository:
    """The repository of a data set on the hub."""

    name: str
    revision: str | None = None
    """the branch or ref that is read unless another is given; None is the main branch"""
    folder: str | None = None
    """the folder whose files are read one by one; None has the `datasets` library load the repository"""


@dataclass(frozen=True)
class RawRows:
    """Rows as they are stored, with the split that each is in."""

    source: str
    """what is read: a local path, or a repository at a commit"""
    _parts: tuple[tuple[str | None, Callable[[], Iterator[Row]]], ...]

    def __iter__(self) -> Iterator[tuple[str | None, Row]]:
        """Yield (split, row) pairs; the split is "train", "valid", "test", or None where no file name tells it."""
        for label, read in self._parts:
            for row in read():
                yield label, row


def raw_rows(repository: Repository, data: str | Path | None, revision: str | None = None) -> RawRows:
    """Return the rows of a data set.

    Parameters
    ----------
    repository
        Its repository on the hub.
    data
        A file, a folder of files (also in folders within it), or a folder that `datasets` wrote; None reads the hub.
    revision
        Branch, tag or commit on the hub.

    Raises
    ------
    DataError
        The path does not exist, or the hub cannot be read.
    """
    if data is not None:
        return _local(Path(data))
    commit = resolve(repository, revision)
    source = f"{repository.name} at {commit}"
    if repository.folder is not None:
        return replace(_local(_download_folder(repository, commit)), source=source)
    return _of_datasets(_download(repository, commit), source)


def raw_file(repository: Repository, name: str, data: str | Path | None, revision: str | None) -> RawRows:
    """Return the rows of one named file, in the local folder `data` or at a commit that `resolve` returned."""
    if data is not None:
        path = Path(data) / name
        if not path.exists():
            raise DataError("the file does not exist", f"give a folder that holds {name}", file=path)
        return RawRows(str(path), ((None, _file_reader(path)),))
    from huggingface_hub import hf_hub_download

    with _reading_hub(repository):
        local = hf_hub_download(repository.name, name, repo_type="dataset", revision=revision)
    return RawRows(f"{repository.name} at {revision}", ((None, _file_reader(Path(local))),))


def resolve(repository: Repository, revision: str | None) -> str:
    """Return the commit that a revision on the hub points to now.

    Raises
    ------
    DataError
        The hub cannot be reached, or has no such data set or revision.
    """
    from huggingface_hub import HfApi

    with _reading_hub(repository):
        info = HfApi().dataset_info(repository.name, revision=revision or repository.revision)
    return str(info.sha)


def column(row: Row, name: str) -> Any:  # noqa: ANN401 - as the file has it
    """Return the value of a column; `DataError` where the row has no such column."""
    found = row.record if isinstance(row.record, Mapping) else {}
    if name not in found:
        raise missing_column(name, found, OWN_FILES).in_row(row.source, row.number)
    return found[name]


@contextmanager
def of_published_layout(row: Row) -> Iterator[None]:
    """Turn what is raised on reading a row of another layout, also within its values, into a `DataError` of the row."""
    try:
        yield
    except LorermError:
        raise
    except (AttributeError, LookupError, TypeError, ValueError) as error:
        raise DataError(
            f"the row does not have the layout of the data set ({type(error).__name__}: {first_line(error):.100})",
            OWN_FILES,
            file=row.source,
            row=row.number,
        ) from error


def _local(path: Path) -> RawRows:
    if not path.exists():
        raise DataError("the path does not exist", "give a file or folder of the data set", file=path)
    if path.is_dir() and find_format(path) is not None:
        saved = load_folder(path)
        return _of_datasets(saved if isinstance(saved, Mapping) else {"": saved}, str(path))
    files = _files(path) if path.is_dir() else [path]
    if not files:
        raise DataError(f"the folder holds no file ending in {known_suffixes()}", OWN_FILES, file=path)
    parts = tuple((_label(file.relative_to(path.parent).as_posix()), _file_reader(file)) for file in files)
    return RawRows(str(path), parts)


def _of_datasets(found: Mapping[str, Any], source: str) -> RawRows:
    return RawRows(
        source,
        tuple(
            (_label(name), partial(dataset_rows, part, _ALL_COLUMNS, f"{source}, {name}"))
            for name, part in found.items()
        ),
    )


def _file_reader(path: Path) -> Callable[[], Iterator[Row]]:
    return partial(read_rows, path, _ALL_COLUMNS)


def _files(folder: Path) -> Sequence[Path]:
    """List the files of known formats in a folder and in the folders within it; hidden ones are left out."""
    return [
        path
        for path in sorted(folder.rglob("*"))
        if path.is_file()
        and find_format(path) is not None
        and not any(part.startswith(".") for part in path.relative_to(folder).parts)
    ]


def _label(name: str) -> str | None:
    """Return the split that a name tells: the name of a split, or the path of a file below the folder given."""
    below = name.lower().rpartition("/")
    for text in (below[2], below[0]):
        found = [label for label in _LABELS if label in text]
        if found:
            return found[0]
    return None


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
    """Turn any error of the hub's clients into a `DataError` with a remedy."""
    try:
        yield
    except Exception as error:
        raise DataError(
            f"{repository.name} cannot be read from the hub ({first_line(error):.200})",
            "check the connection and the revision, or give a local copy with --data",
        ) from error

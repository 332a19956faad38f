"""Read the rows of a published data set as they are stored, from local files or from the Hugging Face hub.

Local files are read without a network. On the hub, a revision is first resolved to a commit; the commit is then read,
and recorded as the source.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lorerm.data.readers import find_format, known_suffixes
from lorerm.data.readers.datasets_folder import dataset_rows, load_folder
from lorerm.data.readers.files import read_rows
from lorerm.data.schema import missing_column
from lorerm.errors import DataError, first_line

if TYPE_CHECKING:
    from collections.abc import Sequence

    from lorerm.data.readers.format import Row

OWN_FILES = "give the files of the data set as they were published"
"""The remedy in errors about local files that are not files of the data set."""

# Name of the user column for the readers. No column has this name: readers return all columns if the user column is
# missing.
_ALL_COLUMNS = ""

# The first label that a name contains is used, so that a file called "train_valid.jsonl" is training data.
_LABELS = ("train", "valid", "test")


@dataclass(frozen=True)
class PublishedOptions:
    """Options of every published data set: where to read it."""

    data: str | Path | None = None
    """local files of the data set, with the same names and columns as on the hub; None: read from the hub"""
    revision: str | None = None
    """branch, tag or commit of the data set on the hub; None: the newest version"""


@dataclass(frozen=True)
class Repository:
    """The repository of a data set on the hub."""

    name: str
    revision: str | None = None
    """the branch or ref that is read by default; None is the main branch"""
    folder: str | None = None
    """the folder whose files are read one by one; if it is None, the `datasets` library loads the repository"""


@dataclass(frozen=True)
class RawRows:
    """Rows as they are stored, each with its split. They can be iterated only once."""

    source: str
    """what is read: a local path, or a repository at a commit"""
    rows: Iterator[tuple[str | None, Row]]
    """(split, row); the split is "train", "valid" or "test", or None if the file's path contains none of these"""

    def __iter__(self) -> Iterator[tuple[str | None, Row]]:
        return self.rows


def raw_rows(repository: Repository, data: str | Path | None, revision: str | None = None) -> RawRows:
    """Return the rows of a data set, from local files or, if `data` is None, from its repository on the hub.

    `data` is a file, a folder of files (subfolders are searched, too), or a folder written by `save_to_disk` of the
    `datasets` library. `revision` is a branch, tag or commit on the hub. Raises `DataError` if the path does not exist
    or the hub cannot be read.
    """
    if data is not None:
        return _local_rows(Path(data), str(data))
    commit = resolve(repository, revision)
    source = f"{repository.name} at {commit}"
    with _reading_hub(repository):
        if repository.folder is None:
            from datasets import load_dataset

            return _dataset_rows(load_dataset(repository.name, revision=commit), source)
        from huggingface_hub import snapshot_download

        snapshot = snapshot_download(
            repository.name, repo_type="dataset", revision=commit, allow_patterns=f"{repository.folder}/*"
        )
    return _local_rows(Path(snapshot) / repository.folder, source)


def raw_file(repository: Repository, name: str, data: str | Path | None, commit: str | None) -> Iterator[Row]:
    """Return the rows of one file, from the local folder `data` or, if `data` is None, from the hub at `commit`."""
    if data is not None:
        path = Path(data) / name
        if not path.exists():
            raise DataError("the file does not exist", f"give a folder that contains {name}", file=path)
    else:
        from huggingface_hub import hf_hub_download

        with _reading_hub(repository):
            path = Path(hf_hub_download(repository.name, name, repo_type="dataset", revision=commit))
    return read_rows(path, _ALL_COLUMNS)


def resolve(repository: Repository, revision: str | None) -> str:
    """Return the commit to which a revision on the hub currently points."""
    from huggingface_hub import HfApi

    with _reading_hub(repository):
        info = HfApi().dataset_info(repository.name, revision=revision or repository.revision)
    return str(info.sha)


def column(row: Row, name: str) -> Any:  # noqa: ANN401 - as the file has it
    """Return the value of a column. Raises `DataError` if the row has no such column."""
    found = row.record if isinstance(row.record, Mapping) else {}
    if name not in found:
        raise missing_column(name, found, OWN_FILES).in_row(row.source, row.number)
    return found[name]


@contextmanager
def of_published_layout(row: Row) -> Iterator[None]:
    """Raise any error inside the block as a `DataError` with the file and the row.

    An `AttributeError`, `TypeError` and the like mean that a value has another type than in the published data set.
    """
    try:
        yield
    except DataError as error:
        raise error.in_row(row.source, row.number) from error
    except (AttributeError, LookupError, TypeError, ValueError) as error:
        raise DataError(
            f"the row does not have the layout of the data set ({type(error).__name__}: {first_line(error):.100})",
            OWN_FILES,
            file=row.source,
            row=row.number,
        ) from error


def _local_rows(path: Path, source: str) -> RawRows:
    if not path.exists():
        raise DataError("the path does not exist", "give a file or folder of the data set", file=path)
    if path.is_dir() and find_format(path) is not None:
        saved = load_folder(path)
        return _dataset_rows(saved if isinstance(saved, Mapping) else {"": saved}, source)
    files = _files(path) if path.is_dir() else [path]
    if not files:
        raise DataError(f"the folder has no file ending in {known_suffixes()}", OWN_FILES, file=path)
    labels = [_label(file.relative_to(path.parent).as_posix()) for file in files]
    parts = zip(labels, files, strict=True)
    return RawRows(source, ((label, row) for label, file in parts for row in read_rows(file, _ALL_COLUMNS)))


def _dataset_rows(parts: Mapping[str, Any], source: str) -> RawRows:
    return RawRows(
        source,
        (
            (_label(name), row)
            for name, part in parts.items()
            for row in dataset_rows(part, _ALL_COLUMNS, f"{source}, {name}")
        ),
    )


def _files(folder: Path) -> Sequence[Path]:
    """List the files of known formats in a folder and its subfolders, without hidden files and folders."""
    return [
        path
        for path in sorted(folder.rglob("*"))
        if path.is_file()
        and find_format(path) is not None
        and not any(part.startswith(".") for part in path.relative_to(folder).parts)
    ]


def _label(name: str) -> str | None:
    """Return the label of the split ("train", "valid" or "test") that a name contains. Return None if there is none.

    The name is the name of a split or the relative path of a file. The file name is searched before its folders.
    """
    folder, _, file = name.lower().rpartition("/")
    return next((label for text in (file, folder) for label in _LABELS if label in text), None)


@contextmanager
def _reading_hub(repository: Repository) -> Iterator[None]:
    """Raise any error of the libraries that read from the hub as a `DataError` with a remedy."""
    try:
        yield
    except Exception as error:
        raise DataError(
            f"{repository.name} cannot be read from the hub ({first_line(error):.200})",
            "check the connection and the revision, or give a local copy with --data",
        ) from error

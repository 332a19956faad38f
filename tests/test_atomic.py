import errno
import resource

import pytest

from lorerm.atomic import atomic_path
from lorerm.errors import RunError


def left_in(folder):
    return sorted(entry.name for entry in folder.iterdir())


def test_target_appears_only_when_the_block_ends(tmp_path):
    target = tmp_path / "a.json"
    with atomic_path(target) as temporary:
        temporary.write_text("new")
        assert not target.exists()
        assert temporary.parent == tmp_path
        assert temporary.suffix == ".json"
    assert left_in(tmp_path) == ["a.json"]
    assert target.read_text() == "new"


@pytest.mark.parametrize("interruption", [ValueError, KeyboardInterrupt])
def test_failure_keeps_the_old_file_and_no_rubbish(tmp_path, interruption):
    target = tmp_path / "a.txt"
    target.write_text("old")
    with pytest.raises(interruption), atomic_path(target) as temporary:
        temporary.write_text("half")
        raise interruption
    assert left_in(tmp_path) == ["a.txt"]
    assert target.read_text() == "old"


def test_file_beyond_the_limit_of_the_system(tmp_path):
    """A genuine failure to write, through the limit on the size of files."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (1000, hard))
    try:
        with pytest.raises(RunError, match="free some disk space"), atomic_path(tmp_path / "a") as temporary:
            temporary.write_bytes(bytes(100_000))
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert left_in(tmp_path) == []


@pytest.mark.parametrize(
    "error",
    [
        OSError(errno.ENOSPC, "No space left on device"),
        OSError(errno.EDQUOT, "Disk quota exceeded"),
        OSError("[Errno 28] Error writing bytes to file. Detail: No space left on device"),
        RuntimeError("I/O error: No space left on device (os error 28)"),
    ],
)
def test_full_disk_in_every_library_s_words(tmp_path, error):
    with pytest.raises(RunError, match=r"a\.bin could not be written .*: free some"), atomic_path(tmp_path / "a.bin"):
        raise error


def test_missing_folder(tmp_path):
    with pytest.raises(RunError, match=r"make the folder .*nowhere first"), atomic_path(tmp_path / "nowhere/a") as path:
        path.write_text("x")


def test_folder_in_the_way(tmp_path):
    (tmp_path / "a").mkdir()
    with pytest.raises(RunError, match="a folder of that name is in the way"), atomic_path(tmp_path / "a") as path:
        path.write_text("x")
    assert left_in(tmp_path) == ["a"]


def test_refused_permission(tmp_path):
    with pytest.raises(RunError, match="allow writing in the folder"), atomic_path(tmp_path / "a"):
        raise PermissionError(errno.EACCES, "Permission denied")


def test_error_about_another_file_is_not_ours(tmp_path):
    with pytest.raises(FileNotFoundError), atomic_path(tmp_path / "a"):
        (tmp_path / "input").read_text()

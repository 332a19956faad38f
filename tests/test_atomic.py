"""Files are replaced atomically, and errors name the file and a remedy."""

import errno
import resource

import pytest

from lorerm.atomic import atomic_path
from lorerm.errors import RunError
from refusals import refused


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
def test_failure_keeps_the_old_file_and_leaves_no_other(tmp_path, interruption):
    target = tmp_path / "a.txt"
    target.write_text("old")
    with pytest.raises(interruption), atomic_path(target) as temporary:
        temporary.write_text("half")
        raise interruption
    assert left_in(tmp_path) == ["a.txt"]
    assert target.read_text() == "old"


def test_file_beyond_the_limit_of_the_system(tmp_path):
    """A real failure to write, caused by a limit on the size of files."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (1000, hard))
    try:
        with refused(RunError, file=str(tmp_path / "a")) as caught, atomic_path(tmp_path / "a") as temporary:
            temporary.write_bytes(bytes(100_000))
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert "disk space" in caught.value.remedy
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
def test_full_disk_in_the_words_of_several_libraries(tmp_path, error):
    with refused(RunError, file=str(tmp_path / "a.bin")) as caught, atomic_path(tmp_path / "a.bin"):
        raise error
    assert "disk space" in caught.value.remedy


def test_missing_folder(tmp_path):
    with refused(RunError, str(tmp_path / "nowhere")), atomic_path(tmp_path / "nowhere" / "a") as path:
        path.write_text("x")


def test_folder_of_the_same_name(tmp_path):
    (tmp_path / "a").mkdir()
    with refused(RunError, "Is a directory", file=str(tmp_path / "a")), atomic_path(tmp_path / "a") as path:
        path.write_text("x")
    assert left_in(tmp_path) == ["a"]


def test_missing_permission(tmp_path):
    with refused(RunError, "Permission denied", str(tmp_path)), atomic_path(tmp_path / "a"):
        raise PermissionError(errno.EACCES, "Permission denied")


def test_error_about_another_file_is_passed_on(tmp_path):
    with pytest.raises(FileNotFoundError), atomic_path(tmp_path / "a"):
        (tmp_path / "input").read_text()

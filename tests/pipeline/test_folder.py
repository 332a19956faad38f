"""The run folder: the records of steps, when a step is done again, errors, and the lock.

`tests/cli/test_interruption.py` tests the lock with two processes.
"""

from __future__ import annotations

import json

import pytest

from lorerm.errors import DataError, FolderBusyError, RunError
from lorerm.pipeline.folder import RunFolder, locked
from lorerm.pipeline.layout import MANIFEST
from refusals import refused


@pytest.fixture
def run(tmp_path):
    return RunFolder.create(tmp_path / "run")


FILES = {"prepare": "comparisons.parquet", "embed": "embeddings/encoder.json"}


class Step:
    """A step that writes one of its files, and counts how often."""

    def __init__(self, run, name="prepare", text="text"):
        self.run, self.name, self.text, self.times = run, name, text, 0

    def __call__(self, arguments=None, **options):
        def work():
            self.times += 1
            path = self.run.path / FILES[self.name]
            path.parent.mkdir(exist_ok=True)
            path.write_text(self.text)
            return {"times": self.times}

        return self.run.step(self.name, arguments or {}, lambda: work, **options)


def test_step_is_done_once(run):
    step = Step(run)
    assert step({"a": (1, 2)}) == step({"a": [1, 2]}) == {"times": 1}
    assert run.result("prepare") == {"times": 1}
    assert run.arguments("prepare") == {"a": [1, 2]}


def test_other_arguments_do_it_again_and_drop_what_follows(run):
    first, second = Step(run), Step(run, "embed")
    first({"a": 1})
    second()
    assert first({"a": 2}) == {"times": 2}
    with refused(RunError, str(run.path), "'embed'", "lorerm embed", "lorerm import-embeddings"):
        run.result("embed")
    assert second() == {"times": 2}


def test_finished_step_that_must_not_change(run):
    """The error names the arguments that differ, inside of nested ones too."""
    step = Step(run)
    step({"a": 1, "split": {"seed": 0, "share": 0.3}})
    with refused(RunError, str(run.path), ": seed)"):
        step({"a": 1, "split": {"seed": 1, "share": 0.3}}, may_change=False)
    with refused(RunError, str(run.path), ": a, b)"):
        step({"a": 2, "b": 1, "split": {"seed": 0, "share": 0.3}}, may_change=False)
    assert run.result("prepare") == {"times": 1}


def test_earlier_step_that_changed_is_seen_by_a_later_one(run):
    Step(run)({"a": 1})
    later = Step(run, "embed")
    later()
    manifest = run.manifest()
    manifest["steps"]["prepare"]["key"] = "another"
    run.write(manifest)
    with refused(RunError, str(run.path), ": an earlier step)"):
        later(may_change=False)


def test_failure_before_the_work_changes_nothing(run):
    Step(run)({"a": 1})
    Step(run, "embed")()
    before = (run.path / MANIFEST).read_bytes()

    def begin():
        raise DataError("bad", "better")

    with pytest.raises(DataError):
        run.step("prepare", {"a": 2}, begin)
    assert (run.path / MANIFEST).read_bytes() == before


def test_failure_in_the_work_leaves_the_step_unfinished_and_free(run):
    def work():
        raise RunError("full", "free some")

    with refused(RunError, "full"):
        run.step("prepare", {"a": 1}, lambda: work, may_change=False)
    with refused(RunError, str(run.path), "'prepare'", "lorerm prepare"):
        run.result("prepare")
    assert Step(run)({"a": 2}, may_change=False) == {"times": 1}


@pytest.mark.parametrize(
    "damage", [lambda path: path.unlink(), lambda path: path.write_text("tex")], ids=["lost", "cut off"]
)
def test_lost_or_cut_off_file_is_made_again_and_what_follows_stays(run, damage):
    first, second = Step(run), Step(run, "embed")
    first()
    second()
    damage(run.path / FILES["prepare"])
    assert first(may_change=False) == {"times": 2}
    assert second() == {"times": 1}


def test_repair_by_another_version_drops_what_follows(run, monkeypatch):
    """It need not come out as it was."""
    first, second = Step(run), Step(run, "embed")
    first()
    second()
    (run.path / FILES["prepare"]).unlink()
    monkeypatch.setattr("lorerm.pipeline.folder.__version__", "99")
    first()
    assert second() == {"times": 2}


def test_parts_that_are_done_outlive_interruption_and_other_parts(run):
    def train(parts, stop=None):
        def work():
            for part in parts:
                if part == stop:
                    raise KeyboardInterrupt
                if part not in run.finished_parts("train"):
                    worked.append(part)
                    run.finish_part("train", part)
            return {}

        return run.step("train", {}, lambda: work, parts={"wanted": parts})

    worked = []
    with pytest.raises(KeyboardInterrupt):
        train(["1", "2"], stop="2")
    train(["1", "2"])
    train(["1", "2", "3"])
    assert worked == ["1", "2", "3"]


def test_other_arguments_begin_the_parts_anew(run):
    run.step("train", {"a": 1}, lambda: lambda: run.finish_part("train", "1") or {})
    run.step("train", {"a": 2}, lambda: lambda: {"done": run.finished_parts("train")})
    assert run.result("train") == {"done": []}


def test_manifest_records_versions_times_and_files(run):
    Step(run)({"a": 1})
    record = json.loads((run.path / MANIFEST).read_text())["steps"]["prepare"]
    assert {"python", "torch", "numpy"} <= record["machine"].keys()
    assert record["files"] == {FILES["prepare"]: 4}
    assert record["started"].endswith("+00:00")


def test_folder_of_other_files_is_refused_and_left_alone(tmp_path):
    (tmp_path / "video.mkv.partial").write_text("")
    with refused(RunError, str(tmp_path)):
        RunFolder.create(tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["video.mkv.partial"]


def test_folder_where_only_the_manifest_was_begun_is_taken(tmp_path):
    (tmp_path / ".manifest.0123.partial.json").write_text("{")
    Step(RunFolder.create(tmp_path))()
    assert {path.name for path in tmp_path.iterdir()} == {MANIFEST, FILES["prepare"]}


def test_opening_touches_nothing(run):
    """Another process may be writing a file that is not whole yet."""
    (run.path / ".x.0123.partial.json").write_text("{")
    RunFolder.open(run.path)
    assert (run.path / ".x.0123.partial.json").exists()


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"{",
        b"[]",
        b"null",
        b"\xff\xff",
        b"{}",
        b'{"format_version": 1}',
        b'{"format_version": 1, "steps": 3}',
        b'{"format_version": 1, "steps": {"train": {}}}',
        b'{"format_version": 1, "steps": {"train": 3}}',
    ],
)
def test_damaged_manifest(run, content):
    (run.path / MANIFEST).write_bytes(content)
    for use in (RunFolder.open, RunFolder.create):
        with refused(RunError, str(run.path / MANIFEST)):
            use(run.path)


def test_a_run_of_another_format_is_refused_with_its_version(run):
    (run.path / MANIFEST).write_text('{"format_version": 7, "lorerm_version": "9.9"}')
    with refused(RunError, str(run.path), "format 7 (lorerm 9.9)", "1"):
        RunFolder.open(run.path)


@pytest.mark.parametrize("name", ["none", "x" * 300])
def test_a_folder_without_a_manifest_is_refused(tmp_path, name):
    with refused(RunError, str(tmp_path / name), "lorerm run"):
        RunFolder.open(tmp_path / name)


@pytest.mark.parametrize("name", ["file", "file/below", "x" * 300])
def test_a_path_where_no_folder_can_be_is_refused(tmp_path, name):
    (tmp_path / "file").write_text("")
    with refused(RunError, str(tmp_path / name)):
        RunFolder.create(tmp_path / name)


def test_progress_is_reported_where_there_is_a_function_for_it(tmp_path):
    calls = []
    RunFolder.create(tmp_path / "a", lambda *call: calls.append(call)).report_progress("stage", 1, 2)
    RunFolder.create(tmp_path / "b").report_progress("stage", 1, 2)
    assert calls == [("stage", 1, 2)]


def test_a_run_in_which_forget_was_interrupted_is_refused(run):
    run.write({**run.manifest(), "forgetting": ["user-7"]})
    for use in (lambda: RunFolder.open(run.path), lambda: RunFolder.create(run.path), Step(run)):
        with refused(RunError, f"lorerm forget {run.path}") as caught:
            use()
        assert "user-7" not in str(caught.value)
    assert RunFolder.open(run.path, half_forgotten=True) == run


def test_a_step_that_read_forgotten_users_does_not_read_them_again(run):
    step = Step(run)
    step()
    manifest = run.manifest()
    manifest["steps"]["prepare"]["forgot"] = True
    run.write(manifest)
    assert step() == {"times": 1}
    (run.path / FILES["prepare"]).unlink()
    with refused(RunError, str(run.path)):
        step()
    assert step({"a": "other input"}) == {"times": 2}


def test_a_second_lock_is_refused_until_the_first_ends(tmp_path):
    with locked(tmp_path), refused(FolderBusyError, str(tmp_path)), locked(tmp_path):
        pass
    with locked(tmp_path):
        pass


def test_a_lock_ends_with_an_error_too(tmp_path):
    with pytest.raises(ZeroDivisionError), locked(tmp_path):
        raise ZeroDivisionError
    with locked(tmp_path):
        pass


def test_a_lock_concerns_one_folder_and_leaves_no_file(tmp_path):
    (tmp_path / "a").mkdir()
    (tmp_path / "b").mkdir()
    with locked(tmp_path / "a"), locked(tmp_path / "b"):
        assert not list((tmp_path / "a").iterdir())

"""The run folder: what a step records, when it is done again, and what is refused."""

from __future__ import annotations

import json

import pytest

from lorerm.errors import DataError, RunError
from lorerm.pipeline.folder import MANIFEST, RunFolder


@pytest.fixture
def run(tmp_path):
    return RunFolder.create(tmp_path / "run")


class Step:
    """A step that writes a file, and counts how often."""

    def __init__(self, run, name="prepare", text="text"):
        self.run, self.name, self.text, self.times = run, name, text, 0

    def __call__(self, arguments=None, **options):
        def work():
            self.times += 1
            (self.run.path / f"{self.name}.txt").write_text(self.text)
            return {"times": self.times}

        return self.run.step(self.name, arguments or {}, lambda: work, outputs=(f"{self.name}.txt",), **options)


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
    with pytest.raises(
        RunError, match="no finished step 'embed': run `lorerm embed` or `lorerm import-embeddings` first"
    ):
        run.result("embed")
    assert second() == {"times": 2}


def test_finished_step_that_must_not_change(run):
    """The message names what differs, inside of nested arguments too."""
    step = Step(run)
    step({"a": 1, "split": {"seed": 0, "share": 0.3}})
    with pytest.raises(RunError, match=r"what differs: seed\): choose another run folder"):
        step({"a": 1, "split": {"seed": 1, "share": 0.3}}, may_change=False)
    with pytest.raises(RunError, match="what differs: a, b"):
        step({"a": 2, "b": 1, "split": {"seed": 0, "share": 0.3}}, may_change=False)
    assert run.result("prepare") == {"times": 1}


def test_earlier_step_that_changed_is_seen_by_a_later_one(run):
    Step(run)({"a": 1})
    later = Step(run, "embed")
    later()
    manifest = run.manifest()
    manifest["steps"]["prepare"]["key"] = "another"
    run.write(manifest)
    with pytest.raises(RunError, match="an earlier step"):
        later(may_change=False)


def test_failure_before_the_work_changes_nothing(run):
    Step(run)({"a": 1})
    Step(run, "embed")()
    before = (run.path / MANIFEST).read_bytes()

    def begin():
        raise DataError("bad", "better")

    with pytest.raises(DataError):
        run.step("prepare", {"a": 2}, begin, outputs=())
    assert (run.path / MANIFEST).read_bytes() == before


def test_failure_in_the_work_leaves_the_step_unfinished_and_free(run):
    def work():
        raise RunError("full", "free some")

    with pytest.raises(RunError, match="full"):
        run.step("prepare", {"a": 1}, lambda: work, outputs=(), may_change=False)
    with pytest.raises(RunError, match="no finished step"):
        run.result("prepare")
    assert Step(run)({"a": 2}, may_change=False) == {"times": 1}


@pytest.mark.parametrize("damage", [lambda path: path.unlink(), lambda path: path.write_text("tex")])
def test_lost_or_cut_off_file_is_made_again_and_what_follows_stays(run, damage):
    first, second = Step(run), Step(run, "embed")
    first()
    second()
    damage(run.path / "prepare.txt")
    assert first(may_change=False) == {"times": 2}
    assert second() == {"times": 1}


def test_repair_by_another_version_drops_what_follows(run, monkeypatch):
    """It need not come out as it was."""
    first, second = Step(run), Step(run, "embed")
    first()
    second()
    (run.path / "prepare.txt").unlink()
    monkeypatch.setattr("lorerm.pipeline.folder.__version__", "99")
    first()
    assert second() == {"times": 2}


def test_parts_that_are_done_outlive_interruption_and_other_parts(run):
    def train(parts, stop=None):
        def work():
            for part in parts:
                if part == stop:
                    raise KeyboardInterrupt
                if part not in run.done("train"):
                    worked.append(part)
                    run.mark_done("train", part)
            return {}

        return run.step("train", {}, lambda: work, outputs=(), parts={"wanted": parts})

    worked = []
    with pytest.raises(KeyboardInterrupt):
        train(["1", "2"], stop="2")
    train(["1", "2"])
    train(["1", "2", "3"])
    assert worked == ["1", "2", "3"]


def test_other_arguments_begin_the_parts_anew(run):
    run.step("train", {"a": 1}, lambda: lambda: run.mark_done("train", "1") or {}, outputs=())
    run.step("train", {"a": 2}, lambda: lambda: {"done": run.done("train")}, outputs=())
    assert run.result("train") == {"done": []}


def test_manifest_tells_versions_times_and_files(run):
    Step(run)({"a": 1})
    record = json.loads((run.path / MANIFEST).read_text())["steps"]["prepare"]
    assert {"python", "torch", "numpy"} <= record["machine"].keys()
    assert record["files"] == {"prepare.txt": 4}
    assert record["started"].endswith("+00:00")


def test_folder_of_other_files_is_refused_and_left_alone(tmp_path):
    (tmp_path / "video.mkv.partial").write_text("")
    with pytest.raises(RunError, match="no run of lorerm"):
        RunFolder.create(tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["video.mkv.partial"]


def test_folder_where_only_the_manifest_was_begun_is_taken(tmp_path):
    (tmp_path / ".manifest.0123.partial.json").write_text("{")
    Step(RunFolder.create(tmp_path))()
    assert sorted(path.name for path in tmp_path.iterdir()) == [MANIFEST, "prepare.txt"]


def test_opening_touches_nothing(run):
    """Somebody else may be writing a file that is not whole yet."""
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
        with pytest.raises(RunError, match="json cannot be read: restore it"):
            use(run.path)


def test_run_of_another_format(run):
    (run.path / MANIFEST).write_text('{"format_version": 7, "lorerm_version": "9.9"}')
    with pytest.raises(RunError, match=r"run of format 7 \(lorerm 9.9\), this version reads 1: use the version"):
        RunFolder.open(run.path)


@pytest.mark.parametrize("name", ["none", "x" * 300])
def test_no_run_folder(tmp_path, name):
    with pytest.raises(RunError, match="is not a run folder"):
        RunFolder.open(tmp_path / name)


@pytest.mark.parametrize("name", ["file", "file/below", "x" * 300])
def test_place_where_no_folder_can_be(tmp_path, name):
    (tmp_path / "file").write_text("")
    with pytest.raises(RunError, match="cannot be a run folder"):
        RunFolder.create(tmp_path / name)


def test_tells_progress_to_whoever_listens(tmp_path):
    told = []
    RunFolder.create(tmp_path / "a", lambda *words: told.append(words)).tell("stage", 1, 2)
    RunFolder.create(tmp_path / "b").tell("stage", 1, 2)
    assert told == [("stage", 1, 2)]


def test_a_run_in_which_forgetting_was_cut_off_is_refused(run):
    run.write({**run.manifest(), "forgetting": ["somebody"]})
    for use in (lambda: RunFolder.open(run.path), lambda: RunFolder.create(run.path), Step(run)):
        with pytest.raises(RunError, match=r"cut off in .*: finish it with `lorerm forget ") as refused:
            use()
        assert "somebody" not in str(refused.value)
    assert RunFolder.open(run.path, half_forgotten=True) == run


def test_a_step_that_read_forgotten_users_does_not_read_them_again(run):
    step = Step(run)
    step()
    manifest = run.manifest()
    manifest["steps"]["prepare"]["forgot"] = True
    run.write(manifest)
    assert step() == {"times": 1}
    (run.path / "prepare.txt").unlink()
    with pytest.raises(RunError, match="would bring back forgotten users"):
        step()
    assert step({"a": "other input"}) == {"times": 2}

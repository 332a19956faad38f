"""Forgetting users: no trace is left in any file, other users do not change, and the run goes on."""

import json
import shutil
import sqlite3
from contextlib import closing
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
from safetensors.numpy import load_file

from lorerm import AdaptationConfig, EmbeddedPreferences, HashingEncoder, Preferences, TrainingConfig, adapt, embed
from lorerm.data.shared import SharedPreferences
from lorerm.embedding import shards
from lorerm.errors import ConfigError, RunError, UnknownUserError
from lorerm.evaluation.few_shot import FewShotConfig
from lorerm.pipeline import steps, studies
from lorerm.pipeline.experiment import Experiment, SplitConfig
from lorerm.pipeline.folder import RunFolder
from lorerm.pipeline.forget import forget
from lorerm.pipeline.models import add_users, load_model
from lorerm.pipeline.sources import write_preferences
from refusals import refused
from small_choices import choices, contents, write_lines


@pytest.fixture
def adapted(run):
    """The run with every user adapted again under another name."""
    rows = [{**row, "user_id": f"again-{row['user_id']}"} for row in choices()]
    data = embed(Preferences.from_records(rows), HashingEncoder())
    for rank in (1, 2):
        add_users(run, adapt(load_model(run, rank), data, AdaptationConfig()), rank)
    return run


def everything(run):
    """The bytes of all files, and the text of all tables, which are compressed."""
    files = [path for path in run.path.rglob("*") if path.is_file()]
    tables = [json.dumps(pq.read_table(path).to_pylist()).encode() for path in files if path.suffix == ".parquet"]
    return b"\n".join([path.read_bytes() for path in files] + tables)


def tensors(run):
    return {
        (path, name): tensor
        for path in sorted((run.path / "models").rglob("*.safetensors"))
        for name, tensor in load_file(path).items()
    }


@pytest.mark.parametrize("pick", ["seen", "unseen", "adapted"])
def test_no_trace_is_left_in_any_file(adapted, pick):
    data = EmbeddedPreferences.load(adapted.path)
    cells = dict(zip(data.user_ids, data.splits, strict=True))
    user = {
        "seen": next(user for user, cell in cells.items() if cell.endswith("_seen")),
        "unseen": next(user for user, cell in cells.items() if cell.endswith("_unseen")),
        "adapted": "again-user-03",
    }[pick]
    own = load_model(adapted, 2).user_weights(user).numpy().tobytes()
    quoted = json.dumps(user).encode()
    assert quoted in everything(adapted)
    n_before = everything(adapted).count(own)  # users with the same comparisons have the same weights
    assert n_before
    found = forget(adapted, [user])
    left = everything(adapted)
    assert quoted not in left
    assert left.count(own) < n_before
    assert found.n_users == 1
    assert found.n_comparisons == sum(one == user for one in data.user_ids)
    assert (found.n_comparisons == 0) == (pick == "adapted")


def test_other_users_do_not_change(adapted):
    before = load_model(adapted, 2)
    forget(adapted, ["again-user-03"])
    after = load_model(adapted, 2)
    assert set(before.user_ids) - set(after.user_ids) == {"again-user-03"}
    for user in after.user_ids:
        assert (after.user_weights(user) == before.user_weights(user)).all()
    assert len(after.users().select(["again-user-04"]).comparisons) == len(
        before.users().select(["again-user-04"]).comparisons
    )


def test_the_run_goes_on_and_nothing_is_done_again(adapted):
    """The report can be made again, and no step reads the user back in from the run's input."""
    user = str(EmbeddedPreferences.load(adapted.path).user_ids[0])
    forget(adapted, [user])
    assert not (adapted.path / "report").exists()
    steps.report(adapted)
    reopened = RunFolder.open(adapted.path)
    for step in ("prepare", "embed", "train", "report"):
        record = reopened.manifest()["steps"][step]
        assert all((adapted.path / path).stat().st_size == size for path, size in record["files"].items())
    assert json.dumps(user).encode() not in everything(adapted)


def test_embeddings_of_responses_that_only_they_compared_are_set_to_0(adapted):
    store = adapted.path / "embeddings" / "embeddings-00001-of-00001.safetensors"
    table = pq.read_table(adapted.path / "comparisons.parquet")
    user = table["user_id"][0].as_py()
    # One of their comparisons is about responses that no other user compared.
    own = np.array([i for i, name in enumerate(table["user_id"].to_pylist()) if name == user])[0]
    rows = {table[side][own].as_py() for side in ("chosen", "rejected")}
    keep = [
        i
        for i in range(len(table))
        if i == own or not rows & {table[side][i].as_py() for side in ("chosen", "rejected")}
    ]
    pq.write_table(table.take(keep), adapted.path / "comparisons.parquet", compression="zstd")
    assert load_file(store)["responses"][sorted(rows)].any(axis=1).all()
    found = forget(adapted, [user])
    after = load_file(store)["responses"]
    assert not after[sorted(rows)].any()
    assert found.n_responses >= 2
    used = pq.read_table(adapted.path / "comparisons.parquet")
    assert after[used["chosen"].to_numpy()].any(axis=1).all()


def test_warnings_that_name_them_are_removed(adapted):
    path = adapted.path / "manifest.json"
    manifest = json.loads(path.read_text())
    manifest["steps"]["prepare"]["result"]["warnings"] = ["1 user is left out (again-user-03).", "Another."]
    path.write_text(json.dumps(manifest))
    forget(adapted, ["again-user-03"])
    assert adapted.result("prepare")["warnings"] == ["Another."]


def test_an_unknown_user_and_all_users_are_refused(run):
    before = everything(run)
    with refused(UnknownUserError, str(run.path), "'nobody'", argument="user"):
        forget(run, ["nobody", "user-00"])
    with refused(RunError, str(run.path)):
        forget(run, sorted(set(EmbeddedPreferences.load(run.path).user_ids)))
    assert everything(run) == before


SECRETS = {"user-02": "quokka", "user-06": "axolotl"}
"""Words that are only in texts that this user compared."""


@pytest.fixture(scope="module", params=["default", "paper"])
def whole(request, tmp_path_factory):
    """Runs with every file; two of the users have texts that no other user compared."""
    folder = tmp_path_factory.mktemp("whole")
    rows = choices()
    for user, word in SECRETS.items():
        rows += [
            {"user_id": user, "prompt": f"{word} {n}?", "chosen": f"A {word}, yes {n}.", "rejected": f"No {word} {n}!"}
            for n in range(4)
        ]
    run = RunFolder.create(folder / "run")
    source = str(write_lines(folder / "choices.jsonl", rows))
    steps.prepare(run, [source], SplitConfig(seed=1))
    steps.embed(run, HashingEncoder, {"model": None})
    if request.param == "default":
        steps.train(run, TrainingConfig(), [1, 2])
        studies.seeds(run, 2)
        studies.few_shot(run, [1, 2], FewShotConfig(trials=2))
    else:  # a sweep
        steps.train(run, TrainingConfig(recipe="paper", steps=20), [1, 2], [0.0])
    data = EmbeddedPreferences.load(run.path)
    cells = dict(zip(data.user_ids, data.splits, strict=True))
    assert {cells[user].split("_")[1] for user in SECRETS} == {"seen", "unseen"}
    Experiment(train={"seed": 0}).write(run.path)
    steps.report(run)
    (run.path / "rewardbench").mkdir()
    for name in ("rewardbench.csv", "rewardbench.md"):
        (run.path / "rewardbench" / name).write_text("".join(f"user {user},0.5\n" for user in SECRETS))
    # What a killed process leaves: a database of conversations, a file that is not whole.
    with closing(sqlite3.connect(run.path / "embeddings" / ".conversations.partial.sqlite")) as database:
        database.execute("CREATE TABLE response (text TEXT, user_id TEXT)")
        database.executemany("INSERT INTO response VALUES (?, ?)", [(word, user) for user, word in SECRETS.items()])
        database.commit()
    shutil.copy(run.path / "preferences.parquet", run.path / ".preferences.0a1b.partial.parquet")
    return run, source


@pytest.mark.parametrize("user", SECRETS)
def test_a_run_with_every_file_keeps_no_byte_of_them(whole, tmp_path, user):
    finished, source = whole
    run = RunFolder.open(shutil.copytree(finished.path, tmp_path / "run"))
    data = EmbeddedPreferences.load(run.path)
    theirs = {row for rows in data.rows() for row in rows[data.user_ids == user]}
    own = sorted(theirs - {row for rows in data.rows() for row in rows[data.user_ids != user]})
    embeddings = [np.asarray(data.responses[row]).tobytes() for row in own]
    assert len(own) == 8
    traces = [user.encode(), SECRETS[user].encode(), *embeddings]
    assert all(trace in everything(run) for trace in traces)
    assert (run.path / "models" / "alpha-0").exists() == (run.path / "report" / "alpha-0").exists()

    forget(run, [user])
    assert not [trace for trace in traces if trace in everything(run)]
    assert not list(run.path.rglob("*.partial*"))
    other = next(one for one in SECRETS if one != user)
    assert SECRETS[other].encode() in everything(run), "texts of other users stay"

    steps.prepare(run, [source], SplitConfig(seed=1))
    steps.report(run)
    assert not [trace for trace in traces if trace in everything(run)]


class KilledError(BaseException):
    """Stands for `kill -9`: no code runs after it."""


@pytest.fixture
def kill(monkeypatch):
    """Raise `KilledError` right after the n-th change of a file, and at every later attempt to change one."""
    calls = {"n": 0, "last": None}

    def dying(change):
        def wrapped(*arguments, **options):
            calls["n"] += 1
            last = calls["last"]
            if last is not None and calls["n"] > last:
                raise KilledError
            found = change(*arguments, **options)
            if last is not None and calls["n"] == last:
                calls["n"] += 1
                raise KilledError
            return found

        return wrapped

    for owner, name in ((Path, "replace"), (Path, "unlink"), (shutil, "rmtree")):
        monkeypatch.setattr(owner, name, dying(getattr(owner, name)))

    def after(last):
        calls.update(n=0, last=last)
        return calls

    return after


def test_after_an_interruption_the_run_is_refused_until_the_next_call_finishes(adapted, tmp_path, kill):
    user = "user-03"
    expected = RunFolder.open(shutil.copytree(adapted.path, tmp_path / "expected"))
    counted = kill(None)
    forget(expected, [user])
    n_changes = counted["n"]
    assert n_changes > 10
    for last in range(n_changes + 1):
        run = RunFolder.open(shutil.copytree(adapted.path, tmp_path / f"run-{last}"))
        kill(last)
        with pytest.raises(KilledError):
            forget(run, [user])
        kill(None)
        if last == 0:  # the note of who is being forgotten was not written yet
            forget(run, [user])
        elif last < n_changes:  # the last change takes it out again
            with refused(RunError, f"`lorerm forget {run.path}`"):
                RunFolder.open(run.path)
            with refused(RunError, f"`lorerm forget {run.path}`"):
                steps.report(run)
            with refused(RunError, f"`lorerm forget {run.path}`"):
                add_users(run, load_model(run, 2).users(), 2)
            forget(RunFolder.open(run.path, half_forgotten=True), [user] if last % 2 else [])
        assert f'"{user}"'.encode() not in everything(run)
        assert contents(run.path) == contents(expected.path)
        assert RunFolder.open(run.path).manifest() == expected.manifest()
        shutil.rmtree(run.path)


def test_without_users_it_is_refused(run):
    with refused(ConfigError, str(run.path), "--user", argument="user"):
        forget(run)


def test_the_input_is_not_read_again(finished, tmp_path):
    """Not even where files are lost: reading it would bring the users back."""
    run = RunFolder.open(shutil.copytree(finished.path, tmp_path / "run"))
    source = str(finished.path.parent / "choices.jsonl")
    forget(run, ["user-03"])
    (run.path / "preferences.parquet").unlink()
    with refused(RunError, str(run.path)):
        steps.prepare(run, [source], SplitConfig())
    assert not (run.path / "preferences.parquet").exists()


def test_unfinished_embeddings_are_removed(tmp_path, monkeypatch):
    """They are of texts of which no table says yet who compared them."""
    monkeypatch.setattr(shards, "SHARD_ROWS", 8)
    run = RunFolder.create(tmp_path / "run")
    steps.prepare(run, [str(write_lines(tmp_path / "choices.jsonl", choices()))], SplitConfig())

    class Dying(HashingEncoder):
        left = 2

        def encode(self, conversations, progress=None):
            self.left -= 1
            if self.left < 0:
                raise KeyboardInterrupt
            return super().encode(conversations, progress)

    with pytest.raises(KeyboardInterrupt):
        steps.embed(run, Dying, {"model": None})
    assert list((run.path / "embeddings").glob("*.safetensors"))
    forget(run, ["user-03"])
    assert not list((run.path / "embeddings").rglob("*.safetensors"))
    steps.embed(run, HashingEncoder, {"model": None})
    assert "user-03" not in EmbeddedPreferences.load(run.path).user_ids


def test_comparisons_of_shared_responses(tmp_path):
    """A user's id and comparisons are removed, with the texts that only they compared; other rows keep their order."""
    shown = [(f"p{p}", f"Prompt {p}?", f"Answer {i} to {p}") for p in range(6) for i in range(2)]
    shown += [("own", "The quokka?", "A quokka."), ("own", "The quokka?", "No quokka.")]
    user, prompt = np.append(np.repeat(np.arange(5), 6), 2), np.append(np.tile(np.arange(6), 5), 6)
    splits = np.full(31, "train_seen", dtype=object)
    names = [f"u{i}" for i in (5, 6, 7, 8, 9, 4)]  # u4 has no comparison in use
    shared = SharedPreferences.build(shown, names, user, 2 * prompt, 2 * prompt + 1, splits)
    run = RunFolder.create(tmp_path / "run")

    def write():
        write_preferences(run.path, shared)
        return {"warnings": ["2 of 6 users are left out (u4, u44)."]}

    run.step("prepare", {"input": []}, lambda: write)
    steps.embed(run, HashingEncoder, {"model": None})
    before = EmbeddedPreferences.load(run.path)
    found = forget(run, ["u7", "u4"])
    assert (found.n_users, found.n_comparisons, found.n_responses) == (2, 7, 2)
    left = everything(run)
    assert not [trace for trace in (b'"u7"', b"u4", b"quokka", b'"own"') if trace in left]
    assert run.result("prepare")["warnings"] == []
    after, kept = SharedPreferences.read(run.path), np.flatnonzero(user != 2)
    assert after.names == ("u5", "u6", "u8", "u9")
    assert list(after.user_ids) == list(shared.select(kept).user_ids)
    assert after.conversations("rejected") == shared.select(kept).conversations("rejected")
    steps.embed(run, HashingEncoder, {"model": None})
    again = EmbeddedPreferences.load(run.path)
    assert list(again.user_ids) == [name for name in before.user_ids if name != "u7"]


def test_whom_only_a_warning_names_is_forgotten_too(run):
    path = run.path / "manifest.json"
    manifest = json.loads(path.read_text())
    kept = "12 of 40 users like user-1 names."
    manifest["steps"]["prepare"]["result"]["warnings"] = [f"3 of 40 users are left out (a, {name})." for name in "12"]
    manifest["steps"]["prepare"]["result"]["warnings"].append(kept)
    path.write_text(json.dumps(manifest))
    assert forget(run, ["1"]).n_comparisons == 0
    assert run.result("prepare")["warnings"] == ["3 of 40 users are left out (a, 2).", kept]
    with pytest.raises(UnknownUserError):
        forget(run, ["1"])

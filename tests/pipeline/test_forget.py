"""Forgetting users: no trace is left in any file, other users do not change, and the run goes on."""

import json
import shutil
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
from safetensors.numpy import load_file

from lorerm import AdaptationConfig, EmbeddedPreferences, HashingEncoder, Preferences, TrainingConfig, embed
from lorerm.data.stored import load_preferences
from lorerm.embedding import store
from lorerm.errors import ConfigError, DataError, RunError, UnknownUserError
from lorerm.evaluation.few_shot import FewShotConfig
from lorerm.pipeline import steps, studies
from lorerm.pipeline.adaptation import FittedUsers, add_users, fit_users
from lorerm.pipeline.experiment import Experiment
from lorerm.pipeline.folder import RunFolder
from lorerm.pipeline.forget import forget
from lorerm.pipeline.models import load_model
from lorerm.pipeline.sources import Source
from refusals import refused
from small_choices import choices, contents, write_lines


@pytest.fixture
def adapted(run):
    """The run with every user adapted again under another name."""
    rows = [{**row, "user_id": f"again-{row['user_id']}"} for row in choices()]
    preferences = Preferences.from_records(rows)
    data = embed(preferences, HashingEncoder())
    for rank in (1, 2):
        add_users(run, fit_users(load_model(run, rank), preferences, data, AdaptationConfig()), rank)
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


def test_only_results_that_include_the_user_are_removed(adapted):
    """The run's report is not about users who were added later."""
    before = {path: path.read_bytes() for path in (adapted.path / "report").rglob("*") if path.is_file()}
    assert before
    bench = adapted.path / "rewardbench"
    bench.mkdir()
    (bench / "rewardbench.csv").write_text('scorer,mean\n"user again-user-04",0.5\n')
    (bench / "rewardbench.md").write_text("again-user-04")
    assert forget(adapted, ["again-user-03"]).results == ()
    assert {path: path.read_bytes() for path in before} == before
    assert adapted.is_finished("report")
    assert (bench / "rewardbench.csv").exists()
    assert forget(adapted, ["again-user-04"]).results == ("rewardbench",)
    assert not (bench / "rewardbench.csv").exists()
    data = EmbeddedPreferences.load(adapted.path)
    seen = str(data.user_ids[data.splits == "train_seen"][0])
    assert forget(adapted, [seen]).results == ("report",)
    assert not (adapted.path / "report").exists()


@pytest.mark.parametrize(
    ("split", "results"), [("train_seen", ("report", "seeds")), ("train_unseen", ("report", "seeds", "shots"))]
)
def test_the_few_shot_curve_is_about_unseen_users_only(run, split, results):
    studies.seeds(run, 2)
    studies.few_shot(run, [1, 2], FewShotConfig(trials=2))
    steps.report(run)
    data = EmbeddedPreferences.load(run.path)
    assert forget(run, [data.user_ids[data.splits == split][0]]).results == results
    assert (run.path / "shots.json").exists() == run.is_finished("shots") == ("shots" not in results)
    steps.report(run)


def test_ids_are_read_as_everywhere(run):
    with refused(DataError, argument="user"):
        forget(run, "user-03")
    for wrong in (None, 1.5, True, ""):
        with refused(DataError, "user[0]", argument="user"):
            forget(run, [wrong])
    with refused(UnknownUserError, "'7'", argument="user"):
        forget(run, [7])
    with refused(UnknownUserError, "'User-03 '", "'user-03'", argument="user"):
        forget(run, ["User-03 "])


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
    shard = adapted.path / "embeddings" / "embeddings-00001-of-00001.safetensors"
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
    assert load_file(shard)["responses"][sorted(rows)].any(axis=1).all()
    found = forget(adapted, [user])
    after = load_file(shard)["responses"]
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
    steps.prepare(run, Source([source], Experiment(split={"seed": 1})))
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
    # What a killed process leaves: a file that is not whole, and a database of conversations of an earlier version.
    shutil.copy(run.path / "responses.parquet", run.path / ".responses.0a1b.partial.parquet")
    (run.path / "embeddings" / ".conversations.partial.sqlite").write_text(json.dumps(SECRETS))
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

    steps.prepare(run, Source([source], Experiment(split={"seed": 1})))
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
    assert n_changes >= 10  # the manifest twice, the report, predictions, weights of models, comparisons
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
                add_users(run, FittedUsers(load_model(run, 2).users(), np.zeros(0, dtype=np.int64)), 2)
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
    (run.path / "responses.parquet").unlink()
    with refused(RunError, str(run.path)):
        steps.prepare(run, Source([source]))
    assert not (run.path / "responses.parquet").exists()


def test_unfinished_embeddings_are_removed(tmp_path, monkeypatch):
    """They are of texts of which no table says yet who compared them."""
    monkeypatch.setattr(store, "SHARD_ROWS", 8)
    run = RunFolder.create(tmp_path / "run")
    steps.prepare(run, Source([str(write_lines(tmp_path / "choices.jsonl", choices()))]))

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


def test_users_forgotten_before_embedding_are_not_embedded(tmp_path):
    """Their comparisons go, with the texts that only they compared; all other responses keep their rows."""
    rows = choices()
    own = {"user_id": "ann", "prompt": "The quokka?", "chosen": "A quokka.", "rejected": "No quokka."}
    run = RunFolder.create(tmp_path / "run")
    source = str(write_lines(tmp_path / "choices.jsonl", [*rows, own, {**own, "prompt": rows[0]["prompt"]}]))
    steps.prepare(run, Source([source], Experiment(split={"test_prompts": 0.01, "unseen_users": 0})))
    before = load_preferences(run.path)
    assert forget(run, ["ann"]).n_comparisons == 2
    assert not [trace for trace in (b'"ann"', b"quokka") if trace in everything(run)]
    after, kept = load_preferences(run.path), np.flatnonzero(before.user_ids != "ann")
    assert after == before.select(kept)
    assert after.chosen.tolist() == before.chosen[kept].tolist()
    steps.embed(run, HashingEncoder, {"model": None})
    data = EmbeddedPreferences.load(run.path)
    assert list(data.user_ids) == list(after.user_ids)
    expected = HashingEncoder().encode(after.conversations("chosen"))
    np.testing.assert_array_equal(data.responses[data.rows()[0]], expected)


def test_an_interrupted_preparation_leaves_no_texts(tmp_path):
    """The texts may be there without the comparisons that say whose they are."""
    run = RunFolder.create(tmp_path / "run")
    source = str(write_lines(tmp_path / "choices.jsonl", choices()))
    steps.prepare(run, Source([source]))
    manifest = json.loads((run.path / "manifest.json").read_text())
    del manifest["steps"]["prepare"]["finished"]
    manifest["steps"]["prepare"]["result"] = {"warnings": ["1 of 9 users are left out (user-03)."]}
    (run.path / "manifest.json").write_text(json.dumps(manifest))
    (run.path / "comparisons.parquet").unlink()
    forget(run, ["user-03"])
    assert not list(run.path.glob("*.parquet"))


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

"""Forgetting: no trace is left in any file, nobody else changes, and the run goes on."""

import json

import numpy as np
import pyarrow.parquet as pq
import pytest
from safetensors.numpy import load_file

from lorerm import AdaptationConfig, EmbeddedPreferences, HashingEncoder, Preferences, adapt, embed
from lorerm.errors import RunError, UnknownUserError
from lorerm.run import steps
from lorerm.run.folder import RunFolder
from lorerm.run.forgetting import forget
from lorerm.run.models import add_users, load_model
from small_choices import choices


@pytest.fixture
def adapted(run):
    """The run with everybody adapted again under another name, and somebody with a prompt of their own."""
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
    n_before = everything(adapted).count(own)  # people who answered alike have the same weights
    assert n_before
    found = forget(adapted, [user])
    left = everything(adapted)
    assert quoted not in left
    assert left.count(own) < n_before
    assert found.n_users == 1
    assert found.n_answers == sum(one == user for one in data.user_ids)
    assert (found.n_answers == 0) == (pick == "adapted")


def test_nobody_else_changes(adapted):
    before = load_model(adapted, 2)
    forget(adapted, ["again-user-03"])
    after = load_model(adapted, 2)
    assert set(before.user_ids) - set(after.user_ids) == {"again-user-03"}
    for user in after.user_ids:
        assert (after.user_weights(user) == before.user_weights(user)).all()
    assert len(after.users().select(["again-user-04"]).answers) == len(before.users().select(["again-user-04"]).answers)


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


def test_embeddings_that_were_theirs_alone_are_blanked(adapted):
    store = adapted.path / "embeddings" / "embeddings-00001-of-00001.safetensors"
    table = pq.read_table(adapted.path / "comparisons.parquet")
    user = table["user_id"][0].as_py()
    # One comparison of theirs is about responses of nobody else's.
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


def test_warnings_that_name_them_go(adapted):
    path = adapted.path / "manifest.json"
    manifest = json.loads(path.read_text())
    manifest["steps"]["prepare"]["result"]["warnings"] = ["1 user is left out (again-user-03).", "Another."]
    path.write_text(json.dumps(manifest))
    forget(adapted, ["again-user-03"])
    assert adapted.result("prepare")["warnings"] == ["Another."]


def test_who_cannot_be_forgotten(run):
    before = everything(run)
    with pytest.raises(UnknownUserError, match="holds nothing of user 'nobody'"):
        forget(run, ["nobody", "user-00"])
    with pytest.raises(RunError, match="nobody who took part in training would be left"):
        forget(run, sorted(set(EmbeddedPreferences.load(run.path).user_ids)))
    assert everything(run) == before

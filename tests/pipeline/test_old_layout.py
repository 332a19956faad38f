"""Run folders of earlier versions: their texts are converted once, completely, and without touching the embeddings."""

import json
import shutil
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from lorerm import EmbeddedPreferences, HashingEncoder, Preferences
from lorerm.data.datasets import read_dataset
from lorerm.data.responses import build_messages, read_responses
from lorerm.data.stored import (
    COMPARISONS,
    RESPONSES,
    StoredResponses,
    load_comparisons,
    load_preferences,
    write_comparisons,
)
from lorerm.errors import RunError
from lorerm.pipeline import steps
from lorerm.pipeline.experiment import Experiment
from lorerm.pipeline.folder import RunFolder
from lorerm.pipeline.forget import forget
from lorerm.pipeline.layout import CHOICES, MANIFEST, PREFERENCES
from lorerm.pipeline.sources import Source
from published_samples import personalllm_sample
from refusals import refused
from small_choices import contents


def write_old_preferences(run, preferences):
    """Write the file of texts as earlier versions did, in place of today's."""
    preferences.write_parquet(run / PREFERENCES)
    (run / RESPONSES).unlink()
    return [PREFERENCES]


def write_old_choices(run, preferences):
    """The same for users who all compare the same responses."""
    texts = list(read_responses(preferences.responses))
    names = list(dict.fromkeys(preferences.user_ids))
    prompt_of = dict(zip(preferences.chosen.tolist(), preferences.prompt_ids, strict=True))
    prompt_of |= dict(zip(preferences.rejected.tolist(), preferences.prompt_ids, strict=True))
    messages = pa.list_(pa.struct([("role", pa.string()), ("content", pa.string())]))
    responses = pa.table(
        {
            "prompt_id": pa.array([prompt_of.get(row, "") for row in range(len(texts))], pa.string()),
            "prompt": build_messages([prompt for prompt, _ in texts]).cast(messages),
            "response": build_messages([response for _, response in texts]).cast(messages),
        }
    )
    users = np.array([names.index(user) for user in preferences.user_ids], dtype=np.int32)
    choices = pa.table(
        {
            "user_id": pa.DictionaryArray.from_arrays(pa.array(users), pa.array(names, pa.string())),
            "chosen": pa.array(preferences.chosen.astype(np.int32)),
            "rejected": pa.array(preferences.rejected.astype(np.int32)),
            "split": pa.array(preferences.splits, pa.string()).dictionary_encode(),
        }
    )
    for name, table in ((RESPONSES, responses), (CHOICES, choices)):
        pq.write_table(table, run / name, compression="zstd")
    return [RESPONSES, CHOICES]


def make_old(run, write=write_old_preferences, preferences=None):
    """Turn a run folder into one of an earlier version."""
    files = write(run.path, load_preferences(run.path) if preferences is None else preferences)
    manifest = json.loads((run.path / MANIFEST).read_text())
    manifest["format_version"] = 1
    manifest["steps"]["prepare"]["files"] = {name: (run.path / name).stat().st_size for name in files}
    if "embed" in manifest["steps"]:
        manifest["steps"]["embed"]["files"][COMPARISONS] = (run.path / COMPARISONS).stat().st_size
    else:
        (run.path / COMPARISONS).unlink()
    (run.path / MANIFEST).write_text(json.dumps(manifest))


def source_of(finished):
    return [str(finished.path.parent / "choices.jsonl")]


def test_texts_of_a_finished_run_are_converted_by_the_next_step(run, finished):
    make_old(run)
    steps.prepare(RunFolder.open(run.path), Source(source_of(finished)))
    assert contents(run.path) == contents(finished.path)
    manifest = run.manifest()
    assert manifest["format_version"] == 2
    assert set(manifest["steps"]) == set(finished.manifest()["steps"]), "nothing is done again"
    assert {step: record["files"] for step, record in manifest["steps"].items()} == {
        step: record["files"] for step, record in finished.manifest()["steps"].items()
    }


def test_a_step_that_reads_only_leaves_the_folder_as_it_is(run):
    make_old(run)
    before = contents(run.path)
    data = EmbeddedPreferences.load(run.path)
    assert len(data) == RunFolder.open(run.path).result("prepare")["n_pairs"]
    assert contents(run.path) == before


@pytest.mark.parametrize("write", [write_old_preferences, write_old_choices])
def test_texts_that_are_not_embedded_yet_become_the_same_run(run, finished, write):
    texts = load_preferences(finished.path)
    for step in ("embed", "train", "report"):
        run._record(step, None)
    for name in ("embeddings", "models", "report"):
        shutil.rmtree(run.path / name)
    shuffled = texts.responses.take(np.arange(len(texts.responses))[::-1])
    n = len(shuffled) - 1
    mixed = Preferences(
        **{**texts.columns(), "chosen": n - texts.chosen, "rejected": n - texts.rejected},
        responses=shuffled,
        summary=texts.summary,
    )
    make_old(run, write, mixed)
    steps.embed(RunFolder.open(run.path), HashingEncoder, {"model": None})
    left = {name: content for name, content in contents(finished.path).items() if name.split("/")[0] == "embeddings"}
    assert left.items() <= contents(run.path).items()
    for name in (RESPONSES, COMPARISONS):
        assert (run.path / name).read_bytes() == (finished.path / name).read_bytes()


def test_responses_that_all_users_compare(tmp_path):
    """PersonalLLM's layout of an earlier version, after embedding."""
    loaded = read_dataset("personalllm", data=personalllm_sample(tmp_path / "data"), seen_users=5, unseen_users=3)
    run = RunFolder.create(tmp_path / "run")
    options = {"data": str(tmp_path / "data"), "seen_users": 5, "unseen_users": 3}
    steps.prepare(run, Source(["personalllm"], Experiment(data=options)))
    steps.embed(run, HashingEncoder, {"model": None})
    expected, data = contents(run.path), EmbeddedPreferences.load(run.path)
    shown = loaded.preferences
    assert len(shown.responses) > len(data.responses), "some responses are compared by no user"
    make_old(run, write_old_choices, shown)
    steps.prepare(RunFolder.open(run.path), Source(["personalllm"], Experiment(data=options)))
    assert contents(run.path) == expected


def forgotten_by_the_earlier_version(run, user, texts_too=True):
    """Leave the comparisons and texts of a user out as the earlier version did: the other rows keep their numbers."""
    texts = Preferences.read_parquet(run.path / PREFERENCES)
    table = load_comparisons(run.path)
    write_comparisons(run.path, table.select(np.flatnonzero(table.user_ids != user)))
    if texts_too:
        texts.select(np.flatnonzero(texts.user_ids != user)).write_parquet(run.path / PREFERENCES)
    manifest = run.manifest()
    manifest["steps"]["prepare"]["files"] = {PREFERENCES: (run.path / PREFERENCES).stat().st_size}
    manifest["steps"]["embed"]["files"][COMPARISONS] = (run.path / COMPARISONS).stat().st_size
    run.write(manifest)


@pytest.fixture
def with_own_texts(tmp_path):
    """A run in which one user alone compared some responses, the first ones in order."""
    from small_choices import choices, write_lines

    own = [
        {"user_id": "ann", "prompt": f"{n} axolotls?", "chosen": f"Yes {n}.", "rejected": f"No {n}."} for n in range(4)
    ]
    run = RunFolder.create(tmp_path / "own")
    source = str(write_lines(tmp_path / "own.jsonl", [*own, *choices()]))
    steps.prepare(run, Source([source], Experiment(split={"unseen_users": 0})))
    steps.embed(run, HashingEncoder, {"model": None})
    return run


@pytest.mark.parametrize("interrupted", [False, True])
def test_texts_keep_the_rows_of_embeddings_after_users_were_forgotten(with_own_texts, interrupted):
    """Also when the earlier version was cut off: then the texts of the user are still there."""
    run = with_own_texts
    make_old(run)
    before = EmbeddedPreferences.load(run.path)
    forgotten_by_the_earlier_version(run, "ann", texts_too=not interrupted)
    if interrupted:
        run.write({**run.manifest(), "forgetting": ["ann"]})
        forget(RunFolder.open(run.path, half_forgotten=True))
    else:
        run.convert_old_layout()
    assert not (run.path / PREFERENCES).exists()
    after = load_preferences(run.path)
    kept = before.select(np.flatnonzero(before.user_ids != "ann"))
    assert after.chosen.tolist() == list(kept.chosen)
    texts = StoredResponses(run.path).conversations(slice(0, len(after.responses)))
    assert "axolotl" not in json.dumps(texts)
    encoder = HashingEncoder()
    expected = encoder.encode([texts[row] for row in after.chosen])
    np.testing.assert_array_equal(before.responses[kept.rows()[0]], expected)


def test_users_of_an_old_folder_are_forgotten(with_own_texts):
    make_old(with_own_texts)
    found = forget(with_own_texts, ["ann"])
    assert (found.n_users, found.n_comparisons, found.n_responses) == (1, 4, 8)
    assert sorted(path.name for path in with_own_texts.path.glob("*.parquet")) == [COMPARISONS, RESPONSES]
    assert "ann" not in load_preferences(with_own_texts.path).user_ids
    assert "axolotl" not in json.dumps(StoredResponses(with_own_texts.path).conversations(slice(0, 38)))


def test_a_file_that_was_cut_off_is_prepared_again(run, finished):
    make_old(run)
    path = run.path / PREFERENCES
    path.write_bytes(path.read_bytes()[:-1])
    steps.prepare(RunFolder.open(run.path), Source(source_of(finished)))
    steps.embed(run, HashingEncoder, {"model": None})
    assert not path.exists()
    assert contents(run.path) == contents(finished.path)


def test_a_damaged_file_is_named(run):
    make_old(run)
    path = run.path / PREFERENCES
    path.write_bytes(b"x" * path.stat().st_size)
    with refused(RunError, file=str(path)):
        run.convert_old_layout()
    assert path.exists()


def test_a_file_that_no_step_wrote_is_removed(run):
    """Left by a conversion that was cut off at its end."""
    before = contents(run.path)
    load_preferences(run.path).write_parquet(run.path / PREFERENCES)
    run.convert_old_layout()
    assert contents(run.path) == before


class KilledError(BaseException):
    pass


@pytest.mark.parametrize("write", [write_old_preferences, write_old_choices])
@pytest.mark.parametrize("embedded", [False, True])
def test_cut_off_anywhere_the_next_call_completes_it(run, finished, tmp_path, monkeypatch, write, embedded):
    if not embedded:
        run._record("embed", None)
    make_old(run, write)
    replace, unlink, changes = Path.replace, Path.unlink, {"left": None}

    def dying(change):
        def wrapped(*arguments, **options):
            if changes["left"] is not None:
                changes["left"] -= 1
                if changes["left"] < 0:
                    raise KilledError
            return change(*arguments, **options)

        return wrapped

    monkeypatch.setattr(Path, "replace", dying(replace))
    monkeypatch.setattr(Path, "unlink", dying(unlink))
    for n in range(10):
        copy = RunFolder(shutil.copytree(run.path, tmp_path / f"run-{n}"))
        changes["left"] = n
        try:
            copy.convert_old_layout()
            done = True
        except KilledError:
            done = False
        changes["left"] = None
        copy.convert_old_layout()
        copy.remove_partial_files()
        for name in (RESPONSES, COMPARISONS):
            assert (copy.path / name).read_bytes() == (finished.path / name).read_bytes()
        assert not list(copy.path.glob("[pc]*es.parquet")), "no old file is left"
        assert set(copy.manifest()["steps"]["prepare"]["files"]) == {RESPONSES, COMPARISONS}
        if done:
            break
    assert done
    assert n >= 3

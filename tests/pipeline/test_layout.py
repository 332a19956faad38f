"""The list of the files of a run folder is complete: a run with every kind of file has no file outside the list."""

from __future__ import annotations

import json
import shutil

import pytest

from lorerm import AdaptationConfig, HashingEncoder, Preferences, TrainingConfig, embed
from lorerm.data.stored import COMPARISONS
from lorerm.embedding.store import EMBEDDINGS
from lorerm.evaluation.few_shot import FewShotConfig
from lorerm.pipeline import layout, steps, studies
from lorerm.pipeline.adaptation import add_users, fit_users
from lorerm.pipeline.experiment import Experiment
from lorerm.pipeline.folder import STEPS, RunFolder
from lorerm.pipeline.layout import UserData
from lorerm.pipeline.models import load_model
from lorerm.pipeline.sources import Source
from small_choices import choices, write_lines


def files_of(folder):
    return sorted(path for path in folder.rglob("*") if path.is_file())


@pytest.fixture(scope="module", params=["default", "paper"])
def whole(request, tmp_path_factory):
    """A run with every file that there can be: of the default recipe, or of a paper recipe with several alphas."""
    from lorerm.evaluation.rewardbench import BenchmarkPrompt, measure_reward_bench

    folder = tmp_path_factory.mktemp("whole")
    done = RunFolder.create(folder / "run")
    source = str(write_lines(folder / "choices.jsonl", choices()))
    settings = {"recipe": request.param} if request.param == "default" else {"recipe": "paper", "steps": 20}
    steps.prepare(done, Source([source], Experiment(train=settings), is_stored=True))
    steps.embed(done, HashingEncoder, {"model": None})
    steps.train(done, TrainingConfig(**settings), [1, 2], None if request.param == "default" else [0.0])
    if request.param == "default":
        studies.seeds(done, 2)
        studies.few_shot(done, [1, 2], FewShotConfig(trials=2))
    steps.report(done)
    model = load_model(done, 2)
    new = Preferences.from_records([{**row, "user_id": "new"} for row in choices(1)])
    add_users(done, fit_users(model, new, embed(new, HashingEncoder()), AdaptationConfig()), 2)
    prompt = BenchmarkPrompt("1", "Focus", "Tea?", ("Yes.", "No.", "Perhaps.", "Never."), 1)
    result = measure_reward_bench(model, [prompt], "here", HashingEncoder(), done.path / layout.REWARDBENCH)
    result.write(done.path / layout.REWARDBENCH)
    return done


def test_a_run_with_everything_holds_no_file_that_the_layout_does_not_name(whole):
    assert layout.unknown_files(whole.path) == []
    assert set(layout.top_level()) >= {path.name for path in whole.path.iterdir()}


def test_every_step_records_exactly_its_files(whole):
    """The manifest lists the files of steps; subcommands that are not steps wrote the others."""
    recorded = {name for record in whole.manifest()["steps"].values() for name in record["files"]}
    others = {file.name for file in layout.run_files() if file.step is None}
    found = {path.relative_to(whole.path).as_posix() for path in files_of(whole.path)}
    unrecorded = {path for pattern in others for path in whole.files([pattern])}
    assert recorded | unrecorded == found
    assert not recorded & unrecorded


def test_steps_of_the_layout_are_the_folders():
    assert {file.step for file in layout.run_files()} - {None} == set(STEPS)


@pytest.mark.parametrize("name", ["notes.txt", "report/of-a-user.csv", "models/rank-1/other.bin", "seeds/x/y"])
def test_a_file_that_is_none_of_a_runs_is_found(finished, tmp_path, name):
    folder = shutil.copytree(finished.path, tmp_path / "run")
    (folder / name).parent.mkdir(parents=True, exist_ok=True)
    (folder / name).write_text("")
    assert layout.unknown_files(folder) == [folder / name]


def test_files_that_are_being_written_are_no_unknown_files(tmp_path):
    (tmp_path / ".manifest.0a1b.partial.json").write_text("")
    assert layout.unknown_files(tmp_path) == []


def test_no_file_with_a_users_id_is_listed_as_holding_nothing(whole):
    """Ids are looked for in the bytes and, as tables are compressed, in the rows of these."""
    import pyarrow.parquet as pq

    users = {f"user-{number:02d}" for number in range(8)}
    for path in layout.find(whole.path, UserData.NONE) + layout.find(whole.path, UserData.RESPONSES):
        held = path.read_bytes().decode(errors="ignore")
        if path.suffix == ".parquet":
            held += json.dumps(pq.read_table(path).to_pylist())
        assert [user for user in users if user in held] == [], path


@pytest.mark.parametrize("name", [layout.PREFERENCES, layout.CHOICES])
def test_files_of_earlier_versions_are_known(finished, tmp_path, name):
    folder = shutil.copytree(finished.path, tmp_path / "run")
    (folder / name).write_text("")
    assert layout.unknown_files(folder) == []


def test_unfinished_embeddings_are_known_and_go_when_a_user_is_forgotten(tmp_path):
    part = tmp_path / EMBEDDINGS / "embeddings-00001-of-00002" / "batch-00000.safetensors"
    part.parent.mkdir(parents=True)
    part.write_text("")
    assert layout.unknown_files(tmp_path) == []
    assert layout.find(tmp_path, UserData.TOTALS) == [part]


def test_the_manifest_is_the_last_of_the_top_level():
    """It shows that a half removed folder was a demo."""
    assert layout.top_level()[-1] == layout.MANIFEST
    assert COMPARISONS in layout.top_level()

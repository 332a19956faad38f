"""Several seeds, the few-shot curve and the comparison on a run folder."""

import json
import shutil
from collections import Counter
from types import SimpleNamespace

import numpy as np
import pytest

from lorerm import AdaptationConfig, EmbeddedPreferences, TrainingConfig, train
from lorerm.errors import ConfigError, RunError
from lorerm.evaluation.evaluate import measure
from lorerm.evaluation.few_shot import FewShotConfig
from lorerm.evaluation.report import Report
from lorerm.pipeline import steps, studies
from lorerm.pipeline.experiment import Experiment
from lorerm.pipeline.folder import RunFolder
from refusals import refused


def report_of(run):
    return json.loads((run.path / "report" / "report.json").read_text("utf-8"))


def test_a_report_has_axes_with_texts_and_no_studies_that_were_not_made(finished):
    report = report_of(finished)
    assert report["shots"] is None
    assert report["seeds"] is None
    directions = report["axes"]["directions"]
    assert directions[0]["name"] == "shared direction"
    assert all(axis["highest"] and axis["properties"] for axis in directions)


def test_the_next_report_has_the_curve(run):
    studies.few_shot(run, [1, 3], FewShotConfig(trials=2))
    steps.report(run)
    report = report_of(run)
    assert Report.from_dict(report).few_shot == studies.read_few_shot(run)
    assert [point["shots"] for point in report["shots"]["points"]] == [0, 1, 3]


def test_a_curve_measured_before_is_not_replaced_by_the_default(run):
    studies.few_shot(run, [2], FewShotConfig(trials=2))
    measured = (run.path / "shots.json").read_bytes()
    studies.few_shot_by_default(run)
    assert (run.path / "shots.json").read_bytes() == measured
    (run.path / "shots.json").unlink()
    studies.few_shot_by_default(run)
    assert (run.path / "shots.json").read_bytes() == measured


def test_by_default_a_curve_is_measured_only_where_it_is_quick(run, monkeypatch):
    monkeypatch.setattr(studies, "_QUICK_COMPARISONS", 3)
    studies.few_shot_by_default(run)
    assert not (run.path / "shots.json").exists()
    monkeypatch.undo()
    studies.few_shot_by_default(run)
    assert (run.path / "shots.json").exists()


def test_training_again_drops_the_studies_of_the_models(run):
    studies.few_shot(run, [2], FewShotConfig(trials=2))
    studies.seeds(run, 2)
    steps.train(run, TrainingConfig(seed=5), [1, 2])
    assert set(run.manifest()["steps"]) == {"prepare", "embed", "train"}


def test_further_seeds_split_and_train_anew_and_finished_ones_are_kept(run):
    studies.seeds(run, 2)
    first = (run.path / "seeds" / "seed-1.json").read_bytes()
    changed = (run.path / "seeds" / "seed-1.json").stat().st_mtime_ns
    studies.seeds(run, 3)
    assert (run.path / "seeds" / "seed-1.json").stat().st_mtime_ns == changed
    assert (run.path / "seeds" / "seed-2.json").read_bytes() != first
    studies.few_shot(run, [2], FewShotConfig(trials=2))
    assert "seeds" in run.manifest()["steps"], "a curve does not undo the seeds"
    steps.report(run)
    report = report_of(run)
    assert report["seeds"]["seeds"] == [0, 1, 2]
    assert {axis["stability"]["n_seeds"] for axis in report["axes"]["directions"]} == {2}
    own = next(row for row in report["ranks"] if row["rank"] == 2)["cells"]["test_seen"]["mean"]
    others = [json.loads((run.path / "seeds" / f"seed-{seed}.json").read_text("utf-8")) for seed in (1, 2)]
    means = [next(row for row in other["ranks"] if row["rank"] == 2)["cells"]["test_seen"]["mean"] for other in others]
    found = next(row for row in report["seeds"]["ranks"] if row["rank"] == 2)["cells"]["test_seen"]
    assert found["mean"] == pytest.approx(np.mean([own, *means]))
    assert found["std_seeds"] == pytest.approx(np.std([own, *means], ddof=1))


def test_one_seed_is_the_run_itself(run):
    studies.seeds(run, 1)
    assert "seeds" not in run.manifest()["steps"], "there is nothing to repeat"
    studies.seeds(run, 2)
    kept = (run.path / "seeds" / "seed-1.json").read_bytes()
    studies.seeds(run, 1)
    studies.seeds(run)
    steps.report(run)
    assert report_of(run)["seeds"] is None
    assert {str(axis["stability"]) for axis in report_of(run)["axes"]["directions"]} == {"None"}
    assert (run.path / "seeds" / "seed-1.json").read_bytes() == kept, "for when more are asked for again"


def test_a_split_given_by_the_input_holds_for_every_seed(run, monkeypatch):
    data = EmbeddedPreferences.load(run.path)
    before = np.asarray(data.splits)

    def splits_at(seed, given):
        real = run.result
        monkeypatch.setattr(
            RunFolder, "result", lambda self, step: {**real(step), **({"given": given} if step == "prepare" else {})}
        )
        splits = studies._split_anew(run, data, seed)
        monkeypatch.undo()
        return splits

    assert set(splits_at(3, "prompts").test_seen.prompt_ids) == set(
        data.prompt_ids[np.char.startswith(before.astype(str), "test")]
    )
    users = [set(splits_at(seed, "prompts").train_unseen.user_ids) for seed in (1, 2, 3)]
    assert any(found != users[0] for found in users)
    kept = splits_at(3, "cells")
    assert set(kept.train_unseen.user_ids) == set(data.user_ids[before == "train_unseen"])


def test_curve_and_seeds_adapt_as_the_report_does(run):
    """By the adaptation that the run's experiment names, here another one than the training's own."""
    Experiment(train={"recipe": "paper"}, adapt={"recipe": "default"}).write(run.path)
    steps.train(run, TrainingConfig(recipe="paper", steps=5), [2])
    data = EmbeddedPreferences.load(run.path)
    few_shot = data.user_ids[np.asarray(data.splits) == "train_unseen"]
    studies.seeds(run, 2)
    studies.few_shot(run, [max(Counter(few_shot).values())], FewShotConfig(trials=2))
    steps.report(run)
    report = report_of(run)
    assert report["config"]["adaptation"]["recipe"] == "default"
    all_comparisons = report["shots"]["points"][-1]
    assert all_comparisons["mean"] == pytest.approx(report["ranks"][-1]["cells"]["test_unseen"]["mean"])
    splits = studies._split_anew(run, data, 1)
    model = train(splits.train_seen, TrainingConfig(recipe="paper", steps=5, seed=1, rank=2))
    kept = json.loads((run.path / "seeds" / "seed-1.json").read_text("utf-8"))
    assert kept["ranks"] == measure(model, splits, adaptation=AdaptationConfig(seed=1), seed=1).to_dict()["ranks"]


def test_bad_input_is_refused(run):
    with refused(ConfigError, "0", argument="seeds"):
        studies.seeds(run, 0)
    with refused(ConfigError, "rank 9", argument="rank"):
        studies.few_shot(run, None, FewShotConfig(), rank=9)


def test_two_runs_side_by_side(finished, run, tmp_path):
    found = studies.compare([finished, run])
    assert [row.estimate.mean for row in found.paired] == [0, 0]
    same_name = RunFolder.open(shutil.copytree(run.path, tmp_path / "again" / run.path.name))
    assert len({row.name for row in studies.compare([run, same_name]).runs}) == 2


def test_damaged_files_are_named(finished, run):
    predictions = run.path / "report" / "predictions.parquet"
    predictions.write_bytes(b"")
    with refused(RunError, str(predictions)):
        studies.compare([finished, run])
    report = run.path / "report" / "report.json"
    report.write_text(report.read_text("utf-8").replace('"chosen_rank"', '"chosen_rang"'), "utf-8")
    with refused(RunError, str(report), "report.chosen_rank "):
        studies.compare([finished, run])


def test_the_focus_rank_follows_the_rule_of_the_report(finished, monkeypatch):
    assert studies._focus_rank(finished) == Report.from_dict(report_of(finished)).focus_rank == 2
    monkeypatch.setattr(studies, "chosen_rank", lambda run: 1)
    assert studies._focus_rank(finished) == 2, "the largest personal rank"
    monkeypatch.setattr(studies, "load_trained", lambda run, rank, alpha: SimpleNamespace(fitted_rank=1))
    assert studies._focus_rank(finished) == 2, "even if it collapsed"
    monkeypatch.setattr(RunFolder, "result", lambda self, step: {"ranks": [0]})
    monkeypatch.setattr(studies, "chosen_rank", lambda run: 0)
    assert studies._focus_rank(finished) == 0

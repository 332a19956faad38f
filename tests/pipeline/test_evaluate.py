"""The public function `evaluate`."""

from __future__ import annotations

import lorerm
from lorerm.evaluation.evaluate import measure
from planted import plant


def test_it_returns_the_measured_report_with_methods_that_render_it():
    splits = lorerm.split(plant(users=30, pairs=30, dimension=8, personal=2, prompts=60).data)
    model = lorerm.train(splits.train_seen, lorerm.TrainingConfig(rank=2))
    report = lorerm.evaluate(model, splits, seed=1)
    assert isinstance(report, lorerm.Report)
    assert report.to_dict() == measure(model, splits, seed=1).to_dict()
    assert f"{100 * report.accuracy(2, 'test_unseen').mean:.1f}%" in report.to_markdown()

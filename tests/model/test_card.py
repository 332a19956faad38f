"""The model card shows the model's and the report's figures, names no users, and its code runs with this version."""

import re

import pytest
import yaml

from lorerm.embedding.encoder import EncoderIdentity
from lorerm.embedding.hashing import HashingEncoder
from lorerm.errors import ConfigError
from lorerm.model.baselines import BASELINES
from lorerm.model.card import model_card
from refusals import refused
from sample_reports import rich_report

ON_HUB = EncoderIdentity("someone/Some-Reward-8B", "a" * 40, "abc", "last-token", "bfloat16", None, 4)
IN_FOLDER = EncoderIdentity("/home/ann/models/tuned", "b" * 64, "abc", "last-token", "bfloat16", None, 4)


def card(model, **changes):
    return model_card(model, "me/tastes", **{"include_users": False, **changes})


def metadata(text):
    return yaml.safe_load(text.split("---")[1])


def test_the_metadata_is_what_the_hub_reads(make_model):
    found = metadata(card(make_model(encoder=ON_HUB), license_id="apache-2.0"))
    assert found["library_name"] == "lorerm"
    assert found["base_model"] == "someone/Some-Reward-8B"
    assert found["license"] == "apache-2.0"
    assert "arxiv:2504.14439" in found["tags"]


def test_an_encoder_folder_is_no_base_model_and_its_path_is_not_shown(make_model):
    text = card(make_model(encoder=IN_FOLDER))
    assert "base_model" not in metadata(text)
    assert "| base model | tuned, frozen" in text
    assert "/home/ann" not in text


def test_the_built_in_encoder_and_unknown_embeddings(make_model):
    assert "none: lorerm's built-in encoder" in card(make_model(encoder=HashingEncoder().identity))
    assert "HashingEncoder()" in card(make_model(encoder=HashingEncoder().identity))
    assert "not recorded: the embeddings were given as arrays of dimension 4" in card(make_model(encoder=None))


def test_an_encoder_of_ones_own_is_named_and_built_if_it_is_registered(make_model, monkeypatch):
    identity = EncoderIdentity("counts", None, "vowels", "sum", "float32", None, 4)
    text = card(make_model(encoder=identity))
    assert "| encoder | `counts`, pooling sum, dimension 4 |" in text
    assert "encoder = ...  # the encoder of the training: counts" in text
    recorded = {"encoder": "counting", "characters": "vowels"}
    monkeypatch.setattr("lorerm.model.card._settings", {identity: recorded}.__getitem__)
    code = card(make_model(encoder=identity)).partition("```python\n")[2].partition("```")[0]
    assert f"encoder = build_encoder({recorded})" in code
    assert "from lorerm.embedding.registry import build_encoder\n" in code
    compile(code, "card", "exec")


def test_figures_and_intervals_are_those_of_the_report(make_model):
    report = rich_report()
    text = card(make_model(requested_rank=4), report=report)
    own = next(row for row in report["ranks"] if row["rank"] == 4)["cells"]["test_unseen"]
    figure = f"{100 * own['mean']:.1f} [{100 * own['ci95'][0]:.1f}, {100 * own['ci95'][1]:.1f}]"
    (row,) = [line for line in text.splitlines() if line.startswith("| **this model, rank 4**")]
    assert figure in row
    for label in BASELINES.values():
        assert f"| {label} |" in text
    assert f"by {report['data']['n_users']} users" in text
    table = [line for line in text.splitlines() if line.startswith("|") and "[" in line]
    assert {line.count("|") for line in table} == {6}


def test_a_report_may_be_an_object_or_a_file(make_model, tmp_path):
    class Report:
        def to_dict(self):
            return rich_report()

    import json

    (tmp_path / "report.json").write_text(json.dumps(rich_report()))
    texts = {card(make_model(requested_rank=4), report=one) for one in (Report(), tmp_path / "report.json")}
    assert texts == {card(make_model(requested_rank=4), report=rich_report())}


def test_user_ids_in_a_reports_warnings_are_not_shown(make_model):
    report = rich_report()
    report["data"]["warnings"] = ["ann has too few choices"]
    assert "ann" not in re.sub(r"many|Bose.*", "", card(make_model(requested_rank=4), report=report)).split()


@pytest.mark.parametrize(
    ("report", "names", "file"),
    [
        ({"ranks": []}, [], None),
        ("missing.json", [], "missing.json"),
        ({**rich_report(), "ranks": []}, ["rank 4"], None),
    ],
    ids=["no report", "missing file", "another rank"],
)
def test_a_report_without_the_models_figures_is_refused(make_model, report, names, file):
    with refused(ConfigError, *names, argument="report", file=file):
        card(make_model(requested_rank=4), report=report)


def test_without_a_report_the_validation_accuracy_is_shown_as_such(make_model):
    training = {"config": {"recipe": "default"}, "validation": {"loss": 0.6, "accuracy": 0.708, "n_users": 31}}
    text = card(make_model(training=training))
    assert "70.8% on the validation comparisons of 31 users" in text
    assert "No evaluation on other held-out data was given" in text
    assert "No evaluation was given" in card(make_model())


def test_licence_users_and_citation(make_model):
    assert "No licence is stated" in card(make_model())
    text = card(make_model(), license_id="mit", include_users=True)
    assert "published under mit" in text
    assert "included (3 users): personal data" in text
    assert "@inproceedings{bose2025lore" in text


def test_an_existing_card_is_kept(make_model, tmp_path):
    (tmp_path / "README.md").write_text("by hand")
    make_model().save_pretrained(tmp_path)
    assert (tmp_path / "README.md").read_text() == "by hand"


def test_the_code_of_the_card_compiles_and_imports_public_names(make_model):
    for encoder in (ON_HUB, HashingEncoder().identity, None):
        code = re.search(r"```python\n(.*?)```", card(make_model(encoder=encoder)), re.DOTALL)[1]
        compile(code, "card", "exec")
        names = re.match(r"from lorerm import (.*)", code)[1].split(", ")
        import lorerm

        assert set(names) <= set(lorerm.__all__)

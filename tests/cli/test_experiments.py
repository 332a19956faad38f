"""Settings from files, options and runs, and a run on a sample of each published data set with a tiny reward model."""

from __future__ import annotations

import argparse
import json

import pytest
import yaml

from lorerm.cli.encoders import add_encoder_options, encoder_settings
from lorerm.cli.experiments import fill_encoder_options
from lorerm.errors import ConfigError, ModelError
from lorerm.pipeline.experiment import Experiment
from published_samples import community_sample, personalllm_sample, prism_sample, tldr_sample
from small_choices import contents

SAMPLES = {
    "tldr": tldr_sample,
    "prism": prism_sample,
    "personalllm": personalllm_sample,
    "community-alignment": community_sample,
}


@pytest.fixture(scope="module")
def reward_model(tiny_models):
    """The folder of a two-layer reward model."""
    return tiny_models.folder(positions=512)


@pytest.fixture(scope="module")
def samples(tmp_path_factory):
    """Each data set in its own layout, of at least 40 users."""
    folder = tmp_path_factory.mktemp("samples")
    return {name: make(folder / name) for name, make in SAMPLES.items()}


def small(tmp_path, name):
    """Return the option with an experiment that makes PersonalLLM's population small."""
    if name != "personalllm":
        return ()
    (tmp_path / "small.yaml").write_text("data: {seen_users: 30, unseen_users: 15, seen_share: 0.2, unseen_share: 0.1}")
    return "--experiment", tmp_path / "small.yaml"


@pytest.mark.parametrize("name", SAMPLES)
def test_one_command_runs_a_data_set(lorerm, tmp_path, samples, reward_model, name):
    """As documented: one command; with a local copy and a model in a folder, without a network."""
    run = tmp_path / "run"
    outcome = lorerm(
        "run", name, "--data", samples[name], "--out", run, "--model", reward_model, "--ranks", 0, 1, 2,
        *small(tmp_path, name),
    )  # fmt: skip
    assert outcome.code == 0, outcome.err
    assert "read: " in outcome.out
    content = json.loads((run / "report" / "report.json").read_text())
    assert content["data"]["n_users"] >= 40
    assert content["data"]["source"] == name
    for rank in content["ranks"]:
        for cell in rank["cells"].values():
            assert 0 <= cell["mean"] <= 1
            assert cell["n_users"] >= 5
    assert {rank["rank"] for rank in content["ranks"]} == {0, 1, 2}
    assert not content["data"]["leaks"]["warnings"]
    stored = yaml.safe_load((run / "experiment.yaml").read_text())
    assert stored["train"]["ranks"] == [0, 1, 2]
    assert stored["embed"] == {"model": str(reward_model)}
    assert str(samples[name]) not in (run / "experiment.yaml").read_text()


def test_four_verbs_make_the_same_run(lorerm, tmp_path, samples):
    """Each later subcommand reads its settings from the run folder."""
    given = ("--experiment", "paper", "--data", samples["tldr"])
    assert (
        lorerm(
            "run", "tldr", *given, "--out", tmp_path / "one", "--encoder", "hashing", "--ranks", 1, 2, "--steps", 9
        ).code
        == 0
    )
    four = tmp_path / "four"
    assert lorerm("prepare", "tldr", *given, "--out", four).code == 0
    assert lorerm("embed", four, "--encoder", "hashing").code == 0
    assert lorerm("train", four, "--ranks", 1, 2, "--steps", 9).code == 0
    assert lorerm("report", four).code == 0
    one, other = contents(tmp_path / "one"), contents(four)
    assert {name for name in one if one[name] != other.get(name)} == {"experiment.yaml"}
    config = json.loads((four / "report" / "report.json").read_text())["config"]
    del config["training"]["rank"]
    assert config["training"] == {"recipe": "paper", "seed": 0, "steps": 9, "learning_rate": 0.5, "alpha": 0.0}
    assert config["adaptation"] == {"recipe": "paper", "seed": 0, "steps": 500, "learning_rate": 0.1}


def test_embedded_encoder_needs_no_other_ranks(lorerm, tmp_path, samples):
    """It has no reference head: the experiment's rank 0 is left out, and the report gives the reason."""
    (tmp_path / "few.yaml").write_text("train: {recipe: paper, ranks: [0, 1, 50], steps: 5}")
    given = ("--data", samples["tldr"], "--out", tmp_path / "run", "--experiment", tmp_path / "few.yaml")
    outcome = lorerm("run", "tldr", *given, "--encoder", "hashing")
    assert outcome.code == 0, outcome.err
    assert "No values for the reference head" in " ".join(outcome.out.split())
    assert "warning: Ranks of the experiment that the data do not allow, left out: 0, 50." in outcome.err
    assert "left out: 0, 50" in lorerm("train", tmp_path / "run").err


def test_prism_as_published_in_small(lorerm, tmp_path, samples, reward_model):
    """Several alphas, the published split, and the leaking format with its warning."""
    run = tmp_path / "run"
    outcome = lorerm(
        "run", "prism", "--experiment", "paper", "--published-format", "--data", samples["prism"], "--out", run,
        "--model", reward_model, "--ranks", 0, 1, 2, "--alphas", 0, 10000, "--steps", 20,
    )  # fmt: skip
    assert outcome.code == 0, outcome.err
    assert "LEAK? The format alone" in outcome.err
    for alpha in ("alpha-0", "alpha-10000"):
        content = json.loads((run / "report" / alpha / "report.json").read_text())
        assert any("The format alone" in line for line in content["data"]["leaks"]["warnings"])
        assert any("as published" in line for line in content["data"]["warnings"])
        assert (run / "report" / alpha / "figures" / "accuracy_by_rank.png").exists()
        assert (run / "models" / alpha / "rank-2" / "model.safetensors").exists()
    assert "LEAK?" in (run / "report" / "report.md").read_text()
    prepared = json.loads((run / "manifest.json").read_text())["steps"]["prepare"]
    assert prepared["arguments"]["split"]["seed"] == 123
    assert prepared["result"]["reading"][0].startswith("dialogues read: ")
    assert lorerm("train", run, "--ranks", 0, 1, 2, "--steps", 20, "--alphas", 0, 10000).out.startswith("Trained ranks")


def test_the_command_line_replaces_settings_of_the_experiment(lorerm, tmp_path, samples):
    run = tmp_path / "run"
    outcome = lorerm(
        "prepare", "tldr", "--data", samples["tldr"], "--out", run, "--unseen-users", 0.25, "--max-pairs-seen", 4
    )
    assert outcome.code == 0
    split = json.loads((run / "manifest.json").read_text())["steps"]["prepare"]["arguments"]["split"]
    assert (split["unseen_users"], split["max_pairs_seen"], split["max_pairs_unseen"]) == (0.25, 4, 50)


@pytest.mark.parametrize(("given", "expected"), [([], "bfloat16"), (["--dtype", "auto"], "auto")])
def test_the_automatic_dtype_replaces_that_of_the_experiment(given, expected):
    parser = argparse.ArgumentParser()
    add_encoder_options(parser)
    parsed = parser.parse_args(given)
    fill_encoder_options(parsed, Experiment(embed={"model": "org/m", "dtype": "bfloat16"}))
    assert encoder_settings(parsed)["dtype"] == expected


def test_folder_of_a_data_sets_name_does_not_hide_it_where_data_are_named(lorerm, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    tldr_sample(tmp_path / "tldr", n_workers=6)
    assert lorerm("prepare", "tldr", "--data", "tldr", "--out", "run").code == 0


def test_articles_are_left_out_and_counted_unless_asked_for(lorerm, tmp_path):
    from published_samples import tldr_row, write_jsonl

    sample = tldr_sample(tmp_path / "sample", n_workers=6)
    rows = [tldr_row("worker01", f"Article {i}.", "train", "good", "bad", cnn=True) for i in range(3)]
    write_jsonl(sample / "batch0_cnndm.json", rows)
    out = lorerm("prepare", "tldr", "--data", sample, "--out", tmp_path / "a").out
    assert "3 left out, on news articles (CNN/DM)" in out
    assert (
        "news articles"
        not in lorerm("prepare", "tldr", "--data", sample, "--out", tmp_path / "b", "--include-cnn-dm").out
    )


def test_the_concentration_can_be_set_for_any_experiment(lorerm, tmp_path, samples):
    run = tmp_path / "run"
    given = ("--experiment", "paper", "--concentration", 0.01, "--data", samples["personalllm"])
    assert lorerm("prepare", "personalllm", *given, "--out", run).code == 0
    stored = yaml.safe_load((run / "experiment.yaml").read_text())
    assert (stored["data"]["concentration"], stored["train"]["recipe"]) == (0.01, "paper")
    assert lorerm("prepare", "personalllm", *given[:3], -1, *given[4:], "--out", tmp_path / "wrong").code == 2


def test_languages(lorerm, refuses, tmp_path, samples):
    given = ("prepare", "community-alignment", "--data", samples["community-alignment"], "--out")
    outcome = lorerm(*given, tmp_path / "run", "--languages", "it")
    assert "in other languages than those asked for" in outcome.out
    refuses(*given, tmp_path / "other", "--languages", "fr", names=["fr", "en, it"])


@pytest.mark.parametrize(
    ("arguments", "names", "location"),
    [
        (["choices.jsonl", "--languages", "en"], ["--languages", "community-alignment"], {"argument": "languages"}),
        (["choices.jsonl", "--data", "x"], ["--data"], {"argument": "data"}),
        (["tldr", "--published-format"], ["--published-format", "prism", "tldr"], {"argument": "published_format"}),
        (["prism", "--include-cnn-dm"], ["--include-cnn-dm", "tldr", "prism"], {"argument": "include_cnn_dm"}),
        (["prism", "--experiment", "papre"], ["'papre'", "default or paper"], {"argument": "experiment"}),
        (["prism", "--experiment", "none.yaml"], [], {"file": "none.yaml"}),
        (["tldr", "--data", "nowhere"], ["nowhere"], {}),
    ],
)
def test_options_that_exclude_each_other_are_refused(refuses, tmp_path, arguments, names, location):
    refuses("prepare", *arguments, "--out", tmp_path / "run", names=names, **location)


@pytest.mark.parametrize("verb", ["prepare", "import-embeddings"])
def test_the_option_of_recipes_is_no_longer_that_of_experiments(refuses, tmp_path, verb):
    """As it once was; the error names the option that is."""
    refuses(verb, "x", "--out", tmp_path / "run", "--recipe", "paper", names=["--recipe", "`--experiment`"])
    refuses("run", "x", "--out", tmp_path / "run", "--recipe", "my.yaml", names=["'my.yaml'", "`--experiment`"])


def test_a_recipe_trains_the_default_experiment(lorerm, tmp_path, samples):
    """And a note names the published experiment, for those who mean that."""
    given = ("run", "tldr", "--data", samples["tldr"], "--encoder", "hashing", "--ranks", 1, "--steps", 5)
    outcome = lorerm(*given, "--recipe", "paper", "--out", tmp_path / "run")
    assert outcome.code == 0, outcome.err
    assert "--experiment paper" in outcome.err
    stored = yaml.safe_load((tmp_path / "run" / "experiment.yaml").read_text())
    assert stored["train"] == {"ranks": [1], "recipe": "paper", "steps": 5}
    assert (stored["embed"], "adapt" in stored) == ({"encoder": "hashing"}, False)
    outcome = lorerm(*given, "--recipe", "paper", "--experiment", "paper", "--out", tmp_path / "published")
    assert outcome.code == 0, outcome.err
    assert "--experiment paper" not in outcome.err
    stored = yaml.safe_load((tmp_path / "published" / "experiment.yaml").read_text())
    assert stored["adapt"] == {"recipe": "paper", "steps": 500, "learning_rate": 0.1}


@pytest.mark.parametrize("given", [["--encoder", "hashing"], ["--model", "embedded"]])
def test_the_built_in_encoder_replaces_the_model_of_an_experiment(given, tmp_path, monkeypatch):
    """`--model embedded` is how versions before 0.2 asked for it."""
    monkeypatch.chdir(tmp_path)
    parser = argparse.ArgumentParser()
    add_encoder_options(parser)
    parsed = parser.parse_args(given)
    fill_encoder_options(parsed, Experiment(embed={"model": "org/m", "dtype": "bfloat16"}))
    assert encoder_settings(parsed) == {"model": None}
    parsed = parser.parse_args([])
    fill_encoder_options(parsed, Experiment(embed={"model": "embedded"}))
    assert encoder_settings(parsed) == {"model": None}


def test_alpha_and_alphas_do_not_go_together(refuses, tmp_path, choices_file):
    given = ("--recipe", "paper", "--alpha", 1, "--alphas", 1, 2)
    refuses(
        "run", choices_file, "--out", tmp_path / "r", *given, error=ConfigError, names=["--alphas"], argument="alpha"
    )


def test_a_reward_model_that_cannot_be_loaded_is_named_with_the_alternatives(refuses, tmp_path, samples, monkeypatch):
    """There is no network."""
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    import huggingface_hub.constants

    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", True)
    names = ["Skywork/Skywork-Reward-Llama-3.1-8B-v0.2", "--model", "--encoder hashing"]
    refuses("run", "tldr", "--data", samples["tldr"], "--out", tmp_path / "run", error=ModelError, names=names)


def test_published_embeddings(lorerm, refuses, tmp_path, samples):
    """TLDR's and PRISM's pickles, and PersonalLLM's matrices, each imported and trained."""
    import torch
    from safetensors.torch import save_file

    from published_pickles import prism_pickles, tldr_pickles

    for name, make in (("tldr", tldr_pickles), ("prism", prism_pickles)):
        (tmp_path / name).mkdir()
        given = ("import-embeddings", *make(tmp_path / name), "--out", tmp_path / name / "run")
        refuses(*given, error=ConfigError, names=["--trust-pickle"])
        outcome = lorerm(*given, "--trust-pickle", "--unseen-users", 0.5)
        assert outcome.code == 0, outcome.err
        assert ("LEAK?" in outcome.err) == (name == "prism")
        assert lorerm("train", tmp_path / name / "run", "--ranks", 1).code == 0
        assert lorerm("report", tmp_path / name / "run").code == 0
    for label, n_prompts in (("train", 60), ("test", 12)):
        numbers = torch.randn(8 * n_prompts, 5, generator=torch.Generator().manual_seed(0))
        save_file({"embeddings": numbers}, tmp_path / f"{label}.safetensors")
    outcome = lorerm(
        "import-embeddings", tmp_path / "train.safetensors", tmp_path / "test.safetensors", "--dataset", "personalllm",
        "--data", samples["personalllm"], *small(tmp_path, "personalllm"), "--out", tmp_path / "p",
    )  # fmt: skip
    assert outcome.code == 0, outcome.err
    assert "test_unseen 180 (15 users)" in outcome.out
    assert lorerm("train", tmp_path / "p", "--ranks", 1).code == 0

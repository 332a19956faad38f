import json
import sys
from dataclasses import MISSING, fields

import pytest
from docstring_parser import parse_from_object

from lorerm.cli import main
from lorerm.data.datasets import DATASETS, dataset_options, load_dataset, read_dataset
from lorerm.data.schema import SPLITS
from lorerm.data.splits import assign_splits
from lorerm.errors import ConfigError, DataError
from published_samples import community_sample, personalllm_sample, polis_sample, prism_sample, tldr_sample
from refusals import refused

SAMPLES = {
    "tldr": tldr_sample,
    "prism": prism_sample,
    "personalllm": personalllm_sample,
    "community-alignment": community_sample,
    "polis": polis_sample,
}


@pytest.fixture(scope="module", params=DATASETS)
def loaded(request, tmp_path_factory):
    """Each data set, of a sample in its own schema where it has one."""
    if request.param not in SAMPLES:
        return read_dataset(request.param, n_users=40)
    return read_dataset(request.param, data=SAMPLES[request.param](tmp_path_factory.mktemp(request.param)))


def test_unknown_name_lists_the_known():
    with refused(ConfigError, "'nothing'", *DATASETS, argument="name"):
        read_dataset("nothing")


def test_unknown_option_lists_the_known():
    with refused(ConfigError, "tldr", "data, revision, include_cnn_dm", argument="languages"):
        read_dataset("tldr", languages=["en"])


def test_preferences_alone(tmp_path):
    """The short form, as the README has it."""
    preferences = load_dataset("tldr", data=tldr_sample(tmp_path, n_workers=4))
    assert preferences == read_dataset("tldr", data=tmp_path).preferences


def test_every_data_set_with_files_has_a_sample_here():
    assert set(SAMPLES) == set(DATASETS) - {"simulated"}


def test_comparisons_keep_the_contract(loaded):
    """Of every data set: prompts end in a user turn, responses are one assistant turn and differ."""
    preferences = loaded.preferences.select(range(0, len(loaded.preferences), 7))
    chosen, rejected = preferences.messages("chosen"), preferences.messages("rejected")
    for prompt, better, worse in zip(preferences.messages("prompt"), chosen, rejected, strict=True):
        assert prompt[-1]["role"] == "user"
        assert [turn["role"] for turn in better] == [turn["role"] for turn in worse] == ["assistant"]
        assert better != worse
    assert (preferences.weights > 0).all()


def test_comparisons_can_be_split_without_a_shared_prompt_or_user(loaded):
    preferences = loaded.preferences
    labels = assign_splits(preferences.user_ids, preferences.prompt_ids, given=preferences.splits)
    assert set(SPLITS) <= set(labels)
    users, prompts = preferences.user_ids, preferences.prompt_ids
    where = {name: labels == name for name in SPLITS}
    train = set(prompts[where["train_seen"] | where["train_unseen"]])
    assert not train & set(prompts[where["test_seen"] | where["test_unseen"]])
    assert not set(users[where["train_seen"] | where["test_seen"]]) & set(users[where["train_unseen"]])


def test_loading_again_gives_the_same(loaded, tmp_path):
    name = next((name for name in SAMPLES if name in loaded.source), None)
    if name is None:
        assert read_dataset("simulated", n_users=40).preferences == loaded.preferences
        return
    again = read_dataset(name, data=SAMPLES[name](tmp_path)).preferences
    assert list(again.user_ids) == list(loaded.preferences.user_ids)
    assert again.conversations("rejected") == loaded.preferences.conversations("rejected")


def test_reading_is_accounted_for(loaded):
    if "simulated" not in loaded.source:
        assert "read: " in loaded.reading[0]


@pytest.mark.parametrize("name", SAMPLES)
def test_missing_copy_is_one_line(name, tmp_path):
    with refused(DataError, str(tmp_path / "nothing"), row=None):
        read_dataset(name, data=tmp_path / "nothing")


@pytest.mark.parametrize("name", DATASETS)
def test_every_option_has_a_default_and_a_help_text(name):
    """As the command and `load_dataset` need them."""
    options = dataset_options(name)
    texts = {parameter.arg_name: parameter.description for parameter in parse_from_object(options).params}
    assert all(field.default is not MISSING for field in fields(options))
    assert all(len(texts.get(name) or "") > 10 for name in options.__annotations__)


MADE_UP = """
from dataclasses import dataclass
from lorerm.data.datasets.loaded import Loaded

@dataclass(frozen=True)
class Options:
    \'\'\'Made up.\'\'\'

    n_prompts: int = 12
    \'\'\'number of prompts\'\'\'
    words: tuple[str, ...] | None = None
    \'\'\'responses start with one of these; None: good\'\'\'
    is_loud: bool = False
    \'\'\'write responses in capitals\'\'\'
    seed: int = 0
    \'\'\'seed of nothing\'\'\'

def load(options, _split):
    from lorerm.data.preferences import Preferences

    def text(word, prompt):
        return f"{word} {prompt}".upper() if options.is_loud else f"{word} {prompt}"

    words = options.words or ("good",)
    records = [
        {
            "user_id": f"u{user}",
            "prompt": f"q{prompt}",
            "chosen": text(words[user % len(words)], prompt),
            "rejected": text("bad", prompt),
        }
        for user in range(8)
        for prompt in range(options.n_prompts)
    ]
    return Loaded(Preferences.from_records(records), f"made up, seed {options.seed}")
"""


@pytest.fixture
def made_up(tmp_path, monkeypatch):
    """A data set that is registered for this test: one module, one line."""
    (tmp_path / "made_up_data.py").write_text(MADE_UP)
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setitem(DATASETS, "made-up", "made_up_data")
    yield
    sys.modules.pop("made_up_data", None)


def prepared(run):
    from lorerm.data.stored import load_preferences

    return load_preferences(run), json.loads((run / "manifest.json").read_text())["steps"]["prepare"]["arguments"]


def test_registered_data_set_has_its_options_on_the_command_line(made_up, tmp_path, capsys):
    out = str(tmp_path / "run")
    options = ["--n-prompts", "9", "--words", "fine", "great", "--is-loud", "--made-up-seed", "7", "--seed", "3"]
    assert main(["prepare", "made-up", "--out", out, *options]) == 0
    preferences, arguments = prepared(tmp_path / "run")
    assert len(set(preferences.prompt_ids)) == 9
    assert {turns[0]["content"].split()[0] for turns in preferences.messages("chosen")} == {"FINE", "GREAT"}
    assert arguments["options"] == {"n_prompts": 9, "words": ["fine", "great"], "is_loud": True, "seed": 7}
    assert arguments["split"]["seed"] == 3
    with pytest.raises(SystemExit):
        main(["prepare", "--help"])
    text = " ".join(capsys.readouterr().out.split())
    assert "Made up (made-up):" in text
    assert "--n-prompts INT number of prompts (default: 12)" in text


def test_experiment_file_names_the_options_of_a_data_set(made_up, tmp_path):
    (tmp_path / "own.yaml").write_text("data: {n_prompts: 10, words: [fine]}\nsplit: {unseen_users: 0.5}")
    given = ["made-up", "--experiment", str(tmp_path / "own.yaml"), "--is-loud"]
    assert main(["prepare", *given, "--out", str(tmp_path / "run")]) == 0
    preferences, arguments = prepared(tmp_path / "run")
    assert len(set(preferences.prompt_ids)) == 10
    assert arguments["options"] == {"n_prompts": 10, "words": ["fine"], "is_loud": True}


def test_option_of_another_data_set_is_refused(made_up, tmp_path, capsys):
    for source, option in (("made-up", "--n-users"), ("simulated", "--n-prompts")):
        assert main(["prepare", source, option, "9", "--out", str(tmp_path / "run")]) == 2
        assert f"{option} " in capsys.readouterr().err

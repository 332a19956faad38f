"""Exported classifiers: their logits, on real architectures reloaded by transformers, are the model's rewards."""

import dataclasses
import json
import shutil

import pytest
import torch
from transformers import AutoModelForSequenceClassification, AutoTokenizer, pipeline

from lorerm.embedding.hashing import HashingEncoder
from lorerm.embedding.transformers.last_token import TransformersEncoder
from lorerm.errors import ModelError, UnknownUserError
from lorerm.model.export import build_classifier, save_classifier, to_sequence_classifier
from lorerm.model.reward_function import RewardFunction
from refusals import refused
from tiny_models import CHATML, ENDS_WITH_TURN, chat

CHATS = [chat("How do I bake bread?", text) for text in ("Mix.", "Knead, wait, bake; and wait again.", "No", "")]
DATED = "{{ date_string }} {{ strftime_now('%d %b %Y') }}\n" + CHATML


@pytest.fixture
def personal(make_model, tiny_models):
    """A function that returns the folder of a tiny base model, its encoder, and a personal model trained on it."""

    def build(**variant):
        folder = str(tiny_models.folder(**variant))
        encoder = TransformersEncoder(folder, device="cpu")
        generator = torch.Generator().manual_seed(1)
        basis = torch.randn(encoder.identity.dimension, 2, generator=generator)
        return folder, encoder, make_model(basis=basis, encoder=encoder.identity)

    return build


def reload(classifier, folder):
    """Save a classifier and load it with transformers alone."""
    save_classifier(classifier, folder)
    network = AutoModelForSequenceClassification.from_pretrained(folder)
    return network.eval(), AutoTokenizer.from_pretrained(folder)


def logits(network, tokenizer, chats=CHATS):
    rows = tokenizer.apply_chat_template(
        [[dict(message) for message in one] for one in chats], padding=True, return_tensors="pt", return_dict=True
    )
    with torch.inference_mode():
        return network(input_ids=rows["input_ids"], attention_mask=rows["attention_mask"]).logits


def assert_equal(found, expected):
    """Equal up to rounding, relative to the standard deviation of the rewards."""
    assert float((found - expected).abs().max()) < 1e-4 * float(expected.std(dim=0).min())


@pytest.mark.parametrize("family", ["llama", "qwen2", "qwen3", "gemma", "mistral", "gpt2"])
@pytest.mark.parametrize("task", ["classifier", "causal"])
def test_the_logit_is_the_users_reward(personal, tmp_path, family, task):
    folder, encoder, model = personal(family=family, task=task)
    network, tokenizer = reload(build_classifier(model, folder, "b"), tmp_path)
    expected = model.rewards(encoder.encode(CHATS), "b")
    found = logits(network, tokenizer)
    assert found.shape == (4, 1)
    assert found.dtype == torch.float32
    assert_equal(found[:, 0], expected)


def test_without_a_user_the_logits_are_the_rewards_of_the_basis(personal, tmp_path):
    folder, encoder, model = personal()
    network, tokenizer = reload(build_classifier(model, folder), tmp_path)
    found = logits(network, tokenizer)
    assert_equal(found, torch.from_numpy(encoder.encode(CHATS)) @ model.basis)
    assert_equal(found @ model.weights[0], model.rewards(encoder.encode(CHATS), "zoë"))


def test_the_population_reward_is_exported_and_unknown_users_are_refused(personal):
    folder, encoder, model = personal()
    network, tokenizer = build_classifier(model, folder, population=True)
    assert_equal(logits(network, tokenizer)[:, 0], model.rewards(encoder.encode(CHATS)))
    with refused(UnknownUserError, "'a stranger'", argument="user_id"):
        to_sequence_classifier(model, folder, "a stranger")


@pytest.mark.parametrize(
    "variant",
    [
        {"pad": "<|im_end|>", "template": ENDS_WITH_TURN},
        {"pad": None},
        {"pad": None, "template": ENDS_WITH_TURN},
        {"padding_side": "left"},
        {"template": DATED},
        {"labels": 3},
    ],
    ids=["pad ends a turn", "no pad", "no pad, ends a turn", "pads left", "dated template", "three labels"],
)
def test_padding_dates_in_templates_and_other_heads_do_not_matter(personal, tmp_path, variant):
    folder, encoder, model = personal(**variant)
    network, tokenizer = reload(build_classifier(model, folder, "b"), tmp_path)
    assert tokenizer.pad_token_id == network.config.pad_token_id
    expected = model.rewards(encoder.encode(CHATS), "b")
    assert_equal(logits(network, tokenizer)[:, 0], expected)


def test_a_transformers_pipeline_returns_the_reward(personal, tmp_path):
    folder, encoder, model = personal()
    save_classifier(build_classifier(model, folder, "b"), tmp_path)
    scorer = pipeline("text-classification", model=str(tmp_path), device="cpu")
    text = scorer.tokenizer.apply_chat_template([dict(message) for message in CHATS[1]], tokenize=False)
    (found,) = scorer(text)
    assert found["label"] == "reward"
    assert found["score"] == pytest.approx(float(model.rewards(encoder.encode(CHATS[1:2]), "b")), rel=1e-4)


@pytest.mark.parametrize(("user", "labels"), [("b", 1), (None, 2)])
def test_the_configuration_makes_engines_return_raw_logits(personal, tmp_path, user, labels):
    """Without this `problem_type` vLLM would apply a sigmoid or softmax to the rewards."""
    folder, _, model = personal()
    save_classifier(build_classifier(model, folder, user), tmp_path)
    config = json.loads((tmp_path / "config.json").read_text("utf-8"))
    assert config["problem_type"] == "regression"
    assert config["architectures"] == ["LlamaForSequenceClassification"]
    assert len(config["id2label"]) == labels


@pytest.mark.xdist_group("trl")  # which takes seconds to import
@pytest.mark.filterwarnings("default")  # other libraries warn about each other's deprecations
def test_trl_computes_the_same_rewards_with_the_classifier(personal, tiny_models, tmp_path):
    """Compared with `RewardFunction` in the same run."""
    trl = pytest.importorskip("trl", reason="trl comes with the extra dev")
    from datasets import Dataset

    folder, encoder, model = personal()
    save_classifier(build_classifier(model, folder, "b"), tmp_path / "bs-reward")
    rows = [{"prompt": [{"role": "user", "content": text}], "user_id": "b"} for text in ("Tea?", "Rain?")]
    settings = {"max_completion_length": 6, "max_steps": 2, "logging_steps": 1, "num_generations": 2, "bf16": False}
    settings |= {"use_cpu": True, "report_to": [], "save_strategy": "no", "disable_tqdm": True, "seed": 0}
    trainer = trl.GRPOTrainer(
        model=str(tiny_models.folder(task="causal", padding_side="left")),
        reward_funcs=[str(tmp_path / "bs-reward"), RewardFunction(model, encoder)],
        train_dataset=Dataset.from_list(rows),
        args=trl.GRPOConfig(output_dir=str(tmp_path / "grpo"), per_device_train_batch_size=4, **settings),
    )
    trainer.train()
    steps = [entry for entry in trainer.state.log_history if "rewards/lorerm/mean" in entry]
    assert len(steps) == 2
    for entry in steps:
        spread = entry["rewards/lorerm/std"]
        assert spread > 0
        assert entry["rewards/bs-reward/mean"] == pytest.approx(entry["rewards/lorerm/mean"], abs=1e-4 * spread)
        assert entry["rewards/bs-reward/std"] == pytest.approx(spread, rel=1e-4)


ROPE_3 = {"rope_type": "llama3", "factor": 8.0, "original_max_position_embeddings": 32}
ROPE_3 |= {"low_freq_factor": 1.0, "high_freq_factor": 4.0}


@pytest.mark.parametrize("scaling", [None, ROPE_3], ids=["plain", "scaled"])
def test_settings_are_written_under_the_names_of_transformers_4_too(tiny_models, make_model, tmp_path, scaling):
    """With transformers 4.51.0 the logits of the six families were found equal; here version 5 reads the files."""
    base = tmp_path / "base"
    shutil.copytree(tiny_models.folder(), base)
    config = json.loads((base / "config.json").read_text("utf-8"))
    config["rope_parameters"] = {"rope_theta": 500000.0, **(scaling or {"rope_type": "default"})}
    (base / "config.json").write_text(json.dumps(config), "utf-8")
    settings = json.loads((base / "tokenizer_config.json").read_text("utf-8"))
    (base / "tokenizer_config.json").write_text(json.dumps(settings | {"extra_special_tokens": ["<|pad|>"]}), "utf-8")
    encoder = TransformersEncoder(str(base), device="cpu")
    model = make_model(basis=torch.randn(encoder.identity.dimension, 2), encoder=encoder.identity)
    network, tokenizer = reload(build_classifier(model, str(base), "b"), tmp_path / "out")
    config = json.loads((tmp_path / "out" / "config.json").read_text("utf-8"))
    assert config["rope_theta"] == 500000.0
    assert config.get("rope_scaling") == scaling
    settings = json.loads((tmp_path / "out" / "tokenizer_config.json").read_text("utf-8"))
    assert settings["tokenizer_class"] == "PreTrainedTokenizerFast"
    assert settings["additional_special_tokens"] == ["<|pad|>"]
    assert settings["model_input_names"] == ["input_ids", "attention_mask"]
    assert network.config.rope_parameters == {"rope_theta": 500000.0, **(scaling or {"rope_type": "default"})}
    assert_equal(logits(network, tokenizer)[:, 0], model.rewards(encoder.encode(CHATS), "b"))


def test_settings_without_a_name_in_transformers_4_prevent_it_from_loading(personal, tmp_path, monkeypatch):
    folder, _, model = personal()
    classifier = build_classifier(model, folder, "b")
    several = {"full_attention": {"rope_theta": 1e6, "rope_type": "default"}}
    monkeypatch.setattr(classifier.network.config, "rope_parameters", several)
    save_classifier(classifier, tmp_path)
    assert "rope_theta" not in json.loads((tmp_path / "config.json").read_text("utf-8"))
    settings = json.loads((tmp_path / "tokenizer_config.json").read_text("utf-8"))
    assert settings["tokenizer_class"] == "TokenizersBackend"


def test_the_configuration_contains_temperature_and_rank(personal):
    folder, _, model = personal()
    assert to_sequence_classifier(model, folder, "b").config.lorerm == {"temperature": 1 / 7, "rank": 3}


def test_half_precision_exports_are_close(personal):
    folder, encoder, model = personal()
    network, tokenizer = build_classifier(model, folder, "b", dtype="bfloat16")
    assert network.dtype == torch.bfloat16
    expected = model.rewards(encoder.encode(CHATS), "b")
    assert float((logits(network, tokenizer)[:, 0].float() - expected).abs().max()) < 0.1 * float(expected.abs().max())


@pytest.mark.parametrize(
    ("variant", "name"),
    [
        ({"family": "bert", "task": "base"}, "BertForSequenceClassification"),
        ({"family": "t5", "task": "seq2seq"}, "T5ForSequenceClassification"),
    ],
    ids=["bert", "t5"],
)
def test_architectures_that_cannot_express_the_reward_are_refused(make_model, tiny_models, variant, name):
    model = make_model(basis=torch.randn(32, 2), encoder=None)
    with refused(ModelError, name, "`score`"):
        to_sequence_classifier(model, str(tiny_models.folder(**variant)), "b")


@pytest.mark.parametrize(
    ("fault", "name"),
    [
        ("squashed", "LlamaForSequenceClassification"),
        ("pooled elsewhere", "LlamaForSequenceClassification"),
        ("two layers", "Sequential"),
    ],
)
def test_other_computations_between_state_and_logit_are_refused(personal, monkeypatch, fault, name):
    from transformers import LlamaForSequenceClassification as Network

    folder, _, model = personal()
    forward, begin = Network.forward, Network.__init__

    def squashed(self, *args, **kwargs):
        found = forward(self, *args, **kwargs)
        found.logits = 5 * torch.tanh(found.logits / 5)
        return found

    def pooled(self, input_ids, attention_mask):
        found = forward(self, input_ids, attention_mask=attention_mask)
        states = self.model(input_ids, attention_mask=attention_mask).last_hidden_state
        found.logits = self.score(states.mean(dim=1))
        return found

    def two(self, config):
        begin(self, config)
        self.score = torch.nn.Sequential(torch.nn.Linear(32, 32), torch.nn.Linear(32, 1))

    changes = {
        "squashed": ("forward", squashed),
        "pooled elsewhere": ("forward", pooled),
        "two layers": ("__init__", two),
    }
    monkeypatch.setattr(Network, *changes[fault])
    with refused(ModelError, name):
        to_sequence_classifier(model, folder, "b")


def test_another_base_model_or_template_is_refused(personal, tiny_models, make_model):
    folder, encoder, model = personal()
    other = str(tiny_models.folder(seed=5))
    with refused(ModelError, other, folder):
        to_sequence_classifier(model, other, "b")
    with refused(ModelError, folder, argument="chat_template"):
        to_sequence_classifier(model, folder, "b", chat_template=ENDS_WITH_TURN)
    moved = dataclasses.replace(model, encoder=dataclasses.replace(encoder.identity, model="elsewhere"))
    assert to_sequence_classifier(moved, folder, "b").config.num_labels == 1
    with refused(ModelError, "dimension 32", "dimension 4"):
        to_sequence_classifier(make_model(encoder=None), folder, "b")
    built_in = make_model(encoder=HashingEncoder().identity)
    with refused(ModelError, "'lorerm-hashing'"):
        to_sequence_classifier(built_in, folder, "b")

"""Embeddings equal what real architectures compute themselves, whatever else is in the batch."""

from __future__ import annotations

import json
import shutil
from importlib.util import find_spec

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file
from transformers import AutoModelForSequenceClassification, AutoTokenizer

from lorerm.embedding.batch_encoder import InexactError, encode_in_batches
from lorerm.embedding.transformers import forward
from lorerm.embedding.transformers.last_token import TransformersEncoder
from lorerm.errors import ConfigError, DataError, ModelError
from refusals import refused
from tiny_models import CHATML, ENDS_WITH_TURN, chat

CONVERSATIONS = [
    chat("How do I bake bread?", "Mix flour, water, salt and yeast; knead, wait, bake."),
    chat("Hi", "Hello!"),
    chat("How do I bake bread?", "No."),
    chat("Why does the dog sleep on? " * 5, "The quick brown fox jumps over the lazy dog."),
    chat("", ""),
    ({"role": "system", "content": "Be brief."}, *chat("How do I bake bread?", "")),
]


@pytest.fixture(scope="module")
def encoder(tiny_models):
    """A Llama reward model with a ChatML-like template."""
    return TransformersEncoder(str(tiny_models.folder()))


def own_outputs(folder, conversations):
    """What the model itself computes for each conversation: states after the final norm [L, D], and logits."""
    tokenizer = AutoTokenizer.from_pretrained(folder)
    network = AutoModelForSequenceClassification.from_pretrained(folder, dtype=torch.float32).eval()
    for conversation in conversations:
        inputs = tokenizer.apply_chat_template(list(conversation), return_dict=True, return_tensors="pt")
        with torch.inference_mode():
            output = network(**inputs, output_hidden_states=True)
        yield output.hidden_states[-1][0].numpy(), output.logits[0].numpy()


@pytest.mark.parametrize("family", ["llama", "qwen2", "qwen3", "mistral", "gemma", "gpt2"])
def test_embedding_times_reference_is_the_models_own_logit(tiny_models, family):
    folder = tiny_models.folder(family=family)
    encoder = TransformersEncoder(str(folder))
    rewards = encoder.encode(CONVERSATIONS) @ encoder.reference
    expected = [logits.item() for _, logits in own_outputs(folder, CONVERSATIONS)]
    assert np.ptp(expected) > 0.1
    np.testing.assert_allclose(rewards, expected, rtol=1e-5, atol=1e-5)


def test_a_token_without_a_row_in_the_embedding_matrix_is_refused(tiny_models, tmp_path):
    """A token was added to the tokenizer, and the network was not resized."""
    folder = tiny_models.build(tmp_path / "model")
    tokenizer = AutoTokenizer.from_pretrained(folder)
    n_rows = len(tokenizer)
    tokenizer.add_tokens(["SMILEY"])
    tokenizer.save_pretrained(folder)
    encoder = TransformersEncoder(str(folder))
    assert len(encoder.encode(CONVERSATIONS)) == len(CONVERSATIONS)
    names = (f"token id {n_rows}", "SMILEY", "conversations[1]", f"{n_rows} rows")
    with refused(ModelError, *names, argument="model"):
        encoder.encode([*CONVERSATIONS[:1], *CONVERSATIONS[:1], chat("Hi", "Hello SMILEY")][1:])


@pytest.mark.parametrize("template", [CHATML, ENDS_WITH_TURN], ids=["newline", "end-of-turn"])
@pytest.mark.parametrize("pad", ["<|pad|>", "<|im_end|>", None], ids=["own-pad", "pad-is-end", "no-pad"])
def test_embedding_is_the_state_of_the_last_token_whatever_it_is(tiny_models, template, pad):
    folder = tiny_models.folder(template=template, pad=pad)
    embeddings = TransformersEncoder(str(folder)).encode(CONVERSATIONS)
    for embedding, (states, _) in zip(embeddings, own_outputs(folder, CONVERSATIONS), strict=True):
        np.testing.assert_allclose(embedding, states[-1], atol=1e-5)
        # The comparison would notice another token, or the mean over all.
        assert np.linalg.norm(embedding - states[-2]) > 0.1 * np.linalg.norm(embedding)
        assert np.linalg.norm(embedding - states.mean(axis=0)) > 0.1 * np.linalg.norm(embedding)


def test_shape_and_dtype(encoder):
    embeddings = encoder.encode(CONVERSATIONS)
    assert embeddings.shape == (len(CONVERSATIONS), 32)
    assert embeddings.dtype == np.float32
    assert encoder.identity.dimension == 32


@pytest.mark.parametrize("batch_tokens", [1, 50, 100, 10_000])
def test_batch_equals_single(tiny_models, encoder, batch_tokens):
    batched = TransformersEncoder(str(tiny_models.folder()), batch_tokens=batch_tokens).encode(CONVERSATIONS)
    single = np.concatenate([encoder.encode([conversation]) for conversation in CONVERSATIONS])
    np.testing.assert_allclose(batched, single, atol=2e-5)


def test_order_is_kept(encoder):
    backwards = encoder.encode(CONVERSATIONS[::-1])[::-1]
    np.testing.assert_allclose(backwards, encoder.encode(CONVERSATIONS), atol=2e-5)


def test_padding_side_of_the_tokenizer_changes_nothing(tiny_models):
    left, right = (
        TransformersEncoder(str(tiny_models.folder(padding_side=side))).encode(CONVERSATIONS)
        for side in ("left", "right")
    )
    np.testing.assert_array_equal(left, right)


def test_equal_token_ids_run_once(encoder):
    """Also where the texts differ, as U+FFFD and a lone surrogate do."""
    tokens = []
    hook = encoder._forward.backbone.register_forward_pre_hook(
        lambda module, args, kwargs: tokens.append(kwargs["input_ids"].numel()), with_kwargs=True
    )
    repeated = [chat("Hi", "\ud800"), CONVERSATIONS[0], chat("Hi", "\ufffd"), CONVERSATIONS[0]]
    try:
        embeddings = encoder.encode(repeated)
    finally:
        hook.remove()
    rendered = encoder._chat.render(repeated).token_ids
    assert sum(tokens) == len({ids[:length] for ids in rendered for length in range(1, len(ids) + 1)})
    np.testing.assert_array_equal(embeddings[:2], embeddings[2:])
    assert not np.allclose(embeddings[0], embeddings[1])


def test_progress_counts_conversations(tiny_models):
    steps = []
    encoder = TransformersEncoder(str(tiny_models.folder()), batch_tokens=1)
    encoder.encode([*CONVERSATIONS, CONVERSATIONS[0]], progress=lambda done, total: steps.append((done, total)))
    assert [total for _, total in steps] == [7] * 6
    assert steps[-1] == (7, 7)
    assert sorted(steps) == steps


def test_no_conversations(encoder):
    assert encoder.encode([]).shape == (0, 32)


def test_prompt_beyond_the_models_positions_is_shortened_and_reported(tiny_models):
    encoder = TransformersEncoder(str(tiny_models.folder(positions=64)))
    assert encoder.identity.max_length == 64
    with pytest.warns(UserWarning, match=r"longer than 64 tokens, .*: 1 of 2\."):
        embedded = encoder.encode([chat("word " * 200, "Yes."), CONVERSATIONS[1]])
    assert np.isfinite(embedded).all()


def test_response_beyond_the_models_positions_is_refused(tiny_models):
    encoder = TransformersEncoder(str(tiny_models.folder()), max_length=64)
    with refused(DataError, "conversations[1]", "64"):
        encoder.encode([CONVERSATIONS[1], chat("Hi", "word " * 200)])


@pytest.mark.parametrize("attention", ["sdpa", "eager"])
@pytest.mark.parametrize("family", ["llama", "qwen2", "qwen3", "mistral", "gemma", "gpt2"])
def test_shared_prefixes_equal_one_at_a_time(tiny_models, family, attention):
    """Up to 1e-5 of the embedding's length; also for a dialogue that branches at several turns."""
    folder = str(tiny_models.folder(family=family))
    encoder = TransformersEncoder(folder, attn_implementation=attention)
    assert encoder.running["unshared_reason"] is None
    follow_up = ({"role": "user", "content": "And then?"}, {"role": "assistant", "content": "Bake."})
    conversations = [*CONVERSATIONS, CONVERSATIONS[0] + follow_up, CONVERSATIONS[2] + follow_up]
    plan = encoder.plan(conversations)
    assert sum(batch.n_tokens for batch in plan.batches) < sum(map(len, encoder._chat.render(conversations).token_ids))
    shared = encoder.encode(conversations)
    alone = TransformersEncoder(folder, attn_implementation=attention, batch_tokens=1).encode(conversations)
    distance = np.abs(shared - alone).max(axis=1) / np.linalg.norm(alone, axis=1)
    assert distance.max() <= 1e-5


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
@pytest.mark.parametrize("wrong", ["mask", "positions"])
def test_check_finds_a_wrong_mask_or_wrong_positions(tiny_models, wrong, dtype, monkeypatch):
    encoder = TransformersEncoder(str(tiny_models.folder()), dtype=dtype)
    _, summary = encode_in_batches(encoder, CONVERSATIONS, n_checked=6)
    assert summary.checked >= 3
    assert summary.deviation < (1e-5 if dtype == "float32" else 0.08)
    states = encoder._forward.states

    def wrong_states(ids, mask, **arguments):
        if mask.ndim == 4 and wrong == "mask":
            mask = torch.ones_like(mask).tril()
        return states(ids, mask, **({} if wrong == "positions" else arguments))

    monkeypatch.setattr(encoder._forward, "states", wrong_states)
    with refused(InexactError, "--batch-tokens 1", argument="batch_tokens"):
        encode_in_batches(encoder, CONVERSATIONS, n_checked=6)


@pytest.mark.parametrize(("n", "checked"), [(15, 0), (16, 1), (64, 3)])
def test_one_in_16_conversations_is_checked(tiny_models, n, checked, monkeypatch):
    """A ranking of a few responses, which would take twice as long, is not checked."""
    encoder, checked_alone = TransformersEncoder(str(tiny_models.folder())), []
    run = encoder._forward.run_alone
    monkeypatch.setattr(encoder._forward, "run_alone", lambda sequence: checked_alone.append(sequence) or run(sequence))
    encoder.encode([chat("How do I bake bread?", f"{number}.") for number in range(n)])
    assert len(checked_alone) == checked


def test_what_runs_alone_is_not_checked_against_itself(tiny_models):
    encoder = TransformersEncoder(str(tiny_models.folder()), batch_tokens=1)
    assert encode_in_batches(encoder, CONVERSATIONS, n_checked=5)[1].checked == 0


def test_running_records_device_attention_and_batches(encoder):
    assert json.loads(json.dumps(encoder.running)) == {
        "device": "cpu",
        "attention": "sdpa",
        "batch_tokens": 2048,
        "shares_prefixes": True,
        "unshared_reason": None,
    }


def test_bfloat16_embeddings_are_returned_as_float32(tiny_models, encoder):
    """Their direction is that of float32 embeddings, as exactly as eight bits allow."""
    narrow = TransformersEncoder(str(tiny_models.folder()), dtype="bfloat16")
    assert (encoder.identity.dtype, narrow.identity.dtype) == ("float32", "bfloat16")
    found, expected = narrow.encode(CONVERSATIONS), encoder.encode(CONVERSATIONS)
    assert found.dtype == narrow.reference.dtype == np.float32
    cosines = (found * expected).sum(1) / np.linalg.norm(found, axis=1) / np.linalg.norm(expected, axis=1)
    assert cosines.min() > 0.98


def test_bfloat16_batches_are_as_exact_as_one_by_one(tiny_models, encoder):
    """In the mean over conversations."""
    folder = str(tiny_models.folder())
    conversations = [
        chat(f"{post} How do I bake bread at home? " * 3, f"Mix flour {response}, {'water ' * response}and wait.")
        for post in range(30)
        for response in range(6)
    ]
    exact = encoder.encode(conversations)

    def cosine_distance(batch_tokens):
        found = TransformersEncoder(folder, dtype="bfloat16", batch_tokens=batch_tokens).encode(conversations)
        lengths = np.linalg.norm(found, axis=1) * np.linalg.norm(exact, axis=1)
        return (1 - (found * exact).sum(axis=1) / lengths).mean()

    assert 0 < cosine_distance(2048) <= 1.5 * cosine_distance(1)


def test_infinities_are_refused(tiny_models):
    encoder = TransformersEncoder(str(tiny_models.folder()))
    torch.nn.init.constant_(encoder._forward.backbone.norm.weight, float("inf"))
    with refused(DataError, encoder.identity.model, "conversations[0]", "float32", argument="dtype"):
        encoder.encode(CONVERSATIONS[:1])


def test_batch_that_does_not_fit_into_memory_is_halved(tiny_models, encoder, monkeypatch):
    """On a device whose memory holds one sequence at a time."""
    other, sizes = TransformersEncoder(str(tiny_models.folder())), []
    last_states = other._forward.last_states

    def small(batch):
        sizes.append(sum(len(row.members) for row in batch.rows))
        if sizes[-1] > 1:
            raise torch.OutOfMemoryError
        return last_states(batch)

    monkeypatch.setattr(other._forward, "last_states", small)
    np.testing.assert_allclose(other.encode(CONVERSATIONS), encoder.encode(CONVERSATIONS), atol=2e-5)
    assert sizes.count(1) == len(CONVERSATIONS) < len(sizes)


def test_single_conversation_that_does_not_fit_into_memory_is_named(encoder, monkeypatch):
    def fail(*_):
        raise torch.OutOfMemoryError

    monkeypatch.setattr(encoder._forward, "last_states", fail)
    with refused(ModelError, "conversations[", "cpu", encoder.identity.model):
        encoder.encode(CONVERSATIONS[:2])


def test_identity_contains_everything_that_decides_the_embeddings(tiny_models, encoder):
    identity = encoder.identity
    assert identity.model == str(tiny_models.folder())
    assert identity.pooling == "last-token"
    assert TransformersEncoder(str(tiny_models.folder())).identity == identity
    other_weights = TransformersEncoder(str(tiny_models.folder(seed=1))).identity
    assert other_weights.revision != identity.revision
    other_template = TransformersEncoder(str(tiny_models.folder()), chat_template=ENDS_WITH_TURN).identity
    assert other_template.template != identity.template


@pytest.mark.parametrize(
    ("variant", "named"),
    [({"task": "causal"}, "LlamaForCausalLM"), ({"task": "base"}, "LlamaModel"), ({"labels": 2}, "2 outputs")],
)
def test_model_without_one_reward_has_embeddings_but_no_reference(tiny_models, variant, named):
    encoder = TransformersEncoder(str(tiny_models.folder(**variant)))
    assert encoder.reference is None
    assert named in encoder.reference_reason
    assert np.ptp(encoder.encode(CONVERSATIONS)) > 0.1


def test_model_whose_head_has_a_bias_has_embeddings_but_no_reference(tiny_models, encoder, tmp_path):
    folder = shutil.copytree(tiny_models.folder(), tmp_path / "model")
    weights = load_file(folder / "model.safetensors")
    save_file({**weights, "score.bias": torch.ones(1)}, folder / "model.safetensors", {"format": "pt"})
    biased = TransformersEncoder(str(folder))
    assert biased.reference is None
    assert "score.bias" in biased.reference_reason
    np.testing.assert_array_equal(biased.encode(CONVERSATIONS), encoder.encode(CONVERSATIONS))


def test_attention_that_takes_no_tree_mask_runs_plain_batches(tiny_models, encoder, monkeypatch):
    """For instance FlashAttention 2, which takes no mask but the causal one."""
    monkeypatch.setattr(forward, "_BOOLEAN_MASK", "none")
    plain = TransformersEncoder(str(tiny_models.folder()))
    assert "attention 'sdpa' does not accept the mask of a prefix tree" in plain.running["unshared_reason"]
    assert not plain.running["shares_prefixes"]
    conversations = [*CONVERSATIONS, *(chat("How do I bake bread?", f"{number}.") for number in range(6))]
    batches = plain.plan(conversations).batches
    assert max(len(batch.rows) for batch in batches) > 1
    assert all(len(row.members) == 1 for batch in batches for row in batch.rows)
    np.testing.assert_allclose(plain.encode(conversations), encoder.encode(conversations), atol=2e-5)


@pytest.mark.skipif(find_spec("flash_attn") is not None, reason="it is installed")
def test_attention_that_is_not_installed_is_one_line(tiny_models):
    with refused(ModelError, str(tiny_models.folder()), "--attn"):
        TransformersEncoder(str(tiny_models.folder()), attn_implementation="flash_attention_2")


def test_reference_is_a_copy(encoder):
    encoder.reference[:] = 0
    assert encoder.reference.any()
    assert encoder.reference_reason is None


@pytest.mark.parametrize(
    ("variant", "named"),
    [
        ({"family": "bert"}, "not a decoder"),
        ({"family": "t5", "task": "seq2seq"}, "both an encoder and a decoder"),
        ({"template": None}, "--chat-template"),
    ],
)
def test_models_that_are_no_decoder_or_have_no_template_are_refused(tiny_models, variant, named):
    with refused(ModelError, str(tiny_models.folder(**variant)), named):
        TransformersEncoder(str(tiny_models.folder(**variant)))


def test_code_that_comes_with_a_model_is_not_executed(tiny_models, tmp_path):
    folder = shutil.copytree(tiny_models.folder(), tmp_path / "model")
    config = json.loads((folder / "config.json").read_text())
    config |= {"model_type": "own", "auto_map": {"AutoConfig": "code.Config", "AutoModel": "code.Model"}}
    (folder / "config.json").write_text(json.dumps(config))
    (folder / "code.py").write_text("raise SystemExit('it ran')")
    with refused(ModelError, str(folder), "trust_remote_code=True"):
        TransformersEncoder(str(folder))


def test_damaged_weights_are_one_line(tiny_models, tmp_path):
    folder = shutil.copytree(tiny_models.folder(), tmp_path / "model")
    (folder / "model.safetensors").write_bytes(b"no weights at all")
    with refused(ModelError, str(folder)):
        TransformersEncoder(str(folder))


@pytest.mark.parametrize(
    ("argument", "named"),
    [
        ({"dtype": "int8"}, "int8"),
        ({"batch_tokens": 0}, "batch_tokens is 0"),
        ({"device": "abacus"}, "abacus"),
        ({"max_length": 0}, "max_length is 0"),
        ({"max_length": 257}, "max_length is 257: give 1 to 256"),
    ],
)
def test_arguments_out_of_range(tiny_models, argument, named):
    with refused(ConfigError, named, argument=next(iter(argument))):
        TransformersEncoder(str(tiny_models.folder()), **argument)


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU")
def test_unavailable_gpu_is_refused(tiny_models):
    with refused(ConfigError, "cuda", argument="device"):
        TransformersEncoder(str(tiny_models.folder()), device="cuda")


def test_loading_and_encoding_are_silent(tiny_models, capfd):
    folder = str(tiny_models.folder(task="causal"))
    capfd.readouterr()  # writing the tiny model shows a progress bar, unless a test before this one has written it
    TransformersEncoder(folder).encode(CONVERSATIONS)
    assert capfd.readouterr() == ("", "")

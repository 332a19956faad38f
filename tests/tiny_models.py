"""Real architectures with real tokenizers, two layers and random weights, built here instead of downloaded."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass, field
from pathlib import Path

CHATML = (
    "{% for message in messages %}<|im_start|>{{ message['role'] }}\n{{ message['content'] }}<|im_end|>\n{% endfor %}"
)
"""Like ChatML: the last token of a chat is the newline after the end-of-turn token."""

ENDS_WITH_TURN = "{% for message in messages %}{{ message['role'] }}: {{ message['content'] }}<|im_end|>{% endfor %}"
"""Like Llama 3's: the last token of a chat is the end-of-turn token."""

_LINES = (
    "The quick brown fox jumps over the lazy dog, and the dog sleeps on.",
    "How do I bake bread at home? Mix flour, water, salt and yeast; knead, wait, bake.",
    "system user assistant: be brief, be kind, and answer the question.",
)


@dataclass(frozen=True)
class TinyModel:
    """The properties in which the variants differ."""

    family: str = "llama"
    task: str = "classifier"  # or "causal", "base", "seq2seq"
    labels: int = 1
    pad: str | None = "<|pad|>"
    template: str | None = CHATML
    tokenizer_adds_bos: bool = False
    positions: int = 256
    hidden: int = 32
    padding_side: str = "right"
    seed: int = 0


@dataclass(frozen=True)
class TinyModels:
    """Builds each variant once."""

    root: Path
    built: dict[TinyModel, Path] = field(default_factory=dict)

    def folder(self, **variant) -> Path:
        """The folder of a variant: read only, as all tests share it."""
        model = dataclasses.replace(TinyModel(), **variant)
        if model not in self.built:
            self.built[model] = self.build(self.root / f"model-{len(self.built)}", **variant)
        return self.built[model]

    def build(self, folder: Path, **variant) -> Path:
        """A variant in the given folder, which the test may change."""
        model = dataclasses.replace(TinyModel(), **variant)
        tokenizer = build_tokenizer(model)
        tokenizer.save_pretrained(folder)
        network = build_network(model, tokenizer)
        network.save_pretrained(folder)
        return folder


def chat(prompt: str, response: str):
    """A conversation of two turns."""
    return ({"role": "user", "content": prompt}, {"role": "assistant", "content": response})


def build_tokenizer(model: TinyModel):
    """A byte-level BPE tokenizer trained on three lines."""
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, processors, trainers
    from transformers import PreTrainedTokenizerFast

    special = ["<|bos|>", "<|im_start|>", "<|im_end|>", "<|pad|>"]
    bpe = Tokenizer(models.BPE())
    bpe.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    bpe.decoder = decoders.ByteLevel()
    bpe.train_from_iterator(
        _LINES,
        trainers.BpeTrainer(
            vocab_size=320,
            special_tokens=special,
            initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
            show_progress=False,
        ),
    )
    if model.tokenizer_adds_bos:
        bpe.post_processor = processors.TemplateProcessing(
            single="<|bos|> $A", special_tokens=[("<|bos|>", bpe.token_to_id("<|bos|>"))]
        )
    tokenizer = PreTrainedTokenizerFast(
        tokenizer_object=bpe,
        bos_token="<|bos|>",  # noqa: S106
        eos_token="<|im_end|>",  # noqa: S106
        pad_token=model.pad,
        padding_side=model.padding_side,
    )
    tokenizer.chat_template = model.template
    return tokenizer


def build_network(model: TinyModel, tokenizer):
    """A network with weights large enough that every token matters."""
    import torch
    import transformers

    config = build_config(model, tokenizer)
    auto = {
        "classifier": transformers.AutoModelForSequenceClassification,
        "causal": transformers.AutoModelForCausalLM,
        "base": transformers.AutoModel,
        "seq2seq": transformers.AutoModelForSeq2SeqLM,
    }[model.task]
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(model.seed)
        network = auto.from_config(config)
        with torch.no_grad():
            for name, parameter in network.named_parameters():
                scale = 0.3 if parameter.ndim > 1 else 0.1
                offset = 1.0 if "norm" in name.lower() else 0.0
                parameter.copy_(offset + scale * torch.randn(parameter.shape))
    return network.eval()


def build_config(model: TinyModel, tokenizer):
    """A configuration of the family, as small as it goes."""
    import transformers

    shared = {
        "vocab_size": len(tokenizer),
        "pad_token_id": tokenizer.pad_token_id,
        "bos_token_id": tokenizer.bos_token_id,
        "eos_token_id": tokenizer.eos_token_id,
        "num_labels": model.labels,
    }
    if model.family == "t5":
        return transformers.T5Config(
            **shared, d_model=model.hidden, d_ff=32, d_kv=8, num_layers=1, num_heads=2, decoder_start_token_id=0
        )
    shape = {"num_hidden_layers": 2, "num_attention_heads": 4, "intermediate_size": 48, "hidden_size": model.hidden}
    shape["max_position_embeddings"] = model.positions
    if model.family == "bert":
        return transformers.BertConfig(**shared, **shape)
    if model.family == "gpt2":
        return transformers.GPT2Config(**shared, n_embd=model.hidden, n_layer=2, n_head=4, n_positions=model.positions)
    shape["num_key_value_heads"] = 2
    if model.family == "gemma":
        shape["head_dim"] = model.hidden // 4
    classes = {
        "llama": transformers.LlamaConfig,
        "qwen2": transformers.Qwen2Config,
        "qwen3": transformers.Qwen3Config,
        "gemma": transformers.GemmaConfig,
        "mistral": transformers.MistralConfig,
    }
    return classes[model.family](**shared, **shape)

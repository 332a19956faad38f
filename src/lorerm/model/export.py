"""Export of one user's reward as a transformers sequence classifier, which runs without lorerm."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import torch

from lorerm.data.conversation import as_conversation
from lorerm.embedding.transformers.chat import ChatTokenizer
from lorerm.embedding.transformers.checkpoint import find_checkpoint, loading
from lorerm.errors import ModelError, RunError

if TYPE_CHECKING:
    from transformers import PreTrainedModel

    from lorerm.embedding.transformers.checkpoint import Checkpoint
    from lorerm.model.parameters import ModelParameters

_PAD = "<|pad|>"
# Two conversations of different lengths: the shorter one is padded.
_PROBES = (as_conversation("Which one?", "This."), as_conversation("Which of the two is better?", "The longer one."))
# Rounding errors of a reward that are accepted, relative to the product of the norms of embedding and head.
_ROUNDING = {torch.float32: 1e-4, torch.float64: 1e-4, torch.bfloat16: 3e-2, torch.float16: 4e-3}


class Classifier(NamedTuple):
    """A sequence classifier and its tokenizer."""

    network: PreTrainedModel
    tokenizer: Any


def to_sequence_classifier(
    model: ModelParameters,
    base: str,
    user_id: str | None = None,
    **options: Any,  # noqa: ANN401 - those of `build_classifier`
) -> PreTrainedModel:
    """Return a sequence classifier: the base model with one user's reward, or the whole basis, as its head.

    Parameters
    ----------
    model
        The personal reward model, trained on the base model's embeddings.
    base
        The base model, an id on the hub or a folder: a reward model or a causal language model.
    user_id
        The user whose reward is the only logit (`num_labels=1`). None gives the rewards of the K basis directions
        (`num_labels=K`); a user's reward is their product with the user's weights.
    **options
        Further arguments of `build_classifier`, which also returns the tokenizer.

    Returns
    -------
    transformers.PreTrainedModel
        A model of the class that `AutoModelForSequenceClassification` loads, in evaluation mode. Its logits in float32
        equal `model.rewards` up to rounding. They are not divided by the temperature, which is in `config.lorerm`.

    Raises
    ------
    UnknownUserError
        If the model does not know the user.
    ModelError
        If the base model is not that of the training, or its architecture cannot express the reward.
    """
    return build_classifier(model, base, user_id, **options).network


def build_classifier(
    model: ModelParameters,
    base: str,
    user_id: str | None = None,
    *,
    population: bool = False,
    revision: str | None = None,
    dtype: str = "float32",
    chat_template: str | None = None,
    trust_remote_code: bool = False,
) -> Classifier:
    """Return the classifier of `to_sequence_classifier` together with its tokenizer.

    Parameters
    ----------
    model, base, user_id
        As in `to_sequence_classifier`.
    population
        Whether the only logit is the population's reward where `user_id` is None or unknown.
    revision
        Branch, tag or commit of the base model on the hub; by default the commit that the model was trained on.
    dtype
        "float32", "bfloat16", "float16", or "auto" for the checkpoint's own.
    chat_template
        The chat template of the training; None is the tokenizer's own.
    trust_remote_code
        Whether to run Python code from the base model's repository.
    """
    from transformers import AutoTokenizer

    head = _head(model, user_id, population=population)
    made_by = model.encoder
    if made_by is not None and made_by.pooling != "last-token":
        raise ModelError(
            f"the model was trained on embeddings of {made_by.model!r}, which cannot be exported as a network",
            "train on embeddings of a reward model or language model",
        )
    if revision is None and made_by is not None and made_by.model == base and not Path(base).exists():
        revision = made_by.revision
    checkpoint = find_checkpoint(base, revision)
    options: dict[str, Any] = {"trust_remote_code": trust_remote_code}
    if checkpoint.commit is not None:
        options["revision"] = checkpoint.commit
    with loading(base):
        tokenizer = AutoTokenizer.from_pretrained(checkpoint.source, **options)
    chat = ChatTokenizer(tokenizer, chat_template, base)
    _check_base(model, base, checkpoint, chat)
    with loading(base):
        network = _load(base, checkpoint, len(head), dtype, options)
    _set_head(network, head, base)
    _set_tokenizer(tokenizer, chat, network, None if made_by is None else made_by.max_length)
    network.config.lorerm = {"temperature": model.temperature, "rank": model.requested_rank}
    # Otherwise pipelines and vLLM would apply a sigmoid or softmax to the reward.
    network.config.problem_type = "regression"
    labels = ["reward"] if len(head) == 1 else [f"basis reward {k}" for k in range(len(head))]
    network.config.id2label, network.config.label2id = dict(enumerate(labels)), {one: k for k, one in enumerate(labels)}
    _check_logits(network, tokenizer, head, base)
    return Classifier(network, tokenizer)


def save_classifier(classifier: Classifier, folder: str | Path) -> None:
    """Write a folder that `AutoModelForSequenceClassification` and `AutoTokenizer` read.

    Version 4 of transformers, which many tools still require, reads it too where it has the architecture.
    """
    try:
        classifier.network.save_pretrained(folder)
        classifier.tokenizer.save_pretrained(folder)
        _write_for_version_4(Path(folder), classifier.tokenizer.model_input_names)
    except OSError as error:
        raise RunError(f"the folder could not be written ({error})", "choose another one", file=folder) from error


def _write_for_version_4(folder: Path, inputs: list[str]) -> None:
    """Add the settings under their names in transformers 4, which version 5 reads as well.

    Version 4 ignores `rope_parameters` and would silently use default rotary embeddings. Models with different rotary
    parameters per type of layer cannot be expressed in version 4: their files stay in the form of version 5, whose
    tokenizer version 4 refuses to load.
    """
    config = json.loads((folder / "config.json").read_text(encoding="utf-8"))
    rope = config.get("rope_parameters") or {}
    if rope and "rope_theta" not in rope:
        return
    outside = {name: rope[name] for name in ("rope_theta", "partial_rotary_factor") if name in rope}
    if rope.get("rope_type", "default") != "default":
        config["rope_scaling"] = {name: value for name, value in rope.items() if name not in outside}
    _write_json(folder / "config.json", config | outside)
    path = folder / "tokenizer_config.json"
    settings = json.loads(path.read_text(encoding="utf-8"))
    settings["model_input_names"] = inputs  # version 4 has other defaults
    if settings.get("tokenizer_class") == "TokenizersBackend":
        settings["tokenizer_class"] = "PreTrainedTokenizerFast"
    if isinstance(settings.get("extra_special_tokens"), list):
        settings["additional_special_tokens"] = settings.pop("extra_special_tokens")
    _write_json(path, settings)


def _write_json(path: Path, content: dict[str, Any]) -> None:
    path.write_text(json.dumps(content, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")


def _head(model: ModelParameters, user_id: str | None, *, population: bool) -> torch.Tensor:
    """Return the rows of the head: float64 [1, D] for a user or the population, [K, D] for the basis."""
    basis = model.basis.double()
    if user_id is None and not population:
        return basis.t()
    return (basis @ model.user_weights(user_id, population=population).double())[None]


def _check_base(model: ModelParameters, base: str, checkpoint: Checkpoint, chat: ChatTokenizer) -> None:
    """Refuse a base model or chat template other than those that made the training's embeddings."""
    made_by = model.encoder
    if made_by is None:
        return
    if made_by.revision is not None and checkpoint.revision != made_by.revision:
        raise ModelError(
            f"{base} (version {checkpoint.revision}) is not the base model that this model was trained on, "
            f"{made_by.model} (version {made_by.revision})",
            "give that model and its revision",
        )
    if chat.template_hash != made_by.template:
        raise ModelError(
            f"the chat template of {base} is not that of the training",
            "give the training's template as chat_template",
            argument="chat_template",
        )


def _load(base: str, checkpoint: Checkpoint, n_labels: int, dtype: str, options: dict[str, Any]) -> PreTrainedModel:
    from transformers import AutoConfig, AutoModelForSequenceClassification

    config = AutoConfig.from_pretrained(checkpoint.source, **options)
    own_code = options["trust_remote_code"] and "AutoModelForSequenceClassification" in getattr(config, "auto_map", {})
    if not own_code and type(config) not in AutoModelForSequenceClassification._model_mapping:  # noqa: SLF001
        raise ModelError(
            f"transformers has no sequence classifier of the architecture of {base} ({config.model_type})",
            "use the model through lorerm",
        )
    network, report = AutoModelForSequenceClassification.from_pretrained(
        checkpoint.source,
        dtype=dtype,
        num_labels=n_labels,
        use_safetensors=True,
        ignore_mismatched_sizes=True,
        output_loading_info=True,
        **options,
    )
    missing = sorted(name for name in report["missing_keys"] if not name.startswith(("score.", "classifier")))
    if missing and hasattr(network, "score"):
        raise ModelError(f"the weights of {base} lack {missing[0]}", "check that config.json and weights go together")
    return network.eval()


def _set_head(network: PreTrainedModel, head: torch.Tensor, base: str) -> None:
    name, score = type(network).__name__, getattr(network, "score", None)
    if not isinstance(score, torch.nn.Linear):
        what = "no head `score`" if score is None else f"a head of several layers ({type(score).__name__})"
        raise ModelError(
            f"{base} is a {name}, which has {what} and cannot express a reward that is linear in the last state",
            "use the model through lorerm",
        )
    if score.weight.shape != head.shape:
        raise ModelError(
            f"the head of {base} takes states of dimension {score.weight.shape[1]}, the basis has {head.shape[1]}",
            "give the base model that made the embeddings",
        )
    with torch.no_grad():
        score.weight.copy_(head)
        if score.bias is not None:
            score.bias.zero_()


def _set_tokenizer(tokenizer: Any, chat: ChatTokenizer, network: PreTrainedModel, max_length: int | None) -> None:  # noqa: ANN401 - untyped library
    """Set the encoder's chat template, and a pad token that differs from the last token of a conversation.

    Classifiers use the state of the last token that is not the pad token. If the pad token also ended turns, they would
    use an earlier token.
    """
    tokenizer.chat_template = chat.pinned_template
    tokenizer.padding_side, tokenizer.truncation_side = "right", "left"
    if max_length is not None:
        tokenizer.model_max_length = max_length
    ends = {ids[-1] for ids in chat.render(list(_PROBES)).token_ids}
    if tokenizer.pad_token_id is None or tokenizer.pad_token_id in ends:
        names = {token.content: i for i, token in tokenizer.added_tokens_decoder.items() if token.special}
        free = [name for name, i in names.items() if i not in ends and name not in chat.template]
        spare = next((name for name in free if "pad" in name.lower() or "reserved" in name.lower()), None)
        tokenizer.pad_token = spare or _PAD  # a new token where the vocabulary has no spare one
        if len(tokenizer) > network.get_input_embeddings().num_embeddings:
            network.resize_token_embeddings(len(tokenizer), mean_resizing=False)
    network.config.get_text_config().pad_token_id = tokenizer.pad_token_id
    network.config.pad_token_id = tokenizer.pad_token_id


def _check_logits(network: PreTrainedModel, tokenizer: Any, head: torch.Tensor, base: str) -> None:  # noqa: ANN401 - untyped library
    """Refuse architectures whose logits are not the product of the head and the last token's state."""
    chats = [[dict(message) for message in probe] for probe in _PROBES]
    rows = tokenizer.apply_chat_template(chats, padding=True, return_tensors="pt", return_dict=True)
    inputs = {name: rows[name].to(network.device) for name in ("input_ids", "attention_mask")}
    last = inputs["attention_mask"].sum(dim=1) - 1
    with torch.inference_mode():
        states = network.base_model(**inputs).last_hidden_state[torch.arange(len(last)), last].double()
        expected = states @ head.to(states).t()
        # Scaled to large rewards: a saturating function would leave small ones nearly unchanged.
        scale = 100 / float(expected.abs().max().clamp_min(1e-30))
        network.score.weight.copy_(scale * head)
        logits = network(**inputs).logits.double() / scale
        network.score.weight.copy_(head)
    allowed = _ROUNDING[network.dtype] * states.norm(dim=1, keepdim=True) * head.to(states).norm(dim=1)
    if logits.shape != expected.shape or bool(((logits - expected).abs() > allowed).any()):
        raise ModelError(
            f"{base} is a {type(network).__name__}, whose logits are not its head times the last token's state",
            "use the model through lorerm",
        )

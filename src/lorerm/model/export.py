"""Export of a user's reward, or of the whole basis, as a transformers sequence classifier that runs without lorerm."""

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
# Conversations for the check of a classifier. Their lengths differ, so that one of them is padded.
_PROBES = (as_conversation("Which one?", "This."), as_conversation("Which of the two is better?", "The longer one."))
# Accepted rounding error of a reward by dtype, relative to the product of the norms of embedding and head.
_ROUNDING = {torch.float32: 1e-4, torch.float64: 1e-4, torch.bfloat16: 3e-2, torch.float16: 4e-3}


class Classifier(NamedTuple):
    """A sequence classifier and its tokenizer."""

    network: PreTrainedModel
    tokenizer: Any


def to_sequence_classifier(
    model: ModelParameters,
    base: str,
    user_id: str | None = None,
    **options: Any,  # noqa: ANN401 - arguments of `build_classifier`
) -> PreTrainedModel:
    """Return a sequence classifier: the base model with one user's reward, or the whole basis, as its head.

    Parameters
    ----------
    model
        The personal reward model, trained on the base model's embeddings.
    base
        Id on the hub, or folder, of the base model: a reward model or a causal language model.
    user_id
        The user whose reward is the only logit (`num_labels=1`). If None, the logits are the rewards of the K basis
        directions (`num_labels=K`); their scalar product with a user's weights is the user's reward.
    **options
        Further arguments of `build_classifier`, which also returns the tokenizer.

    Returns
    -------
    transformers.PreTrainedModel
        The classifier, in evaluation mode; once saved, `AutoModelForSequenceClassification` can load it. In float32
        its logits equal `model.rewards` up to rounding. They are not divided by the temperature, which is stored in
        `config.lorerm`.

    Raises
    ------
    UnknownUserError
        If the model does not know the user.
    ModelError
        If the model was trained on another base model, or the base model's architecture cannot express the reward.
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
        If True and `user_id` is None or unknown, the only logit is the reward for a user without comparisons.
    revision
        Branch, tag or commit of the base model on the hub; by default the commit that the model was trained on.
    dtype
        "float32", "bfloat16", "float16", or "auto" for the dtype of the checkpoint.
    chat_template
        The chat template that the model was trained with; None is the tokenizer's own template.
    trust_remote_code
        Whether to run Python code from the base model's repository.
    """
    from transformers import AutoTokenizer

    head = _head(model, user_id, population=population)
    made_by = model.encoder
    if made_by is not None and made_by.pooling != "last-token":
        raise ModelError(
            f"the model was trained with the encoder {made_by.model!r}, which is not a language model",
            "to export a model, train it on embeddings of a reward model or language model",
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
    """Write a folder that `AutoModelForSequenceClassification` and `AutoTokenizer` can load.

    Version 4 of transformers, which many tools still require, can load it too if it supports the architecture and its
    rotary embeddings.
    """
    try:
        classifier.network.save_pretrained(folder)
        classifier.tokenizer.save_pretrained(folder)
        _write_for_version_4(Path(folder), classifier.tokenizer.model_input_names)
    except OSError as error:
        raise RunError(f"the folder could not be written ({error})", "choose another folder", file=folder) from error


def _write_for_version_4(folder: Path, inputs: list[str]) -> None:
    """Add settings to the files under their names in transformers 4, which version 5 also reads.

    Version 4 ignores `rope_parameters` and would silently use default rotary embeddings. It cannot express different
    rotary parameters for different types of layers: the files of such a model stay in the form of version 5, and
    version 4 refuses to load their tokenizer.
    """
    config = json.loads((folder / "config.json").read_text(encoding="utf-8"))
    rope = config.get("rope_parameters") or {}
    if rope and "rope_theta" not in rope:  # parameters for each type of layer
        return
    outside = {name: rope[name] for name in ("rope_theta", "partial_rotary_factor") if name in rope}
    if rope.get("rope_type", "default") != "default":
        config["rope_scaling"] = {name: value for name, value in rope.items() if name not in outside}
    _write_json(folder / "config.json", config | outside)
    path = folder / "tokenizer_config.json"
    settings = json.loads(path.read_text(encoding="utf-8"))
    settings["model_input_names"] = inputs  # the defaults of version 4 differ
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
    """Raise `ModelError` if the base model or the chat template is not the one that the model was trained with."""
    made_by = model.encoder
    if made_by is None:
        return
    if made_by.revision is not None and checkpoint.revision != made_by.revision:
        raise ModelError(
            f"{base} (version {checkpoint.revision}) is not the base model that this model was trained on, "
            f"{made_by.model} (version {made_by.revision})",
            "give the id and the revision of that base model",
        )
    if chat.template_hash != made_by.template:
        raise ModelError(
            f"the chat template of {base} is not the one that the model was trained with",
            "give the template that the model was trained with as chat_template",
            argument="chat_template",
        )


def _load(base: str, checkpoint: Checkpoint, n_labels: int, dtype: str, options: dict[str, Any]) -> PreTrainedModel:
    from transformers import AutoConfig, AutoModelForSequenceClassification

    config = AutoConfig.from_pretrained(checkpoint.source, **options)
    own_code = options["trust_remote_code"] and "AutoModelForSequenceClassification" in getattr(config, "auto_map", {})
    if not own_code and type(config) not in AutoModelForSequenceClassification._model_mapping:  # noqa: SLF001
        raise ModelError(
            f"transformers has no sequence classifier for {base} (architecture {config.model_type})",
            "compute the rewards with lorerm instead",
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
        raise ModelError(
            f"the weights of {base} lack {missing[0]}", "check that config.json and the weight files match"
        )
    return network.eval()


def _set_head(network: PreTrainedModel, head: torch.Tensor, base: str) -> None:
    name, score = type(network).__name__, getattr(network, "score", None)
    if not isinstance(score, torch.nn.Linear):
        what = "no head `score`" if score is None else f"a head of several layers ({type(score).__name__})"
        raise ModelError(
            f"{base} is a {name}, which has {what} and cannot express a reward that is linear in the last state",
            "compute the rewards with lorerm instead",
        )
    if score.weight.shape != head.shape:
        raise ModelError(
            f"the head of {base} has input dimension {score.weight.shape[1]}, the basis has dimension {head.shape[1]}",
            "give the base model that the model was trained on",
        )
    with torch.no_grad():
        score.weight.copy_(head)
        if score.bias is not None:
            score.bias.zero_()


def _set_tokenizer(tokenizer: Any, chat: ChatTokenizer, network: PreTrainedModel, max_length: int | None) -> None:  # noqa: ANN401 - untyped library
    """Set the encoder's chat template, and a pad token that differs from the last token of a conversation.

    A classifier uses the state of the last token that is not the pad token. If the pad token also ended conversations,
    it would use an earlier token.
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
        tokenizer.pad_token = spare or _PAD  # a new token if the vocabulary has no spare one
        if len(tokenizer) > network.get_input_embeddings().num_embeddings:
            network.resize_token_embeddings(len(tokenizer), mean_resizing=False)
    network.config.get_text_config().pad_token_id = tokenizer.pad_token_id
    network.config.pad_token_id = tokenizer.pad_token_id


def _check_logits(network: PreTrainedModel, tokenizer: Any, head: torch.Tensor, base: str) -> None:  # noqa: ANN401 - untyped library
    """Raise `ModelError` if the logits are not the product of the head and the last token's state."""
    chats = [[dict(message) for message in probe] for probe in _PROBES]
    rows = tokenizer.apply_chat_template(chats, padding=True, return_tensors="pt", return_dict=True)
    inputs = {name: rows[name].to(network.device) for name in ("input_ids", "attention_mask")}
    last = inputs["attention_mask"].sum(dim=1) - 1
    with torch.inference_mode():
        states = network.base_model(**inputs).last_hidden_state[torch.arange(len(last)), last].double()
        expected = states @ head.to(states).t()
        # The head is scaled up to large rewards: a saturating function, such as tanh, hardly changes small ones.
        scale = 100 / float(expected.abs().max().clamp_min(1e-30))
        network.score.weight.copy_(scale * head)
        logits = network(**inputs).logits.double() / scale
        network.score.weight.copy_(head)
    allowed = _ROUNDING[network.dtype] * states.norm(dim=1, keepdim=True) * head.to(states).norm(dim=1)
    if logits.shape != expected.shape or bool(((logits - expected).abs() > allowed).any()):
        raise ModelError(
            f"{base} is a {type(network).__name__}, whose logits are not linear in the last token's state",
            "compute the rewards with lorerm instead",
        )

"""One person's reward as an ordinary sequence classifier, which runs wherever such models do, without lorerm."""

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
    from lorerm.model.reward_model import LowRankRewardModel

_PAD = "<|pad|>"
# Two conversations of different lengths: the shorter one is padded.
_PROBES = (as_conversation("Which one?", "This."), as_conversation("Which of the two is better?", "The longer one."))
# How far a reward may be off, relative to the product of the lengths of embedding and head, by rounding alone.
_ROUNDING = {torch.float32: 1e-4, torch.float64: 1e-4, torch.bfloat16: 3e-2, torch.float16: 4e-3}


class Classifier(NamedTuple):
    """A network with the tokenizer that it needs."""

    network: PreTrainedModel
    tokenizer: Any


def to_sequence_classifier(
    model: LowRankRewardModel,
    base: str,
    user_id: str | None = None,
    **options: Any,  # noqa: ANN401 - those of `build_classifier`
) -> PreTrainedModel:
    """Return a base model with one user's reward, or all directions of the basis, as the head of a classifier.

    Parameters
    ----------
    model
        The personal reward model, trained on the base model's embeddings.
    base
        The base model, an id on the hub or a folder: a reward model or a causal language model.
    user_id
        Whose reward is the one logit (`num_labels=1`); None gives the K rewards of the basis (`num_labels=K`), of which
        a user's reward is the product with their weights.
    **options
        As `build_classifier`, which also returns the tokenizer.

    Returns
    -------
    transformers.PreTrainedModel
        What `AutoModelForSequenceClassification` would load, in evaluation mode. In float32 its logits are
        `model.rewards`, up to rounding; the temperature is not divided out, and stands in its configuration.

    Raises
    ------
    UnknownUserError
        If the model does not know the user.
    ModelError
        If the base model is another one, or its architecture cannot express the reward.
    """
    return build_classifier(model, base, user_id, **options).network


def build_classifier(
    model: LowRankRewardModel,
    base: str,
    user_id: str | None = None,
    *,
    population: bool = False,
    revision: str | None = None,
    dtype: str = "float32",
    chat_template: str | None = None,
    trust_remote_code: bool = False,
) -> Classifier:
    """Return the classifier with its tokenizer; see `to_sequence_classifier`.

    Parameters
    ----------
    model, base, user_id
        As there.
    population
        Whether the one logit is the population's reward, for somebody of whom nothing is known.
    revision
        Branch, tag or commit of the base model on the hub; by default the commit that the model was trained on.
    dtype
        "float32", "bfloat16", "float16", or "auto" for the checkpoint's own.
    chat_template
        The template of the training, where it was not the tokenizer's own.
    trust_remote_code
        Whether to run Python code that comes with the base model.
    """
    from transformers import AutoTokenizer

    head = _head(model, user_id, population=population)
    made_by = model.encoder
    if made_by is not None and made_by.pooling != "last-token":
        raise ModelError(
            f"the model was trained on embeddings of {made_by.model!r}, which is no network with a head",
            "train on embeddings of a reward model or language model to export it",
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
        network = _load(base, checkpoint, len(head), {**options, "dtype": dtype})
    _set_head(network, head, base)
    _set_tokenizer(tokenizer, chat, network, None if made_by is None else made_by.max_length)
    network.config.lorerm = {"temperature": model.temperature, "rank": model.requested_rank}
    # Otherwise pipelines and vLLM would squash the reward.
    network.config.problem_type = "regression"
    labels = ["reward"] if len(head) == 1 else [f"basis reward {k}" for k in range(len(head))]
    network.config.id2label, network.config.label2id = dict(enumerate(labels)), {one: k for k, one in enumerate(labels)}
    _check_logits(network, tokenizer, head, base)
    return Classifier(network, tokenizer)


def save_classifier(classifier: Classifier, folder: str | Path) -> None:
    """Write a classifier's folder, which `AutoModelForSequenceClassification` and `AutoTokenizer` read.

    Those of transformers 4 do, too, where it has the architecture: much that takes reward models is held to it.

    Raises
    ------
    RunError
        If the folder cannot be written.
    """
    try:
        classifier.network.save_pretrained(folder)
        classifier.tokenizer.save_pretrained(folder)
        _write_for_version_4(Path(folder), classifier.tokenizer.model_input_names)
    except OSError as error:
        raise RunError(f"{folder} could not be written ({error})", "choose another place") from error


def _write_for_version_4(folder: Path, inputs: list[str]) -> None:
    """Add the names that transformers 4 knows settings by, which version 5 reads as well.

    Version 4 passes over `rope_parameters` and would rotate by its defaults without a word. Where these are several,
    one per kind of layer, it has no place for them: then it is left unable to load the tokenizer, as version 5 has it.
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
    settings["model_input_names"] = inputs  # which default otherwise in version 4
    if settings.get("tokenizer_class") == "TokenizersBackend":
        settings["tokenizer_class"] = "PreTrainedTokenizerFast"
    if isinstance(settings.get("extra_special_tokens"), list):
        settings["additional_special_tokens"] = settings.pop("extra_special_tokens")
    _write_json(path, settings)


def _write_json(path: Path, content: dict[str, Any]) -> None:
    path.write_text(json.dumps(content, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")


def _head(model: LowRankRewardModel, user_id: str | None, *, population: bool) -> torch.Tensor:
    """Return the rows of the head: float64 [1, D] for a user or the population, [K, D] for the basis."""
    basis = model.basis.double()
    if user_id is None and not population:
        return basis.t()
    return (basis @ model.user_weights(user_id, population=population).double())[None]


def _check_base(model: LowRankRewardModel, base: str, checkpoint: Checkpoint, chat: ChatTokenizer) -> None:
    """Refuse another base model, or another chat template, than the embeddings' own."""
    made_by = model.encoder
    if made_by is None:
        return
    if made_by.revision is not None and checkpoint.revision != made_by.revision:
        raise ModelError(
            f"{base} (version {checkpoint.revision}) is not the base model that this model was trained on, "
            f"{made_by.model} (version {made_by.revision})",
            "name that model, with its revision",
        )
    if chat.template_hash != made_by.template:
        raise ModelError(
            f"the chat template of {base} is not the one that this model was trained with",
            "give that one as chat_template",
        )


def _load(base: str, checkpoint: Checkpoint, n_labels: int, options: dict[str, Any]) -> PreTrainedModel:
    from transformers import AutoConfig, AutoModelForSequenceClassification

    config = AutoConfig.from_pretrained(checkpoint.source, **{k: v for k, v in options.items() if k != "dtype"})
    own_code = options["trust_remote_code"] and "AutoModelForSequenceClassification" in getattr(config, "auto_map", {})
    if not own_code and type(config) not in AutoModelForSequenceClassification._model_mapping:  # noqa: SLF001
        raise ModelError(
            f"transformers has no sequence classifier of the architecture of {base} ({config.model_type})",
            "use the model through lorerm",
        )
    network, report = AutoModelForSequenceClassification.from_pretrained(
        checkpoint.source,
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
            f"{base} is a {name}, which has {what}, and so no place for a reward linear in the last state",
            "use the model through lorerm",
        )
    if score.weight.shape != head.shape:
        raise ModelError(
            f"the head of {base} takes states of dimension {score.weight.shape[1]}, the basis has {head.shape[1]}",
            "name the base model that the embeddings are of",
        )
    with torch.no_grad():
        score.weight.copy_(head)
        if score.bias is not None:
            score.bias.zero_()


def _set_tokenizer(tokenizer: Any, chat: ChatTokenizer, network: PreTrainedModel, max_length: int | None) -> None:  # noqa: ANN401 - untyped library
    """Make the tokenizer render as the encoder did, and pad with a token that ends no conversation.

    Classifiers take the state of the last token that is not padding: a pad token that is also the end of a turn would
    make them take an earlier one.
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
        tokenizer.pad_token = spare or _PAD  # a new token where no spare one is to be had
        if len(tokenizer) > network.get_input_embeddings().num_embeddings:
            network.resize_token_embeddings(len(tokenizer), mean_resizing=False)
    network.config.get_text_config().pad_token_id = tokenizer.pad_token_id
    network.config.pad_token_id = tokenizer.pad_token_id


def _check_logits(network: PreTrainedModel, tokenizer: Any, head: torch.Tensor, base: str) -> None:  # noqa: ANN401 - untyped library
    """Refuse architectures whose logits are not the head times the last token's state, whatever lies between them."""
    chats = [[dict(message) for message in probe] for probe in _PROBES]
    rows = tokenizer.apply_chat_template(chats, padding=True, return_tensors="pt", return_dict=True)
    inputs = {name: rows[name].to(network.device) for name in ("input_ids", "attention_mask")}
    last = inputs["attention_mask"].sum(dim=1) - 1
    with torch.inference_mode():
        states = network.base_model(**inputs).last_hidden_state[torch.arange(len(last)), last].double()
        expected = states @ head.to(states).t()
        # Large rewards, for what squashes them leaves small ones as they are.
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

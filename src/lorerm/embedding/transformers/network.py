"""Load a model's weights, and read its reference head: the linear layer with which a reward model scores responses."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from lorerm.arrays import Floats32
from lorerm.embedding.transformers.checkpoint import Checkpoint
from lorerm.errors import ConfigError, ModelError

if TYPE_CHECKING:
    import torch
    from transformers import PreTrainedModel


def choose_device(device: str | torch.device | None) -> torch.device:
    """Return `device` as a torch device; by default the GPU if there is one, otherwise the CPU."""
    import torch

    if device is None:
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        chosen = torch.device(device)
    except RuntimeError as error:
        raise ConfigError(
            f"device {device!r} is unknown", "give a torch device, such as cpu, cuda or cuda:1", argument="device"
        ) from error
    if chosen.type == "cuda" and not torch.cuda.is_available():
        raise ConfigError(
            f"device {device!r} is not available, because torch finds no GPU",
            "set device=cpu (--device cpu), or leave the device out",
            argument="device",
        )
    return chosen


@dataclass(frozen=True)
class Network:
    """A model in memory, in evaluation mode."""

    module: Any
    """The complete model, with its head if it has one."""
    backbone: Any
    """The part of the model that ends in the last hidden state."""
    headless_reason: str | None
    """Why there is no reference head; None if there may be one."""


def load_network(model: str, checkpoint: Checkpoint, options: dict[str, Any]) -> Network:
    """Load a model's weights: as a sequence classifier if it is one, otherwise without any head.

    `model` is the name in error messages; `options` are further arguments for ``from_pretrained``.

    Raises `ModelError` if the model has both an encoder and a decoder, or if weights of its backbone are missing:
    transformers would draw missing weights at random.
    """
    from transformers import AutoConfig, AutoModel, AutoModelForSequenceClassification

    config = AutoConfig.from_pretrained(checkpoint.source, **options)
    if config.is_encoder_decoder:
        raise ModelError(
            f"{model} has both an encoder and a decoder", "choose a reward model or language model that is a decoder"
        )
    architecture = (config.architectures or ["a model without a named architecture"])[0]
    classifier = architecture.endswith("ForSequenceClassification")
    module, report = (AutoModelForSequenceClassification if classifier else AutoModel).from_pretrained(
        checkpoint.source, use_safetensors=True, output_loading_info=True, **options
    )
    backbone = module.base_model if classifier else module
    owned = {name for name, _ in backbone.named_parameters()}
    prefix = f"{module.base_model_prefix}." if classifier else ""
    if missing := sorted(name for name in report["missing_keys"] if name.removeprefix(prefix) in owned):
        raise ModelError(
            f"the weights of {model} lack {missing[0]}" + (f" and {len(missing) - 1} more" if len(missing) > 1 else ""),
            "check that config.json and the weights belong together",
        )
    reason = None
    if not classifier:
        reason = f"{architecture} is not a sequence classifier with a head `score`"
    elif "score.weight" in report["missing_keys"]:
        reason = f"the weights of {model} contain no `score`"
    elif extra := sorted(name for name in report["unexpected_keys"] if name.startswith("score.")):
        reason = f"the head of {model} has a part that {architecture} does not read ({extra[0]})"
    return Network(module.eval(), backbone, reason)


def read_reference(
    network: Network, token_ids: torch.Tensor, state: torch.Tensor
) -> tuple[Floats32 | None, str | None]:
    """Return a reward model's head as float32 [D], or None and the reason as a clause without a full stop.

    A head is returned only if the model's own reward is the product of head and embedding. This is tested on one
    sequence: `token_ids`, int [1, L] on the model's device, and its last hidden state `state` [D]. The last token must
    not be the pad token.
    """
    if network.headless_reason is not None:
        return None, network.headless_reason
    head, reason = read_reference_head(network.module)
    if head is not None and not rewards_follow_head(network.module, head, token_ids, state):
        return None, f"the reward of {type(network.module).__name__} is not its head times the last token's state"
    return head, reason


def read_reference_head(model: PreTrainedModel) -> tuple[Floats32 | None, str | None]:
    """Return ``score.weight[0]`` as float32 [D] if the head is a linear layer ``score`` with one output and no bias.

    Otherwise return None and the reason. A bias is excluded although it cancels in differences of rewards, because it
    changes the rewards themselves.
    """
    import torch

    name = type(model).__name__
    head = getattr(model, "score", None)
    if head is None:
        other = next((other for other in ("classifier", "v_head", "reward_head") if hasattr(model, other)), None)
        return None, f"{name} has no head `score`" + (f", and its `{other}` is not read" if other else "")
    if not isinstance(head, torch.nn.Linear):
        return None, f"the head of {name} is not one linear layer but {type(head).__name__}"
    if head.out_features != 1:
        return None, f"the head of {name} has {head.out_features} outputs instead of one reward"
    if head.bias is not None and bool(torch.any(head.bias != 0)):
        return None, f"the head of {name} has a bias, which a reward direction cannot represent"
    return head.weight[0].detach().to("cpu", torch.float32, copy=True).numpy(), None


def rewards_follow_head(model: PreTrainedModel, head: Floats32, token_ids: torch.Tensor, state: torch.Tensor) -> bool:
    """Return whether a model's own reward is the product of its head and the last token's state, up to rounding.

    Code that comes with a model may compute something else, for instance squash the reward. The arguments are the same
    as in `read_reference`.
    """
    import torch

    with torch.inference_mode():
        reward = float(model(input_ids=token_ids, attention_mask=torch.ones_like(token_ids)).logits)
    embedding = state.float().cpu().numpy()
    # Tolerance. In bfloat16 each operation has a relative error of up to 0.4%. The first term allows a few times that.
    # The second term, a share of the product of the norms, allows for terms of the reward that cancel.
    rounding = 0.02 * abs(reward) + 1e-3 * float(np.linalg.norm(embedding) * np.linalg.norm(head))
    return abs(float(embedding @ head) - reward) <= rounding

"""The reference head: the direction in embedding space that a reward model itself scores by."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt
    import torch
    from transformers import PreTrainedModel


def read_reference_head(model: PreTrainedModel) -> tuple[npt.NDArray[np.float32] | None, str | None]:
    """Read the linear head of a reward model.

    Only a head that a direction can express is read: one linear layer named ``score`` with one output and no bias.
    A constant bias would cancel in differences of rewards, but not in the rewards themselves.

    Parameters
    ----------
    model
        A model loaded with its head, such as ``AutoModelForSequenceClassification`` gives it.

    Returns
    -------
    head : numpy.ndarray or None
        ``score.weight[0]`` as float32 [D], or None where there is no such head.
    reason : str or None
        Why there is none, as a clause without a full stop; None where there is one.
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
        return None, f"the head of {name} has a bias, which a direction cannot express"
    return head.weight[0].detach().to("cpu", torch.float32, copy=True).numpy(), None


def rewards_follow_head(
    model: PreTrainedModel, head: npt.NDArray[np.float32], token_ids: torch.Tensor, state: torch.Tensor
) -> bool:
    """Tell whether a model's own reward is its head times the last token's state, up to the rounding of its dtype.

    Code that comes with a model may do anything between the two, for instance squash the reward.

    Parameters
    ----------
    model
        A sequence classifier with one output.
    head
        Float32 [D].
    token_ids
        Int [1, L] on the model's device, the last not a pad token.
    state
        [D], the backbone's state of the last of these tokens.
    """
    import numpy as np
    import torch

    with torch.inference_mode():
        reward = float(model(input_ids=token_ids, attention_mask=torch.ones_like(token_ids)).logits)
    embedding = state.float().cpu().numpy()
    rounding = 0.02 * abs(reward) + 1e-3 * float(np.linalg.norm(embedding) * np.linalg.norm(head))
    return abs(float(embedding @ head) - reward) <= rounding

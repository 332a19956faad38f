"""The encoder for real models: any decoder that transformers loads, reward model or plain language model."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from lorerm.encoding.chat import ChatTokenizer
from lorerm.encoding.checkpoint import find_checkpoint, load_network, loading
from lorerm.encoding.encoder import EncoderIdentity
from lorerm.encoding.reference_head import read_reference_head, rewards_follow_head
from lorerm.errors import ConfigError, DataError, ModelError

if TYPE_CHECKING:
    from collections.abc import Sequence

    import numpy.typing as npt
    import torch

    from lorerm.encoding.checkpoint import Network
    from lorerm.encoding.encoder import Progress
    from lorerm.preferences.conversation import Conversation

DTYPES = ("auto", "float32", "bfloat16", "float16")


class TransformersEncoder:
    """Embeds conversations by the last hidden state of their last token.

    The embedding is the backbone's ``last_hidden_state``, which is after the final norm, at the last token of the
    rendered chat, whatever that token is. It is the one that a sequence classifier pools, so that
    ``embedding @ reference`` is the reward model's own logit.

    Parameters
    ----------
    model
        Path of a model folder, or an id on the hub. Weights are read from safetensors only, never from pickles.
    revision
        Branch, tag or commit on the hub.
    dtype
        "float32", "bfloat16", "float16", or "auto": the checkpoint's own on a GPU, float32 elsewhere, where the
        narrow types are slow and inexact. Embeddings come out as float32 in any case.
    device
        A torch device; by default the GPU where there is one.
    max_length
        The most tokens that a conversation may have; by default as many as the model has positions. A longer one is
        refused, as a cut on either side would lose the response or the beginning.
    batch_size
        How many conversations run at once.
    attn_implementation
        As in ``from_pretrained``, for instance "sdpa" or "flash_attention_2".
    chat_template
        The text of a Jinja template to use instead of the tokenizer's own.
    trust_remote_code
        Whether to run Python code that comes with the model.

    Raises
    ------
    ConfigError
        If an argument is out of its range.
    ModelError
        If the model cannot be loaded, is no decoder, or has no chat template.
    """

    def __init__(
        self,
        model: str,
        *,
        revision: str | None = None,
        dtype: str = "auto",
        device: str | torch.device | None = None,
        max_length: int | None = None,
        batch_size: int = 8,
        attn_implementation: str | None = None,
        chat_template: str | None = None,
        trust_remote_code: bool = False,
    ) -> None:
        import torch
        from transformers import AutoTokenizer

        if dtype not in DTYPES:
            raise ConfigError(f"dtype {dtype!r} is not known", f"choose one of {', '.join(DTYPES)}")
        if batch_size < 1:
            raise ConfigError(f"batch_size is {batch_size}", "give 1 or more")
        self._model_name = model
        self._batch_size = batch_size
        self._device = _choose_device(device)
        checkpoint = find_checkpoint(model, revision)
        options: dict[str, Any] = {"trust_remote_code": trust_remote_code}
        if checkpoint.commit is not None:
            options["revision"] = checkpoint.commit
        with loading(model):
            tokenizer = AutoTokenizer.from_pretrained(checkpoint.source, **options)
        # Before the weights are loaded, which can take minutes.
        self._chat = ChatTokenizer(tokenizer, chat_template, model)
        if attn_implementation is not None:
            options["attn_implementation"] = attn_implementation
        options["dtype"] = "float32" if dtype == "auto" and self._device.type != "cuda" else dtype
        with loading(model):
            network = load_network(model, checkpoint, options)
            network.module.to(self._device)
            self._backbone = network.backbone
            config = network.module.config.get_text_config()
            # Two rows of arbitrary tokens, which differ in the second: is this a decoder, and is its head a direction?
            first, second, third = [token for token in range(1, 5) if token != config.pad_token_id][:3]
            probe = torch.tensor([[first, second], [first, third]], device=self._device)
            states = self._hidden_states(probe, torch.ones_like(probe))
            _check_causal(states, model)
            self._reference, self._reference_reason = _read_reference(network, probe[:1], states[0, -1])
        self._max_length = _choose_max_length(max_length, getattr(config, "max_position_embeddings", None))
        self._identity = EncoderIdentity(
            model=model,
            revision=checkpoint.revision,
            template=self._chat.template_hash,
            pooling="last-token",
            dtype=str(next(self._backbone.parameters()).dtype).removeprefix("torch."),
            max_length=self._max_length,
            dimension=states.shape[-1],
        )

    @property
    def identity(self) -> EncoderIdentity:
        """All that decides the numbers: the model and its version, chat template, dtype, greatest length."""
        return self._identity

    @property
    def reference(self) -> npt.NDArray[np.float32] | None:
        """The reference head, float32 [D], or None."""
        return None if self._reference is None else self._reference.copy()

    @property
    def reference_reason(self) -> str | None:
        """Why there is no reference head; None where there is one."""
        return self._reference_reason

    def encode(
        self, conversations: Sequence[Conversation], progress: Progress | None = None
    ) -> npt.NDArray[np.float32]:
        """Embed conversations; those of equal token ids run once.

        Parameters
        ----------
        conversations
            n conversations, each a prompt with its response.
        progress
            Called as ``progress(done, n)`` after every batch.

        Returns
        -------
        numpy.ndarray
            float32 [n, D], in the order given. What else stands in the call changes a row by rounding only.

        Raises
        ------
        DataError
            If a conversation has too many tokens, or the chat template refuses it.
        ModelError
            If a batch does not fit into the GPU's memory, or the model computes infinities.

        Warns
        -----
        UserWarning
            If the model's control tokens stand in the text of some conversations.
        """
        token_ids = self._chat.token_ids(conversations)
        for index, ids in enumerate(token_ids):
            if self._max_length is not None and len(ids) > self._max_length:
                raise DataError(
                    f"conversations[{index}] has {len(ids)} tokens, more than the {self._max_length} that "
                    f"{self._model_name} may be given",
                    "shorten its prompt, leave it out, or take a larger max_length or another model",
                )
        copies: dict[tuple[int, ...], list[int]] = {}
        for index, ids in enumerate(token_ids):
            copies.setdefault(ids, []).append(index)
        # Like lengths share a batch, so little is padding. The longest come first: what does not fit fails at once.
        distinct = sorted(copies, key=len, reverse=True)
        embeddings = np.empty((len(conversations), self._identity.dimension), dtype=np.float32)
        done = 0
        for start in range(0, len(distinct), self._batch_size):
            batch = distinct[start : start + self._batch_size]
            for ids, state in zip(batch, self._last_states(batch), strict=True):
                if not np.isfinite(state).all():
                    raise ModelError(
                        f"{self._model_name} computes infinities for conversations[{copies[ids][0]}] "
                        f"in {self._identity.dtype}",
                        "choose bfloat16 or float32 as dtype",
                    )
                embeddings[copies[ids]] = state
                done += len(copies[ids])
            if progress is not None:
                progress(done, len(conversations))
        return embeddings

    def _last_states(self, batch: Sequence[tuple[int, ...]]) -> npt.NDArray[np.float32]:
        """Return the last token's state of every row of token ids."""
        import torch

        lengths = [len(ids) for ids in batch]
        # Padded on the right with any token, and masked: no token of a causal model looks to its right, and the last
        # one is found by length. Looking for the pad token would miss it where pad and end-of-turn are the same.
        input_ids = torch.zeros(len(batch), max(lengths), dtype=torch.long)
        mask = torch.zeros_like(input_ids)
        for row, ids in enumerate(batch):
            input_ids[row, : len(ids)] = torch.tensor(ids)
            mask[row, : len(ids)] = 1
        try:
            states = self._hidden_states(input_ids, mask)
        except torch.cuda.OutOfMemoryError as error:
            raise ModelError(
                f"{len(batch)} conversations of up to {max(lengths)} tokens do not fit into the memory of the GPU",
                "lower batch_size, or dtype to bfloat16",
            ) from error
        last = states[torch.arange(len(batch)), torch.tensor(lengths) - 1]
        return last.float().cpu().numpy()

    def _hidden_states(self, input_ids: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
        """Run the backbone: [batch, length] to [batch, length, D]."""
        import torch

        with torch.inference_mode():
            output = self._backbone(
                input_ids=input_ids.to(self._device), attention_mask=mask.to(self._device), use_cache=False
            )
        states: torch.Tensor = output.last_hidden_state
        return states


def _choose_device(device: str | torch.device | None) -> torch.device:
    import torch

    if device is None:
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        chosen = torch.device(device)
    except RuntimeError as error:
        raise ConfigError(f"device {device!r} is not known", "give cpu, cuda, cuda:1 or the like") from error
    if chosen.type == "cuda" and not torch.cuda.is_available():
        raise ConfigError(f"device {device!r} was asked for, but torch sees no GPU", "give device=cpu, or none")
    return chosen


def _choose_max_length(max_length: int | None, positions: int | None) -> int | None:
    """Return the greatest length, given what was asked for and how many positions the model has (None: any number)."""
    if max_length is None:
        return positions
    if max_length < 1 or (positions is not None and max_length > positions):
        bound = "" if positions is None else f" to {positions}, the number of positions that the model has"
        raise ConfigError(f"max_length is {max_length}", f"give 1{bound}" if bound else "give 1 or more")
    return max_length


def _read_reference(
    network: Network, probe: torch.Tensor, state: torch.Tensor
) -> tuple[npt.NDArray[np.float32] | None, str | None]:
    """Read the head, and check it on the reward for token ids [1, L] whose last state [D] is given."""
    if network.headless is not None:
        return None, network.headless
    head, reason = read_reference_head(network.module)
    if head is not None and not rewards_follow_head(network.module, head, probe, state):
        return None, f"the reward of {type(network.module).__name__} is not its head times the last token's state"
    return head, reason


def _check_causal(states: torch.Tensor, model: str) -> None:
    """Refuse a model whose first token's state depends on the second: [2, 2, D], rows that differ in the second."""
    difference = (states[0, 0] - states[1, 0]).float().norm()
    if difference > 0.01 * states[0, 0].float().norm():
        raise ModelError(
            f"{model} is not a decoder, as its tokens look ahead, and the last one's state means nothing special",
            "choose a reward model or language model that reads from left to right",
        )

"""The encoder for real models: any decoder that transformers loads, reward model or plain language model."""

from __future__ import annotations

import warnings
from typing import TYPE_CHECKING, Any

import numpy as np

from lorerm.embedding.batch_encoder import N_CHECKED, InexactError, encode_in_batches
from lorerm.embedding.encoder import EncoderIdentity
from lorerm.embedding.transformers.chat import ChatTokenizer
from lorerm.embedding.transformers.checkpoint import find_checkpoint, load_network, loading
from lorerm.embedding.transformers.device import choose_device, is_out_of_memory
from lorerm.embedding.transformers.forward import Forward, find_sharing
from lorerm.embedding.transformers.planning import Planner, Remarks
from lorerm.embedding.transformers.reference_head import read_reference_head, rewards_follow_head
from lorerm.embedding.transformers.tolerance import LARGEST, distance
from lorerm.errors import ConfigError, ModelError

if TYPE_CHECKING:
    from collections.abc import Sequence

    import numpy.typing as npt
    import torch

    from lorerm.data.conversation import Conversation
    from lorerm.embedding.encoder import Progress
    from lorerm.embedding.transformers.batches import Batch
    from lorerm.embedding.transformers.checkpoint import Network
    from lorerm.embedding.transformers.planning import Plan

DTYPES = ("auto", "float32", "bfloat16", "float16")
BATCH_TOKENS = {"cuda": 16_384}
"""Tokens of a batch by the kind of device; elsewhere `BATCH_TOKENS_ELSEWHERE`."""
BATCH_TOKENS_ELSEWHERE = 2_048
# One conversation of so many of a call is checked: where there are few, as in a ranking, that would cost too much.
_CONVERSATIONS_PER_CHECK = 16


class TransformersEncoder:
    """Embeds conversations by the last hidden state of their last token.

    The embedding is the backbone's ``last_hidden_state``, which is after the final norm, at the last token of the
    rendered chat, whatever that token is. It is the one that a sequence classifier pools, so that
    ``embedding @ reference`` is the reward model's own logit.

    Equal conversations run once, and what several begin with in common, such as their prompt, is computed once for all
    of them (`prefix_tree.py`), where the model allows that.

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
        The most tokens that a conversation may have; by default as many as the model has positions. A longer one loses
        text at the beginning of its prompt, with a warning; one whose response is too long is refused.
    batch_tokens
        How many tokens run at once, at most; by default 16,384 on a GPU, 2,048 elsewhere. A longer conversation runs
        alone, and with 1 every one does. Where a batch does not fit into memory, it is halved.
    attn_implementation
        As in ``from_pretrained``, for instance "sdpa" or "flash_attention_2". Prefixes are shared with "sdpa" and
        "eager" only.
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
        batch_tokens: int | None = None,
        attn_implementation: str | None = None,
        chat_template: str | None = None,
        trust_remote_code: bool = False,
    ) -> None:
        import torch
        from transformers import AutoTokenizer

        if dtype not in DTYPES:
            raise ConfigError(f"dtype {dtype!r} is not known", f"choose one of {', '.join(DTYPES)}")
        if batch_tokens is not None and batch_tokens < 1:
            raise ConfigError(f"batch_tokens is {batch_tokens}", "give 1 or more")
        self._model_name = model
        device = choose_device(device)
        if batch_tokens is None:
            batch_tokens = BATCH_TOKENS.get(device.type, BATCH_TOKENS_ELSEWHERE)
        checkpoint = find_checkpoint(model, revision)
        options: dict[str, Any] = {"trust_remote_code": trust_remote_code}
        if checkpoint.commit is not None:
            options["revision"] = checkpoint.commit
        with loading(model):
            tokenizer = AutoTokenizer.from_pretrained(checkpoint.source, **options)
        # Before the weights are loaded, which can take minutes.
        chat = ChatTokenizer(tokenizer, chat_template, model)
        if attn_implementation is not None:
            options["attn_implementation"] = attn_implementation
        options["dtype"] = "float32" if dtype == "auto" and device.type != "cuda" else dtype
        with loading(model):
            network = load_network(model, checkpoint, options)
            network.module.to(device)
            self._forward = Forward(network.backbone, device)
            config = network.module.config.get_text_config()
            # Two rows of arbitrary tokens, which differ in the second: is this a decoder, and is its head a direction?
            tokens = [token for token in range(1, 6) if token != config.pad_token_id][:4]
            probe = torch.tensor([[tokens[0], tokens[1]], [tokens[0], tokens[2]]], device=device)
            states = self._forward.states(probe, torch.ones_like(probe))
            _check_causal(states, model)
            self._reference, self._reference_reason = _read_reference(network, probe[:1], states[0, -1])
            sharing, self._unshared_reason = find_sharing(self._forward, tokens)
        max_length = _choose_max_length(max_length, getattr(config, "max_position_embeddings", None))
        self._planner = Planner(model, chat, sharing, batch_tokens, max_length)
        self._identity = EncoderIdentity(
            model=model,
            revision=checkpoint.revision,
            template=chat.template_hash,
            pooling="last-token",
            dtype=self._forward.dtype,
            max_length=max_length,
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

    @property
    def running(self) -> dict[str, Any]:
        """How it runs, as JSON-able values: what changes the numbers by rounding at most."""
        return {
            "device": str(self._forward.device),
            "attention": self._forward.attention,
            "batch_tokens": self._planner.batch_tokens,
            "shares_prefixes": self._unshared_reason is None,
            "unshared_reason": self._unshared_reason,
        }

    @property
    def unshared_reason(self) -> str | None:
        """Why common prefixes are computed again for every conversation; None where they are shared."""
        return self._unshared_reason

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
            If a conversation has too many tokens even without its prompt, or the chat template refuses it.
        ModelError
            If a single conversation does not fit into memory, or the model computes infinities.

        Warns
        -----
        UserWarning
            If prompts were shortened, or the model's control tokens stand in the text of some conversations.
        """
        n_checked = min(N_CHECKED, len(conversations) // _CONVERSATIONS_PER_CHECK)
        embeddings, remarks = encode_in_batches(self, conversations, n_checked, progress)
        for sentence in remarks.sentences(len(conversations), self._identity):
            warnings.warn(sentence, UserWarning, stacklevel=2)
        return embeddings

    def plan(self, conversations: Sequence[Conversation], n_checked: int = 0) -> Plan:
        """Divide n conversations into the batches that `run` takes; see `Planner.plan`."""
        return self._planner.plan(conversations, n_checked)

    def run(self, batch: Batch) -> npt.NDArray[np.float32]:
        """Embed one of the plan's batches.

        Returns
        -------
        numpy.ndarray
            float32 [len(batch.places), D], in the order of the places.

        Raises
        ------
        ModelError
            As `encode`.
        """
        states = self._states(batch)
        self._check_finite(batch, states)
        copies = [len(places) for row in batch.rows for places in row.members]
        embeddings: npt.NDArray[np.float32] = np.repeat(states.numpy(), copies, axis=0)
        return embeddings

    def check(self, batch: Batch, embeddings: npt.NDArray[np.float32]) -> Remarks:
        """Compare what `run` gave with the same conversations on their own, for those that the plan marks.

        Returns
        -------
        Remarks
            How many were compared, and the largest distance.

        Raises
        ------
        InexactError
            If one differs by more than rounding can make.
        """
        import torch

        remarks, places = Remarks(), batch.places
        for row, number in batch.checked:
            members = batch.rows[row].members[number]
            alone = self._forward.alone(batch.rows[row].sequence(number))
            found = distance(torch.from_numpy(embeddings[places.index(members[0])]), alone, self._identity.dtype)
            if not found <= LARGEST[self._identity.dtype]:
                raise InexactError(
                    f"the embedding of conversations[{members[0]}] is off by {found:.1e} of its length from that of "
                    "the same conversation on its own",
                    "give batch_tokens=1 (--batch-tokens 1), which runs every conversation on its own",
                )
            remarks += Remarks(checked=1, deviation=found)
        return remarks

    def _states(self, batch: Batch) -> torch.Tensor:
        """Return the state of every sequence, float32 [S, D]; a batch that does not fit into memory runs in halves."""
        import torch

        try:
            return self._forward.last_states(batch)
        except (RuntimeError, MemoryError) as error:
            if not is_out_of_memory(error):
                raise
            halves = batch.halves()
            if halves is None:
                place = batch.places[0]
                raise ModelError(
                    f"conversations[{place}], of {batch.length} tokens, does not fit into the memory of "
                    f"{self._forward.device.type} beside {self._model_name}",
                    "lower max_length, choose bfloat16 as dtype, or take a larger device",
                ) from error
        # Out of the handler, which keeps the failed attempt's tensors alive.
        if self._forward.device.type == "cuda":
            torch.cuda.empty_cache()
        return torch.cat([self._states(half) for half in halves])

    def _check_finite(self, batch: Batch, states: torch.Tensor) -> None:
        finite = states.isfinite().all(dim=1)
        if not bool(finite.all()):
            members = [places for row in batch.rows for places in row.members]
            place = members[int((~finite).nonzero()[0])][0]
            raise ModelError(
                f"{self._model_name} computes infinities for conversations[{place}] in {self._identity.dtype}",
                "choose bfloat16 or float32 as dtype",
            )


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

"""Embed a conversation as the last hidden state of its last token, with any decoder that transformers can load."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Literal, get_args

import numpy as np

from lorerm.arrays import Floats32
from lorerm.data.conversation import Conversation
from lorerm.embedding.batch_encoder import N_CHECKED, EncodingSummary, InexactError, Plan, encode_in_batches
from lorerm.embedding.encoder import EncoderIdentity, EncoderSettings, Execution, Progress
from lorerm.embedding.transformers.batching import TokenBatch, plan_batches
from lorerm.embedding.transformers.chat import ChatTokenizer
from lorerm.embedding.transformers.checkpoint import find_checkpoint, is_out_of_memory, loading
from lorerm.embedding.transformers.forward import MAX_DEVIATION, Forward, deviation, find_sharing
from lorerm.embedding.transformers.network import choose_device, load_network, read_reference
from lorerm.errors import ConfigError, ModelError

if TYPE_CHECKING:
    import torch

    from lorerm.embedding.transformers.prefix_tree import TokenIds

POOLING = "last-token"
DType = Literal["auto", "float32", "bfloat16", "float16"]
BATCH_TOKENS_GPU, BATCH_TOKENS_CPU = 16_384, 2_048
"""Defaults of the maximum number of tokens per batch."""
# `encode` embeds at most one in 16 conversations a second time, alone, to check that batching did not change its
# embedding. In a call with few conversations, such as a ranking of responses, even one check would double the time.
_CONVERSATIONS_PER_CHECK = 16


class TransformersEncoder:
    """Encoder that embeds a conversation as the last hidden state of its last token.

    The embedding is the backbone's ``last_hidden_state`` (after the final norm) at the last token of the rendered chat,
    whatever that token is. A sequence classifier reads the same token, so that ``embedding @ reference`` is the reward
    model's own logit.

    Equal conversations run once. If the model allows it, a beginning that several conversations share, such as their
    prompt, is computed once for all of them (`prefix_tree.py`).

    Parameters
    ----------
    model
        Path of a model folder, or an id on the hub. Weights are read from safetensors only, never from pickles.
    revision
        Branch, tag or commit on the hub.
    dtype
        "float32", "bfloat16", "float16", or "auto": the checkpoint's own type on a GPU, float32 on a CPU, where narrow
        types are slow. Embeddings are returned as float32 in any case.
    device
        A torch device; by default the GPU if there is one, otherwise the CPU.
    max_length
        The maximum number of tokens of a conversation; by default the number of positions of the model. A longer
        conversation loses text at the beginning of its prompt, with a warning. A response that is too long is an error.
    batch_tokens
        The maximum number of tokens per batch; by default 16,384 on a GPU, 2,048 on a CPU. A longer conversation runs
        alone; with batch_tokens=1, every conversation runs alone. A batch that does not fit into memory is halved.
    attn_implementation
        As in ``from_pretrained``, for instance "sdpa" or "flash_attention_2". Only with "sdpa" and "eager", shared
        beginnings are computed once.
    chat_template
        The text of a Jinja template to use instead of the tokenizer's own.
    trust_remote_code
        Whether to run Python code that comes with the model.

    Raises
    ------
    ConfigError
        If an argument is out of its range.
    ModelError
        If the model cannot be loaded, is not a decoder, or has no chat template.
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

        if dtype not in get_args(DType):
            names = ", ".join(get_args(DType))
            raise ConfigError(f"dtype {dtype!r} is unknown", f"choose one of {names}", argument="dtype")
        if batch_tokens is not None and batch_tokens < 1:
            raise ConfigError(f"batch_tokens is {batch_tokens}", "give 1 or more", argument="batch_tokens")
        device = choose_device(device)
        if batch_tokens is None:
            batch_tokens = BATCH_TOKENS_GPU if device.type == "cuda" else BATCH_TOKENS_CPU
        checkpoint = find_checkpoint(model, revision)
        options: dict[str, Any] = {"trust_remote_code": trust_remote_code}
        if checkpoint.commit is not None:
            options["revision"] = checkpoint.commit
        with loading(model):
            tokenizer = AutoTokenizer.from_pretrained(checkpoint.source, **options)
        # Created before the weights are loaded, which can take minutes, so that its errors are raised at once.
        self._chat = ChatTokenizer(tokenizer, chat_template, model)
        if attn_implementation is not None:
            options["attn_implementation"] = attn_implementation
        options["dtype"] = "float32" if dtype == "auto" and device.type != "cuda" else dtype
        with loading(model):
            network = load_network(model, checkpoint, options)
            network.module.to(device)
            self._forward = Forward(network.backbone, device)
            config = network.module.config.get_text_config()
            # The two rows of `probe` differ in the second token only. In a decoder, the states of their first token are
            # equal. The first row also shows whether the reward is the product of the head and the embedding.
            tokens = [token for token in range(1, 6) if token != config.pad_token_id][:4]
            probe = torch.tensor([[tokens[0], tokens[1]], [tokens[0], tokens[2]]], device=device)
            states = self._forward.states(probe, torch.ones_like(probe))
            _check_causal(states, model)
            self._reference, self._reference_reason = read_reference(network, probe[:1], states[0, -1])
            self._sharing = find_sharing(self._forward, tokens)
        self._batch_tokens = batch_tokens
        self._identity = EncoderIdentity(
            model=model,
            revision=checkpoint.revision,
            template=self._chat.template_hash,
            pooling=POOLING,
            dtype=self._forward.dtype,
            max_length=_choose_max_length(max_length, getattr(config, "max_position_embeddings", None)),
            dimension=states.shape[-1],
        )

    @property
    def identity(self) -> EncoderIdentity:
        """Everything that determines the embeddings: model, version, chat template, dtype and maximum length."""
        return self._identity

    @property
    def reference(self) -> Floats32 | None:
        """The reference head, float32 [D], or None."""
        return None if self._reference is None else self._reference.copy()

    @property
    def reference_reason(self) -> str | None:
        """Why there is no reference head; None if there is one."""
        return self._reference_reason

    @property
    def running(self) -> dict[str, Any]:
        """Execution settings, as JSON-serialisable values; they change embeddings by rounding at most."""
        return {
            "device": str(self._forward.device),
            "attention": self._forward.attention,
            "batch_tokens": self._batch_tokens,
            "shares_prefixes": self._sharing.unshared_reason is None,
            "unshared_reason": self._sharing.unshared_reason,
        }

    def encode(self, conversations: Sequence[Conversation], progress: Progress | None = None) -> Floats32:
        """Embed conversations; conversations with equal token ids run once.

        Parameters
        ----------
        conversations
            n conversations, each a prompt with its response.
        progress
            Called as ``progress(done, n)`` after every batch.

        Returns
        -------
        numpy.ndarray
            float32 [n, D], in the order of the conversations. A row depends on its own conversation only, except for
            rounding.

        Raises
        ------
        DataError
            If a conversation has too many tokens even without its prompt, the chat template refuses it, or its
            embedding has NaN or infinite values.
        ModelError
            If a single conversation does not fit into memory, or has a token without a row in the embedding matrix.
        InexactError
            If a conversation's embedding from a batch differs from its embedding alone by more than rounding.

        Warns
        -----
        UserWarning
            If prompts were shortened, or some conversations contain control tokens of the model in their text.
        """
        n_checked = min(N_CHECKED, len(conversations) // _CONVERSATIONS_PER_CHECK)
        embeddings, summary = encode_in_batches(self, conversations, n_checked, progress)
        for warning in summary.warnings(len(conversations), self._identity):
            warnings.warn(warning, UserWarning, stacklevel=2)
        return embeddings

    def plan(self, conversations: Sequence[Conversation], n_checked: int = 0) -> Plan:
        """Divide n conversations into batches for `run`, and mark `n_checked` of them, drawn at random, for `check`."""
        chats = self._chat.render(conversations, self._identity.max_length)
        self._check_tokens(chats.token_ids)
        batches = plan_batches(chats.token_ids, self._sharing, self._batch_tokens, n_checked)
        return Plan(batches, EncodingSummary(len(chats.shortened), len(chats.control)))

    def run(self, batch: TokenBatch) -> Floats32:
        """Embed one batch of a plan: float32 [m, D], in the order of `batch.indices`."""
        # Conversations with equal token ids get copies of one embedding.
        embeddings: Floats32 = np.repeat(self._states(batch).numpy(), [len(each) for each in batch.members], axis=0)
        return embeddings

    def check(self, batch: TokenBatch, embeddings: Floats32) -> EncodingSummary:
        """Embed the batch's marked conversations alone, and compare the results with the embeddings from `run`.

        The summary has their number and the largest relative deviation. Raises `InexactError` if a deviation is larger
        than rounding can explain.
        """
        import torch

        summary, indices = EncodingSummary(), batch.indices
        for row_index, sequence_index in batch.checked:
            row = batch.rows[row_index]
            first = row.members[sequence_index][0]
            alone = self._forward.run_alone(row.sequences[sequence_index])
            found = deviation(torch.from_numpy(embeddings[indices.index(first)]), alone, self._identity.dtype)
            if not found <= MAX_DEVIATION[self._identity.dtype]:  # also true for NaN
                raise InexactError(
                    f"the embedding of conversations[{first}] computed in a batch deviates by {found:.1e} of its norm "
                    "from its embedding computed alone, which is more than rounding can explain",
                    "set batch_tokens=1 (--batch-tokens 1) to embed conversations one by one",
                    argument="batch_tokens",
                )
            summary += EncodingSummary(checked=1, deviation=found)
        return summary

    def _check_tokens(self, token_ids: Sequence[TokenIds]) -> None:
        """Raise `ModelError` if a token has no row in the embedding matrix: one was added without resizing."""
        n_rows = self._forward.n_embedded_tokens
        for index, ids in enumerate(token_ids):
            if n_rows is not None and max(ids) >= n_rows:
                token = max(ids)
                raise ModelError(
                    f"token id {token} of {self._chat.token_text(token)!r} in conversations[{index}] has no row in the "
                    f"embedding matrix of {self._identity.model}, which has {n_rows:,} rows",
                    "resize the embedding matrix to the tokenizer (resize_token_embeddings) and train the new rows, or "
                    "use the tokenizer and the chat template that belong to the model",
                    argument="model",
                )

    def _states(self, batch: TokenBatch) -> torch.Tensor:
        """Return the last hidden state of every sequence, float32 [S, D]; halve a batch that exceeds the memory."""
        import torch

        try:
            return self._forward.last_states(batch)
        except (RuntimeError, MemoryError) as error:
            if not is_out_of_memory(error):
                raise
            halves = batch.halves()
            if halves is None:
                raise ModelError(
                    f"conversations[{batch.indices[0]}], with {batch.length} tokens, does not fit into the memory of "
                    f"{self._forward.device.type} together with {self._identity.model}",
                    "lower max_length, set dtype to bfloat16, or use a device with more memory",
                ) from error
        # Not in the `except` block, because the exception keeps the failed attempt's tensors in memory.
        if self._forward.device.type == "cuda":
            torch.cuda.empty_cache()
        return torch.cat([self._states(half) for half in halves])


@dataclass(frozen=True)
class TransformersExecution(Execution):
    """Execution of the encoder."""

    device: str | None = field(default=None, metadata={"metavar": "DEVICE"})
    """device on which the model runs, for instance cpu or cuda:1; None: cuda if there is a GPU, otherwise cpu"""
    batch_tokens: int | None = None
    """maximum number of tokens per batch; None: 16384 on a GPU, 2048 on a CPU"""
    trust_remote_code: bool = False
    """run Python code that comes with the model"""

    @property
    def uses_gpu(self) -> bool:
        """Whether the encoder runs on a GPU if there is one."""
        return self.device is None or self.device.startswith("cuda")


@dataclass(frozen=True)
class TransformersSettings(EncoderSettings):
    """Encoder based on a reward model or language model (transformers library)."""

    execution: ClassVar[type[Execution]] = TransformersExecution

    model: str = field(metadata={"metavar": "ID_OR_PATH"})
    """a reward model or language model: an id on the Hugging Face hub, or the path of a folder"""
    revision: str | None = field(default=None, metadata={"metavar": "REVISION"})
    """branch, tag or commit of the model on the hub; None: the main branch"""
    dtype: DType = "auto"
    """number type; auto: the number type of the checkpoint on a GPU, float32 on a CPU"""
    max_length: int | None = None
    """maximum number of tokens of a conversation; None: the model's number of positions"""
    attn: Literal["sdpa", "flash_attention_2", "eager"] | None = None
    """attention implementation; None: the model's default"""
    chat_template: str | None = field(default=None, metadata={"metavar": "FILE", "file": True})
    """a Jinja chat template; None: the tokenizer's chat template"""

    def build(self, execution: TransformersExecution) -> TransformersEncoder:
        """Load the model."""
        options = asdict(self) | asdict(execution)
        return TransformersEncoder(attn_implementation=options.pop("attn"), **options)

    @classmethod
    def of_identity(cls, identity: EncoderIdentity) -> TransformersSettings | None:
        """Return the settings if the identity has last-token pooling, otherwise None.

        If the model is a local folder, the settings' `revision` is None (the identity then holds a fingerprint of the
        folder).
        """
        if identity.pooling != POOLING:
            return None
        return cls(
            identity.model,
            revision=None if Path(identity.model).exists() else identity.revision,
            dtype=identity.dtype,  # type: ignore[arg-type]
            max_length=identity.max_length,
        )


def _choose_max_length(max_length: int | None, positions: int | None) -> int | None:
    """Return a valid `max_length`, by default the model's number of positions. None means no limit."""
    if max_length is None:
        return positions
    if max_length < 1 or (positions is not None and max_length > positions):
        bound = "" if positions is None else f" to {positions}, the number of positions that the model has"
        raise ConfigError(
            f"max_length is {max_length}", f"give 1{bound}" if bound else "give 1 or more", argument="max_length"
        )
    return max_length


def _check_causal(states: torch.Tensor, model: str) -> None:
    """Raise `ModelError` if tokens attend to later tokens.

    `states` [2, 2, D] are the hidden states of two sequences that differ in the second token only.
    """
    difference = (states[0, 0] - states[1, 0]).float().norm()
    if difference > 0.01 * states[0, 0].float().norm():
        raise ModelError(
            f"{model} is not a decoder: its tokens attend to later tokens",
            "choose a reward model or language model that is a decoder",
            argument="model",
        )

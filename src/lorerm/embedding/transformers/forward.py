"""Run one batch of token sequences through a model, and return the last hidden state of each sequence."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from lorerm.arrays import Ints
from lorerm.embedding.batch_encoder import EXACT_TYPES
from lorerm.embedding.transformers.batching import Sharing, TokenBatch
from lorerm.embedding.transformers.prefix_tree import TokenIds, TreeRow

if TYPE_CHECKING:
    import torch

MAX_DEVIATION = {"float64": 1e-3, "float32": 1e-3, "float16": 0.02, "bfloat16": 0.08}
"""The maximum relative deviation that rounding explains in embeddings of text, by number type.

Measured with SmolLM2-135M (30 layers) on posts and summaries, in float32 and bfloat16. A wrong mask or wrong positions
change embeddings by 0.09 to 0.35 of their norm. Rounding changes them by at most 1e-6 in float32 and 0.024 in bfloat16,
also on unusual text and control tokens. float16 has eight times the precision of bfloat16.
"""
_MAX_DEVIATION_ON_RANDOM_TOKENS = {"float64": 1e-3, "float32": 1e-3, "float16": 0.3, "bfloat16": 0.3}
"""The same maximum for tokens that do not form a text. Rounding then has more effect: up to 3e-5 in float32."""

# The attention implementations of transformers that accept any mask [batch, 1, length, length]: the first as booleans,
# the second as numbers that are added to the attention scores.
_BOOLEAN_MASK, _ADDED_MASK = "sdpa", "eager"
# Hidden size assumed if a configuration has none; typical of small language models.
_DEFAULT_WIDTH = 1024


def deviation(found: torch.Tensor, expected: torch.Tensor, dtype: str) -> float:
    """Return the difference between an embedding [D] and the expected one, relative to the norm of the expected one.

    In float32 and float64 this is the largest difference of a component, in narrower types the norm of the difference.
    """
    difference = (found - expected).abs()
    size = difference.max() if dtype in EXACT_TYPES else difference.norm()
    return float(size) / max(float(expected.norm()), 1e-30)


class Forward:
    """Runs batches on a model's backbone: a transformers decoder without a head, in evaluation mode."""

    def __init__(self, backbone: Any, device: torch.device) -> None:  # noqa: ANN401 - untyped library
        self.backbone = backbone
        self.device = device
        self.attention = str(getattr(backbone.config.get_text_config(), "_attn_implementation", None))

    @property
    def dtype(self) -> str:
        """The number type of the weights, for instance "float32"."""
        return str(next(self.backbone.parameters()).dtype).removeprefix("torch.")

    @property
    def n_embedded_tokens(self) -> int | None:
        """The number of rows in the embedding matrix; None if the backbone does not tell."""
        try:
            return int(self.backbone.get_input_embeddings().weight.shape[0])
        except (AttributeError, NotImplementedError):
            return None

    def last_states(self, batch: TokenBatch) -> torch.Tensor:
        """Return the hidden state of every sequence's last token, row by row: float32 [S, D] on the CPU."""
        import torch

        ids = torch.from_numpy(_padded([row.tokens for row in batch.rows]))
        if all(len(row.members) == 1 for row in batch.rows):
            # Padding is on the right, where no token of a causal model attends to it. The last token is found by the
            # sequence's length, not by the pad token, because some models use their end-of-turn token as pad token.
            ones = [np.ones(len(row), dtype=np.int64) for row in batch.rows]
            states = self.states(ids, torch.from_numpy(_padded(ones)))
        else:
            depth = torch.from_numpy(_padded([row.depth for row in batch.rows]))
            states = self.states(ids, self._tree_mask(batch), position_ids=depth)
        rows = [index for index, row in enumerate(batch.rows) for _ in row.members]
        ends = [end for row in batch.rows for end in row.ends]
        return states[torch.tensor(rows), torch.tensor(ends)].float().cpu()

    def run_alone(self, sequence: TokenIds) -> torch.Tensor:
        """Run one sequence alone, and return the hidden state of its last token as float32 [D]."""
        return self.last_states(TokenBatch((TreeRow((sequence,), ((),)),)))[0]

    def states(self, ids: torch.Tensor, mask: torch.Tensor, **arguments: torch.Tensor) -> torch.Tensor:
        """Run the backbone on token ids [batch, length], and return its hidden states [batch, length, D]."""
        import torch

        moved = {name: value.to(self.device) for name, value in {"attention_mask": mask, **arguments}.items()}
        with torch.inference_mode():
            output = self.backbone(input_ids=ids.to(self.device), use_cache=False, **moved)
        states: torch.Tensor = output.last_hidden_state
        return states

    def _tree_mask(self, batch: TokenBatch) -> torch.Tensor:
        """Return the attention mask for rows that are prefix trees: [batch, 1, length, length]."""
        import torch

        visible = np.zeros((len(batch.rows), 1, batch.length, batch.length), dtype=np.bool_)
        visible[:, 0] = np.eye(batch.length, dtype=np.bool_)  # padding attends to itself: softmax of no key is NaN
        for index, row in enumerate(batch.rows):
            visible[index, 0, : len(row), : len(row)] = row.visible()
        mask = torch.from_numpy(visible)
        if self.attention == _ADDED_MASK:
            dtype = next(self.backbone.parameters()).dtype
            mask = torch.where(mask, 0.0, torch.finfo(dtype).min).to(dtype)
        return mask


def find_sharing(forward: Forward, tokens: Sequence[int]) -> Sharing:
    """Determine how a model can share prefixes: test whether it computes the same in a prefix tree as without one.

    `tokens` are four different token ids in ascending order, none of them the pad token.
    """
    config = forward.backbone.config.get_text_config()
    return Sharing(
        _unshared_reason(forward, tokens), _break_even(config), _longest_in_tree(config), _longest_in_batch(config)
    )


def _unshared_reason(forward: Forward, tokens: Sequence[int]) -> str | None:
    if forward.attention not in (_BOOLEAN_MASK, _ADDED_MASK):
        return f"attention {forward.attention!r} does not accept the mask of a prefix tree"
    a, b, c, d = tokens
    # The sequences branch at several depths, and different branches end with the same token. So a state would change if
    # a token attended to another branch, or if positions were counted along the row.
    sequences = ((a, b, c, c, d, b, a, d), (a, b, c, c, d, c, b), (a, b, c, d, a, b), (a, b, d, b))
    try:
        found = forward.last_states(TokenBatch((TreeRow(sequences, ((),) * len(sequences)),)))
    except Exception as error:
        return f"{type(forward.backbone).__name__} does not accept the mask of a prefix tree ({type(error).__name__})"
    largest = _MAX_DEVIATION_ON_RANDOM_TOKENS[forward.dtype]
    deviations = [
        deviation(*pair, forward.dtype) for pair in zip(found, map(forward.run_alone, sequences), strict=True)
    ]
    if not all(size <= largest for size in deviations):  # `not <=` is also true for NaN
        return f"{type(forward.backbone).__name__} computes different hidden states in a prefix tree"
    return None


def _break_even(config: Any) -> int:  # noqa: ANN401 - untyped library
    """Return the number of attended keys at which attention costs as much as the rest of a layer.

    Per token, a layer of hidden size D takes 8 D^2 operations for its projections and 6 D F for its gated feed-forward
    part of width F. Attention takes 4 D operations per key.
    """
    width = getattr(config, "hidden_size", None) or _DEFAULT_WIDTH
    inner = getattr(config, "intermediate_size", None) or 4 * width
    return int(max(2 * width + 3 * inner // 2, _DEFAULT_WIDTH))


def _longest_in_tree(config: Any) -> int | None:  # noqa: ANN401
    """Return the maximum length of a sequence in a tree: the sliding window of the model, which a tree's mask lacks."""
    windows = [getattr(config, name, None) for name in ("sliding_window", "attention_chunk_size")]
    return min((window for window in [*windows, _longest_in_batch(config)] if window), default=None)


def _longest_in_batch(config: Any) -> int | None:  # noqa: ANN401
    """Return the length up to which a sequence's position embeddings do not depend on the rest of its batch.

    "longrope" changes its rotation angles if the largest position in the batch exceeds the original context length.
    """
    parameters = getattr(config, "rope_parameters", None) or {}
    parts = [parameters, *(part for part in parameters.values() if isinstance(part, dict))]
    lengths = [part.get("original_max_position_embeddings") for part in parts if part.get("rope_type") == "longrope"]
    return min((length for length in lengths if length), default=None)


def _padded(rows: Sequence[Ints]) -> Ints:
    """Stack rows, with zeros at the end of shorter rows."""
    stacked = np.zeros((len(rows), max(map(len, rows))), dtype=np.int64)
    for index, row in enumerate(rows):
        stacked[index, : len(row)] = row
    return stacked

"""One batch through a model: masks and positions in, the last states of its sequences out."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from lorerm.embedding.transformers.batches import Batch, Sharing
from lorerm.embedding.transformers.prefix_tree import tree_of
from lorerm.embedding.transformers.tolerance import LARGEST_ON_ARBITRARY_TOKENS, distance

if TYPE_CHECKING:
    from collections.abc import Sequence

    import torch

    from lorerm.embedding.transformers.prefix_tree import TokenIds, TreeRow

# Attention of transformers that takes any mask [batch, 1, length, length], and how it takes it.
_BOOLEAN_MASK, _ADDED_MASK = "sdpa", "eager"
# What a model of unknown shape is taken for: one of a thousand dimensions.
_USUAL_WIDTH = 1024


class Forward:
    """Runs batches on the part of a model that ends in the last hidden state.

    Parameters
    ----------
    backbone
        A decoder of transformers, in evaluation mode.
    device
        Where it is.
    """

    def __init__(self, backbone: Any, device: torch.device) -> None:  # noqa: ANN401 - untyped library
        self.backbone = backbone
        self.device = device
        self.attention = str(getattr(backbone.config.get_text_config(), "_attn_implementation", None))

    @property
    def dtype(self) -> str:
        """The number type of the weights, without "torch."."""
        return str(next(self.backbone.parameters()).dtype).removeprefix("torch.")

    def last_states(self, batch: Batch) -> torch.Tensor:
        """Return the last token's state of every sequence, row by row: float32 [S, D] in the computer's own memory."""
        import torch

        if all(len(row.members) == 1 for row in batch.rows):
            states = self._run_sequences(batch.rows)
        else:
            states = self._run_trees(batch.rows)
        rows = [place for place, row in enumerate(batch.rows) for _ in row.members]
        ends = [end for row in batch.rows for end in row.ends]
        return states[torch.tensor(rows), torch.tensor(ends)].float().cpu()

    def alone(self, sequence: TokenIds) -> torch.Tensor:
        """Return the last token's state of one sequence that runs alone, as float32 [D]."""
        return self.last_states(Batch((tree_of([sequence], [()]),)))[0]

    def _run_sequences(self, rows: Sequence[TreeRow]) -> torch.Tensor:
        """Run rows of a single sequence each: [batch, length, D].

        They are padded on the right with any token, and masked: no token of a causal model looks to its right. The last
        one is found by length. Looking for the pad token would miss it where pad and end-of-turn are the same.
        """
        import torch

        ids, mask = _padded([row.tokens for row in rows]), _padded([np.ones(len(row), dtype=np.int64) for row in rows])
        return self.states(torch.from_numpy(ids), torch.from_numpy(mask))

    def _run_trees(self, rows: Sequence[TreeRow]) -> torch.Tensor:
        """Run trees: [batch, length, D]. The positions are the tokens' depths."""
        import torch

        ids, depth = (_padded([getattr(row, name) for row in rows]) for name in ("tokens", "depth"))
        sees = np.zeros((len(rows), 1, ids.shape[1], ids.shape[1]), dtype=np.bool_)
        sees[:, 0] = np.eye(ids.shape[1], dtype=np.bool_)  # padding sees itself: a softmax over nothing is not a number
        for place, row in enumerate(rows):
            sees[place, 0, : len(row), : len(row)] = row.visible()
        mask = torch.from_numpy(sees)
        if self.attention == _ADDED_MASK:
            dtype = next(self.backbone.parameters()).dtype
            mask = torch.where(mask, 0.0, torch.finfo(dtype).min).to(dtype)
        return self.states(torch.from_numpy(ids), mask, position_ids=torch.from_numpy(depth))

    def states(self, ids: torch.Tensor, mask: torch.Tensor, **arguments: torch.Tensor) -> torch.Tensor:
        """Run the backbone: [batch, length] to [batch, length, D]."""
        import torch

        moved = {name: value.to(self.device) for name, value in {"attention_mask": mask, **arguments}.items()}
        with torch.inference_mode():
            output = self.backbone(input_ids=ids.to(self.device), use_cache=False, **moved)
        states: torch.Tensor = output.last_hidden_state
        return states


def find_sharing(forward: Forward, tokens: Sequence[int]) -> tuple[Sharing, str | None]:
    """Find out whether a model computes the same in prefix trees, by trying it.

    Parameters
    ----------
    forward
        The model.
    tokens
        Four different token ids, none of them the pad token.

    Returns
    -------
    sharing : Sharing
        What is possible.
    reason : str or None
        Why trees are not, as a clause; None where they are.
    """
    config = forward.backbone.config.get_text_config()
    reason = None
    if forward.attention not in (_BOOLEAN_MASK, _ADDED_MASK):
        reason = f"attention {forward.attention!r} takes no mask that is a tree"
    else:
        a, b, c, d = tokens
        # Branches at two depths, and the same token at the end of different ones: whoever looks into another branch,
        # or counts positions along the row, is found out.
        sequences = [(a, b, c, d, a, b), (a, b, c, c, d, b, a, d), (a, b, c, c, d, c, b), (a, b, d, b)]
        tree = Batch((tree_of(sequences, [(place,) for place in range(len(sequences))]),))
        try:
            found = forward.last_states(tree)
        except Exception as error:
            reason = f"{type(forward.backbone).__name__} takes no mask that is a tree ({type(error).__name__})"
        else:
            expected = [forward.alone(sequences[place]) for place in tree.places]
            pairs = zip(found, expected, strict=True)
            largest = LARGEST_ON_ARBITRARY_TOKENS[forward.dtype]
            if not all(distance(*pair, forward.dtype) <= largest for pair in pairs):  # NaN is not
                reason = f"{type(forward.backbone).__name__} computes something else in a tree"
    return Sharing(reason is None, _break_even(config), _longest_in_tree(config), _longest_in_batch(config)), reason


def _break_even(config: Any) -> int:  # noqa: ANN401 - untyped library
    """Return at how many keys attention costs as much as the rest of a layer.

    A layer's projections and its (gated) feed-forward part of width F cost 8 D^2 + 6 D F operations per token,
    attention 4 D for every key.
    """
    width = getattr(config, "hidden_size", None) or _USUAL_WIDTH
    inner = getattr(config, "intermediate_size", None) or 4 * width
    return int(max(2 * width + 3 * inner // 2, _USUAL_WIDTH))


def _longest_in_tree(config: Any) -> int | None:  # noqa: ANN401
    """Return the longest sequence in which every token sees all before it: a tree's mask knows no window."""
    windows = [getattr(config, name, None) for name in ("sliding_window", "attention_chunk_size")]
    return min((window for window in [*windows, _longest_in_batch(config)] if window), default=None)


def _longest_in_batch(config: Any) -> int | None:  # noqa: ANN401
    """Return the longest sequence whose positions do not depend on what runs beside it.

    "longrope" turns by other angles once the greatest position of the batch is beyond the original context.
    """
    parameters = getattr(config, "rope_parameters", None) or {}
    parts = [parameters, *(part for part in parameters.values() if isinstance(part, dict))]
    lengths = [part.get("original_max_position_embeddings") for part in parts if part.get("rope_type") == "longrope"]
    return min((length for length in lengths if length), default=None)


def _padded(rows: Sequence[np.ndarray[Any, np.dtype[np.int64]]]) -> np.ndarray[Any, np.dtype[np.int64]]:
    """Stack rows, with zeros on the right of the shorter ones."""
    stacked = np.zeros((len(rows), max(map(len, rows))), dtype=np.int64)
    for place, row in enumerate(rows):
        stacked[place, : len(row)] = row
    return stacked

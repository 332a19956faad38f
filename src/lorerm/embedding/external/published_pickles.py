"""Read the pickle files written by the scripts that the authors of the LoRe paper (arXiv 2504.14439) published.

They contain the embeddings and texts of one of two data sets:

- TLDR (`tldr_embeddings_train.pkl`, `tldr_embeddings_val.pkl`): worker -> list of {text, winning_summary,
  losing_summary, embeddings: {winning: [tensor [D]], losing: [tensor [D]]}}.
- PRISM (`train_embeddings.pkl`, `test_embeddings.pkl`): list of {prompt, extra_info: {user_id, dialog_id, turn_nb,
  seen, split, chosen_utterance, rejected_utterance, chosen_conv_embedding, rejected_conv_embedding}}. The rejected
  utterances are lists of strings. The scripts embedded them as printed, with brackets, which reveals the rejected
  response.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from lorerm.data.conversation import Conversation, parse_messages
from lorerm.data.datasets.loaded import Loaded, Tally
from lorerm.data.datasets.tldr import in_both_splits
from lorerm.data.preferences import Preferences
from lorerm.data.printed import is_list_of_strings
from lorerm.data.schema import Comparison
from lorerm.embedding.embedded_preferences import EmbeddedPreferences
from lorerm.embedding.external.safe_pickle import load_pickle
from lorerm.errors import DataError, first_line

if TYPE_CHECKING:
    import torch

_TLDR_STEPS = {
    "blank": "without a text to summarise (CNN/DM articles, which the published scripts embedded as empty posts)",
    "same": "both summaries are the same text",
    "one_split": "of workers who are not in both splits",
}


class _Entry(NamedTuple):
    """One entry of a file: a comparison, and the embeddings of the chosen and of the rejected response."""

    comparison: Comparison
    embeddings: list[torch.Tensor]


def read_published_pickles(paths: Sequence[Path]) -> Loaded[EmbeddedPreferences]:
    """Read the published pickle files of one data set: the train split and the test split.

    For TLDR, a file with "val" or "test" in its name is the test split, any other file the train split.
    """
    tally = Tally("pairs", _TLDR_STEPS)
    entries: list[_Entry] = []
    for path in paths:
        content = load_pickle(path)
        try:
            entries += _tldr(content, _split(path), tally) if isinstance(content, Mapping) else _prism(content, tally)
        except DataError:
            raise
        except (LookupError, TypeError, ValueError, AttributeError, RuntimeError) as error:
            raise DataError(
                f"the file does not have the layout that the published scripts write "
                f"({type(error).__name__}: {first_line(error):.100})",
                "give the pickle files that the published scripts write for Reddit TLDR or PRISM",
                file=path,
            ) from error
    if {entry.comparison.split for entry in entries} <= {"train", "test"}:
        kept = in_both_splits([entry.comparison for entry in entries])
        tally.drop("one_split", len(entries) - len(kept))
        entries = [entries[index] for index in kept]
    if not entries:
        raise DataError("the files contain no user with comparisons in both splits", "give the files of both splits")
    warnings: tuple[str, ...] = ()
    sides = ((entry.comparison.chosen, entry.comparison.rejected) for entry in entries)
    if any([is_list_of_strings(side[0]["content"]) for side in pair] == [False, True] for pair in sides):
        warnings = (
            "Rejected responses were embedded as printed lists, chosen responses as plain text. Accuracies on these "
            "embeddings measure this format, not the users' preferences.",
        )
    text = Preferences.from_comparisons(entry.comparison for entry in entries)
    embedded = EmbeddedPreferences.join(text, _matrix(entries, text))
    return Loaded(embedded, reading=tally.lines(), warnings=warnings, text=text)


def _tldr(content: Mapping[Any, Any], split: str, tally: Tally) -> Iterator[_Entry]:
    """Yield the entries of a TLDR file; `tally` counts the pairs while the entries are consumed."""
    for worker, pairs in content.items():
        for pair in pairs:
            tally.add()
            text = pair["text"] or ""
            chosen, rejected = (_response(pair[f"{side}_summary"]) for side in ("winning", "losing"))
            embeddings = [_embedding(pair["embeddings"][side][0]) for side in ("winning", "losing")]
            if not text.strip():
                tally.drop("blank")
            elif chosen == rejected:
                tally.drop("same")
            else:
                prompt_id = hashlib.sha256(text.encode("utf-8", "replace")).hexdigest()[:16]
                prompt = parse_messages(text, "text", "user")
                comparison = Comparison(str(worker), prompt_id, prompt, chosen, rejected, split, 1.0)
                yield _Entry(comparison, embeddings)


def _prism(content: Iterable[Any], tally: Tally) -> Iterator[_Entry]:
    """Yield the entries of a PRISM file; `tally` counts the pairs while the entries are consumed."""
    for entry in content:
        info = entry["extra_info"]
        split = f"{info['split']}_{'seen' if info['seen'] else 'unseen'}"
        # `str` gives the text that the scripts embedded: their chat template printed a list with its brackets.
        chosen, rejected = (_response(str(info[f"{side}_utterance"])) for side in ("chosen", "rejected"))
        embeddings = [_embedding(info[f"{side}_conv_embedding"]) for side in ("chosen", "rejected")]
        prompt = parse_messages(entry["prompt"], "prompt", "user")
        comparison = Comparison(str(info["user_id"]), str(info["dialog_id"]), prompt, chosen, rejected, split, 1.0)
        tally.add()
        yield _Entry(comparison, embeddings)


def _response(text: object) -> Conversation:
    if not isinstance(text, str):
        raise TypeError(f"a text is a {type(text).__name__}")
    return parse_messages(text, "response", "assistant")


def _embedding(value: object) -> torch.Tensor:
    import torch

    if not isinstance(value, torch.Tensor):
        raise TypeError(f"an embedding is a {type(value).__name__}")
    return value.detach().reshape(-1)


def _matrix(entries: Sequence[_Entry], text: Preferences) -> torch.Tensor:
    """Return the embeddings of the responses of `text`, row by row; its comparisons are in the order of `entries`."""
    import torch

    embeddings: dict[int, torch.Tensor] = {}
    for entry, *rows in zip(entries, text.chosen.tolist(), text.rejected.tolist(), strict=True):
        for row, embedding in zip(rows, entry.embeddings, strict=True):
            embeddings.setdefault(row, embedding)
    lengths = sorted({len(embedding) for embedding in embeddings.values()})
    if len(lengths) > 1:
        raise DataError(
            f"the files contain embeddings of dimension {lengths[0]} and {lengths[-1]}",
            "give embeddings from one model",
        )
    return torch.stack([embeddings[row] for row in range(len(embeddings))])


def _split(path: Path) -> str:
    name = path.name.lower()
    return "test" if "val" in name or "test" in name else "train"

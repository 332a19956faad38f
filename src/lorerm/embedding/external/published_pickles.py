"""The pickles that the published LoRe scripts write: embeddings of Reddit TLDR and of PRISM, with their texts.

- TLDR (`tldr_embeddings_train.pkl`, `tldr_embeddings_val.pkl`): worker -> list of {text, winning_summary,
  losing_summary, embeddings: {winning: [tensor [D]], losing: [tensor [D]]}}.
- PRISM (`train_embeddings.pkl`, `test_embeddings.pkl`): list of {prompt, extra_info: {user_id, dialog_id, turn_nb,
  seen, split, chosen_utterance, rejected_utterance, chosen_conv_embedding, rejected_conv_embedding}}. Its rejected
  utterances are lists that were embedded in their printed form, which gives the chosen side away.
"""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from lorerm.data.comparisons import Comparisons
from lorerm.data.conversation import Conversation, is_stringified_list, parse_messages
from lorerm.data.datasets.loaded import Loaded, Tally
from lorerm.data.schema import Comparison
from lorerm.embedding.embedded_preferences import EmbeddedPreferences
from lorerm.embedding.external.safe_pickle import load_pickle
from lorerm.errors import DataError, first_line

if TYPE_CHECKING:
    import torch

_TLDR_STEPS = {
    "blank": "no text to summarise (CNN/DM articles, which the published code fed as empty posts)",
    "same": "both summaries are the same text",
    "one_split": "of workers who are not in both splits",
}


class _Side(NamedTuple):
    text: str
    embedding: torch.Tensor


class _Example(NamedTuple):
    user: str
    prompt_id: str
    context: Conversation
    chosen: _Side
    rejected: _Side
    split: str


def read_published_pickles(paths: Sequence[Path]) -> Loaded[EmbeddedPreferences]:
    """Read the published pickles of one data set, those of both splits.

    Parameters
    ----------
    paths
        Files of the train and of the test split. TLDR's are told apart by "val" or "test" in their names.

    Raises
    ------
    DataError
        A file is not one of these, holds anything but containers and tensors, or both splits are not there.
    """
    tally = Tally("pairs", _TLDR_STEPS)
    examples: list[_Example] = []
    for path in paths:
        content = load_pickle(path)
        try:
            if isinstance(content, Mapping):
                examples += _tldr(content, _label(path), tally)
            else:
                found = list(_prism(content))
                tally.add(len(found))
                examples += found
        except DataError:
            raise
        except (LookupError, TypeError, ValueError, AttributeError, RuntimeError) as error:
            raise DataError(
                f"{path} is not laid out as the published scripts write it "
                f"({type(error).__name__}: {first_line(error):.100})",
                "give the embeddings of Reddit TLDR or PRISM",
            ) from error
    if {example.split for example in examples} <= {"train", "test"}:
        examples = _in_both_splits(examples, tally)
    if not examples:
        raise DataError("the files hold no pair of a person in both splits", "give the files of both splits")
    warnings: tuple[str, ...] = ()
    if any(is_stringified_list(one.rejected.text) and not is_stringified_list(one.chosen.text) for one in examples):
        warnings = (
            "Rejected replies were embedded as printed lists, the chosen ones as plain text: accuracies on these "
            "embeddings measure that format, not people's preferences.",
        )
    return _put_together(examples, tally, warnings)


def _tldr(content: Mapping[Any, Any], split: str, tally: Tally) -> Iterator[_Example]:
    for worker, pairs in content.items():
        for pair in pairs:
            tally.add()
            text = pair["text"] or ""
            sides = [_side(pair[f"{side}_summary"], pair["embeddings"][side][0]) for side in ("winning", "losing")]
            if not text.strip():
                tally.drop("blank")
            elif sides[0].text == sides[1].text:
                tally.drop("same")
            else:
                name = hashlib.sha256(text.encode("utf-8", "replace")).hexdigest()[:16]
                yield _Example(str(worker), name, parse_messages(text, "text", "user"), sides[0], sides[1], split)


def _prism(content: Iterable[Any]) -> Iterator[_Example]:
    for entry in content:
        info = entry["extra_info"]
        cell = f"{info['split']}_{'seen' if info['seen'] else 'unseen'}"
        sides = [
            # As the chat template printed it: a list of strings with its brackets.
            _side(str(info[f"{side}_utterance"]), info[f"{side}_conv_embedding"])
            for side in ("chosen", "rejected")
        ]
        context = parse_messages(entry["prompt"], "prompt", "user")
        yield _Example(str(info["user_id"]), str(info["dialog_id"]), context, sides[0], sides[1], cell)


def _side(text: object, embedding: object) -> _Side:
    """Check what the file gives for a response, and flatten its embedding to [D]."""
    import torch

    if not isinstance(text, str):
        raise TypeError(f"a text is a {type(text).__name__}")
    if not isinstance(embedding, torch.Tensor):
        raise TypeError(f"an embedding is a {type(embedding).__name__}")
    return _Side(text, embedding.detach().reshape(-1))


def _in_both_splits(examples: Sequence[_Example], tally: Tally) -> list[_Example]:
    """Keep the workers who are in both splits, in ascending order of their training pairs, as in the published code."""
    n_train, n_test = (Counter(one.user for one in examples if one.split == split) for split in ("train", "test"))
    kept = [one for one in examples if one.user in n_train and one.user in n_test]
    tally.drop("one_split", len(examples) - len(kept))
    return sorted(kept, key=lambda one: (n_train[one.user], one.user))


def _put_together(examples: Sequence[_Example], tally: Tally, warnings: tuple[str, ...]) -> Loaded[EmbeddedPreferences]:
    """Keep each response once, and let the pairs point at them."""
    import torch

    from lorerm.data.preferences import Preferences

    place: dict[tuple[Any, ...], int] = {}
    embeddings: list[torch.Tensor] = []
    rows = np.empty((2, len(examples)), dtype=np.int64)
    for number, example in enumerate(examples):
        turns = tuple((turn["role"], turn["content"]) for turn in example.context)
        for side, response in enumerate((example.chosen, example.rejected)):
            key = (turns, response.text)
            if key not in place:
                place[key] = len(embeddings)
                embeddings.append(response.embedding)
            rows[side, number] = place[key]
    lengths = sorted({len(embedding) for embedding in embeddings})
    if len(lengths) > 1:
        raise DataError(
            f"the files hold embeddings of {lengths[0]} and of {lengths[-1]} numbers", "give those of one model"
        )
    pairs = (
        Comparison(one.user, one.prompt_id, one.context, _reply(one.chosen), _reply(one.rejected), one.split, 1.0)
        for one in examples
    )
    comparisons = Comparisons.from_columns(
        rows[0],
        rows[1],
        np.array([one.user for one in examples], dtype=object),
        np.array([one.prompt_id for one in examples], dtype=object),
        splits=np.array([example.split for example in examples], dtype=object),
    )
    embedded = EmbeddedPreferences.join(comparisons, torch.stack(embeddings))
    text = Preferences.from_comparisons(pairs)
    return Loaded(embedded, reading=tally.lines(), warnings=warnings, text=text)


def _reply(side: _Side) -> Conversation:
    return parse_messages(side.text, "response", "assistant")


def _label(path: Path) -> str:
    name = path.name.lower()
    return "test" if "val" in name or "test" in name else "train"

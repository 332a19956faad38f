"""Import embeddings made elsewhere: a safetensors matrix of responses, and comparisons between its rows.

The comparisons are a Parquet, CSV or JSON-lines file with the columns user_id, chosen, rejected (rows of the matrix,
from 0) and optionally prompt_id, weight and split. Without prompt_id, each pair of responses counts as a prompt, which
is either in train or in test.

Or the published artefacts: the pickles of the TLDR and PRISM scripts (with --trust-pickle), or PersonalLLM's
train.safetensors and test.safetensors (with --dataset personalllm, whose users compare those responses).
"""

from __future__ import annotations

import argparse
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lorerm.cli.console import output, progress
from lorerm.cli.experiments import add_dataset_options, add_experiment_option, read_source
from lorerm.cli.options import add_options, add_out_option
from lorerm.cli.prepare import show_prepared
from lorerm.data.splits import SplitConfig
from lorerm.errors import ConfigError
from lorerm.pipeline.folder import RunFolder
from lorerm.pipeline.steps import import_embeddings

if TYPE_CHECKING:
    from lorerm.data.datasets.loaded import Loaded
    from lorerm.embedding.embedded_preferences import EmbeddedPreferences

    Read = Callable[[], Loaded[EmbeddedPreferences]]

# As the published scripts write them.
PICKLE_SUFFIXES = (".pkl", ".pickle")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the verb's arguments."""
    parser.add_argument(
        "files",
        nargs="+",
        type=Path,
        metavar="FILE",
        help="the matrix (.safetensors) and the comparisons; or published pickles; or the matrices of a data set",
    )
    add_out_option(parser)
    parser.add_argument(
        "--reference",
        type=Path,
        metavar="FILE",
        help="safetensors file with the reward model's head [D] (default: `reference` in the matrix's file)",
    )
    parser.add_argument(
        "--trust-pickle",
        action="store_true",
        help="read pickles of the published scripts; anything in them but containers and tensors is refused",
    )
    parser.add_argument(
        "--dataset",
        metavar="NAME",
        help="data set of the responses in the matrices: personalllm (train and test .safetensors)",
    )
    add_experiment_option(parser)
    add_options(parser, SplitConfig)
    add_dataset_options(parser, revision=True)


def call(parsed: argparse.Namespace) -> None:
    """Import the embeddings and show what was found in the data."""
    parsed.source = [parsed.dataset] if parsed.dataset else [str(path) for path in parsed.files]
    source = read_source(parsed)
    split = SplitConfig(**source.experiment.split)
    files, read = _reader(parsed, split, source.options)
    settings = {"dataset": parsed.dataset, "options": dict(source.experiment.data)} if parsed.dataset else {}
    with progress() as show:
        run = RunFolder.create(parsed.out, show)
        found = import_embeddings(run, files, read, split, settings)
    if source.is_stored:
        source.experiment.write(run.path)
    show_prepared(found)
    output().print(f"Next: lorerm train {parsed.out}", soft_wrap=True)


def _reader(parsed: argparse.Namespace, split: SplitConfig, options: dict[str, Any]) -> tuple[list[str | Path], Read]:
    """Return the files that are read, and the function that reads them."""
    pickles = [path for path in parsed.files if path.suffix in PICKLE_SUFFIXES]
    matrices = [path for path in parsed.files if path.suffix == ".safetensors"]
    tables = [path for path in parsed.files if path not in pickles and path not in matrices]
    heads = [] if parsed.reference is None else [parsed.reference]
    if pickles:
        return [*parsed.files, *heads], _reader_of_pickles(parsed, pickles)
    if parsed.dataset:
        local = [] if parsed.data is None else [parsed.data]
        return [*parsed.files, *heads, *local], lambda: _read_for_dataset(parsed, split, options)
    if len(matrices) != 1 or len(tables) != 1:
        raise ConfigError(
            f"{len(matrices)} safetensors files and {len(tables)} others were given",
            "give one matrix (.safetensors) and one file of comparisons",
        )

    def read() -> Loaded[EmbeddedPreferences]:
        from lorerm.embedding.external.embeddings import read_matrix_and_comparisons

        return read_matrix_and_comparisons(matrices[0], tables[0], parsed.reference)

    return [matrices[0], tables[0], *heads], read


def _reader_of_pickles(parsed: argparse.Namespace, pickles: Sequence[Path]) -> Read:
    if len(pickles) != len(parsed.files):
        raise ConfigError("pickles and other files were given", "give the pickles of both splits, and nothing else")
    if not parsed.trust_pickle:
        raise ConfigError(
            f"{pickles[0]} is a pickle, which can hold a program",
            "add --trust-pickle if you trust its source; anything but containers and tensors is refused",
        )

    def read() -> Loaded[EmbeddedPreferences]:
        from dataclasses import replace

        from lorerm.embedding.external.matrix_files import read_reference_file
        from lorerm.embedding.external.published_pickles import read_published_pickles

        found = read_published_pickles(pickles)
        if parsed.reference is not None:
            data = found.preferences.with_reference(read_reference_file(parsed.reference))
            found = replace(found, preferences=data)
        return found

    return read


def _read_for_dataset(
    parsed: argparse.Namespace, split: SplitConfig, options: dict[str, Any]
) -> Loaded[EmbeddedPreferences]:
    from lorerm.data.datasets import read_dataset
    from lorerm.embedding.external.embeddings import read_for_dataset

    loaded = read_dataset(parsed.dataset, split=split, **options)
    return read_for_dataset(parsed.files, loaded, parsed.reference)

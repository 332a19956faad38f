"""Import embeddings computed elsewhere: a safetensors matrix of responses, and comparisons between its rows.

The comparisons are a Parquet, CSV or JSON-lines file with the columns user_id, chosen, rejected (row numbers of the
matrix, from 0) and optionally prompt_id, weight and split. If prompt_id is missing, each distinct pair of responses is
treated as one prompt: its comparisons are used either all for training or all for testing.

Published embeddings can be imported, too: the pickle files for TLDR and PRISM that the scripts of the paper's authors
write (with --trust-pickle), and the embeddings of PersonalLLM's responses in train.safetensors and test.safetensors
(with --dataset personalllm).
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from lorerm.cli.console import progress, say
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
    from lorerm.pipeline.sources import Source

MATRIX_SUFFIX = ".safetensors"
# Suffixes of the files that the scripts of the paper's authors write.
PICKLE_SUFFIXES = (".pkl", ".pickle")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of the subcommand."""
    parser.add_argument(
        "files",
        nargs="+",
        type=Path,
        metavar="FILE",
        help="one of: a matrix (.safetensors) and a file of comparisons; pickle files from the scripts of the paper's "
        "authors (--trust-pickle); the matrices of a data set (--dataset)",
    )
    add_out_option(parser)
    parser.add_argument(
        "--reference",
        type=Path,
        metavar="FILE",
        help="safetensors file with the reward model's head [D] (default: the tensor `reference` in the matrix file)",
    )
    parser.add_argument(
        "--trust-pickle",
        action="store_true",
        help="read pickle files; if one contains anything but containers and tensors, it is refused",
    )
    parser.add_argument(
        "--dataset",
        metavar="NAME",
        help="published data set to whose responses the matrices belong: personalllm (its train.safetensors and "
        "test.safetensors)",
    )
    add_experiment_option(parser)
    add_options(parser, SplitConfig)
    add_dataset_options(parser, revision=True)


def call(parsed: argparse.Namespace) -> None:
    """Import the embeddings, and print the sizes of the splits and warnings about the data."""
    # `read_source` reads the input from `source`, an argument that this subcommand does not have.
    parsed.source = [parsed.dataset] if parsed.dataset else [str(path) for path in parsed.files]
    source = read_source(parsed)
    _check_files(parsed)
    files = sorted(parsed.files, key=lambda path: path.suffix != MATRIX_SUFFIX)  # a matrix before its comparisons
    more_files = [path for path in (parsed.reference, parsed.data) if path is not None]
    settings = {"dataset": parsed.dataset, "options": dict(source.experiment.data)} if parsed.dataset else {}
    with progress() as show:
        run = RunFolder.create(parsed.out, show)
        found = import_embeddings(
            run, [*files, *more_files], lambda: _read(parsed, files, source), source.split, settings
        )
    if source.is_stored:
        source.experiment.write(run.path)
    show_prepared(found)
    say(f"Next: lorerm train {parsed.out}")


def _check_files(parsed: argparse.Namespace) -> None:
    """Check that the files go together, and that `--trust-pickle` is given for pickle files."""
    suffixes = [path.suffix for path in parsed.files]
    pickles = [path for path in parsed.files if path.suffix in PICKLE_SUFFIXES]
    n_matrices = suffixes.count(MATRIX_SUFFIX)
    if pickles and len(pickles) != len(suffixes):
        raise ConfigError(
            "pickle files and other files were given", "give only the pickle files of the train and test data"
        )
    if pickles and not parsed.trust_pickle:
        raise ConfigError(
            f"{pickles[0]} is a pickle file, which can contain a program",
            "add --trust-pickle if you trust its source; anything but containers and tensors is refused",
        )
    if not (pickles or parsed.dataset) and (n_matrices, len(suffixes)) != (1, 2):
        raise ConfigError(
            f"{n_matrices} safetensors files and {len(suffixes) - n_matrices} other files were given",
            "give one matrix (.safetensors) and one file of comparisons",
        )


def _read(parsed: argparse.Namespace, files: Sequence[Path], source: Source) -> Loaded[EmbeddedPreferences]:
    from lorerm.data.datasets import read_dataset
    from lorerm.embedding.external.embeddings import read_for_dataset, read_matrix_and_comparisons
    from lorerm.embedding.external.matrix_files import read_reference_file
    from lorerm.embedding.external.published_pickles import read_published_pickles

    if files[0].suffix in PICKLE_SUFFIXES:
        found = read_published_pickles(files)
        if parsed.reference is None:
            return found
        return replace(found, preferences=found.preferences.with_reference(read_reference_file(parsed.reference)))
    if parsed.dataset:
        loaded = read_dataset(parsed.dataset, split=source.split, **source.options)
        return read_for_dataset(files, loaded, parsed.reference)
    return read_matrix_and_comparisons(files[0], files[1], parsed.reference)

"""Options that select where the encoder runs: in this process, or on the workers of a Ray cluster."""

from __future__ import annotations

import argparse
import os
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress

from lorerm.embedding.encoder import Encoder
from lorerm.errors import ConfigError
from lorerm.ray.cluster import Cluster, connected


def add_engine_options(parser: argparse.ArgumentParser) -> None:
    """Add `--engine`, and the options of a Ray cluster."""
    group = parser.add_argument_group("Engine")
    group.add_argument(
        "--engine",
        choices=["local", "ray"],
        default="local",
        help="where the encoder runs: in this process, or on the workers of a Ray cluster (default: local)",
    )
    group.add_argument(
        "--ray-address",
        metavar="HOST:PORT",
        help="address of a running cluster (default: $RAY_ADDRESS; if that is not set, a cluster on this machine is "
        "started for the command)",
    )
    group.add_argument(
        "--ray-workers",
        type=int,
        metavar="INT",
        help="number of workers (default: one per GPU or, without GPUs, one per machine)",
    )


def read_cluster(parsed: argparse.Namespace) -> Cluster | None:
    """Return the Ray cluster that the options describe, or None if the encoder runs in this process."""
    if parsed.engine == "local":
        for name in ("ray_address", "ray_workers"):
            if getattr(parsed, name) is not None:
                option = f"--{name.replace('_', '-')}"
                raise ConfigError(f"{option} is an option of a Ray cluster", "add --engine ray", argument=name)
        return None
    return Cluster(parsed.ray_address, parsed.ray_workers)


@contextmanager
def on_engine(
    parsed: argparse.Namespace, make_encoder: Callable[[], Encoder], *, gpus: bool
) -> Iterator[Callable[[], Encoder]]:
    """Yield a function that builds the encoder for this process, or for the workers of a Ray cluster.

    For this process, the function is `make_encoder` itself. For a cluster, it connects to the cluster and returns a
    `RayEncoder`, whose workers call `make_encoder`; the end of the context disconnects. `gpus` says whether the encoder
    uses GPUs if there are any.
    """
    cluster = read_cluster(parsed)
    if cluster is None:
        yield make_encoder
        return
    with ExitStack() as exit_stack:

        def make() -> Encoder:
            from lorerm.ray.embedding import RayEncoder

            workers = exit_stack.enter_context(connected(cluster, gpus=gpus))
            return RayEncoder(in_this_folder(make_encoder), workers)

        yield make


def in_this_folder(make_encoder: Callable[[], Encoder]) -> Callable[[], Encoder]:
    """Return a function that builds the encoder after it has made this process's current folder the worker's.

    This is needed because the settings of an encoder can contain relative paths.
    """
    folder = os.getcwd()  # noqa: PTH109 - a string, which is pickled for the workers

    def make() -> Encoder:
        with suppress(OSError):  # the folder may not exist on the worker's machine
            os.chdir(folder)
        return make_encoder()

    return make

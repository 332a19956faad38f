"""Where the encoder runs: in this process, or on the workers of a Ray cluster."""

from __future__ import annotations

import os
from contextlib import ExitStack, contextmanager, suppress
from typing import TYPE_CHECKING

from lorerm.errors import ConfigError

if TYPE_CHECKING:
    import argparse
    from collections.abc import Callable, Iterator

    from lorerm.embedding.encoder import Encoder
    from lorerm.ray.cluster import Cluster


def add_engine_options(parser: argparse.ArgumentParser) -> None:
    """Add `--engine` and what goes with it."""
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
        help="a running cluster (default: what RAY_ADDRESS says, or a cluster of this machine alone, for the command)",
    )
    group.add_argument(
        "--ray-workers",
        type=int,
        metavar="INT",
        help="how many workers (default: one per GPU or, without GPUs, one per machine)",
    )


def read_cluster(parsed: argparse.Namespace) -> Cluster | None:
    """Return the Ray cluster that the options name; None where the work is done here.

    Raises
    ------
    ConfigError
        If an option of a cluster is given without `--engine ray`.
    """
    if parsed.engine == "local":
        for name in ("ray_address", "ray_workers"):
            if getattr(parsed, name) is not None:
                raise ConfigError(f"--{name.replace('_', '-')} is about a Ray cluster", "add --engine ray")
        return None
    from lorerm.ray.cluster import Cluster

    return Cluster(parsed.ray_address, parsed.ray_workers)


@contextmanager
def on_engine(
    parsed: argparse.Namespace, make_encoder: Callable[[], Encoder], *, model: str | None
) -> Iterator[Callable[[], Encoder]]:
    """Give what makes the encoder that the engine runs; where that is Ray, it connects to the cluster, to the end."""
    cluster = read_cluster(parsed)
    if cluster is None:
        yield make_encoder
        return
    with ExitStack() as until_end:

        def make() -> Encoder:
            from lorerm.ray.cluster import connected
            from lorerm.ray.embedding import RayEncoder

            workers = until_end.enter_context(connected(cluster, gpus=uses_gpus(parsed, model)))
            return RayEncoder(elsewhere(make_encoder), workers)

        yield make


def uses_gpus(parsed: argparse.Namespace, model: str | None) -> bool:
    """Tell whether the encoder runs on a GPU where there is one; the embedded one (None) never does."""
    return model is not None and (parsed.device is None or parsed.device.startswith("cuda"))


def elsewhere(make_encoder: Callable[[], Encoder]) -> Callable[[], Encoder]:
    """Return what makes the same encoder in a worker: in this folder, where it is there, as paths can be relative."""
    folder = os.getcwd()  # noqa: PTH109 - the name alone

    def make() -> Encoder:
        with suppress(OSError):
            os.chdir(folder)
        return make_encoder()

    return make

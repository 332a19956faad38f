"""Connect to a Ray cluster or start one, and determine the number and the resources of its workers."""

from __future__ import annotations

import logging
import os
import socket
import sys
import warnings
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, redirect_stdout
from dataclasses import dataclass
from typing import Any

from lorerm.errors import ConfigError, RunError, first_line

# Time limit for a connection. Ray itself tries for more than five minutes, and then ends the process.
_CONNECT_SECONDS = 10
# Ray sends no usage statistics. Its log of this process is off, because Ray would write it to standard error, including
# messages about errors that are harmless.
_ENVIRONMENT = {"RAY_USAGE_STATS_ENABLED": "0", "RAY_BACKEND_LOG_LEVEL": "fatal"}


@dataclass(frozen=True)
class Cluster:
    """The cluster to run on, and the number of workers."""

    address: str | None = None
    """HOST:PORT of a running cluster that includes this machine, or "auto" to find it; None: the value of RAY_ADDRESS
    or, if that is not set, a local cluster that is started for the work and shut down after it"""
    n_workers: int | None = None
    """number of workers; None: one per GPU, or one per node if the work uses no GPU or the cluster has none"""


@dataclass(frozen=True)
class Workers:
    """The number of workers, and the CPUs and GPUs that each worker reserves."""

    number: int
    cpus: int
    gpus: int


@contextmanager
def connected(cluster: Cluster, *, gpus: bool) -> Iterator[Workers]:
    """Connect to a cluster or start one, and yield its workers; at the end, shut down what was started.

    Parameters
    ----------
    cluster
        The address and the number of workers. If this process is already connected to a cluster, the address is
        ignored, and the process stays connected.
    gpus
        Whether the work uses GPUs if the cluster has any.

    Raises
    ------
    ConfigError
        If the cluster has too few GPUs or CPUs for the number of workers.
    RunError
        If Ray is not installed, or the cluster cannot be reached.
    """
    ray = import_ray()
    # Ray prints reports about dead workers to standard output, which must contain results only.
    with redirect_stdout(sys.stderr), _environment():
        was_connected = ray.is_initialized()
        if not was_connected:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                _connect(ray, cluster.address or os.environ.get("RAY_ADDRESS") or None, cluster.n_workers)
        try:
            yield plan_workers(ray.nodes(), cluster.n_workers, gpus=gpus)
        finally:
            if not was_connected:
                ray.shutdown()


def import_ray() -> Any:  # noqa: ANN401 - a module that may be missing
    """Import Ray. Raises `RunError` if it is not installed."""
    try:
        import ray.data

        import ray
    except ImportError as error:
        raise RunError(
            f"--engine ray needs Ray, which is not installed ({error})", "run pip install 'lorerm[ray]'"
        ) from error
    return ray


def plan_workers(nodes: Sequence[Mapping[str, Any]], wanted: int | None, *, gpus: bool) -> Workers:
    """Determine the number of workers on a cluster, and the CPUs and GPUs of each worker.

    `nodes` is the result of `ray.nodes()`; `wanted` is `Cluster.n_workers`. Raises `ConfigError` if there are more
    workers than GPUs or, if no GPUs are used, than CPUs.
    """
    resources = [node["Resources"] for node in nodes if node["Alive"]]
    on_gpus = [(int(found["GPU"]), int(found.get("CPU", 0))) for found in resources if found.get("GPU", 0) >= 1]
    on_cpus = [n_cpus for found in resources if (n_cpus := int(found.get("CPU", 0))) >= 1]
    uses_gpus = gpus and bool(on_gpus)
    total = sum(n_gpus for n_gpus, _ in on_gpus) if uses_gpus else sum(on_cpus)
    default = total if uses_gpus else len(on_cpus)
    number = default if wanted is None else wanted
    if not 0 < number <= total:
        unit = "GPUs; each worker needs one" if uses_gpus else "CPUs; each worker needs at least one"
        remedy = f"choose 1 to {total} (--ray-workers)" if total else "choose another cluster (--ray-address)"
        raise ConfigError(
            f"the number of workers is {number}, and the cluster has {total} {unit}",
            remedy + (", or use no GPUs (--device cpu)" if uses_gpus else ""),
            argument="ray_workers",
        )
    if uses_gpus:
        # One CPU per worker, or none if a node has fewer CPUs than GPUs.
        return Workers(number, cpus=min(1, *(n_cpus // n_gpus for n_gpus, n_cpus in on_gpus)), gpus=1)
    # The largest number of CPUs per worker for which all workers fit on the nodes.
    cpus = next(n for n in range(max(on_cpus), 0, -1) if sum(n_cpus // n for n_cpus in on_cpus) >= number)
    return Workers(number, cpus=cpus, gpus=0)


def _connect(ray: Any, address: str | None, n_workers: int | None) -> None:  # noqa: ANN401
    options: dict[str, Any] = {"log_to_driver": False, "logging_level": logging.ERROR}
    if address is None or address == "local":
        options |= {"address": "local", "include_dashboard": False}
        # Each worker reserves at least one CPU. With more workers than CPUs, one CPU per worker is declared to Ray.
        options["num_cpus"] = max(os.cpu_count() or 1, n_workers or 1)
    else:
        options["address"] = address
        _check_reachable(address)
    try:
        ray.init(**options)
    # If a cluster does not answer, Ray ends the process with SystemExit.
    except (SystemExit, Exception) as error:
        where = f"the Ray cluster at {address}" if address else "a local Ray cluster"
        raise RunError(
            f"{where} cannot be {'reached' if address else 'started'} ({first_line(error)[:200]})",
            "run `ray status` on the cluster, and check that all its machines have the same versions of Ray and Python"
            if address
            else "see the logs in /tmp/ray/session_latest/logs",
        ) from error


def _check_reachable(address: str) -> None:
    """Raise an error within 10 seconds if the cluster cannot be reached; Ray would wait for minutes."""
    if address == "auto":
        return
    host, separator, port = address.rpartition(":")
    if "://" in address or not separator or not port.isdigit():
        raise ConfigError(
            f"{address} is not an address of a Ray cluster",
            'give HOST:PORT or "auto", and run the command on a machine of the cluster',
            argument="ray_address",
        )
    try:
        socket.create_connection((host.strip("[]"), int(port)), _CONNECT_SECONDS).close()
    except (OSError, OverflowError) as error:
        raise RunError(
            f"the Ray cluster at {address} cannot be reached ({error})",
            "check the address (--ray-address, RAY_ADDRESS), and run `ray status` on the cluster",
            argument="ray_address",
        ) from error


@contextmanager
def _environment() -> Iterator[None]:
    """Set the variables in `_ENVIRONMENT` that are not set yet, for processes that are started within the context."""
    added = {name: value for name, value in _ENVIRONMENT.items() if name not in os.environ}
    os.environ.update(added)
    try:
        yield
    finally:
        for name in added:
            os.environ.pop(name, None)

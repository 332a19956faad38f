"""Connecting to a cluster, and dividing it among workers."""

from __future__ import annotations

import builtins
import os
import socket
import subprocess
import sys

import pytest

from lorerm.errors import ConfigError, RunError
from lorerm.ray.cluster import Cluster, Workers, connected, plan_workers
from refusals import refused


def nodes(*resources):
    return [{"Alive": True, "Resources": found} for found in resources]


@pytest.mark.parametrize(
    ("resources", "wanted", "gpus", "expected"),
    [
        ([{"CPU": 8.0}], None, True, Workers(1, 8, 0)),
        ([{"CPU": 8.0}], 2, False, Workers(2, 4, 0)),
        ([{"CPU": 8.0}], 3, False, Workers(3, 2, 0)),
        ([{"CPU": 8.0}, {"CPU": 4.0}], None, False, Workers(2, 4, 0)),
        ([{"CPU": 8.0}, {"CPU": 4.0}], 3, False, Workers(3, 4, 0)),
        ([{"CPU": 8.0}, {"CPU": 4.0}], 12, False, Workers(12, 1, 0)),
        ([{"CPU": 16.0, "GPU": 4.0}, {"CPU": 16.0, "GPU": 4.0}, {"CPU": 64.0}], None, True, Workers(8, 1, 1)),
        ([{"CPU": 16.0, "GPU": 4.0}], 3, True, Workers(3, 1, 1)),
        ([{"CPU": 16.0, "GPU": 4.0}], None, False, Workers(1, 16, 0)),
        ([{"GPU": 1.0}], None, True, Workers(1, 0, 1)),
    ],
)
def test_cluster_is_divided_among_workers(resources, wanted, gpus, expected):
    assert plan_workers(nodes(*resources), wanted, gpus=gpus) == expected


def test_dead_nodes_have_no_workers():
    dead = {"Alive": False, "Resources": {"CPU": 64.0}}
    assert plan_workers([dead, *nodes({"CPU": 2.0})], None, gpus=True) == Workers(1, 2, 0)


@pytest.mark.parametrize(
    ("resources", "wanted", "named"),
    [
        ({"CPU": 2.0}, 3, ["workers is 3", "2 CPUs"]),
        ({"CPU": 9.0, "GPU": 2.0}, 3, ["workers is 3", "2 GPUs"]),
        ({"CPU": 2.0}, 0, ["workers is 0"]),
        ({}, None, ["0 CPUs"]),
    ],
)
def test_number_of_workers_without_room_is_refused(resources, wanted, named):
    with refused(ConfigError, *named, argument="ray_workers"):
        plan_workers(nodes(resources), wanted, gpus=True)


def test_without_ray_the_error_names_the_extra(monkeypatch):
    real = builtins.__import__

    def without(name, *rest):
        if name.partition(".")[0] == "ray":
            raise ModuleNotFoundError("No module named 'ray'", name="ray")
        return real(name, *rest)

    monkeypatch.setattr(builtins, "__import__", without)
    with (
        refused(RunError, "lorerm[ray]"),
        connected(Cluster(), gpus=False),
    ):
        pass


def test_a_running_cluster_is_found_and_left_running(ray):
    code = (
        "from lorerm.ray.cluster import *\n"
        "with connected(Cluster(), gpus=True) as workers: pass\n"
        "print(workers, import_ray().is_initialized())"
    )
    address = ray.get_runtime_context().gcs_address
    outcome = subprocess.run(
        [sys.executable, "-c", code],
        env={**os.environ, "RAY_ADDRESS": address},
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert (outcome.returncode, outcome.stdout) == (0, "Workers(number=1, cpus=2, gpus=0) False\n"), outcome
    assert ray.nodes()[0]["Alive"]


def free_port() -> int:
    with socket.socket() as listening:
        listening.bind(("127.0.0.1", 0))
        return listening.getsockname()[1]


@pytest.mark.parametrize("how", ["argument", "environment"])
@pytest.mark.filterwarnings("ignore::DeprecationWarning:ray")
@pytest.mark.xdist_group("ray")
def test_cluster_that_does_not_answer_is_an_error_at_once(monkeypatch, how):
    ray = pytest.importorskip("ray")
    monkeypatch.setattr(ray, "is_initialized", lambda: False)
    address = f"127.0.0.1:{free_port()}"
    if how == "environment":
        monkeypatch.setenv("RAY_ADDRESS", address)
    with (
        refused(RunError, address, argument="ray_address"),
        connected(Cluster(address if how == "argument" else None), gpus=False),
    ):
        pass


@pytest.mark.parametrize("address", ["somewhere", "ray://head:10001", "head:port"])
@pytest.mark.filterwarnings("ignore::DeprecationWarning:ray")
@pytest.mark.xdist_group("ray")
def test_wrong_address_is_refused(monkeypatch, address):
    ray = pytest.importorskip("ray")
    monkeypatch.setattr(ray, "is_initialized", lambda: False)
    with (
        refused(ConfigError, address, argument="ray_address"),
        connected(Cluster(address), gpus=False),
    ):
        pass

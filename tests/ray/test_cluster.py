"""Which cluster, and how it is divided."""

from __future__ import annotations

import builtins
import os
import socket
import subprocess
import sys

import pytest

from lorerm.errors import ConfigError, RunError
from lorerm.ray.cluster import Cluster, Workers, connected, plan_workers


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
def test_workers_share_the_cluster(resources, wanted, gpus, expected):
    assert plan_workers(nodes(*resources), wanted, gpus=gpus) == expected


def test_dead_nodes_hold_no_workers():
    gone = {"Alive": False, "Resources": {"CPU": 64.0}}
    assert plan_workers([gone, *nodes({"CPU": 2.0})], None, gpus=True) == Workers(1, 2, 0)


@pytest.mark.parametrize(
    ("resources", "wanted", "told"),
    [
        ({"CPU": 2.0}, 3, "3 workers of at least one CPU each are asked for, and the cluster has 2"),
        ({"CPU": 9.0, "GPU": 2.0}, 3, "3 workers of one GPU each are asked for, and the cluster has 2"),
        ({"CPU": 2.0}, 0, "0 workers are asked for"),
        ({}, None, "the cluster has 0"),
    ],
)
def test_more_workers_than_fit_are_refused(resources, wanted, told):
    with pytest.raises(ConfigError, match=told):
        plan_workers(nodes(resources), wanted, gpus=True)


def test_without_ray_the_error_names_the_extra(monkeypatch):
    real = builtins.__import__

    def without(name, *rest):
        if name.partition(".")[0] == "ray":
            raise ModuleNotFoundError("No module named 'ray'", name="ray")
        return real(name, *rest)

    monkeypatch.setattr(builtins, "__import__", without)
    with (
        pytest.raises(RunError, match=r"not installed .*: pip install 'lorerm\[ray\]'"),
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
def test_a_cluster_that_does_not_answer_is_one_line_at_once(monkeypatch, how):
    ray = pytest.importorskip("ray")
    monkeypatch.setattr(ray, "is_initialized", lambda: False)
    address = f"127.0.0.1:{free_port()}"
    if how == "environment":
        monkeypatch.setenv("RAY_ADDRESS", address)
    with (
        pytest.raises(RunError, match=f"the Ray cluster at {address} cannot be reached"),
        connected(Cluster(address if how == "argument" else None), gpus=False),
    ):
        pass


@pytest.mark.parametrize("address", ["somewhere", "ray://head:10001", "head:port"])
@pytest.mark.filterwarnings("ignore::DeprecationWarning:ray")
@pytest.mark.xdist_group("ray")
def test_what_is_no_address_is_refused(monkeypatch, address):
    ray = pytest.importorskip("ray")
    monkeypatch.setattr(ray, "is_initialized", lambda: False)
    with (
        pytest.raises(ConfigError, match=f"{address} is no address of a Ray cluster"),
        connected(Cluster(address), gpus=False),
    ):
        pass

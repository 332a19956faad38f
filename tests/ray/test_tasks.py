"""Tasks on two workers of a local cluster."""

from __future__ import annotations

import os
import time
from contextlib import closing

import pytest

from lorerm._version import __version__
from lorerm.errors import DataError, ModelError, RunError
from lorerm.ray import tasks
from lorerm.ray.cluster import Workers
from lorerm.ray.tasks import run_tasks
from refusals import refused

TWO = Workers(2, cpus=1, gpus=0)


def results(set_up, given):
    with closing(run_tasks(set_up, given, TWO)) as outcomes:
        return {index: get() for index, get in outcomes}


def test_each_task_is_run_although_a_worker_dies(ray, tmp_path):
    marker = tmp_path / "die"
    marker.touch()

    def set_up():
        set_up_in = os.getpid()

        def run(task):
            if task == 3 and marker.exists():
                marker.unlink()
                os._exit(1)
            return 2 * task, set_up_in, os.getpid()

        return run

    found = results(set_up, range(10))
    assert not marker.exists(), "the first attempt of task 3 ended its worker"
    assert {index: result for index, (result, _, _) in found.items()} == {n: 2 * n for n in range(10)}
    pairs = [(set_up_in, run_in) for _, set_up_in, run_in in found.values()]
    assert all(set_up_in == run_in for set_up_in, run_in in pairs), "a worker is set up once, and runs many tasks"
    assert len(set(pairs)) >= 2
    assert os.getpid() not in {run_in for _, run_in in pairs}


def test_task_that_always_kills_its_worker_is_an_error(ray, monkeypatch):
    monkeypatch.setattr(tasks, "_MAX_ATTEMPTS", 2)

    def set_up():
        return lambda task: os._exit(1) if task == 1 else task

    with refused(RunError, "2 times", "task 2"):
        results(set_up, range(3))


def test_workers_that_die_while_starting_are_an_error(ray, tmp_path, monkeypatch):
    monkeypatch.setattr(tasks, "_MAX_ATTEMPTS", 2)

    def set_up():
        with (tmp_path / "starts").open("a") as starts:
            starts.write("x")
        os._exit(1)

    with refused(RunError):
        results(set_up, range(1))
    assert (tmp_path / "starts").read_text() == "xx"


def test_workers_with_another_version_are_an_error(ray, monkeypatch):
    monkeypatch.setattr(tasks, "__version__", "9.9")
    with refused(RunError, f"lorerm {__version__}", "lorerm 9.9"):
        results(lambda: abs, range(1))


def test_error_of_the_cluster_is_one_line(ray, monkeypatch):
    """For instance where no task ends within the time that the user set."""
    monkeypatch.setenv("RAY_DATA_EXECUTION_NO_PROGRESS_TIMEOUT_S", "2")
    monkeypatch.setattr(ray.data.DataContext.get_current(), "execution_no_progress_timeout_s", 2)

    def set_up():
        return lambda task: time.sleep(60)

    with refused(RunError, "ray/session_latest/logs"):
        results(set_up, range(1))


def test_error_of_a_task_is_raised_as_it_was_and_the_task_is_not_run_again(ray, tmp_path):
    errors = [DataError("it is wrong", "correct it"), KeyError("a mistake")]

    def set_up():
        def run(task):
            with (tmp_path / f"{task}").open("a") as runs:
                runs.write("x")
            raise errors[task]

        return run

    with closing(run_tasks(set_up, range(2), TWO)) as outcomes:
        found = dict(outcomes)
    for index, error in enumerate(errors):
        with pytest.raises(type(error), match=str(error)) as caught:
            found[index]()
        assert "raise errors[task]" in str(caught.value.__cause__), "the traceback on the worker"
        assert (tmp_path / f"{index}").read_text() == "x"


def test_error_while_a_worker_is_set_up_is_raised_as_it_was(ray):
    def set_up():
        raise ModelError("there is no model m", "name another")

    with refused(ModelError, "there is no model m"):
        results(set_up, range(1))


def test_without_tasks_nothing_is_started(ray, monkeypatch):
    monkeypatch.setattr(ray, "remote", None)
    assert list(run_tasks(None, [], TWO)) == []

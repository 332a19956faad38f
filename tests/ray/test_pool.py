"""Pieces of work on two workers of a local cluster."""

from __future__ import annotations

import os
import time
from contextlib import closing

import pytest

from lorerm.errors import DataError, ModelError, RunError
from lorerm.ray import pool
from lorerm.ray.cluster import Workers
from lorerm.ray.pool import run_pieces

TWO = Workers(2, cpus=1, gpus=0)


def results(ray, make_work, pieces):
    with closing(run_pieces(ray, make_work, pieces, TWO)) as outcomes:
        return {outcome.number: (outcome.attempts, outcome.get()) for outcome in outcomes}


def test_each_piece_is_done_although_a_worker_dies(ray, tmp_path):
    marker = tmp_path / "die"
    marker.touch()

    def make_work():
        made = os.getpid()

        def work(piece):
            if piece == 3 and marker.exists():
                marker.unlink()
                os._exit(1)
            return 2 * piece, made, os.getpid()

        return work

    found = results(ray, make_work, range(10))
    assert {number: result for number, (_, (result, _, _)) in found.items()} == {n: 2 * n for n in range(10)}
    assert found[3][0] == 2, "begun twice"
    pairs = [(made, doing) for _, (_, made, doing) in found.values()]
    assert all(made == doing for made, doing in pairs), "every worker begins once, and does many"
    assert len(set(pairs)) >= 2
    assert os.getpid() not in {doing for _, doing in pairs}


def test_a_piece_that_always_kills_its_worker_is_given_up(ray, monkeypatch):
    monkeypatch.setattr(pool, "_ATTEMPTS", 2)

    def make_work():
        return lambda piece: os._exit(1) if piece == 1 else piece

    with pytest.raises(RunError, match="died 2 times over piece 2 of the work"):
        results(ray, make_work, range(3))


def test_workers_that_die_before_they_begin_are_given_up(ray, tmp_path, monkeypatch):
    monkeypatch.setattr(pool, "_ATTEMPTS", 2)

    def make_work():
        with (tmp_path / "starts").open("a") as starts:
            starts.write("x")
        os._exit(1)

    with pytest.raises(RunError, match="died again and again before they could begin"):
        results(ray, make_work, range(1))
    assert (tmp_path / "starts").read_text() == "xx"


def test_workers_with_another_version_are_refused(ray, monkeypatch):
    monkeypatch.setattr(pool, "__version__", "9.9")
    with pytest.raises(RunError, match=r"the cluster's workers have lorerm 0\.\S+, this is lorerm 9\.9"):
        results(ray, lambda: abs, range(1))


def test_a_cluster_that_fails_is_one_line(ray, monkeypatch):
    """For instance one that makes no progress, by the user's own measure."""
    monkeypatch.setenv("RAY_DATA_EXECUTION_NO_PROGRESS_TIMEOUT_S", "2")
    monkeypatch.setattr(ray.data.DataContext.get_current(), "execution_no_progress_timeout_s", 2)

    def make_work():
        return lambda piece: time.sleep(60)

    with pytest.raises(RunError, match=r"the Ray cluster failed \(.*\): see its logs"):
        results(ray, make_work, range(1))


def test_what_a_piece_raises_arrives_as_it_was_and_is_not_tried_again(ray, tmp_path):
    errors = [DataError("it is bad", "mend it"), KeyError("a mistake")]

    def make_work():
        def work(piece):
            with (tmp_path / f"{piece}").open("a") as tries:
                tries.write("x")
            raise errors[piece]

        return work

    with closing(run_pieces(ray, make_work, range(2), TWO)) as outcomes:
        found = {outcome.number: outcome for outcome in outcomes}
    for number, error in enumerate(errors):
        with pytest.raises(type(error), match=str(error)) as caught:
            found[number].get()
        assert "raise errors[piece]" in str(caught.value.__cause__), "the traceback on the worker"
        assert (tmp_path / f"{number}").read_text() == "x"


def test_what_stops_a_worker_from_beginning_arrives_too(ray):
    def make_work():
        raise ModelError("there is no such model", "name another")

    with pytest.raises(ModelError, match="there is no such model"):
        results(ray, make_work, range(1))


def test_without_pieces_nothing_is_started():
    assert list(run_pieces(None, None, [], TWO)) == []

"""Run tasks on the workers of a Ray cluster: actors of Ray Data, each of which is set up once and runs many tasks."""

from __future__ import annotations

import logging
import os
import pickle
import traceback
import warnings
from collections.abc import Callable, Generator, Iterable, Iterator
from contextlib import closing, contextmanager
from functools import partial
from typing import TYPE_CHECKING, Any, TypeVar

from lorerm._version import __version__
from lorerm.errors import RunError
from lorerm.ray.cluster import Workers

if TYPE_CHECKING:
    import pyarrow as pa

Task = TypeVar("Task")
Result = TypeVar("Result")

# How often a task is attempted, and a worker started, before the work fails: a task that kills each of its workers, for
# instance by taking too much memory, would otherwise be attempted for ever.
_MAX_ATTEMPTS = 4
# By default Ray Data gives up if no task ends for half an hour, which one task on a slow machine can take.
_NO_PROGRESS_TIMEOUT = "RAY_DATA_EXECUTION_NO_PROGRESS_TIMEOUT_S"


def run_tasks(
    set_up: Callable[[], Callable[[Task], Result]], tasks: Iterable[Task], workers: Workers
) -> Generator[tuple[int, Callable[[], Result]]]:
    """Run every task on one of the workers, in the context of `connected`.

    Every worker calls `set_up` once, which returns the function that runs a task; it is pickled, and so are the tasks.
    They wait in Ray's object store, which moves to disk what does not fit into its memory. Yields the index of each
    task, in the order in which they end, and a function that returns the task's result or raises its error.

    If a worker dies, Ray starts another, which runs the task again. A task that raises an error is not run again. A
    `RunError` is raised if the workers have another version of lorerm, the cluster fails, or workers die again and
    again while they run the same task or before they run any.
    """
    import pyarrow as pa
    import ray.data
    from ray.data.exceptions import ExecutionTimeoutError, SystemException

    import ray

    waiting = [
        ray.put(pa.table({"index": [index], "task": pa.array([pickle.dumps(task)], pa.large_binary())}))
        for index, task in enumerate(tasks)
    ]
    if not waiting:
        return
    with _quiet_ray_data(ray):
        n_workers = min(workers.number, len(waiting))
        outcomes = ray.data.from_arrow_refs(waiting).map_batches(
            _Worker,
            fn_constructor_kwargs={
                "set_up": set_up,
                "attempts": ray.remote(num_cpus=0)(_Attempts).remote(_MAX_ATTEMPTS * n_workers),
                "max_attempts": _MAX_ATTEMPTS,
                "version": __version__,
            },
            compute=ray.data.ActorPoolStrategy(size=n_workers),
            batch_size=1,
            batch_format="pyarrow",
            num_cpus=workers.cpus,
            num_gpus=workers.gpus or None,
        )
        blocks = outcomes.iter_batches(batch_size=None, batch_format="pyarrow", prefetch_batches=0)
        try:
            with closing(iter(blocks)) as iterator:
                for block in iterator:
                    for index, outcome in zip(block["index"].to_pylist(), block["outcome"], strict=True):
                        yield index, partial(_get, *pickle.loads(outcome.as_py()))  # noqa: S301 - our own workers
        except (ray.exceptions.RayError, SystemException, ExecutionTimeoutError) as error:
            raise cluster_error(error) from error


def cluster_error(error: BaseException) -> RunError:
    """Return the error of one line to raise for an error of Ray itself."""
    lines = [line for line in str(error).splitlines() if line.strip()] or [type(error).__name__]
    return RunError(
        f"the Ray cluster failed ({lines[-1].strip()[:300]})",
        "see its logs (/tmp/ray/session_latest/logs) and run the same command again; finished work is kept",
    )


def _get(result: Any, error: Exception | None, traceback_on_worker: str) -> Any:  # noqa: ANN401 - any result
    if error is not None:
        raise error from _TracebackOnWorkerError(traceback_on_worker)
    return result


class _TracebackOnWorkerError(Exception):
    """Carries the traceback on the worker as text."""


class _Attempts:
    """Counts started tasks and workers, in an actor of its own that survives the workers."""

    def __init__(self, max_starts: int) -> None:
        self._starts, self._max_starts = 0, max_starts
        self._attempts: dict[int, int] = {}

    def may_start(self) -> bool:
        """Count the start of a worker; return False once so many have died while starting."""
        self._starts += 1
        return self._starts <= self._max_starts

    def started(self) -> None:
        """Reset the count, because a worker was set up."""
        self._starts = 0

    def begin(self, index: int) -> int:
        """Count an attempt of a task, and return how many there are by now."""
        self._attempts[index] = self._attempts.get(index, 0) + 1
        return self._attempts[index]


class _Worker:
    """The class of Ray Data's actors."""

    def __init__(
        self,
        set_up: Callable[[], Callable[[Any], Any]],
        attempts: Any,  # noqa: ANN401 - handle of an actor
        max_attempts: int,
        version: str,
    ) -> None:
        import ray

        self._attempts, self._max_attempts = attempts, max_attempts
        self._failure: tuple[Exception, str] | None = None
        if version != __version__:
            error = RunError(
                f"the cluster's workers have lorerm {__version__}, this is lorerm {version}",
                "install the same version on all machines",
            )
            self._failure = error, ""
        elif not ray.get(attempts.may_start.remote()):
            self._failure = _workers_died("again and again while starting"), ""
        else:
            try:
                self._run = set_up()
            except Exception as error:
                self._failure = error, traceback.format_exc()
            ray.get(attempts.started.remote())

    def __call__(self, batch: pa.Table) -> pa.Table:
        """Run the one task of the batch."""
        import pyarrow as pa

        import ray

        index = batch["index"][0].as_py()
        if ray.get(self._attempts.begin.remote(index)) > self._max_attempts:
            error = _workers_died(f"{self._max_attempts} times while running task {index + 1}")
            outcome: tuple[Any, Exception | None, str] = None, error, ""
        else:
            outcome = self._result_or_error(batch["task"][0].as_py())
        return pa.table({"index": [index], "outcome": pa.array([pickle.dumps(outcome)], pa.large_binary())})

    def _result_or_error(self, task: bytes) -> tuple[Any, Exception | None, str]:
        """Run a task. An error is returned, because Ray would write it, with users' texts in it, to its logs."""
        if self._failure is not None:
            return None, *self._failure
        try:
            return self._run(pickle.loads(task)), None, ""  # noqa: S301 - pickled by our own driver
        except Exception as error:
            return None, error, traceback.format_exc()


def _workers_died(how_often: str) -> RunError:
    return RunError(
        f"workers of the cluster died {how_often}",
        "look for the reason in Ray's logs (out of memory?) and run the same command again; finished work is kept",
    )


@contextmanager
def _quiet_ray_data(ray: Any) -> Iterator[None]:  # noqa: ANN401 - the module
    """Turn off the progress bars, notes and deprecation warnings that Ray Data writes to the terminal."""
    logger = logging.getLogger("ray.data")
    level = logger.level
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", category=DeprecationWarning, module="ray")
        context = ray.data.DataContext.get_current().copy()
    context.enable_progress_bars = False
    context.print_on_execution_start = False
    if _NO_PROGRESS_TIMEOUT not in os.environ:
        context.execution_no_progress_timeout_s = -1
    context.execution_options.preserve_order = False
    with ray.data.DataContext.current(context):
        logger.setLevel(logging.ERROR)
        try:
            yield
        finally:
            logger.setLevel(level)

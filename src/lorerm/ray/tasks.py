"""Run tasks on the workers of a Ray cluster: actors of Ray Data that are set up once and run many tasks each."""

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

# Maximum number of attempts per task, and of starts per worker. Without a limit, a task that kills each of its workers,
# for instance by using too much memory, would be attempted forever.
_MAX_ATTEMPTS = 4
# By default Ray Data gives up if no task ends for half an hour. On a slow machine, one task can take longer.
_NO_PROGRESS_TIMEOUT = "RAY_DATA_EXECUTION_NO_PROGRESS_TIMEOUT_S"


def run_tasks(
    set_up: Callable[[], Callable[[Task], Result]], tasks: Iterable[Task], workers: Workers
) -> Generator[tuple[int, Callable[[], Result]]]:
    """Run every task on one of the workers, and yield the tasks in the order in which they finish.

    Yields the index of the task, and a function that returns the task's result or raises its error. The generator can
    be used only within the context of `connected`.

    - Every worker calls `set_up` once, which returns the function that runs a task.
    - `set_up` and the tasks are pickled. The tasks wait in Ray's object store, which moves them to disk if its memory
      is full.
    - If a worker dies, Ray starts another, which runs the task again. A task that raises an error is not run again.

    Raises `RunError` if the workers have another version of lorerm, if the cluster fails, or if workers die repeatedly
    while they run the same task or before they run any task.
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
    """Convert an error that Ray raised to a `RunError`, with the last line of its message."""
    lines = [line for line in str(error).splitlines() if line.strip()] or [type(error).__name__]
    return RunError(
        f"the Ray cluster failed ({lines[-1].strip()[:300]})",
        "see Ray's logs (/tmp/ray/session_latest/logs) and run the same command again",
    )


def _get(result: Any, error: Exception | None, traceback_on_worker: str) -> Any:  # noqa: ANN401 - any result
    if error is not None:
        raise error from _TracebackOnWorkerError(traceback_on_worker)
    return result


class _TracebackOnWorkerError(Exception):
    """The traceback of an error on a worker, as text; it is the cause of the error raised here."""


class _Attempts:
    """Counts attempts of tasks and starts of workers. It runs in its own actor, which survives the workers."""

    def __init__(self, max_starts: int) -> None:
        self._starts, self._max_starts = 0, max_starts
        self._attempts: dict[int, int] = {}

    def may_start(self) -> bool:
        """Count the start of a worker; return False if more than `max_starts` workers in a row died while starting."""
        self._starts += 1
        return self._starts <= self._max_starts

    def started(self) -> None:
        """Reset the count of starts, because a worker was set up."""
        self._starts = 0

    def begin(self, index: int) -> int:
        """Count an attempt of a task, and return the number of its attempts so far."""
        self._attempts[index] = self._attempts.get(index, 0) + 1
        return self._attempts[index]


class _Worker:
    """A worker: the class that Ray Data instantiates in each actor."""

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
                f"the cluster's workers have lorerm {__version__}, this process has lorerm {version}",
                "install the same version on all machines",
            )
            self._failure = error, ""
        elif not ray.get(attempts.may_start.remote()):
            self._failure = _workers_died("repeatedly while starting"), ""
        else:
            try:
                self._run = set_up()
            except Exception as error:
                self._failure = error, traceback.format_exc()
            ray.get(attempts.started.remote())

    def __call__(self, batch: pa.Table) -> pa.Table:
        """Run the batch's only task, and return its index and its pickled result or error."""
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
        """Run a task. An error is returned, not raised: Ray would write it to its logs, with any users' texts in it."""
        if self._failure is not None:
            return None, *self._failure
        try:
            return self._run(pickle.loads(task)), None, ""  # noqa: S301 - pickled by our own driver
        except Exception as error:
            return None, error, traceback.format_exc()


def _workers_died(how_often: str) -> RunError:
    return RunError(
        f"workers of the cluster died {how_often}",
        "find the reason in Ray's logs, for instance too little memory, and run the same command again",
    )


@contextmanager
def _quiet_ray_data(ray: Any) -> Iterator[None]:  # noqa: ANN401 - the module
    """Turn off the progress bars, log messages and deprecation warnings that Ray Data writes to the terminal."""
    logger = logging.getLogger("ray.data")
    level = logger.level
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", category=DeprecationWarning, module="ray")
        context = ray.data.DataContext.get_current().copy()
    context.enable_progress_bars = False
    context.print_on_execution_start = False
    if _NO_PROGRESS_TIMEOUT not in os.environ:
        context.execution_no_progress_timeout_s = -1  # no time limit
    context.execution_options.preserve_order = False
    with ray.data.DataContext.current(context):
        logger.setLevel(logging.ERROR)
        try:
            yield
        finally:
            logger.setLevel(level)

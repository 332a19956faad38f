"""Work in pieces on the workers of a Ray cluster: actors of Ray Data, each making what it needs once."""

from __future__ import annotations

import logging
import os
import pickle
import traceback
import warnings
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Generic, TypeVar

from lorerm._version import __version__
from lorerm.errors import RunError

if TYPE_CHECKING:
    from collections.abc import Callable, Generator, Iterable, Iterator

    import pyarrow as pa

    from lorerm.ray.cluster import Workers

Piece = TypeVar("Piece")
Result = TypeVar("Result")

# How often a piece is begun, and a worker started, at most, before it comes to its end: one that always dies would
# otherwise go round for ever.
_ATTEMPTS = 4
# Ray Data gives up where nothing is finished for half an hour, which one piece on a slow machine can take.
_PATIENCE = "RAY_DATA_EXECUTION_NO_PROGRESS_TIMEOUT_S"


@dataclass(frozen=True)
class Outcome(Generic[Result]):
    """What became of a piece."""

    number: int
    """its place among the pieces"""
    attempts: int
    """how often it was begun; more than once where a worker died over it"""
    _result: Result | None
    _error: Exception | None
    _where: str

    def get(self) -> Result:
        """Return the result, or raise what the work raised."""
        if self._error is not None:
            raise self._error from _OnWorkerError(self._where)
        return self._result  # type: ignore[return-value]


class _OnWorkerError(Exception):
    """The traceback on the worker, as text."""


def run_pieces(
    ray: Any,  # noqa: ANN401 - the module
    make_work: Callable[[], Callable[[Piece], Result]],
    pieces: Iterable[Piece],
    workers: Workers,
) -> Generator[Outcome[Result]]:
    """Do all pieces, each by one of the workers.

    A piece whose worker dies is done again by another: Ray starts a new one. What the work raises is not tried again,
    and comes with its outcome.

    Parameters
    ----------
    ray
        The module, connected to a cluster.
    make_work
        Called once by every worker, and gives what does a piece. It and the pieces are pickled.
    pieces
        What to do; they wait in Ray's object store, which moves to disk what does not fit into its memory.
    workers
        How many at most, and what each reserves.

    Yields
    ------
    Outcome
        One for each piece, in the order in which they are finished.

    Raises
    ------
    RunError
        If the workers have another version of lorerm, or the cluster fails, or workers die again and again over one
        piece, or before they can begin with any.
    """
    import pyarrow as pa

    waiting = [
        ray.put(pa.table({"number": [number], "piece": pa.array([pickle.dumps(piece)], pa.large_binary())}))
        for number, piece in enumerate(pieces)
    ]
    if not waiting:
        return
    from ray.data.exceptions import ExecutionTimeoutError, SystemException

    with _quiet(ray):
        n_workers = min(workers.number, len(waiting))
        register = ray.remote(num_cpus=0)(_Register).remote(_ATTEMPTS * n_workers)
        outcomes = ray.data.from_arrow_refs(waiting).map_batches(
            _Worker,
            fn_constructor_kwargs={
                "make_work": make_work,
                "register": register,
                "most_attempts": _ATTEMPTS,
                "version": __version__,
            },
            compute=ray.data.ActorPoolStrategy(size=n_workers),
            batch_size=1,
            batch_format="pyarrow",
            num_cpus=workers.cpus,
            num_gpus=workers.gpus or None,
        )
        blocks = iter(outcomes.iter_batches(batch_size=None, batch_format="pyarrow", prefetch_batches=0))
        try:
            for block in blocks:
                for number, outcome in zip(block["number"].to_pylist(), block["outcome"], strict=True):
                    yield Outcome(number, *pickle.loads(outcome.as_py()))  # noqa: S301 - of our own workers
        except (ray.exceptions.RayError, SystemException, ExecutionTimeoutError) as error:
            raise cluster_failed(error) from error
        finally:
            blocks.close()


def cluster_failed(error: BaseException) -> RunError:
    """Say in one line that it was the cluster, and not the work."""
    lines = [line for line in str(error).splitlines() if line.strip()] or [type(error).__name__]
    return RunError(
        f"the Ray cluster failed ({lines[-1].strip()[:300]})",
        "see its logs (/tmp/ray/session_latest/logs), and run the same command again: what is finished is kept",
    )


class _Register:
    """Counts what was begun; an actor of its own, as a worker that dies cannot tell."""

    def __init__(self, most_starts: int) -> None:
        self._starts, self._most_starts = 0, most_starts
        self._begun: dict[int, int] = {}

    def start(self) -> bool:
        """Tell whether a worker may start: not where all those before it died of that."""
        self._starts += 1
        return self._starts <= self._most_starts

    def started(self) -> None:
        self._starts = 0

    def begin(self, number: int) -> int:
        """Return how often a piece was begun by now."""
        self._begun[number] = self._begun.get(number, 0) + 1
        return self._begun[number]


class _Worker:
    """What Ray Data makes an actor of."""

    def __init__(
        self,
        make_work: Callable[[], Callable[[Any], Any]],
        register: Any,  # noqa: ANN401 - of an actor
        most_attempts: int,
        version: str,
    ) -> None:
        import ray

        self._register, self._most_attempts = register, most_attempts
        self._failure: tuple[Exception, str] | None = None
        if version != __version__:
            self._failure = _other_version(version), ""
            return
        if not ray.get(register.start.remote()):
            self._failure = _died("again and again before they could begin"), ""
            return
        try:
            self._work = make_work()
        except Exception as error:
            self._failure = error, traceback.format_exc()
        ray.get(register.started.remote())

    def __call__(self, batch: pa.Table) -> pa.Table:
        """Do the one piece of the batch."""
        import pyarrow as pa

        import ray

        number = batch["number"][0].as_py()
        attempts = ray.get(self._register.begin.remote(number))
        outcome: tuple[int, Any, Exception | None, str]
        if attempts > self._most_attempts:
            outcome = (attempts, None, _died(f"{self._most_attempts} times over piece {number + 1} of the work"), "")
        else:
            outcome = (attempts, *self._do(batch["piece"][0].as_py()))
        return pa.table({"number": [number], "outcome": pa.array([pickle.dumps(outcome)], pa.large_binary())})

    def _do(self, piece: bytes) -> tuple[Any, Exception | None, str]:
        """Return the result, or what was raised and where, which Ray would write into its logs, with texts in it."""
        if self._failure is not None:
            return None, *self._failure
        try:
            return self._work(pickle.loads(piece)), None, ""  # noqa: S301 - of our own driver
        except Exception as error:
            return None, error, traceback.format_exc()


def _other_version(version: str) -> RunError:
    return RunError(
        f"the cluster's workers have lorerm {__version__}, this is lorerm {version}",
        "install the same version on all machines",
    )


def _died(how_often: str) -> RunError:
    return RunError(
        f"workers of the cluster died {how_often}",
        "look for the reason in Ray's logs (out of memory?), and run the same command again: what is finished is kept",
    )


@contextmanager
def _quiet(ray: Any) -> Iterator[None]:  # noqa: ANN401
    """Leave the terminal to the command: no bars and notes of Ray Data, and none of its deprecations of its own."""
    logger = logging.getLogger("ray.data")
    level = logger.level
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", category=DeprecationWarning, module="ray")
        context = ray.data.DataContext.get_current().copy()
    context.enable_progress_bars = False
    context.print_on_execution_start = False
    if _PATIENCE not in os.environ:
        context.execution_no_progress_timeout_s = -1
    context.execution_options.preserve_order = False
    with ray.data.DataContext.current(context):
        logger.setLevel(logging.ERROR)
        try:
            yield
        finally:
            logger.setLevel(level)

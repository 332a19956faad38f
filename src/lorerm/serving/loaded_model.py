"""The server's reward model, loaded from a run folder, a model folder or the hub, with the users in the model's files.

A run folder is what `lorerm run` writes; a model folder is what `save_pretrained` writes.
"""

from __future__ import annotations

import hashlib
import logging
import os
import pickle
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from threading import Lock
from typing import TypeVar, cast

import numpy as np
from scipy.special import expit

from lorerm.arrays import Floats32
from lorerm.embedding.registry import build_encoder
from lorerm.embedding.store import read_store
from lorerm.errors import ConfigError, DataError, FolderBusyError, LorermError, RunError, UnknownUserError
from lorerm.model.compatibility import check_encoder
from lorerm.model.io import CONFIG, USERS, forget_users
from lorerm.model.reward_model import LowRankRewardModel
from lorerm.model.user_weights import UserWeights
from lorerm.pipeline.folder import RunFolder, locked
from lorerm.pipeline.forget import forget
from lorerm.pipeline.layout import FORGETTING, MANIFEST
from lorerm.pipeline.models import chosen_alpha, chosen_rank, load_model, model_folder
from lorerm.serving.settings import Settings

_T = TypeVar("_T")

log = logging.getLogger("lorerm.serving")

# Seconds to wait while another process writes into the folder.
_PATIENCE = 20.0
# Two changes of a folder that are this many seconds apart have different modification times: kernels round these times
# to a few milliseconds.
_TICK = 0.05
# Maximum number of comparisons whose embeddings are read to fit a map between the bases of two models.
_MAX_SAMPLE = 4096


class ModelFiles:
    """The files of a model: in a run folder, in a folder written by `save_pretrained`, or on the hub.

    Opening a run folder finishes an interrupted removal of users. A model on the hub is loaded without its users,
    because they could not be removed there.
    """

    folder: Path | None = None
    """The folder that contains the file of the users; None for a model on the hub."""

    def __init__(self, path: str, rank: int | None) -> None:
        self._path, self._is_run = path, (Path(path) / MANIFEST).exists()
        if self._is_run:
            run = RunFolder.open(path, half_forgotten=True)
            _retry_while_busy(lambda: forget(run) if FORGETTING in run.manifest() else None)
            self._rank = chosen_rank(run) if rank is None else rank
            self.folder = model_folder(run, self._rank, chosen_alpha(run))
        elif rank is not None:
            problem = f"--rank selects one of the models of a run, but {path} is not a run folder"
            raise ConfigError(problem, "leave --rank out", argument="rank")
        elif Path(path).is_dir() or (Path(path) / CONFIG).exists():
            self.folder = Path(path)

    def load(self) -> LowRankRewardModel:
        """Read or download the model, with its users."""
        if self._is_run:
            return load_model(RunFolder.open(self._path), self._rank)
        model = LowRankRewardModel.from_pretrained(self._path)
        return model if self.folder is not None else model.without_users(model.user_ids)

    def sample_differences(self) -> Floats32 | None:
        """Return embedding differences of some of the run's comparisons, float32 [n, D]; None if there are none."""
        if not self._is_run:
            return None
        try:
            comparisons, responses, _, _ = read_store(self._path)
        except LorermError:
            return None
        chosen, rejected = comparisons.rows()
        some = np.linspace(0, len(chosen) - 1, min(len(chosen), _MAX_SAMPLE)).astype(np.int64)
        return (responses[chosen[some]].float() - responses[rejected[some]].float()).numpy()

    def forget(self, user: str) -> tuple[str, ...]:
        """Remove a user from every file. Return the names of what was removed: `weights`, and results of the run."""
        if self._is_run:
            run = RunFolder.open(self._path, half_forgotten=True)
            with suppress(UnknownUserError):
                return ("weights", *_retry_while_busy(lambda: forget(run, [user])).results)
        elif self.folder is not None and (self.folder / USERS).exists():
            return ("weights",) if _retry_while_busy(partial(_forget_locked, self.folder, user)) else ()
        return ()


@dataclass(frozen=True)
class ServedModel:
    """The model that the supervisor loaded and passes to its workers.

    All workers serve this model, even workers that start after the files have changed.
    """

    pickled: bytes
    """The pickled `LowRankRewardModel`. It comes from the supervisor's memory, never from a file."""
    series: str
    """The series of models whose feedback the model uses (see `lorerm.serving.model_series`)."""

    @classmethod
    def of(cls, model: LowRankRewardModel, series: str) -> ServedModel:
        """Pickle a model of a series."""
        return cls(pickle.dumps(model), series)

    def load(self) -> LowRankRewardModel:
        """Return the model."""
        return cast("LowRankRewardModel", pickle.loads(self.pickled))  # noqa: S301 - from the supervisor's memory


class LoadedModel:
    """A reward model, its encoder and the users in its files. `refresh` reads the users again if the files changed.

    `served` is a model that was loaded before, for instance by the server's supervisor. None: the model is read from
    the files. If the files contain a different model by now (after a new training), the users of `served` who are also
    in the files stay known. (A deleted user is not in the files.)
    """

    def __init__(self, settings: Settings, served: LowRankRewardModel | None = None) -> None:
        self._files = ModelFiles(settings.path, settings.rank)
        self.name = settings.name or Path(settings.path).resolve().name
        self.created = int(time.time())
        self._signature: tuple[int, int] | None = (0, 0)
        if served is None:
            self._signature, served = self._read()
        self.model = served
        self.encoder = None if settings.encoder is None else build_encoder(settings.encoder, settings.running)
        if self.encoder is not None:
            check_encoder(self.model, self.encoder.identity)
        self.fingerprint = fingerprint(self.model)
        self.basis = np.ascontiguousarray(self.model.basis.numpy())
        self.population_weights = self.model.population_weights.numpy()
        self.file_users: UserWeights = self.model.users()
        """The users in the model's files when these were last read."""
        self._own_users = self.file_users  # the users last read while the files contained this model
        self._lock = Lock()
        if self._signature == (0, 0):
            self.refresh()

    def rewards(self, embeddings: Floats32, weights: Floats32) -> list[float]:
        """Return the rewards of embeddings [n, D] for weights [K]. Raises `DataError` if a reward is not finite."""
        with np.errstate(all="ignore"):
            # One product for each row: in a single matrix product, equal rows can differ in the last digit.
            rewards = np.matmul(embeddings[:, None, :], self.basis @ weights)[:, 0]
        if not np.isfinite(rewards).all():
            raise not_computable()
        return cast("list[float]", rewards.tolist())

    def probabilities(self, rewards: Sequence[float]) -> list[float]:
        """Return the probability, for each reward, that a response with it is preferred to one with reward 0."""
        return cast("list[float]", expit(np.asarray(rewards) / self.model.temperature).tolist())

    def sample_differences(self) -> Floats32 | None:
        """Return embedding differences of some of the run's comparisons, float32 [n, D]; None if there are none."""
        return self._files.sample_differences()

    def is_current(self) -> bool:
        """Return whether the files are unchanged since the users were read. This takes microseconds."""
        return self._signature == self._sign()

    def refresh(self) -> None:
        """Read the users again if their files have changed."""
        with self._lock:
            if self.is_current():
                return
            try:
                signature, model = self._read()
            except LorermError as error:
                # Another process may be changing the files. The next request tries again.
                log.warning("the model's users cannot be read at the moment: %s", error)
                return
            if fingerprint(model) == self.fingerprint:
                self.file_users = self._own_users = model.users()
            else:
                log.warning("the model's folder now contains a different model; reload the server to serve it")
                in_files = set(model.user_ids)
                own = self._own_users
                self.file_users = own.select([user for user in own.user_ids if user in in_files])
            self._signature = signature

    def forget(self, user: str) -> tuple[str, ...]:
        """Remove a user from the model's files, and return what was removed; see `ModelFiles.forget`.

        Raises `RunError` if the files cannot be changed.
        """
        try:
            return self._files.forget(user)
        except FolderBusyError:
            problem = "another command is changing the model's files"
            raise FolderBusyError(problem, "send the request again later") from None
        except (OSError, RunError) as error:
            # The path and the cause go to the operator's log, not to the client.
            log.error("a user cannot be removed from the model's files: %s", error)  # noqa: TRY400 - no traceback
            raise RunError(
                "the user's feedback is deleted from the database, but the user is also in the model's files, which "
                "this server cannot change",
                "ask the server's operator: the server's log names the file",
            ) from error

    def _sign(self) -> tuple[int, int] | None:
        """Return the folder's inode and modification time, which change when its file of users is replaced."""
        if self._files.folder is None:
            return None
        try:
            found = os.stat(self._files.folder)  # noqa: PTH116 - faster, for every request
        except OSError:
            return 0, 0
        return found.st_ino, found.st_mtime_ns

    def _read(self) -> tuple[tuple[int, int] | None, LowRankRewardModel]:
        """Return the folder's signature (see `_sign`), and the model read after that."""
        signature = self._sign()
        # Two changes within _TICK can have the same signature, so wait until the last change is older than that. If the
        # folder's time is far in the future, because clocks differ, don't wait.
        while signature is not None and abs(time.time() - signature[1] / 1e9) < _TICK:
            time.sleep(_TICK)
            signature = self._sign()
        return signature, self._files.load()


def _forget_locked(folder: Path, user: str) -> bool:
    with locked(folder):
        return forget_users(folder / USERS, {user})


def not_computable() -> DataError:
    """Return the error for embeddings that lead to infinite or undefined rewards."""
    return DataError(
        "an embedding contains NaN, infinity or too large numbers", "check the encoder that computed the embeddings"
    )


def fingerprint(model: LowRankRewardModel) -> str:
    """Return a hash (32 hexadecimal digits) of the model's basis, prior, temperature and encoder.

    These parts determine the weights that are fitted to a user's feedback.
    """
    prior = model.prior
    digest = hashlib.sha256()
    encoder = None if model.encoder is None else sorted(model.encoder.to_dict().items())
    digest.update(repr((model.temperature, prior.concentration, encoder, tuple(model.basis.shape))).encode())
    for tensor in (model.basis, prior.mean, prior.covariance, *(prior.mixture or ())):
        digest.update(b"none" if tensor is None else tensor.contiguous().numpy().tobytes())
    return digest.hexdigest()[:32]


def _retry_while_busy(work: Callable[[], _T]) -> _T:
    """Call a function; repeat it while another process writes into the folder, for at most `_PATIENCE` seconds."""
    deadline = time.monotonic() + _PATIENCE
    while True:
        try:
            return work()
        except FolderBusyError:
            if time.monotonic() > deadline:
                raise
        time.sleep(0.05)

"""The reward model that a server has loaded from a run, a folder or the hub, with the users in its files."""

from __future__ import annotations

import hashlib
import logging
import os
import time
from collections.abc import Callable
from contextlib import suppress
from functools import partial
from pathlib import Path
from threading import Lock
from typing import cast

import numpy as np

from lorerm.arrays import Floats32
from lorerm.embedding.registry import build_encoder
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

log = logging.getLogger("lorerm.serving")

# Seconds to wait for another process that writes into the folder.
_PATIENCE = 20.0
# Seconds between two changes of a folder that surely have different times: kernels round them to a few milliseconds.
_TICK = 0.05


class ModelFiles:
    """The files of a model: a run, a folder written by `save_pretrained`, or a model on the hub.

    Opening a run finishes a removal of users that was interrupted. A model on the hub is loaded without its users,
    because they could not be removed there.
    """

    folder: Path | None = None
    """The folder with the users' file, which every change of users replaces; None for the hub."""

    def __init__(self, path: str, rank: int | None) -> None:
        self._path, self._is_run = path, (Path(path) / MANIFEST).exists()
        if self._is_run:
            run = RunFolder.open(path, half_forgotten=True)
            _retry_while_busy(lambda: forget(run) if FORGETTING in run.manifest() else None)
            self._rank = chosen_rank(run) if rank is None else rank
            self.folder = model_folder(run, self._rank, chosen_alpha(run))
        elif rank is not None:
            problem = f"--rank selects a run's model, and {path} is not a run"
            raise ConfigError(problem, "leave --rank out", argument="rank")
        elif Path(path).is_dir() or (Path(path) / CONFIG).exists():
            self.folder = Path(path)

    def load(self) -> LowRankRewardModel:
        """Read or download the model, with its users."""
        if self._is_run:
            return load_model(RunFolder.open(self._path), self._rank)
        model = LowRankRewardModel.from_pretrained(self._path)
        return model if self.folder is not None else model.without_users(model.user_ids)

    def forget(self, user: str) -> None:
        """Remove a user from every file; an unknown user is no error."""
        if self._is_run:
            run = RunFolder.open(self._path, half_forgotten=True)
            with suppress(UnknownUserError):
                _retry_while_busy(lambda: forget(run, [user]))
        elif self.folder is not None and (self.folder / USERS).exists():
            _retry_while_busy(partial(_forget_locked, self.folder, user))


class LoadedModel:
    """A reward model, its encoder and the users in its files, which are read again if another process changes them."""

    def __init__(self, settings: Settings) -> None:
        self._files = ModelFiles(settings.path, settings.rank)
        self.name = settings.name or Path(settings.path).resolve().name
        self.created = int(time.time())
        self._signature, self.model = self._read()
        self.encoder = None if settings.encoder is None else build_encoder(settings.encoder, settings.running)
        if self.encoder is not None:
            check_encoder(self.model, self.encoder.identity)
        self.fingerprint = fingerprint(self.model)
        self.basis = np.ascontiguousarray(self.model.basis.numpy())
        self.population_weights = self.model.population_weights.numpy()
        self.file_users: UserWeights = self.model.users()
        """The users in the model's files, as last read."""
        self._lock = Lock()

    def rewards(self, embeddings: Floats32, weights: Floats32) -> list[float]:
        """Return the rewards of embeddings [n, D] for weights [K]; a `DataError` if one is not finite."""
        with np.errstate(all="ignore"):
            # Each row by itself: in one matrix product, equal rows can get rewards that differ in the last digit.
            rewards = np.matmul(embeddings[:, None, :], self.basis @ weights)[:, 0]
        if not np.isfinite(rewards).all():
            raise not_computable()
        return cast("list[float]", rewards.tolist())

    def is_current(self) -> bool:
        """Return whether the files are unchanged since the users were read; takes microseconds."""
        return self._signature == self._sign()

    def refresh(self) -> None:
        """Read the users again if any process has changed their files."""
        with self._lock:
            if self.is_current():
                return
            try:
                signature, model = self._read()
            except LorermError as error:
                # Possibly in the middle of a change: the next request tries again.
                log.warning("the model's users cannot be read at the moment: %s", error)
                return
            if fingerprint(model) == self.fingerprint:
                self.file_users = model.users()
            else:
                log.error(
                    "the folder has another model: restart the server; until then no users of its files are known"
                )
                self.file_users = self.file_users.select([])
            self._signature = signature

    def forget(self, user: str) -> None:
        """Remove a user from the model's files; a `RunError` if they cannot be changed."""
        try:
            self._files.forget(user)
        except FolderBusyError:
            problem = "another command is changing the model's files"
            raise FolderBusyError(problem, "send the request again later") from None
        except (OSError, RunError) as error:
            # Paths and causes are for the server's operator, not for its clients.
            log.error("a user cannot be removed from the model's files: %s", error)  # noqa: TRY400 - no traceback
            raise RunError(
                "the user's feedback is deleted from the database, but the user is also in the model's files, which "
                "this server cannot change",
                "ask the server's operator, whose log names the file",
            ) from error

    def _sign(self) -> tuple[int, int] | None:
        """Return the folder's inode and time, which change with its users: a file is replaced then."""
        if self._files.folder is None:
            return None
        try:
            found = os.stat(self._files.folder)  # noqa: PTH116 - faster, for every request
        except OSError:
            return 0, 0
        return found.st_ino, found.st_mtime_ns

    def _read(self) -> tuple[tuple[int, int] | None, LowRankRewardModel]:
        """Return the model, and the signature of the files that it was read from."""
        signature = self._sign()
        # A change within the same tick would have the same signature, so wait until the last one is older.
        # If the folder's time is in the future, because clocks differ, don't wait for it.
        while signature is not None and abs(time.time() - signature[1] / 1e9) < _TICK:
            time.sleep(_TICK)
            signature = self._sign()
        return signature, self._files.load()


def _forget_locked(folder: Path, user: str) -> None:
    with locked(folder):
        forget_users(folder / USERS, {user})


def not_computable() -> DataError:
    """Return the error for embeddings that lead to infinite or undefined rewards."""
    return DataError(
        "an embedding contains NaN, infinity or too large numbers", "check the encoder that computed the embeddings"
    )


def fingerprint(model: LowRankRewardModel) -> str:
    """Return 32 hexadecimal digits: a hash of all that decides which weights the same feedback leads to."""
    prior = model.prior
    digest = hashlib.sha256()
    encoder = None if model.encoder is None else sorted(model.encoder.to_dict().items())
    digest.update(repr((model.temperature, prior.concentration, encoder, tuple(model.basis.shape))).encode())
    for tensor in (model.basis, prior.mean, prior.covariance, *(prior.mixture or ())):
        digest.update(b"none" if tensor is None else tensor.contiguous().numpy().tobytes())
    return digest.hexdigest()[:32]


def _retry_while_busy(work: Callable[[], object]) -> None:
    """Call a function, again and again while another process writes into the folder."""
    deadline = time.monotonic() + _PATIENCE
    while True:
        try:
            work()
        except FolderBusyError:
            if time.monotonic() > deadline:
                raise
        else:
            return
        time.sleep(0.05)

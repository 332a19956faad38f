"""The model that is served: a run's, or one from a folder or the hub; with the users that its files bring."""

from __future__ import annotations

import hashlib
import logging
import os
import time
from contextlib import suppress
from pathlib import Path
from threading import Lock
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np

from lorerm.embedding.registry import build_encoder
from lorerm.errors import ConfigError, FolderBusyError, LorermError, RunError, UnknownUserError
from lorerm.model.compatibility import check_encoder
from lorerm.model.io import CONFIG, USERS, forget_users
from lorerm.model.reward_model import LowRankRewardModel
from lorerm.pipeline.folder import FORGETTING, RunFolder, locked
from lorerm.pipeline.forget import forget
from lorerm.pipeline.layout import MANIFEST
from lorerm.pipeline.models import chosen_alpha, chosen_rank, load_model, model_folder

if TYPE_CHECKING:
    from collections.abc import Callable

    from lorerm.model.user_weights import UserWeights
    from lorerm.serving.settings import Settings

log = logging.getLogger("lorerm.serving")
# Seconds to wait for another process that writes into the folder.
_PATIENCE = 20.0

# Seconds by which the times of two changes differ for certain.
_TICK = 0.05


class Source(Protocol):
    """Where a model comes from."""

    def load(self) -> LowRankRewardModel:
        """Read the model, with its users."""
        ...

    @property
    def folder(self) -> Path | None:
        """The folder of the files that its users are in; each change exchanges one of them."""
        ...

    def forget(self, user: str) -> None:
        """Remove every trace of a user; of an unknown one there is none."""
        ...


class FromRun:
    """A run's model; forgetting that was cut off is finished first."""

    def __init__(self, path: str, rank: int | None) -> None:
        self._path = path
        run = RunFolder.open(path, half_forgotten=True)
        if FORGETTING in run.manifest():
            _patiently(lambda: self._finish(run))
        self._rank = chosen_rank(run) if rank is None else rank
        self._folder = model_folder(run, self._rank, chosen_alpha(run))

    def load(self) -> LowRankRewardModel:
        """Read the model, with everybody whom it was adapted to."""
        return load_model(RunFolder.open(self._path), self._rank)

    @property
    def folder(self) -> Path:
        """The model's folder."""
        return self._folder

    def forget(self, user: str) -> None:
        """Remove a user from every file of the run."""
        run = RunFolder.open(self._path, half_forgotten=True)
        with suppress(UnknownUserError):
            _patiently(lambda: forget(run, [user]))

    def _finish(self, run: RunFolder) -> None:
        if FORGETTING in run.manifest():
            forget(run)


class FromFolder:
    """A model's folder."""

    def __init__(self, path: str) -> None:
        self._folder = Path(path)

    def load(self) -> LowRankRewardModel:
        """Read the model, with its users where it was saved with them."""
        return LowRankRewardModel.from_pretrained(self._folder)

    @property
    def folder(self) -> Path:
        """The model's folder."""
        return self._folder

    def forget(self, user: str) -> None:
        """Remove a user from the file."""
        if (self._folder / USERS).exists():
            _patiently(lambda: self._forget(user))

    def _forget(self, user: str) -> None:
        with locked(self._folder):
            forget_users(self._folder / USERS, {user})


class FromHub:
    """A model on the hub, without its users: they could not be forgotten there."""

    def __init__(self, name: str) -> None:
        self._name = name

    def load(self) -> LowRankRewardModel:
        """Fetch the model."""
        model = LowRankRewardModel.from_pretrained(self._name)
        return model.without_users(model.user_ids)

    @property
    def folder(self) -> None:
        """There is none that changes."""

    def forget(self, user: str) -> None:
        """Nobody is known."""


class Served:
    """A model, what embeds for it, and the users that it brings."""

    def __init__(self, settings: Settings) -> None:
        self._source = find_source(settings.path, settings.rank)
        self.name = settings.name or Path(settings.path).resolve().name
        self.created = int(time.time())
        self._signature, self.model = self._read()
        self.encoder = None if settings.encoder is None else build_encoder(settings.encoder, settings.running)
        if self.encoder is not None:
            check_encoder(self.model, self.encoder.identity)
        self.fingerprint = fingerprint(self.model)
        self.basis = np.ascontiguousarray(self.model.basis.numpy())
        self.population = self.model.population_weights.numpy()
        self.brought: UserWeights = self.model.users()
        """The users of the model's files, as last read."""
        self._lock = Lock()

    def is_current(self) -> bool:
        """Tell whether the files of the model's users are still those that were read; it takes microseconds."""
        return self._signature == self._sign()

    def refresh(self) -> None:
        """Read the model's users again, whichever process has changed them."""
        with self._lock:
            if not self.is_current():
                self._refresh()

    def forget(self, user: str) -> None:
        """Remove a user from the model's files."""
        try:
            self._source.forget(user)
        except FolderBusyError:
            raise FolderBusyError("another command is changing the model's files", "send it again later") from None
        except (OSError, RunError) as error:
            # Of which files, and why, those who run the server should know, and nobody else.
            log.error("a user cannot be removed from the model's files: %s", error)  # noqa: TRY400 - where is known
            raise RunError(
                "the answers given here are deleted, but the user stands in files of the model too, which this server "
                "cannot change",
                "look into its log; a model can also be served without its users",
            ) from error

    def _sign(self) -> tuple[int, int] | None:
        if self._source.folder is None:
            return None
        try:
            found = os.stat(self._source.folder)  # noqa: PTH116 - for every request, and faster
        except OSError:
            return 0, 0
        return found.st_ino, found.st_mtime_ns

    def _read(self) -> tuple[tuple[int, int] | None, LowRankRewardModel]:
        signature = self._sign()
        # Not where that is in the future, because clocks differ: it would be waited for.
        while signature is not None and abs(time.time() - signature[1] / 1e9) < _TICK:
            time.sleep(_TICK)  # a change that follows at once could not be told from this one
            signature = self._sign()
        return signature, self._source.load()

    def _refresh(self) -> None:
        try:
            signature, model = self._read()
        except LorermError as error:
            # Half of the files of a change: the next request looks again.
            log.warning("the model's users cannot be read now: %s", error)
            return
        if fingerprint(model) != self.fingerprint:
            log.error("another model is in the folder now: start the server anew; until then this one has no users")
            self.brought = self.brought.select([])
        else:
            self.brought = model.users()
        self._signature = signature


def find_source(path: str, rank: int | None) -> Source:
    """Tell a run, a model's folder and the name of a model on the hub apart.

    Raises
    ------
    ConfigError
        If a rank is asked for where there is no choice.
    """
    if (Path(path) / MANIFEST).exists():
        return FromRun(path, rank)
    if rank is not None:
        raise ConfigError(f"--rank is about a run, and {path} is none", "leave it out")
    folder = Path(path)
    return FromFolder(path) if folder.is_dir() or (folder / CONFIG).exists() else FromHub(path)


def fingerprint(model: LowRankRewardModel) -> str:
    """Return 32 hexadecimal digits that are others when the same answers give other weights."""
    prior = model.prior
    digest = hashlib.sha256()
    encoder = None if model.encoder is None else sorted(model.encoder.to_dict().items())
    digest.update(repr((model.temperature, prior.concentration, encoder, tuple(model.basis.shape))).encode())
    for tensor in (model.basis, prior.mean, prior.covariance, *(prior.mixture or ())):
        digest.update(b"none" if tensor is None else tensor.contiguous().numpy().tobytes())
    return digest.hexdigest()[:32]


def _patiently(work: Callable[[], Any]) -> None:
    """Do it, and again while another process writes into the folder."""
    deadline = time.monotonic() + _PATIENCE
    while not _try(work, last=time.monotonic() > deadline):
        time.sleep(0.05)


def _try(work: Callable[[], Any], *, last: bool) -> bool:
    try:
        work()
    except FolderBusyError:
        if last:
            raise
        return False
    return True

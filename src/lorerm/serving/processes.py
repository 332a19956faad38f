"""The server's processes: a supervisor opens the socket, and workers answer the requests that arrive on it."""

from __future__ import annotations

import asyncio
import logging
import os
import socket
import sys
import tempfile
from collections.abc import Callable
from contextlib import closing
from dataclasses import replace
from typing import Any

import uvicorn
from sqlalchemy.exc import SQLAlchemyError

from lorerm.data.conversation import as_conversation
from lorerm.errors import ConfigError
from lorerm.serving.connections import LimitedConnection
from lorerm.serving.database import Database
from lorerm.serving.keys import is_loopback
from lorerm.serving.loaded_model import LoadedModel, ServedModel, fingerprint
from lorerm.serving.logs import configure_logs
from lorerm.serving.model_series import Contents, contents, last_served, register
from lorerm.serving.settings import METRICS_FOLDER, Settings
from lorerm.serving.supervisor import Heartbeat, Supervisor

log = logging.getLogger("lorerm.serving")

# Connections that the kernel accepts before a worker takes them.
_BACKLOG = 2048
# Seconds until an idle connection is closed, and seconds that requests have to finish when the server stops.
_KEEP_ALIVE, _GRACE = 5, 10


def serve(settings: Settings, host: str, port: int, again: Callable[[], Settings] | None = None) -> None:
    """Serve until a signal stops the process. The address is printed once the server is ready.

    `again` is called at a reload and returns the new settings. None: the settings stay the same.
    """
    if os.name == "nt":
        raise ConfigError("the server does not run on Windows", "run it in WSL, in a container, on Linux or on macOS")
    if not settings.keys and not is_loopback(host):
        problem = f"--host {host} makes the server reachable from other machines, but there are no API keys"
        remedy = "give --api-keys FILE (`lorerm serve --new-key` makes a key), or leave --host out"
        raise ConfigError(problem, remedy, argument="api-keys")
    configure_logs(settings.log_format)
    # The socket comes first, so that a second server on the same port ends before it touches the database.
    with closing(_listen(host, port)) as listening, tempfile.TemporaryDirectory(prefix="lorerm-metrics-") as folder:
        served = open_model(settings)
        os.environ[METRICS_FOLDER] = folder
        name = f"[{host}]" if ":" in host else host
        address = f"http://{name}:{listening.getsockname()[1]}"

        def announce() -> None:
            sys.stdout.write(f"Serving {settings.path} on {address}\n")
            sys.stdout.flush()

        def reload() -> tuple[Settings, ServedModel, socket.socket]:
            nonlocal settings, served
            new = settings if again is None else again()
            if bool(new.keys) != bool(settings.keys):
                remedy = "restart the server to add the first key, or to remove the last one"
                raise ConfigError("a reload cannot change whether the server needs keys", remedy, argument="api-keys")
            served, settings = open_model(new, served), new
            return settings, served, listening

        arguments = settings, served, listening
        Supervisor(_work, arguments, settings.workers, announce, listening.close, reload).run()


def open_model(settings: Settings, before: ServedModel | None = None) -> ServedModel:
    """Prepare the database and load the model, so that an error in either is printed as one line.

    Each worker opens the database again and loads the encoder. Only this function prepares the database: a worker that
    replaces a failed one must be able to start while the database is down.

    `before` is the model that a reload replaces. The new model joins its series, so that the feedback of its users is
    used for the new model. At the start of a server with `carry_over`, the model joins the series of the model that was
    served last.
    """
    with closing(Database(settings.database)) as database:
        if before is None:
            database.prepare()
        loaded = LoadedModel(replace(settings, encoder=None))
        follows = None if before is None else fingerprint(before.load())
        if settings.carry_over and before is None:
            follows = last_served(database, loaded.model, loaded.fingerprint)
        sample = None if follows in (None, loaded.fingerprint) else loaded.sample_differences()
        try:
            series = register(database, loaded.model, loaded.fingerprint, follows, sample)
            held = contents(database, series, loaded.fingerprint)
        except SQLAlchemyError as error:
            raise database.unavailable(error) from error
    _report(held)
    return ServedModel.of(loaded.model, series)


def check(settings: Settings) -> str:
    """Load the model, the encoder and the database as the server does, and return a summary of four lines.

    The tables of the database are created or updated, as at the start of a server.
    """
    served = open_model(settings)
    loaded = LoadedModel(settings, served.load())
    if loaded.encoder is not None:
        loaded.encoder.encode([as_conversation("What of bread?", "It is good.")])
    with closing(Database(settings.database)) as database:
        held = contents(database, served.series, loaded.fingerprint)
    encoder = "none, embeddings only" if loaded.encoder is None else loaded.encoder.identity.model
    return "\n".join(
        [
            f"model:    {loaded.name}, fingerprint {loaded.fingerprint}, {len(loaded.file_users):,} users in its files",
            f"encoder:  {encoder}",
            f"database: {held.served.users:,} users with {held.served.feedback:,} comparisons for this model, "
            f"{held.other.users:,} users with {held.other.feedback:,} comparisons for other models",
            f"API keys: {len(settings.keys)}",
        ]
    )


def _report(held: Contents) -> None:
    """Say which feedback in the database the model uses only approximately, or not at all."""
    if held.other.users:
        log.warning(
            "%s for other models, which this model does not use; see `lorerm users` and --carry-over", held.other
        )
    if held.exact or held.mapped:
        log.warning(
            "feedback for an earlier model is used: %d comparisons exactly, %d approximately",
            held.exact,
            held.mapped,
        )


def configure(app: Any, **options: Any) -> uvicorn.Config:  # noqa: ANN401 - uvicorn's own
    """Return uvicorn's configuration for an ASGI application; `options` are further settings of uvicorn."""
    return uvicorn.Config(
        app,
        log_level="warning",
        log_config=None,
        access_log=False,  # paths contain user ids
        server_header=False,
        http=LimitedConnection,
        ws="none",
        backlog=_BACKLOG,
        timeout_keep_alive=_KEEP_ALIVE,
        timeout_graceful_shutdown=_GRACE,
        **options,
    )


class _Server(uvicorn.Server):
    """Server that sends signs of life from its event loop, the first one when it is ready."""

    def __init__(self, config: uvicorn.Config, heartbeat: Heartbeat) -> None:
        super().__init__(config)
        self._heartbeat = heartbeat

    async def on_tick(self, counter: int) -> bool:
        """Send a sign of life once a second: uvicorn calls this every 0.1 s, for the first time when it is ready."""
        if counter % 10 == 0:
            self._heartbeat.send()
        return await super().on_tick(counter)


def _work(heartbeat: Heartbeat, settings: Settings, served: ServedModel, listening: socket.socket) -> None:
    """Answer requests in a worker process until it is ended."""
    # Imported here because the supervisor does not need it, and prometheus-client must find METRICS_FOLDER.
    from lorerm.serving.app import create_app

    configure_logs(settings.log_format)

    async def wait_to_serve() -> None:
        while not heartbeat.may_serve():
            heartbeat.send()
            await asyncio.sleep(0.01)

    _Server(configure(create_app(settings, served, wait_to_serve)), heartbeat).run(sockets=[listening])


def _listen(host: str, port: int) -> socket.socket:
    """Return a socket that listens on an address. Raises `ConfigError` if another server listens there."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    listening = socket.socket(family, socket.SOCK_STREAM)
    listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listening.bind((host, port))
        # SO_REUSEADDR lets a second socket bind to the same address until one of the two listens.
        listening.listen(_BACKLOG)
    except (OSError, OverflowError) as error:
        listening.close()
        problem = f"the address --host {host} --port {port} cannot be used ({error})"
        raise ConfigError(problem, "choose another port or host", argument="port") from error
    return listening

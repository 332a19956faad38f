"""The server's processes: one, or several workers that share a socket and end with the process that started them."""

from __future__ import annotations

import multiprocessing
import os
import signal
import socket
import sys
import tempfile
import threading
from typing import Any

import uvicorn
from uvicorn.supervisors.multiprocess import Multiprocess

from lorerm.errors import ConfigError, RunError
from lorerm.serving.connections import LimitedConnection
from lorerm.serving.keys import is_loopback
from lorerm.serving.settings import ENVIRONMENT, METRICS_FOLDER, Settings

_MAX_CONNECTIONS = 1000
# Seconds until an idle connection is closed, and seconds that requests have to finish when the server stops.
_KEEP_ALIVE, _GRACE = 5, 10
# Seconds until a worker that does not respond is killed. On a busy machine the imports alone can take long.
_WORKER_PATIENCE = 60


def serve(settings: Settings, host: str, port: int) -> None:
    """Serve until a signal stops the process. The address is printed once the socket is bound."""
    if not settings.keys and not is_loopback(host):
        problem = f"--host {host} makes the server reachable from other machines, but there are no API keys"
        remedy = "give --api-keys FILE (`lorerm serve --new-key` makes a key), or leave --host out"
        raise ConfigError(problem, remedy, argument="api-keys")
    config = configure("lorerm.serving.app:create_app", host, port, factory=True, workers=settings.workers)
    os.environ[ENVIRONMENT] = settings.to_json()
    listening = _bind(config)
    name = f"[{host}]" if ":" in host else host
    sys.stdout.write(f"Serving {settings.path} on http://{name}:{listening.getsockname()[1]}\n")
    sys.stdout.flush()
    try:
        if settings.workers == 1:
            uvicorn.Server(config).run(sockets=[listening])
        else:
            with tempfile.TemporaryDirectory(prefix="lorerm-metrics-") as folder:
                os.environ[METRICS_FOLDER] = folder
                Multiprocess(config, sockets=[listening]).run()
    except KeyboardInterrupt:  # Ctrl+C, the usual way to stop the server
        return
    except SystemExit:
        raise RunError("the server could not start", "see the message above") from None


def configure(app: Any, host: str, port: int, **options: Any) -> uvicorn.Config:  # noqa: ANN401 - uvicorn's own
    """Return uvicorn's configuration for an ASGI application; `options` are further settings of uvicorn."""
    return uvicorn.Config(
        app,
        host=host,
        port=port,
        log_level="warning",
        access_log=False,  # paths contain user ids
        server_header=False,
        http=LimitedConnection,
        ws="none",
        limit_concurrency=_MAX_CONNECTIONS,
        timeout_keep_alive=_KEEP_ALIVE,
        timeout_graceful_shutdown=_GRACE,
        timeout_worker_healthcheck=_WORKER_PATIENCE,
        **options,
    )


def end_with_parent() -> None:
    """If this process is a worker, end it when the process that started it ends, even if that process is killed."""
    parent = multiprocessing.parent_process()
    if parent is None:
        return

    def watch() -> None:
        parent.join()
        os.kill(os.getpid(), signal.SIGTERM)

    threading.Thread(target=watch, daemon=True, name="parent").start()


def _bind(config: uvicorn.Config) -> socket.socket:
    family = socket.AF_INET6 if ":" in config.host else socket.AF_INET
    listening = socket.socket(family, socket.SOCK_STREAM)
    listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listening.bind((config.host, config.port))
    except (OSError, OverflowError) as error:
        listening.close()
        problem = f"the address --host {config.host} --port {config.port} cannot be used ({error})"
        raise ConfigError(problem, "choose another port or host", argument="port") from error
    listening.set_inheritable(True)
    return listening

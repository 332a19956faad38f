"""The processes: one, or several on one socket, which end with the one that started them."""

from __future__ import annotations

import multiprocessing
import os
import signal
import sys
import tempfile
import threading
from typing import TYPE_CHECKING, Any

import uvicorn
from uvicorn.supervisors.multiprocess import Multiprocess

from lorerm.errors import ConfigError, RunError
from lorerm.serving.connections import Connection
from lorerm.serving.keys import is_loopback
from lorerm.serving.settings import ENVIRONMENT

if TYPE_CHECKING:
    import socket

    from lorerm.serving.settings import Settings

# As `lorerm.serving.metrics` has it, which must not be imported before the variable is set.
_COUNTED_IN = "PROMETHEUS_MULTIPROC_DIR"
_MOST_CONNECTIONS = 1000
_KEEP_ALIVE, _LAST_REQUESTS = 5, 10
# Until a process that does not answer is taken for hung and killed: on a busy machine, its imports alone can take long.
_HUNG = 60


def serve(settings: Settings, host: str, port: int) -> None:
    """Serve until a signal ends it; the address is told on standard output once the socket is there.

    Raises
    ------
    ConfigError
        If others could ask without a key, or the address cannot be had.
    RunError
        If it could not start.
    """
    if not settings.keys and not is_loopback(host):
        raise ConfigError(
            f"--host {host} lets others than this machine ask, and there are no API keys",
            "give --api-keys FILE (`lorerm serve --new-key` shows a key and its line), or leave --host out",
        )
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
                os.environ[_COUNTED_IN] = folder
                Multiprocess(config, sockets=[listening]).run()
    except KeyboardInterrupt:  # that is how one ends it
        return
    except SystemExit:
        raise RunError("the server could not start", "look at the line above") from None


def configure(app: Any, host: str, port: int, **options: Any) -> uvicorn.Config:  # noqa: ANN401 - uvicorn's own
    """Return how uvicorn serves an application of ours."""
    return uvicorn.Config(
        app,
        host=host,
        port=port,
        log_level="warning",
        access_log=False,  # paths hold the ids of users
        server_header=False,
        http=Connection,
        ws="none",
        limit_concurrency=_MOST_CONNECTIONS,
        timeout_keep_alive=_KEEP_ALIVE,
        timeout_graceful_shutdown=_LAST_REQUESTS,
        timeout_worker_healthcheck=_HUNG,
        **options,
    )


def end_with_parent() -> None:
    """Let this process end when the one that started it has, however that ended."""
    parent = multiprocessing.parent_process()
    if parent is None:
        return

    def watch() -> None:
        parent.join()
        os.kill(os.getpid(), signal.SIGTERM)

    threading.Thread(target=watch, daemon=True, name="parent").start()


def _bind(config: uvicorn.Config) -> socket.socket:
    import socket

    family = socket.AF_INET6 if ":" in config.host else socket.AF_INET
    listening = socket.socket(family, socket.SOCK_STREAM)
    listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listening.bind((config.host, config.port))
    except (OSError, OverflowError) as error:
        listening.close()
        raise ConfigError(
            f"--host {config.host} --port {config.port} cannot be had ({error})", "choose another"
        ) from error
    listening.set_inheritable(True)
    return listening

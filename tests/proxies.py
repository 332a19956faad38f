"""Real proxies for tests, started with the configurations that docs/serve.md shows."""

from __future__ import annotations

import os
import re
import shutil
import socket
import subprocess
from contextlib import contextmanager, suppress
from pathlib import Path

from servers import until

SERVE = (Path(__file__).parents[1] / "docs" / "serve.md").read_text("utf-8")


def documented(language: str) -> list[str]:
    """Return the configurations of a proxy in docs/serve.md."""
    return re.findall(rf"^```{language}\n(.*?)^```$", SERVE, re.MULTILINE | re.DOTALL)


def find(program: str) -> str | None:
    """Return the path of a proxy's program, or None if it is not installed."""
    return shutil.which(program, path=f"{os.environ.get('PATH', '')}:/usr/sbin:/usr/local/sbin")


@contextmanager
def nginx(program: str, configuration: str, server: str, folder: Path):
    """Run nginx with a configuration in which `server` is the address of the server; yield its own address."""
    port = free_port()
    text = configuration.replace("127.0.0.1:8000", server).replace("listen 443 ssl;", f"listen 127.0.0.1:{port};")
    text = re.sub(r"^ *ssl_certificate.*\n", "", text, flags=re.MULTILINE)
    temporary = "".join(
        f"{name}_temp_path {folder / name};" for name in ("client_body", "proxy", "fastcgi", "uwsgi", "scgi")
    )
    main = f"daemon off; pid {folder / 'nginx.pid'}; error_log {folder / 'error.log'};"
    (folder / "nginx.conf").write_text(f"{main} events {{}} http {{ access_log off; {temporary}\n{text} }}")
    arguments = [program, "-c", str(folder / "nginx.conf"), "-p", str(folder), "-e", str(folder / "error.log")]
    with _process(arguments, port, folder) as address:
        yield address


@contextmanager
def caddy(program: str, configuration: str, server: str, folder: Path):
    """Run Caddy with a configuration in which `server` is the address of the server; yield its own address."""
    port = free_port()
    text = configuration.replace("127.0.0.1:8000", server)
    text = re.sub(r"^\S+ \{$", f"http://127.0.0.1:{port} {{", text, count=1, flags=re.MULTILINE)
    (folder / "Caddyfile").write_text(f"{{\n    admin off\n}}\n{text}")
    with _process([program, "run", "--config", str(folder / "Caddyfile")], port, folder) as address:
        yield address


RUN = {"nginx": nginx, "caddy": caddy}


def free_port() -> int:
    """Return a port that is not in use."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


@contextmanager
def _process(arguments: list[str], port: int, folder: Path):
    environment = {**os.environ, "HOME": str(folder), "XDG_CONFIG_HOME": str(folder), "XDG_DATA_HOME": str(folder)}
    with (folder / "output").open("w+") as output:
        process = subprocess.Popen(arguments, env=environment, stdout=output, stderr=output)
        try:
            until(lambda: process.poll() is not None or _answers(port), "the proxy starts")
            assert process.poll() is None, (folder / "output").read_text()
            yield "127.0.0.1", port
        finally:
            process.terminate()
            process.wait(60)


def _answers(port: int) -> bool:
    with suppress(OSError), socket.create_connection(("127.0.0.1", port), timeout=1):
        return True
    return False

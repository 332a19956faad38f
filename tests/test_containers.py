"""Checks of the container and compose files that are possible without a container engine."""

import re
import shlex
import subprocess
from pathlib import Path

import pytest
import yaml

from lorerm.cli import build_parser

ROOT = Path(__file__).parents[1]


def instructions():
    """The Dockerfile's instructions in order: (word, the rest on one line)."""
    lines = [line for line in (ROOT / "Dockerfile").read_text("utf-8").splitlines() if not line.startswith("#")]
    joined = re.sub(r"\\\n\s*", " ", "\n".join(lines))
    return [tuple(line.split(maxsplit=1)) for line in joined.splitlines() if line.strip()]


def last_stage():
    """The instructions of the image that is kept."""
    every = instructions()
    start = max(place for place, (word, _) in enumerate(every) if word == "FROM")
    return every[start:]


def of(word, among):
    return [rest for each, rest in among if each == word]


@pytest.fixture
def services():
    return yaml.safe_load((ROOT / "compose.yaml").read_text("utf-8"))["services"]


def test_the_image_is_made_of_known_instructions_and_pinned_images():
    known = [
        "FROM",
        "ARG",
        "ENV",
        "WORKDIR",
        "RUN",
        "COPY",
        "USER",
        "VOLUME",
        "EXPOSE",
        "HEALTHCHECK",
        "ENTRYPOINT",
        "CMD",
    ]
    assert {word for word, _ in instructions()} <= set(known)
    images = [rest.split()[0] for rest in of("FROM", instructions())]
    assert all(re.fullmatch(r"[a-z/]+:\d[\w.-]+", image) for image in images), images


def test_what_is_copied_is_there_and_reaches_the_builder():
    """A path that the ignore file keeps back cannot be copied."""
    let_through = {line[1:] for line in (ROOT / ".dockerignore").read_text("utf-8").split() if line.startswith("!")}
    sources = [source for rest in of("COPY", instructions()) if "--from" not in rest for source in rest.split()[:-1]]
    assert sources
    assert {Path(source).name for source in sources} == let_through
    assert all((ROOT / source).exists() for source in sources)


def test_the_shell_can_read_every_command():
    for command in of("RUN", instructions()):
        words = shlex.split(re.sub(r"^(--\S+ )+", "", command))
        assert words
        checked = subprocess.run(["sh", "-n", "-c", re.sub(r"^(--\S+ )+", "", command)], capture_output=True, text=True)
        assert checked.returncode == 0, checked.stderr


def test_the_server_is_nobody_special_and_is_looked_after():
    (user,) = of("USER", last_stage())
    assert int(user) >= 10_000
    (health,) = of("HEALTHCHECK", last_stage())
    assert "/ready" in health
    script = yaml.safe_load(health.partition("CMD ")[2])[-1]
    compile(script, "HEALTHCHECK", "exec")


def serve_arguments(words):
    parsed = build_parser().parse_args(words)
    assert parsed.path == "/model"
    return parsed


def test_its_command_is_one_that_the_parser_takes():
    (entry,), (command,) = of("ENTRYPOINT", last_stage()), of("CMD", last_stage())
    assert yaml.safe_load(entry) == ["lorerm"]
    assert serve_arguments(yaml.safe_load(command)).host == "0.0.0.0"  # noqa: S104 - inside a container


def test_the_composed_server_uses_options_and_variables_that_exist(services):
    server = services["server"]
    assert serve_arguments(server["command"]).workers >= 2
    read_by_the_server = (ROOT / "src" / "lorerm" / "cli" / "serve.py").read_text("utf-8")
    ours = [name for name in server["environment"] if name.startswith("LORERM_")]
    assert len(ours) == 2
    assert all(f'"{name}"' in read_by_the_server for name in ours)


def test_no_secret_is_written_down(services):
    """Passwords and keys come from outside, and are asked for where they are absent."""
    for service in services.values():
        for name, value in service["environment"].items():
            if "PASSWORD" in name or "KEY" in name:
                assert re.fullmatch(r"\$\{\w+:\?.+\}", value), name
    assert "@database" in services["server"]["environment"]["LORERM_DATABASE"]
    assert ":" not in services["server"]["environment"]["LORERM_DATABASE"].partition("//")[2]


def test_only_this_machine_reaches_the_server_and_only_the_server_the_database(services):
    assert all(port.startswith("127.0.0.1:") for port in services["server"]["ports"])
    assert "ports" not in services["database"]
    assert services["server"]["read_only"]
    assert services["server"]["cap_drop"] == ["ALL"]


def test_the_server_waits_for_a_database_that_keeps_its_data(services):
    composed = yaml.safe_load((ROOT / "compose.yaml").read_text("utf-8"))
    assert services["server"]["depends_on"]["database"]["condition"] == "service_healthy"
    database = services["database"]
    assert database["healthcheck"]["test"][0] == "CMD-SHELL"
    volume, _, place = database["volumes"][0].partition(":")
    assert volume in composed["volumes"]
    assert place == "/var/lib/postgresql/data"
    assert re.fullmatch(r"postgres:\d+[\w.-]*", database["image"])

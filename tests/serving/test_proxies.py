"""Behind each proxy that docs/serve.md configures, a path names the user that the client named, and nobody else.

The proxies are real programs. Their configurations are read from the page.
"""

from __future__ import annotations

import json
import os
from dataclasses import replace
from http.client import HTTPConnection
from urllib.parse import quote

import pytest

from lorerm.serving.keys import new_key
from proxies import RUN, documented, find

pytestmark = pytest.mark.slow

CONFIGURATIONS = {
    f"{program} {'below a prefix' if '/rewards/' in text else 'of its own host'}": (program, text)
    for program, language in (("nginx", "nginx"), ("caddy", "caddyfile"))
    for text in documented(language)
}
FEEDBACK = {"answers": [{"prompt": "What of bread?", "chosen": "It is good.", "rejected": "Well, it depends."}]}
# Ways to write "victim" as a part of a longer id or path, which proxies that change paths turn into its own path.
DETOURS = [
    "x%2F..%2Fvictim",
    "x%2f%2e%2e%2fvictim",
    "x/../victim",
    "x/%2E%2E/victim",
    "./victim",
    "%2E/victim",
    ".%2Fvictim",
    "/victim",
    "%2Fvictim",
    "x%5C..%5Cvictim",
    "x%252F..%252Fvictim",
    "..%2Fusers%2Fvictim",
    "..;/users/victim",
]


def test_the_page_has_two_configurations_of_each_proxy():
    assert len(CONFIGURATIONS) == 4


class Client:
    """Sends paths as they are, with a key."""

    def __init__(self, address, prefix: str, key: str) -> None:
        self._address, self._prefix, self._key = address, prefix, key

    def send(self, method: str, path: str, body=None):
        """Return the status of the response, and its body if that is JSON."""
        connection = HTTPConnection(*self._address, timeout=60)
        headers = {"Authorization": f"Bearer {self._key}", "Content-Type": "application/json"}
        connection.request(method, f"{self._prefix}{path}", None if body is None else json.dumps(body), headers)
        response = connection.getresponse()
        content = response.read()
        connection.close()
        is_json = (response.getheader("Content-Type") or "").startswith("application/json")
        return response.status, json.loads(content) if is_json and content else None


@pytest.fixture
def behind(start, settings, tmp_path):
    """Start a server, and a proxy in front of it; return a client of the proxy and one of the server."""
    from contextlib import ExitStack

    key, line = new_key()
    server = start(replace(settings, keys=(line,)))
    server_address = (server.base_url.host, server.base_url.port)

    def run(program, configuration):
        path = find(program)
        if path is None:
            (pytest.fail if os.environ.get("CI") else pytest.skip)(f"{program} is not installed on this machine")
        address = until_end.enter_context(RUN[program](path, configuration, "{}:{}".format(*server_address), tmp_path))
        prefix = "/rewards" if "/rewards/" in configuration else ""
        return Client(address, prefix, key), Client(server_address, "", key)

    with ExitStack() as until_end:
        yield run


@pytest.mark.parametrize("name", CONFIGURATIONS)
def test_a_path_reaches_no_other_user(behind, name):
    proxied, direct = behind(*CONFIGURATIONS[name])
    assert direct.send("PUT", "/v1/users/victim/answers", FEEDBACK)[0] == 200
    before = direct.send("GET", "/v1/users/victim")[1]
    assert proxied.send("GET", "/v1/users/victim") == (200, before)
    for detour in DETOURS:
        for method, rest in [("GET", ""), ("PUT", "/answers"), ("DELETE", "")]:
            status, body = proxied.send(method, f"/v1/users/{detour}{rest}", FEEDBACK if method == "PUT" else None)
            assert body is None or body.get("user") != "victim", (detour, method, status)
            assert direct.send("GET", "/v1/users/victim") == (200, before), (detour, method, status)


@pytest.mark.parametrize("name", CONFIGURATIONS)
@pytest.mark.parametrize("user", ["a/b", "a%2Fb", "a//b", "é ü", "a?b#c", "a+b", "ann@example.org"])
def test_every_other_id_is_passed_unchanged(behind, name, user):
    proxied, direct = behind(*CONFIGURATIONS[name])
    status, added = proxied.send("PUT", f"/v1/users/{quote(user, safe='')}/answers", FEEDBACK)
    assert (status, added["user"]) == (200, user)
    assert direct.send("POST", "/v1/user", {"user": user}) == (200, added)
    status, found = proxied.send("DELETE", f"/v1/users/{quote(user, safe='')}")
    assert (status, found["deleted"]) == (200, True)
    assert direct.send("POST", "/v1/user", {"user": user})[0] == 404


@pytest.mark.parametrize("name", [name for name in CONFIGURATIONS if "prefix" in name])
@pytest.mark.parametrize("path", ["/other/..%2Frewards/v1/models", "/other/%2E%2E/rewards/v1/models", "/v1/models"])
def test_a_path_that_becomes_the_prefix_is_not_served(behind, name, path):
    proxied, _ = behind(*CONFIGURATIONS[name])
    assert proxied.send("GET", "/v1/models")[0] == 200
    proxied._prefix = ""
    status, body = proxied.send("GET", path)
    assert body is None or body["error"]["code"] == "not_found", status


def test_a_configuration_that_changes_paths_fails_these_tests(behind):
    """With a slash after the port, nginx decodes and shortens the path: the detours reach the victim."""
    configuration = next(text for program, text in CONFIGURATIONS.values() if program == "nginx")
    proxied, direct = behind(
        "nginx", configuration.replace("proxy_pass http://127.0.0.1:8000;", "proxy_pass http://127.0.0.1:8000/;")
    )
    direct.send("PUT", "/v1/users/victim/answers", FEEDBACK)
    assert proxied.send("GET", "/v1/users/x%2F..%2Fvictim")[1]["user"] == "victim"

"""A local server with the few routes of the Hugging Face Hub that are needed to push and download a model."""

from __future__ import annotations

import base64
import hashlib
import json
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import unquote, urlsplit


class HubServer:
    """Repositories as dictionaries of files; `requests` lists what was asked for."""

    def __init__(self) -> None:
        self.repositories: dict[str, dict[str, bytes]] = {}
        self.commits: list[dict] = []
        self.requests: list[tuple[str, str, str | None]] = []
        self.visibility: dict[str, str | None] = {}
        self.server = ThreadingHTTPServer(("127.0.0.1", 0), self._handler())
        self.server.daemon_threads = True
        self.url = f"http://127.0.0.1:{self.server.server_port}"
        threading.Thread(target=self.server.serve_forever, daemon=True).start()

    def close(self) -> None:
        self.server.shutdown()
        self.server.server_close()

    @property
    def sha(self) -> str:
        return f"{len(self.commits):040x}"

    def answer(self, method: str, path: str, body: bytes) -> tuple[int, object]:
        """Return a status with what JSON is made of, or with bytes."""
        if path == "/api/repos/create":
            asked = json.loads(body)
            name = f"{asked.get('organization') or 'me'}/{asked['name']}"
            if name in self.repositories:
                return 409, {"error": "You already created this model repo", "url": f"{self.url}/{name}"}
            self.repositories[name], self.visibility[name] = {}, asked.get("visibility")
            return 200, {"url": f"{self.url}/{name}", "name": name}
        if path == "/api/validate-yaml":
            return 200, {"errors": [], "warnings": []}
        if path.startswith("/api/models/"):
            owner, name, *rest = path.removeprefix("/api/models/").split("/")
            return self._repository(method, f"{owner}/{name}", rest, body)
        if path.startswith("/api/"):
            return 404, {"error": "Not here"}
        owner, name, _, _, filename = path[1:].split("/", 4)  # owner/name/resolve/revision/file
        found = self.repositories.get(f"{owner}/{name}", {}).get(filename)
        return (404, {"error": "Entry not found"}) if found is None else (200, found)

    def _repository(self, method: str, name: str, rest: list[str], body: bytes) -> tuple[int, object]:
        files = self.repositories.get(name)
        if files is None:
            return 404, {"error": "Repository not found"}
        if rest[:1] == ["preupload"]:
            wanted = [entry["path"] for entry in json.loads(body)["files"]]
            return 200, {"files": [{"path": path, "uploadMode": "regular", "shouldIgnore": False} for path in wanted]}
        if rest[:1] == ["commit"]:
            lines = [json.loads(line) for line in body.splitlines()]
            for line in lines:
                if line["key"] == "file":
                    files[line["value"]["path"]] = base64.b64decode(line["value"]["content"])
                elif line["key"] == "deletedFile":
                    del files[line["value"]["path"]]
            self.commits.append(lines[0]["value"])
            return 200, {"success": True, "commitOid": self.sha, "commitUrl": f"{self.url}/{name}/commit/{self.sha}"}
        if rest[:1] == ["tree"]:
            return 200, [
                {"type": "file", "path": path, "size": len(content), "oid": hashlib.sha256(content).hexdigest()}
                for path, content in files.items()
            ]
        return 200, {"id": name, "sha": self.sha, "siblings": [{"rfilename": path} for path in files], "private": False}

    def _handler(self) -> type[BaseHTTPRequestHandler]:
        hub = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def _serve(self) -> None:
                body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
                path = unquote(urlsplit(self.path).path)
                hub.requests.append((self.command, path, self.headers.get("Authorization")))
                status, content = hub.answer(self.command, path, body)
                sent = content if isinstance(content, bytes) else json.dumps(content).encode()
                self.send_response(status)
                self.send_header("Content-Length", str(len(sent)))
                self.send_header("Content-Type", "application/octet-stream" if sent is content else "application/json")
                if sent is content:
                    self.send_header("ETag", f'"{hashlib.sha256(sent).hexdigest()}"')
                    self.send_header("X-Repo-Commit", hub.sha)
                elif status == 404:
                    kind = "EntryNotFound" if "/resolve/" in path else "RepoNotFound"
                    self.send_header("X-Error-Code", kind)
                self.end_headers()
                if self.command != "HEAD":
                    self.wfile.write(sent)

            do_GET = do_POST = do_HEAD = _serve

            def log_message(self, *_: object) -> None:
                """Say nothing."""

        return Handler

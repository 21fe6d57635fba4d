"""A hub on this machine that answers the Hugging Face hub's own client: search by tags, listing, files."""

import hashlib
import json
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread
from urllib.parse import parse_qs, urlsplit

import yaml

COMMIT = "0123456789abcdef0123456789abcdef01234567"


@contextmanager
def serving(folder):
    """Serve the repositories in a folder, `ORGANIZATION/NAME/FILES`, and yield the address and what was asked for."""
    asked = []

    class Hub(BaseHTTPRequestHandler):
        def do_HEAD(self):
            self.answer(body=False)

        def do_GET(self):
            self.answer(body=True)

        def log_message(self, *_):
            pass

        def answer(self, *, body):
            asked.append(self.path)
            found = respond(Path(folder), urlsplit(self.path))
            content = b"{}" if found is None else found
            self.send_response(404 if found is None else 200)
            if found is None:
                self.send_header("X-Error-Code", "RepoNotFound")
            self.send_header("Content-Length", str(len(content)))
            self.send_header("ETag", f'"{hashlib.sha256(content).hexdigest()}"')
            self.send_header("X-Repo-Commit", COMMIT)
            self.end_headers()
            if body:
                self.wfile.write(content)

    server = ThreadingHTTPServer(("127.0.0.1", 0), Hub)
    Thread(target=server.serve_forever, daemon=True).start()
    try:
        yield f"http://127.0.0.1:{server.server_port}", asked
    finally:
        server.shutdown()
        server.server_close()


def respond(folder, url):
    """The bytes of an answer; `None` where there is no such thing."""
    parts = url.path.strip("/").split("/")
    if parts == [""]:
        return b"hub"
    if parts == ["api", "models"]:
        wanted = {tag for value in parse_qs(url.query).get("filter", []) for tag in value.split(",")}
        return json.dumps([{"id": name} for name, tags in repositories(folder) if wanted <= tags]).encode()
    if parts[:2] == ["api", "models"]:
        repository = folder.joinpath(*parts[2:4])
        names = [str(path.relative_to(repository)) for path in sorted(repository.rglob("*")) if path.is_file()]
        if "tree" in parts:
            sizes = [{"type": "file", "path": name, "size": 1, "oid": COMMIT} for name in names]
            return json.dumps(sizes).encode() if names else None
        siblings = [{"rfilename": name} for name in names]
        return json.dumps({"id": "/".join(parts[2:4]), "sha": COMMIT, "siblings": siblings}).encode() if names else None
    path = folder.joinpath(*parts[:2], *parts[4:])
    return path.read_bytes() if parts[2:3] == ["resolve"] and path.is_file() else None


def repositories(folder):
    """The name and the tags of each, as its card says them."""
    for card in sorted(folder.glob("*/*/README.md")):
        yield "/".join(card.parent.parts[-2:]), {*yaml.safe_load(card.read_text().split("---")[1])["tags"]}

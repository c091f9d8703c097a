"""A stand-in for the hub on this machine: a data set's files by range, and what is asked for."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
from huggingface_hub import HfFileSystem, constants, file_download

COMMIT = "c" * 40
NAME = "owner/set"


class StandIn(ThreadingHTTPServer):
    """Serves the data set NAME, whose files are those of a folder.

    `ranges` has (path, first, last) of every range that was answered, `sent` their bytes; `broken` decides by
    the path whether a range is refused.
    """

    daemon_threads = True

    def __init__(self, folder: Path) -> None:
        super().__init__(("127.0.0.1", 0), _Answers)
        self.folder, self.ranges, self.asked = folder, [], []
        self.broken: Callable[[str], bool] = lambda path: False

    @property
    def address(self) -> str:
        return f"http://127.0.0.1:{self.server_address[1]}"

    @property
    def sent(self) -> int:
        return sum(last - first + 1 for _, first, last in self.ranges)


class _Answers(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: StandIn

    def log_message(self, *_: object) -> None:
        """Say nothing."""

    def do_GET(self) -> None:
        self.server.asked.append(self.path)
        path = self.path.partition("?")[0].replace("%40", "@").replace("%2F", "/")
        about, tree = f"/api/datasets/{NAME}", f"/api/datasets/{NAME}/tree/{COMMIT}"
        files = f"/datasets/{NAME}/resolve/{COMMIT}/"
        if path in (about, f"{about}/revision/main", f"{about}/revision/{COMMIT}"):
            self._json({"id": NAME, "sha": COMMIT, "_id": "0", "siblings": []})
        elif path.startswith(tree):
            self._json(self._tree(path.removeprefix(tree).strip("/"), "recursive=true" in self.path.lower()))
        elif path.startswith(files) and (file := self.server.folder / path.removeprefix(files)).is_file():
            self._range(file, path.removeprefix(files))
        else:
            self.send_error(404)

    def do_HEAD(self) -> None:
        self.do_GET()

    def _tree(self, below: str, recursive: bool) -> list[dict[str, object]]:
        place = self.server.folder / below
        found = sorted(place.rglob("*") if recursive else place.iterdir())
        return [
            {
                "type": "directory" if path.is_dir() else "file",
                "path": path.relative_to(self.server.folder).as_posix(),
                "size": 0 if path.is_dir() else path.stat().st_size,
                "oid": "0" * 40,
            }
            for path in found
        ]

    def _range(self, file: Path, name: str) -> None:
        first, last = map(int, self.headers["Range"].removeprefix("bytes=").split("-"))
        if self.server.broken(name):
            self.send_error(500)
            return
        with file.open("rb") as opened:
            opened.seek(first)
            content = opened.read(last + 1 - first)
        self.server.ranges.append((name, first, last))
        self.send_response(206)
        self.send_header("Content-Range", f"bytes {first}-{last}/{file.stat().st_size}")
        self._end(content)

    def _json(self, content: object) -> None:
        self.send_response(200)
        self.send_header("Content-Type", "application/json")
        self._end(json.dumps(content).encode())

    def _end(self, content: bytes) -> None:
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        if self.command == "GET":
            self.wfile.write(content)


@contextmanager
def stand_in(folder: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[StandIn]:
    """Serve the folder's files as the data set NAME, to huggingface_hub in this process and its forks."""
    server = StandIn(folder)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    monkeypatch.setattr(constants, "ENDPOINT", server.address)
    template = server.address + "/{repo_id}/resolve/{revision}/{filename}"
    for place in (constants, file_download):  # the second in older versions
        monkeypatch.setattr(place, "HUGGINGFACE_CO_URL_TEMPLATE", template, raising=False)
    HfFileSystem.clear_instance_cache()
    try:
        yield server
    finally:
        server.shutdown()
        server.server_close()
        HfFileSystem.clear_instance_cache()

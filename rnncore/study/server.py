"""The page with a whole model behind it: a small server on this machine alone."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Mapping
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

Answer = Callable[[Mapping[str, Any]], Mapping[str, Any]]

# A question is a sentence and a few held gates; more than this is none.
_LONGEST = 1 << 20
_REFUSALS: tuple[type[Exception], ...] = (ValueError, KeyError, IndexError, TypeError)


class Server(ThreadingHTTPServer):
    """Serves one page at `/` and answers its questions at `/run`, one at a time.

    Parameters
    ----------
    page : the HTML. answer : takes a question as plain values and returns plain values.
    port : 0 takes any that is free.
    refusals : errors with which `answer` says that a question is wrong; the page shows their message.

    It listens on 127.0.0.1 only, and answers only those that name it so: a page from elsewhere cannot ask.
    """

    daemon_threads = True

    def __init__(
        self, page: str, answer: Answer, port: int = 0, refusals: tuple[type[Exception], ...] = _REFUSALS
    ) -> None:
        super().__init__(("127.0.0.1", port), _Handler)
        self.page, self.answer, self.turn = page.encode(), answer, threading.Lock()
        self.refusals = (*_REFUSALS, *refusals)

    @property
    def address(self) -> str:
        """What to open in a browser."""
        return f"http://127.0.0.1:{self.server_address[1]}/"

    @property
    def names(self) -> tuple[str, ...]:
        """The hosts by which a browser on this machine may call it."""
        port = self.server_address[1]
        return (f"127.0.0.1:{port}", f"localhost:{port}")


class _Handler(BaseHTTPRequestHandler):
    server: Server

    def do_GET(self) -> None:
        """Send the page."""
        if self._is_local() and self.path == "/":
            self._send(200, self.server.page, "text/html; charset=utf-8")
        elif self._is_local():
            self._fail(404, f"there is nothing at {self.path}; the page is at /")

    def do_POST(self) -> None:
        """Answer a question."""
        if not self._is_local():
            return
        length = self.headers.get("Content-Length", "")
        if self.path != "/run" or self.headers.get_content_type() != "application/json":
            self._fail(404, "questions are JSON, posted to /run")
        elif not length.isdecimal() or int(length) > _LONGEST:
            self._fail(413, f"a question has at most {_LONGEST} bytes, got {length or 'no length'}")
        else:
            self._reply(self.rfile.read(int(length)))

    def _reply(self, body: bytes) -> None:
        try:
            question = json.loads(body)
            if not isinstance(question, dict):
                raise ValueError("a question is a JSON object")
            with self.server.turn:
                found = json.dumps(self.server.answer(question), allow_nan=False)
        except self.server.refusals as error:
            self._fail(400, str(error.args[0] if error.args else error))
            return
        self._send(200, found.encode(), "application/json")

    def _is_local(self) -> bool:
        """Whether the browser was told to come here by this machine's own name: else another site is asking."""
        if self.headers.get("Host") in self.server.names:
            return True
        self._fail(403, f"open {self.server.address}")
        return False

    def _fail(self, code: int, message: str) -> None:
        self._send(code, json.dumps({"error": message}).encode(), "application/json")

    def _send(self, code: int, body: bytes, kind: str) -> None:
        self.send_response(code)
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(body)))
        self.send_header("Cache-Control", "no-store")
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: Any) -> None:
        """Say nothing of every request."""

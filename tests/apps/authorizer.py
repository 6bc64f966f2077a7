"""An HTTP server that is asked whether requests may pass: it says no to paths with ``deny`` and notes what it is asked.

``x-behave: slow|wrong|long`` makes it late, answer 500, or answer with a body that is too long. Asked at ``/asked`` it
says what it was asked.
"""

from __future__ import annotations

import json
import os
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

ASKED: list[dict[str, Any]] = []


class Handler(BaseHTTPRequestHandler):
    """Answers one question after another."""

    protocol_version = "HTTP/1.1"

    def do_GET(self) -> None:
        """Yes, no, or what it was asked."""
        body = self.rfile.read(int(self.headers.get("content-length") or 0))
        if self.path == "/asked":
            self._say(200, json.dumps(ASKED).encode())
            return
        headers = {name.lower(): value for name, value in self.headers.items()}
        ASKED.append({"method": self.command, "path": self.path, "headers": headers, "body": body.decode()})
        behave = headers.get("x-behave", "")
        if behave == "slow":
            time.sleep(3)
        status = 401 if "deny" in self.path else 500 if behave == "wrong" else 200
        self._say(status, b"x" * 1_000_000 if behave == "long" else b"asked")

    do_POST = do_DELETE = do_GET  # noqa: N815

    def _say(self, status: int, body: bytes) -> None:
        self.send_response(status)
        self.send_header("x-auth-user", "ann")
        self.send_header("x-auth-reason", "because")
        self.send_header("content-length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002
        """Nothing."""


if __name__ == "__main__":
    ThreadingHTTPServer(("127.0.0.1", int(os.environ["PORT"])), Handler).serve_forever()

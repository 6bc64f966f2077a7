"""A threaded HTTP/1.1 server with keep-alive, a health page and an ordered stop, for the demo services."""

from __future__ import annotations

import argparse
import json
import os
import signal
import socketserver
import sys
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler
from types import FrameType

DEFAULT_HOST = "127.0.0.1"
DEFAULT_PORT = 9080
MAX_BODY = 1 << 20
_STOP_SECONDS = 5.0


@dataclass(frozen=True, slots=True)
class Request:
    """One request. Header names are in lower case; `path` is without the query."""

    method: str
    path: str
    query: str
    headers: Mapping[str, str]
    body: bytes = b""


@dataclass(frozen=True, slots=True)
class Response:
    """One response."""

    status: int = 200
    body: bytes = b""
    content_type: str = "application/json"
    headers: tuple[tuple[str, str], ...] = field(default=())


def json_response(value: object, status: int = 200, headers: tuple[tuple[str, str], ...] = ()) -> Response:
    """`value` as a JSON answer."""
    return Response(status, json.dumps(value).encode(), headers=headers)


def not_found(path: str) -> Response:
    """The answer to an unknown path."""
    return json_response({"error": f"there is nothing at {path}"}, HTTPStatus.NOT_FOUND)


def number_after(prefix: str, path: str) -> int | None:
    """The product number in ``<prefix><number>``, or None."""
    tail = path.removeprefix(prefix)
    return int(tail) if path.startswith(prefix) and tail.isascii() and tail.isdigit() and len(tail) < 10 else None


Handle = Callable[[Request], Response]


class Server(socketserver.ThreadingTCPServer):
    """Serves one `handle` function; a thread per connection. `port` 0 takes a free one."""

    daemon_threads = True
    allow_reuse_address = True
    request_queue_size = 256
    block_on_close = False

    def __init__(self, handle: Handle, host: str, port: int) -> None:
        self.handle = handle
        self.stopping = False
        self._idle = threading.Condition()
        self._active = 0
        super().__init__((host, port), _Connection)

    @property
    def port(self) -> int:
        """The port that is listened on."""
        return int(self.server_address[1])

    def handle_error(self, request: object, client_address: object) -> None:  # noqa: ARG002
        """A peer that goes away is no news; anything else is."""
        error = sys.exception()
        if not isinstance(error, ConnectionError | TimeoutError):
            print(f"error on a connection: {error!r}", file=sys.stderr)  # noqa: T201

    def begin(self) -> None:
        """A request has been read."""
        with self._idle:
            self._active += 1

    def end(self) -> None:
        """Its response has been sent."""
        with self._idle:
            self._active -= 1
            self._idle.notify_all()

    def stop(self, seconds: float = _STOP_SECONDS) -> None:
        """Accept no more connections, let requests in flight finish for at most `seconds`, close."""
        self.stopping = True
        self.shutdown()
        deadline = time.monotonic() + seconds
        with self._idle:
            while self._active and (left := deadline - time.monotonic()) > 0:
                self._idle.wait(left)
        self.server_close()


class _BadBodyError(Exception):
    """The body is too large or not framed as HTTP/1.1 says."""


class _Connection(BaseHTTPRequestHandler):
    server: Server
    protocol_version = "HTTP/1.1"
    server_version = "bookinfo"
    sys_version = ""
    wbufsize = 1 << 16
    disable_nagle_algorithm = True

    def _answer(self) -> None:
        self.server.begin()
        try:
            self._send(self._respond())
        finally:
            self.server.end()

    do_GET = do_HEAD = do_POST = do_PUT = do_DELETE = _answer  # noqa: N815

    def _respond(self) -> Response:
        try:
            body = self._body()
        except (_BadBodyError, ValueError) as error:
            self.close_connection = True
            return json_response({"error": str(error)}, HTTPStatus.BAD_REQUEST)
        path, _, query = self.path.partition("?")
        headers = {name.lower(): value for name, value in self.headers.items()}
        try:
            return self.server.handle(Request(self.command, path, query, headers, body))
        except Exception as error:  # the next request must still be answered
            print(f"error on {self.command} {path}: {error!r}", file=sys.stderr, flush=True)  # noqa: T201
            return json_response({"error": "internal error"}, HTTPStatus.INTERNAL_SERVER_ERROR)

    def _body(self) -> bytes:
        if "chunked" in self.headers.get("transfer-encoding", "").lower():
            return self._chunks()
        length = int(self.headers.get("content-length") or 0)
        if not 0 <= length <= MAX_BODY:
            raise _BadBodyError(f"the body has {length} bytes, at most {MAX_BODY} are taken")
        return self.rfile.read(length) if length else b""

    def _chunks(self) -> bytes:
        body = bytearray()
        while size := int(self.rfile.readline(20).split(b";")[0], 16):
            if size < 0 or len(body) + size > MAX_BODY:
                raise _BadBodyError(f"the body has more than {MAX_BODY} bytes")
            body += self.rfile.read(size)
            self.rfile.readline(3)
        while self.rfile.readline(1024) not in (b"\r\n", b"\n", b""):
            pass
        return bytes(body)

    def _send(self, response: Response) -> None:
        self.send_response(response.status)
        for name, value in response.headers:
            self.send_header(name, value)
        self.send_header("content-type", response.content_type)
        self.send_header("content-length", str(len(response.body)))
        if self.server.stopping:
            self.send_header("connection", "close")
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(response.body)
        self.wfile.flush()

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002
        """The proxies keep the access log."""


def with_health(handle: Handle, name: str) -> Handle:
    """`handle` plus ``/health``."""

    def respond(request: Request) -> Response:
        if request.path == "/health":
            return json_response({"status": f"{name} is healthy"})
        return handle(request)

    return respond


def argument_parser(about: str) -> argparse.ArgumentParser:
    """The options every service has: ``--host`` and ``--port``, by default from WEFT_HOST and PORT."""
    parser = argparse.ArgumentParser(description=about)
    parser.add_argument(
        "--host", default=os.environ.get("WEFT_HOST") or DEFAULT_HOST, help="address (WEFT_HOST, %(default)s)"
    )
    parser.add_argument(
        "--port", type=int, default=int(os.environ.get("PORT") or DEFAULT_PORT), help="port (PORT, %(default)s)"
    )
    return parser


def run_service(name: str, handle: Handle, arguments: Sequence[str] | argparse.Namespace | None = None) -> None:
    """Serve until SIGTERM or SIGINT, then stop in order."""
    given = arguments if isinstance(arguments, argparse.Namespace) else argument_parser(name).parse_args(arguments)
    try:
        server = Server(with_health(handle, name), given.host, given.port)
    except OSError as error:
        raise SystemExit(f"{name} cannot listen on {given.host}:{given.port}: {error.strerror}") from error

    def stop(number: int, frame: FrameType | None) -> None:  # noqa: ARG001
        threading.Thread(target=server.stop, name="stop").start()

    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, stop)
    print(f"{name} listens on {given.host}:{server.port}", flush=True)  # noqa: T201
    server.serve_forever(poll_interval=0.2)

"""An application for the agent's tests: HTTP with a slow path, its environment, its pid; says which signals came."""

import json
import os
import signal
import sys
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

signals: list[int] = []
begun: list[str] = []


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_GET(self) -> None:
        if self.path.startswith("/slow/"):
            begun.append(self.path)
            time.sleep(float(self.path.removeprefix("/slow/")))
        answers = {
            "/pid": str(os.getpid()),
            "/env": json.dumps(dict(os.environ)),
            "/signals": json.dumps(signals),
            "/begun": json.dumps(begun),
            "/exit": "bye",
        }
        body = answers.get(self.path, "ok").encode()
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)
        if self.path == "/exit":
            self.wfile.flush()
            os._exit(7)

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002
        return


def main() -> None:
    signal.signal(signal.SIGUSR1, lambda number, _: signals.append(number))
    if "ignore-term" in sys.argv:
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
    if "graceful" in sys.argv:
        signal.signal(signal.SIGTERM, lambda *_: os._exit(3))
    ThreadingHTTPServer((os.environ["WEFT_HOST"], int(os.environ["PORT"])), Handler).serve_forever()


main()

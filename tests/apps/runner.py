"""An application for tests that runs programs as its children: runner.py SOCKET. A client sends the words of one as
JSON and is told its exit code and what it printed."""

from __future__ import annotations

import json
import os
import socketserver
import subprocess
import sys


class Handler(socketserver.StreamRequestHandler):
    """One program."""

    def handle(self) -> None:
        """Run it to its end."""
        words = json.loads(self.rfile.readline())
        done = subprocess.run(words, capture_output=True, text=True, timeout=60, check=False)
        told = {"code": done.returncode, "out": done.stdout, "err": done.stderr, "environment": dict(os.environ)}
        self.wfile.write(json.dumps(told).encode())


class Server(socketserver.ThreadingUnixStreamServer):
    """A thread for each."""

    daemon_threads = True


Server(sys.argv[1], Handler).serve_forever()

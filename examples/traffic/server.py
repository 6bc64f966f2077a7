"""A page of text; with an address as second argument it adds what it finds there, and says there who asks. It knows
nothing of the mesh. `/seen` tells how many other requests there were."""

import os
import sys
import urllib.request
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

TEXT, *BACKEND = sys.argv[1:]
PASSED_ON = ("cookie", "x-beta")
SEEN: list[str] = []


class Page(BaseHTTPRequestHandler):
    """Answers every path."""

    def do_GET(self) -> None:  # noqa: D102
        text = str(len(SEEN)) if self.path == "/seen" else TEXT
        if self.path != "/seen":
            SEEN.append(self.path)
            if BACKEND:
                text += self.backend()
        self.send_response(200)
        self.end_headers()
        self.wfile.write(f"{text}\n".encode())

    def backend(self) -> str:
        """What the backend says to whoever asks here."""
        headers = {name: self.headers[name] for name in PASSED_ON if name in self.headers}
        asked = urllib.request.Request(BACKEND[0], headers=headers)  # noqa: S310 - HTTP_PROXY leads into the mesh
        with urllib.request.urlopen(asked, timeout=5) as answer:  # noqa: S310
            return str(answer.read().decode().strip())


address = (os.environ.get("WEFT_HOST", "127.0.0.1"), int(os.environ.get("PORT", "8000")))
ThreadingHTTPServer(address, Page).serve_forever()

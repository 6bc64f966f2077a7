"""A page of text; with an address as second argument it adds what it finds there. It knows nothing of the mesh."""

import os
import sys
import urllib.request
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

TEXT, *BACKEND = sys.argv[1:]


class Page(BaseHTTPRequestHandler):
    """Answers every path."""

    def do_GET(self) -> None:  # noqa: D102
        text = TEXT
        if BACKEND and self.path != "/health":
            with urllib.request.urlopen(BACKEND[0], timeout=5) as answer:  # noqa: S310 - HTTP_PROXY leads into the mesh
                text += answer.read().decode()
        self.send_response(200)
        self.end_headers()
        self.wfile.write(f"{text}\n".encode())


address = (os.environ.get("WEFT_HOST", "127.0.0.1"), int(os.environ.get("PORT", "8000")))
ThreadingHTTPServer(address, Page).serve_forever()

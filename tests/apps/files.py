"""A web server of the files in a directory; ``python files.py DIRECTORY``, at $PORT."""

from __future__ import annotations

import functools
import os
import sys
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer

if __name__ == "__main__":
    handler = functools.partial(SimpleHTTPRequestHandler, directory=sys.argv[1])
    address = (os.environ.get("WEFT_HOST", "127.0.0.1"), int(os.environ.get("PORT", "8080")))
    ThreadingHTTPServer(address, handler).serve_forever()

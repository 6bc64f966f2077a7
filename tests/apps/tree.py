"""An aiohttp application over a directory of files; ``python tree.py DIRECTORY``, at $PORT.

Like many, it decides by host, by method and by a header; of the header it takes every value that it is given, in any
case.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Awaitable, Callable
from pathlib import Path

from aiohttp import web

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]


@web.middleware
async def decide(request: web.Request, handler: Handler) -> web.StreamResponse:
    """Whoever calls another host, writes, or has the role of an administrator is shown what is denied."""
    values = ",".join(request.headers.getall("x-role", ()))
    roles = {role.strip().lower() for role in values.split(",")}
    host = (request.host or "").partition(":")[0].lower()
    if host == "admin.example" or "admin" in roles or request.method not in ("GET", "HEAD", "OPTIONS"):
        return web.Response(text="weft-denied by host, role or method\n")
    return await handler(request)


if __name__ == "__main__":
    application = web.Application(middlewares=[decide])
    application.router.add_static("/", Path(sys.argv[1]))
    web.run_app(application, host="127.0.0.1", port=int(os.environ["PORT"]), access_log=None, print=None)

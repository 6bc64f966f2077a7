"""The backend of the day of edits, as the application of `weft run`: says who it is."""

from __future__ import annotations

import os

from aiohttp import web


async def answer(_: web.Request) -> web.Response:
    """200, with the workload's name."""
    return web.Response(headers={"X-Workload": os.environ["WORKLOAD"]})


def main() -> None:
    """Serve until told to stop."""
    application = web.Application()
    application.router.add_route("*", "/{path:.*}", answer)
    web.run_app(application, host=os.environ["WEFT_HOST"], port=int(os.environ["PORT"]), print=None, access_log=None)


if __name__ == "__main__":
    main()

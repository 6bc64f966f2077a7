"""Waits until a pod's proxy is ready, for a container that needs it."""

from __future__ import annotations

import asyncio

from weft.agent.http import HttpError, Server, ask
from weft.agent.pod.ports import READINESS, READY_PATH
from weft.model.addresses import host_and_port

_LOOK_EVERY = 0.2
_SECONDS = 2.0


async def wait_ready(address: str, timeout: float) -> str:
    """Ask the agent at the pod's `address` until it calls the proxy ready, up to `timeout` seconds; why it was not
    ready, empty if it was."""
    server = Server(host=address, port=READINESS, name=host_and_port(address, READINESS))
    clock = asyncio.get_running_loop().time
    until = clock() + timeout
    while True:
        try:
            answer = await ask(server, "GET", READY_PATH, timeout=_SECONDS)
            why = "" if answer.status == 200 else answer.body.decode(errors="replace").strip()
        except (OSError, HttpError) as error:
            why = str(error) or type(error).__name__
        if not why or clock() >= until:
            return why
        await asyncio.sleep(_LOOK_EVERY)

"""What `weft up` notices by itself: problems of followed documents, where gateways listen, a saved weft.yaml."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from weft.local.addresses import gateway_urls
from weft.local.client import RefusedError, UnreachableError
from weft.local.supervisor import Supervisor
from weft.local.unit import Report
from weft.processes.log import limit_log

_LOOK_EVERY = 1.0
_LOOKS = 4
"""After so many without a listener, say so: a name may be misspelt."""
_FIRST_LOOKS = 30
_FIRST_LOOK_EVERY = 0.1
_LIMIT_EVERY = 30.0


async def run_problems(supervisor: Supervisor, report: Report, describe: Callable[[dict[str, Any]], str]) -> None:
    """Say what the control plane finds wrong, as soon as it does and once, and when it is mended; for ever."""
    known: dict[str, None] = {}
    while True:
        try:
            found = await asyncio.to_thread(supervisor.admin.get, "problems")
        except (UnreachableError, RefusedError):
            found = None
        if found is not None:
            now = dict.fromkeys(describe(problem) for problem in found["problems"])
            for text in now:
                if text not in known:
                    report(text)
            if known and not now:
                report("no problems any more")
            known = now
        await asyncio.sleep(_LOOK_EVERY)


async def mesh_urls(supervisor: Supervisor) -> dict[str, dict[str, str]]:
    """The listeners of every gateway in which its Envoy listens now: name -> port of the Gateway -> URL. A gateway of
    which that is not known is left out."""
    home, admin = supervisor.plan.home, supervisor.admin
    gateways = [unit.launch for unit in supervisor.units.values() if unit.launch.kind == "gateway"]
    found = {launch.name: await gateway_urls(home, admin, launch.key) for launch in gateways}
    return {name: urls for name, urls in found.items() if urls is not None}


async def first_urls(supervisor: Supervisor) -> dict[str, dict[str, str]]:
    """As `mesh_urls`, with a moment's patience: what a proxy has confirmed it may still be about to listen on."""
    for _ in range(_FIRST_LOOKS):
        urls = await mesh_urls(supervisor)
        if all(urls.values()):
            break
        await asyncio.sleep(_FIRST_LOOK_EVERY)
    return urls


async def run_gateways(supervisor: Supervisor, report: Report, known: Mapping[str, Mapping[str, str]]) -> None:
    """Say where each gateway can be reached, whenever that changes, for ever. `known` has been said."""
    looks: dict[str, int] = {}
    known = dict(known)
    while True:
        for name, now in (await mesh_urls(supervisor)).items():
            before = known.get(name, {})
            known[name] = now
            for port, url in now.items():
                if before.get(port) != url:
                    report(f"{name}: listener {port} is at {url}")
            for port in before.keys() - now.keys():
                report(f"{name}: listener {port} is gone")
            looks[name] = looks.get(name, 0) + 1
            unit = supervisor.units.get(name)  # none if it was taken out of weft.yaml while we looked
            if looks[name] == _LOOKS and not now and unit is not None:
                namespace, gateway = unit.launch.key
                report(f"{name}: no listener yet; is there a Gateway '{gateway}' in namespace '{namespace}'?")
        await asyncio.sleep(_LOOK_EVERY)


async def run_file(file: Path, changed: Callable[[], None]) -> None:
    """Call `changed` when weft.yaml was saved, for ever."""
    before = _stamp(file)
    while True:
        await asyncio.sleep(_LOOK_EVERY / 2)
        now = _stamp(file)
        if now not in (before, None):  # away for a moment: an editor is saving
            before = now
            changed()


async def run_log_limits(supervisor: Supervisor) -> None:
    """Keep logs from filling the disk, for ever."""
    while True:
        await asyncio.sleep(_LIMIT_EVERY)
        for log in supervisor.plan.home.logs.glob("*.log"):
            limit_log(log)


def _stamp(file: Path) -> tuple[int, int, int] | None:
    try:
        status = file.stat()
    except OSError:
        return None
    return status.st_mtime_ns, status.st_size, status.st_ino

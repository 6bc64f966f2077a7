"""A registration, and the two places where registrations are kept: the store, by agents, and the cluster, by Pods."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Protocol

from aiohttp import web

from weft.admin.callers import Caller
from weft.admin.replies import Refused
from weft.model.enrolment import Issued, RegisterRequest, RenewRequest
from weft.model.workload import Workload
from weft.sources.workloads import workload_key


@dataclass(frozen=True, slots=True)
class Registered:
    """A registration whose caller may act for it. `revision` is that of its entry in the store, 0 for a Pod."""

    key: str
    workload: Workload
    revision: int = 0


@dataclass(frozen=True, slots=True)
class Made:
    """A workload that was registered just now: with its certificate, in the store's `revision`."""

    key: str
    workload: Workload
    issued: Issued
    revision: int


Own = Callable[[web.Request, Caller], Awaitable[Registered]]
"""The registration named in a path, if the caller may act for it; else Refused."""


class Registrations(Protocol):
    """Where registrations are kept. Everything raises Refused."""

    async def register(self, caller: Caller, body: RegisterRequest) -> Made:
        """Register the workload and issue its certificate, if the caller may be it."""

    async def own(self, request: web.Request, caller: Caller) -> Registered:
        """See `Own`."""

    async def renew(self, found: Registered, body: RenewRequest, /) -> float:
        """Its agent is there, and says how it is; for how many seconds that counts."""

    async def drain(self, found: Registered, wait: float, /) -> int:
        """Have callers told that it ends, within `wait` seconds or a little more; the snapshot's revision that does."""

    async def end(self, found: Registered, caller: Caller) -> None:
        """It is over."""


def key_of(workload: Workload) -> str:
    """The key of a registration."""
    return workload_key(workload.namespace, workload.name)


def path_key(request: web.Request) -> str:
    """The key of the registration named in the path; empty if it names none."""
    if "name" not in request.match_info:
        return ""
    return workload_key(request.match_info["namespace"], request.match_info["name"])


def not_registered(key: str) -> Refused:
    """What an agent is told that should register again."""
    return Refused(404, "not-registered", f"{key} is not registered (any more): register it again")

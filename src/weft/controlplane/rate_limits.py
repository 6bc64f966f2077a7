"""Shared rate limits in the control plane: where they are counted, and which are in force."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from weft.admin.context import Compiled
from weft.aio.cell import Cell
from weft.controlplane.instruments import Instruments
from weft.controlplane.settings import ServeError
from weft.counters.counters import Counters
from weft.counters.memory import MemoryCounters
from weft.discovery.peer import Peer
from weft.discovery.rate_limits import Limits, RateLimitService, shared_limits
from weft.mesh.gateways.gateway import GatewayModel
from weft.mesh.gateways.limited import limited_at
from weft.mesh.policies.ratelimitpolicy import NO_LIMITS
from weft.mesh.services.workloads import gateway_of
from weft.model.document import ObjectKey
from weft.model.problem import Problem, Severity
from weft.model.workload import Workload

_SCHEMES = ("redis://", "rediss://")


def open_counters(store: str) -> Counters:
    """The counters at `store`: a URL, ``file:PATH`` of a file that has it, or empty for memory. ServeError tells what
    is wrong, without the URL, which may hold a password."""
    if not store:
        return MemoryCounters()
    url = store
    if store.startswith("file:"):
        try:
            url = Path(store.removeprefix("file:")).read_text(encoding="utf-8").strip()
        except OSError as error:
            raise ServeError(f"--rate-limit-store: {error}") from error
    if not url.startswith(_SCHEMES):
        raise ServeError("--rate-limit-store: expected redis://HOST:PORT, rediss://HOST:PORT (TLS) or file:PATH")
    from weft.counters.redis_counters import RedisCounters  # noqa: PLC0415 - its library costs 6 MB, and few count there

    try:
        return RedisCounters(url)
    except ValueError as error:
        raise ServeError("--rate-limit-store: the URL cannot be understood; expected redis://HOST:PORT/0") from error


class LimitsInForce:
    """The shared limits of the mesh in force, made anew only when its policies are others."""

    def __init__(self, compiled: Cell[Compiled]) -> None:
        self._compiled = compiled
        self._of = NO_LIMITS
        self._limits: Limits = {}
        self._at: dict[str, tuple[GatewayModel, frozenset[ObjectKey]]] = {}

    def __call__(self) -> Limits:
        """Those of now."""
        mesh = self._compiled.value.mesh
        found = mesh.limits if mesh is not None else NO_LIMITS
        if found is not self._of:
            self._of, self._limits = found, shared_limits(found.by_target.values())
            self._at.clear()
        return self._limits

    def at_gateway(self, workload: Workload) -> frozenset[ObjectKey]:
        """The policies that hold at what a gateway process serves."""
        self()
        name, mesh = gateway_of(workload), self._compiled.value.mesh
        gateway = mesh.gateways.by_name.get(name) if mesh is not None else None
        if gateway is None:
            return frozenset()
        known = self._at.get(name)
        if known is None or known[0] is not gateway:
            known = self._at[name] = (gateway, limited_at(gateway, self._of))
        return known[1]


def counted_apart(counters: Counters, compiled: Cell[Compiled], others: int) -> tuple[Problem, ...]:
    """The shared limits that this control plane and so many `others` count, each by itself."""
    mesh = compiled.value.mesh
    if not others or mesh is None or not isinstance(counters, MemoryCounters):
        return ()
    text = f"{others + 1} replicas of the control plane count this limit, each by itself"
    expected = "a store of counts that they share (weft serve --rate-limit-store)"
    origins = dict.fromkeys(each.origin for each in mesh.limits.by_target.values() if each.shared)
    return tuple(Problem(Severity.WARNING, "limits-per-replica", text, one, expected=expected) for one in origins)


def rate_limit_service(
    counters: Counters,
    compiled: Cell[Compiled],
    lookup: Callable[[str], Workload | None],
    trust_domain: str,
    refusal: Callable[[Peer], str],
    instruments: Instruments,
) -> RateLimitService:
    """What proxies ask."""
    limits = LimitsInForce(compiled)
    told = instruments.rate_limited
    return RateLimitService(counters, limits, lookup, trust_domain, refusal, told, limits.at_gateway)

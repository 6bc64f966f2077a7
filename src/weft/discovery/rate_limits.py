"""The rate-limit service: proxies ask whether a request is within the limits that the control plane counts for all.

https://www.envoyproxy.io/docs/envoy/latest/api-v3/service/ratelimit/v3/rls.proto

It is asked on the connection that the proxy's configuration comes over. A proxy may use up limits of policies of its
own namespace (a node: of those of the workloads that it carries), and a gateway those of the Gateways and routes that
it serves, whose namespaces are anybody's. What a limit is says the mesh, never the question. Who asks about a limit
that is gone, or about none, is told that there is none.
"""

from __future__ import annotations

import hashlib
import math
import time
from collections.abc import Callable, Collection, Iterable, Mapping
from typing import Any, Protocol

from envoy.service.ratelimit.v3.rls_pb2 import RateLimitRequest, RateLimitResponse
from google.protobuf.message import DecodeError

from weft.counters.counters import Counters, CountersAwayError, Taken, Wanted
from weft.discovery.grpc_tls import grpc
from weft.discovery.peer import IdentityRefusedError, Peer, check_peer, peer_from_auth_context
from weft.mesh.access.limits import Limit, LimitPolicy
from weft.model.document import ObjectKey
from weft.model.workload import Workload
from weft.xds.filters.limits import DOMAIN, LIMIT

SERVICE = "envoy.service.ratelimit.v3.RateLimitService"
_MOST_LIMITS = 64
_LONGEST_APART = 96
"""Characters of what requests are told apart by that are kept as they are; longer ones by their digest, so that callers
who say much do not fill the memory of who counts."""
_UNITS: Mapping[int, Any] = {
    1: RateLimitResponse.RateLimit.SECOND,
    60: RateLimitResponse.RateLimit.MINUTE,
    3600: RateLimitResponse.RateLimit.HOUR,
    86400: RateLimitResponse.RateLimit.DAY,
}
Limits = Mapping[str, tuple[LimitPolicy, Limit]]
"""The shared limits in force by `LimitPolicy.limit_id`."""


class Decided(Protocol):
    """Hears of decisions."""

    def __call__(self, policy: str, limit: str, verdict: str, mode: str) -> None:
        """One decision: allowed, limited or failed; enforced or dry_run."""


def shared_limits(policies: Iterable[LimitPolicy]) -> Limits:
    """Those that the control plane counts."""
    return {policy.limit_id(limit): (policy, limit) for policy in policies if policy.shared for limit in policy.limits}


class RateLimitService:
    """Answers proxies. `limits` gives those in force, `served` the policies that hold at a gateway, `lookup` the
    registered workload of a proxy name, `refusal` why a peer is trusted no more (empty: it is)."""

    def __init__(
        self,
        counters: Counters,
        limits: Callable[[], Limits],
        lookup: Callable[[str], Workload | None],
        trust_domain: str,
        refusal: Callable[[Peer], str],
        decided: Decided,
        served: Callable[[Workload], Collection[ObjectKey]] = lambda _: (),
    ) -> None:
        self._counters = counters
        self._limits = limits
        self._lookup = lookup
        self._trust_domain = trust_domain
        self._refusal = refusal
        self._decided = decided
        self._served = served

    def handler(self) -> Any:
        """What a gRPC server takes."""
        method: Any = grpc.unary_unary_rpc_method_handler(self._serve)
        return grpc.method_handlers_generic_handler(SERVICE, {"ShouldRateLimit": method})

    async def _serve(self, raw: bytes, context: grpc.aio.ServicerContext[bytes, bytes]) -> bytes:
        try:
            workload = self._caller(context.auth_context())
            question = RateLimitRequest.FromString(raw)
        except IdentityRefusedError as error:
            await context.abort(grpc.StatusCode.PERMISSION_DENIED, str(error))
        except DecodeError:
            await context.abort(grpc.StatusCode.INVALID_ARGUMENT, "this is no RateLimitRequest")
        try:
            return (await self.answer(question, workload)).SerializeToString()
        except CountersAwayError as error:
            await context.abort(grpc.StatusCode.UNAVAILABLE, str(error))
        raise AssertionError("abort raises")

    def _caller(self, auth: Mapping[str, Iterable[bytes]]) -> Workload:
        peer = peer_from_auth_context(auth)
        if refusal := self._refusal(peer):
            raise IdentityRefusedError(refusal)
        return check_peer(peer, peer.name, self._lookup(peer.name), time.time(), self._trust_domain)

    async def answer(self, question: RateLimitRequest, workload: Workload) -> RateLimitResponse:
        """Whether the request that `workload` asks about is within all its limits. Raises CountersAwayError."""
        asked = [self._wanted(descriptor.entries, workload) for descriptor in question.descriptors[:_MOST_LIMITS]]
        found = [each for each in asked if each is not None] if question.domain == DOMAIN else []
        enforced = [each for each in found if not each[0].dry_run]
        tried = [each for each in found if each[0].dry_run]
        response = RateLimitResponse(overall_code=RateLimitResponse.OK)
        for group in (enforced, tried):
            taken = await self._take(group)
            if group is enforced:
                _report(response, group, taken)
        return response

    async def _take(self, group: list[tuple[LimitPolicy, Limit, Wanted]]) -> list[Taken]:
        if not group:
            return []
        try:
            taken = await self._counters.take([wanted for _, _, wanted in group])
        except CountersAwayError:
            self._note(group, lambda _: "failed", range(len(group)))
            raise
        self._note(group, lambda place: "allowed" if taken[place].allowed else "limited", range(len(group)))
        return taken

    def _note(
        self, group: list[tuple[LimitPolicy, Limit, Wanted]], verdict: Callable[[int], str], places: Iterable[int]
    ) -> None:
        for place in places:
            policy, limit, _ = group[place]
            self._decided(policy.name, limit.name, verdict(place), "dry_run" if policy.dry_run else "enforced")

    def _wanted(self, entries: Any, workload: Workload) -> tuple[LimitPolicy, Limit, Wanted] | None:
        """What a descriptor asks for: the name of a limit, then what requests are told apart by."""
        if not entries or entries[0].key != LIMIT:
            return None
        found = self._limits().get(entries[0].value)
        if found is None:
            return None
        policy, limit = found
        own = policy.object.namespace in self._namespaces(workload)
        if not own and (workload.gateway is None or policy.object not in self._served(workload)):
            return None
        apart = "\0".join(entry.value for entry in entries[1:])
        if len(apart) > _LONGEST_APART:
            apart = f"\0{hashlib.sha256(apart.encode()).hexdigest()}"
        key = f"{entries[0].value}\0{apart}"
        return policy, limit, Wanted(key, limit.requests, limit.seconds, limit.burst)

    def _namespaces(self, workload: Workload) -> frozenset[str]:
        """Whose limits a proxy may use up: its workload's, or those of the workloads that its node carries."""
        if workload.node is None:
            return frozenset((workload.namespace,))
        found = [self._lookup(name) for name in workload.node.carries]
        return frozenset(each.namespace for each in found if each is not None and each.carrier == workload.proxy)


def _report(response: RateLimitResponse, group: list[tuple[LimitPolicy, Limit, Wanted]], taken: list[Taken]) -> None:
    for (_, limit, _), one in zip(group, taken, strict=True):
        status = response.statuses.add(code=RateLimitResponse.OK if one.allowed else RateLimitResponse.OVER_LIMIT)
        status.current_limit.requests_per_unit = min(limit.requests, 2**32 - 1)
        status.current_limit.unit = _UNITS[limit.seconds]
        status.limit_remaining = min(one.remaining, 2**32 - 1)
        status.duration_until_reset.seconds = max(math.ceil(one.reset), 1)
        if not one.allowed:
            response.overall_code = RateLimitResponse.OVER_LIMIT

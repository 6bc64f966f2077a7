"""Registrations of Pods, which the cluster keeps: who asks is proven by a token, what it is the API server says.

Nothing is written but certificates and the audit.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable

from aiohttp import web

from weft.admin.callers import Caller, RemoteCaller
from weft.admin.context import ApiContext
from weft.admin.issuing import Issuing
from weft.admin.registered import Made, Registered, key_of, not_registered, path_key
from weft.admin.registrations import check_pod
from weft.admin.replies import Refused
from weft.admin.standing import Standing, read_standing, read_standing_of
from weft.model.enrolment import RegisterRequest, RenewRequest
from weft.model.workload import Workload, WorkloadState
from weft.sources.kubernetes.pod_tokens import BoundPod, Claim, PodTokenError, claim_from, is_pod_token
from weft.sources.kubernetes.reviews import ReviewUnavailableError
from weft.traffic.pace import Pace

TOLD_SECONDS = 4.0
"""How long the source may take to tell of a Pod that asks: its agent starts within a second of it."""
_LOOK_SECONDS = 0.2
_OF_ONE_ADDRESS = 50
_AGAIN_SECONDS = 0.1
"""Tokens that one address, which may be that of all Pods of a node, may have reviewed: so many at once, and one more
after every so many seconds."""


class PodRegistrations:
    """See `weft.admin.registered.Registrations`."""

    def __init__(self, context: ApiContext, issuing: Issuing) -> None:
        self._store = context.store
        self._leases = context.leases
        self._collector = context.collector
        self._audit = context.audit
        self._clock = context.clock
        self._reviews = context.token_reviews
        self._issuing = issuing
        self._pace = Pace(_OF_ONE_ADDRESS, _AGAIN_SECONDS)

    def concerns(self, caller: Caller) -> bool:
        """Whether a caller registers as a Pod, by its token or else its certificate."""
        if not isinstance(caller, RemoteCaller):
            return False
        if caller.token:
            return self._reviews is not None and is_pod_token(caller.token)
        return bool(caller.pod)

    async def register(self, caller: Caller, body: RegisterRequest) -> Made:
        """See `Registrations`."""
        if not isinstance(caller, RemoteCaller):
            raise TypeError("a Pod calls over TLS")
        wanted = body.workload
        check_pod(wanted)
        self._issuing.check_reserved(wanted)
        key = key_of(wanted)
        standing = await read_standing(self._store, wanted)
        standing.check(key)
        pod = self._shown(caller, wanted, standing)
        by_token = pod is None
        if pod is None:
            bound = await self._proven(caller, wanted, standing)
            pod = await self._told(wanted, bound.uid)
        issued = self._issuing.issue(body.csr, pod, standing.trust)
        changes, expect = await self._issuing.kept(issued, pod, standing)
        if by_token:
            text = f"{self._issuing.identity(pod)}, Pod {pod.pod}"
            changes.append(self._audit.workload(str(caller), "register", object=f"workload {key}", detail=text))
        revision = await self._store.write(changes, expect)
        self._leases.spoken(key)
        return Made(key, pod, issued, revision)

    async def own(self, request: web.Request, caller: Caller) -> Registered:
        """See `Registrations`."""
        key, namespace, name = path_key(request), request.match_info["namespace"], request.match_info["name"]
        if not isinstance(caller, RemoteCaller) or caller.identity is None:
            raise Refused(401, "certificate-required", "show the certificate of the Pod's proxy", about=key)
        if caller.proxy != f"{name}.{namespace}" or caller.identity.namespace != namespace:
            raise Refused(403, "not-your-workload", f"this certificate is that of {caller.proxy}", about=key)
        standing = await read_standing_of(self._store, namespace, name, caller.identity.service_account)
        standing.check_certificate(caller.trust, key)
        pod = self._collector.pod(caller.proxy)
        if pod is None:
            raise not_registered(key)
        if pod.pod != caller.pod or caller.identity != self._issuing.identity(pod):
            raise Refused(403, "not-your-workload", "this certificate is that of an earlier Pod of the name", about=key)
        return Registered(key, pod)

    async def renew(self, found: Registered, _: RenewRequest, /) -> float:
        """See `Registrations`. How the Pod is, its readiness says, not its agent."""
        return self._leases.spoken(found.key)

    async def drain(self, found: Registered, wait: float, /) -> int:
        """See `Registrations`. Callers are told when the API server says that the Pod ends."""
        proxy, uid = found.workload.proxy, found.workload.pod

        def draining() -> bool:
            now = self._collector.snapshot.workload(proxy)
            return now is None or now.pod != uid or now.state is WorkloadState.DRAINING

        if not await self._until(draining, min(wait, TOLD_SECONDS)):
            text = f"the API server does not say that Pod {found.key} ends, so callers are not told so"
            raise Refused(409, "not-draining", text, about=found.key)
        return self._collector.snapshot.revision

    async def end(self, found: Registered, caller: Caller) -> None:
        """See `Registrations`. The Pod is in the mesh for as long as the API server says."""
        record = self._audit.workload(str(caller), "deregister", object=f"workload {found.key}")
        await self._store.write([record])
        self._leases.forget(found.key)

    def _shown(self, caller: RemoteCaller, wanted: Workload, standing: Standing) -> Workload | None:
        """The Pod that the caller proves to be by its certificate, None if it has to show its token. Refused if it has
        none."""
        if (caller.proxy, caller.identity) == (wanted.proxy, self._issuing.identity(wanted)):
            pod = self._collector.pod(caller.proxy)
            same = pod is not None and pod.service_account == wanted.service_account and pod.pod == caller.pod
            if same and standing.accepts(caller.trust):
                return pod
        if not caller.token:
            text = "this certificate is not that of the Pod as it is there now; show the token of its service account"
            raise Refused(403, "not-your-workload", text, about=key_of(wanted))
        return None

    async def _proven(self, caller: RemoteCaller, wanted: Workload, standing: Standing) -> BoundPod:
        """Whose the token is, as the API server says. Refused unless it is the Pod that is to be registered."""
        key = key_of(wanted)
        try:
            claim = claim_from(caller.token, self._clock())
            self._check_claim(claim, wanted, standing)
            if not self._pace.allows(caller.address, asyncio.get_running_loop().time()):
                raise _busy("this address shows too many tokens", key)
            # A claim that is forged says nothing of a Pod that is there: the API server is asked about no others.
            await self._found(wanted, claim.pod.uid)
            if self._reviews is None:
                raise Refused(401, "token-refused", "this control plane follows no cluster", about=key)
            bound = await self._reviews.pod_of(caller.token)
        except PodTokenError as error:
            raise Refused(401 if error.code == "token-refused" else 403, error.code, str(error), about=key) from error
        except ReviewUnavailableError as error:
            if error.busy:
                raise _busy(str(error), key) from error
            raise Refused(503, "kubernetes-unavailable", f"{error}; try again", about=key, retry_after=1) from error
        self._check_bound(bound, wanted)
        return bound

    def _check_claim(self, claim: Claim, wanted: Workload, standing: Standing) -> None:
        """What the token says of itself must fit, or nobody need be asked."""
        self._check_bound(claim.pod, wanted)
        if claim.issued <= standing.since:
            text = f"{standing.ended_text()}: the kubelet renews it within the hour, and a new Pod has a new one"
            raise Refused(403, "trust-ended", text, about=key_of(wanted))

    def _check_bound(self, bound: BoundPod, wanted: Workload) -> None:
        if (bound.namespace, bound.service_account, bound.name) != _names(wanted):
            text, about = f"the token is that of {bound}", f"{key_of(wanted)} as {wanted.service_account}"
            raise Refused(403, "token-for-another", text, about=about)

    async def _told(self, wanted: Workload, uid: str) -> Workload:
        """The Pod as the source tells of it, once it does. Refused if an agent has its name."""
        pod, key = await self._found(wanted, uid), key_of(wanted)
        held = self._collector.workload(wanted.proxy)
        if held is not None and not held.pod:
            text = f"{key} is registered by an agent, whose name it is until that one stops; name the Pod otherwise"
            raise Refused(409, "name-taken", text, about=key)
        return pod

    async def _found(self, wanted: Workload, uid: str) -> Workload:
        """The Pod, once the source tells of it; refused if it does not in time."""
        proxy, key = wanted.proxy, key_of(wanted)

        def found() -> Workload | None:
            pod = self._collector.pod(proxy)
            return pod if pod is not None and pod.pod == uid and _names(pod) == _names(wanted) else None

        await self._until(lambda: found() is not None, TOLD_SECONDS)
        pod = found()
        if pod is None:
            text = f"the API server has not told of Pod {key} with a container weft-proxy and uid {uid} yet; try again"
            raise Refused(425, "pod-unknown", text, about=key, retry_after=1)
        return pod

    async def _until(self, holds: Callable[[], bool], seconds: float) -> bool:
        """Whether it comes true in that time."""
        collected = self._collector.collected
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                while not holds():
                    with contextlib.suppress(TimeoutError):  # a Pod that is left out may make no new snapshot
                        async with asyncio.timeout(_LOOK_SECONDS):
                            await collected.changed(collected.version)
        return holds()


def _names(workload: Workload) -> tuple[str, str, str]:
    return workload.namespace, workload.service_account, workload.name


def _busy(why: str, key: str) -> Refused:
    return Refused(429, "busy", f"{why}; try again", about=key, retry_after=1)

"""The agent API: workloads register, renew their lease and certificate, drain, and leave (see model/enrolment.py)."""

from __future__ import annotations

import asyncio
import contextlib
import dataclasses
from collections.abc import Awaitable, Callable
from functools import partial

from aiohttp import web

from weft.admin.attestation import Attestation
from weft.admin.callers import Caller, LocalCaller, RemoteCaller, local_caller, remote_caller
from weft.admin.context import ApiContext
from weft.admin.groups import Groups
from weft.admin.issuing import Issuing
from weft.admin.local_users import LocalUser
from weft.admin.names import Names
from weft.admin.pod_registrations import PodRegistrations
from weft.admin.reach import reach_context, unreachable
from weft.admin.registered import Made, Registered, Registrations, path_key
from weft.admin.replicas.handlers import ReplicaApi
from weft.admin.replicas.telling import Telling
from weft.admin.replies import Refused, json_body, reply, seconds
from weft.admin.reports import Reports
from weft.admin.revocations import RevocationLists
from weft.admin.server import mark_authenticated, new_application
from weft.admin.standing import read_standing
from weft.admin.stored_registrations import KNOWN_SECONDS, StoredRegistrations
from weft.admin.workload_trust import WorkloadTrust
from weft.mesh.policies.telemetry import metric_settings
from weft.mesh.services.workloads import workload_source
from weft.model.addresses import host_and_port, is_loopback, is_wildcard, plain_address
from weft.model.enrolment import (
    CertificateRequest,
    DrainResponse,
    ReachResponse,
    RegisterRequest,
    RegisterResponse,
    RenewRequest,
    RenewResponse,
    RevokedResponse,
)
from weft.model.requests import RequestsAnswer, RequestsReport
from weft.model.telemetry import MetricSettings
from weft.model.workload import Workload
from weft.traffic.pace import Pace

BODY_LIMIT = 256 * 1024
LONGEST_DRAIN = 300.0
REACHING_AT_ONCE = 16
_COMPILED_SECONDS = 2.0
_REPORT_SECONDS = 2.0
_REPORTS_PER_SECOND = 200.0
"""How often agents come, all together: in a large mesh each comes more seldom."""
_TELL_SECONDS = 0.25
_TELLS_AT_ONCE = 20
"""Of one workload, whose agent looks for requests every half second: what is more would take the turns of others."""

_Action = Callable[[web.Request, Caller], Awaitable[web.Response]]


class AgentApi:
    """Handlers of the agent API. One object serves the unix socket and the TLS port; what is `telling` is for other
    replicas of the control plane, where there may be some."""

    def __init__(self, context: ApiContext, telling: Telling | None = None) -> None:
        self._store = context.store
        self._leases = context.leases
        self._authority = context.authority
        self._collector = context.collector
        self._hub = context.hub
        self._compiled = context.compiled
        self._audit = context.audit
        self._settings = context.enrolment
        self._clock = context.clock
        self._heard = context.heard
        self._taps = context.taps
        self._revocations = RevocationLists(context)
        self._attestation = Attestation(context)
        self._issuing = Issuing(context)
        self._stored = StoredRegistrations(context, self._issuing, self._attestation)
        self._pods = PodRegistrations(context, self._issuing)
        self._reaching: set[str] = set()
        self._answered = context.answered("agent")
        self._reports = Reports(context)
        self._trust = WorkloadTrust(context, self._own)
        self._groups = Groups(context)
        self._names = Names(context, self._own)
        self._others = context.replicas
        self._replicas = ReplicaApi(context, telling) if telling is not None else None
        self._pace = Pace(_TELLS_AT_ONCE, _TELL_SECONDS)

    def application(self, *, local: bool, users: tuple[LocalUser, ...] = ()) -> web.Application:
        """The web application for a unix socket (`local`), also for other `users`, or for TLS."""
        who = partial(local_caller, users=users) if local else remote_caller
        application = new_application(body_limit=BODY_LIMIT, one_request=True, answered=self._answered)
        one = "/v1/workloads/{namespace}/{name}"

        def add(method: str, path: str, action: str, run: _Action) -> None:
            async def handle(request: web.Request) -> web.StreamResponse:
                return await self._recorded(request, who, action, run)

            application.router.add_route(method, path, handle)

        add("POST", "/v1/workloads", "register", self._register)
        add("POST", one + "/lease", "renew lease", self._renew)
        add("POST", one + "/certificate", "renew certificate", self._certificate)
        add("POST", one + "/drain", "drain", self._drain)
        add("POST", one + "/reach", "reach", self._reach)
        add("POST", one + "/report", "report", self._reports.report)
        add("POST", one + "/requests", "report requests", self._requests)
        add("POST", one + "/application-certificate", "certify the application", self._trust.certificate)
        add("POST", one + "/token", "sign a token", self._trust.token)
        add("GET", one + "/trust", "read trust bundles", self._trust.trust)
        add("GET", one + "/names", "read names", self._names.names)
        add("DELETE", one, "deregister", self._delete)
        add("GET", "/v1/groups/{namespace}/{name}", "read a group", self._groups.group)
        if not local and self._replicas is not None:
            for method, path, handle in self._replicas.handlers():
                add(method, path, "ask as a replica", handle)
        application.router.add_get("/v1/trust-bundle", self._bundle)
        application.router.add_get("/v1/revoked", self._revoked_list)
        application.router.add_get("/v1/nonce", self._attestation.nonce)
        return application

    async def _recorded(
        self, request: web.Request, who: Callable[[web.Request], Caller], action: str, run: _Action
    ) -> web.StreamResponse:
        name, about = request.remote or "local", path_key(request)
        try:
            caller = who(request)
            name = str(caller)
            if isinstance(caller, LocalCaller) or caller.identity is not None:
                mark_authenticated(request)
            return await run(request, caller)
        except Refused as refused:
            if refused.status in {401, 403, 409}:
                self._audit.refused(name, action, refused.code, refused.record or str(refused), refused.about or about)
            raise

    async def _bundle(self, _request: web.Request) -> web.Response:
        """The trust bundle, which is public: an agent elsewhere checks it against the fingerprint it was given, which
        may be a former root's."""
        return web.Response(text=self._authority.public_roots, content_type="application/x-pem-file")

    async def _register(self, request: web.Request, caller: Caller) -> web.Response:
        body: RegisterRequest = await json_body(request, RegisterRequest)
        where: Registrations = self._pods if self._pods.concerns(caller) else self._stored
        made = await where.register(caller, body)
        self._heard.note(made.key, body.clock, body.version, self._clock())
        self._heard.issued(made.key, made.issued.not_before, made.issued.not_after)
        welcome = self._welcome(request, caller, made)
        try:
            async with asyncio.timeout(KNOWN_SECONDS):  # the proxy connects next, and should be known by then
                snapshot = await self._collector.included(made.revision)
        except TimeoutError:  # it is registered and its token used up: without this answer it could not come again
            return reply(welcome)
        problems = await self._problems(made.workload, snapshot)
        return reply(dataclasses.replace(welcome, problems=problems, workers=await self._workers(made.workload)))

    async def _problems(self, workload: Workload, snapshot: int) -> tuple[str, ...]:
        """What is wrong with what the workload names, once the snapshot that has it is compiled; nothing if that takes
        too long, since `weft problems` shows it anyway."""
        if not (workload.uses or workload.upstreams):
            return ()
        compiled = self._compiled
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(_COMPILED_SECONDS):
                while compiled.value.revision < snapshot:
                    await compiled.changed(compiled.version)
        source = workload_source(workload)
        return tuple(str(problem) for problem in compiled.value.problems if problem.origin.source == source)

    async def _workers(self, workload: Workload) -> int:
        """With how many worker threads its proxy is started. Where nothing is compiled yet that is waited for, since
        the number stays until the next start."""
        compiled = self._compiled
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(_COMPILED_SECONDS):
                while compiled.value.mesh is None:
                    await compiled.changed(compiled.version)
        mesh = compiled.value.mesh
        return mesh.proxies.of(workload).workers if mesh is not None else workload.workers

    async def _renew(self, request: web.Request, caller: Caller) -> web.Response:
        found = await self._own(request, caller)
        body: RenewRequest = await json_body(request, RenewRequest)
        lease = await self._where(found).renew(found, body)
        self._heard.note(found.key, body.clock, body.version, self._clock())
        self._heard.uses(found.key, body.trust, body.issuer)
        due = bool(body.trust) and not self._authority.wanted.met(body.trust, body.issuer)
        return reply(RenewResponse(lease, self._metrics(found.workload), due))

    def _metrics(self, workload: Workload) -> MetricSettings:
        """What documents change of the metrics that its agent serves."""
        mesh = self._compiled.value.mesh
        return metric_settings(mesh.telemetries, workload, mesh.catalog) if mesh else MetricSettings()

    async def _certificate(self, request: web.Request, caller: Caller) -> web.Response:
        found = await self._own(request, caller)
        body: CertificateRequest = await json_body(request, CertificateRequest)
        standing = await read_standing(self._store, found.workload)
        issued = self._issuing.issue(body.csr, found.workload, standing.trust)
        await self._store.write(*await self._issuing.kept(issued, found.workload, standing))
        self._heard.issued(found.key, issued.not_before, issued.not_after)
        return reply(issued)

    async def _drain(self, request: web.Request, caller: Caller) -> web.Response:
        wait = seconds(request, "wait", LONGEST_DRAIN) or 0.0
        found = await self._own(request, caller)
        deadline = self._clock() + wait
        snapshot = await self._where(found).drain(found, wait)
        left, workload = max(0.0, deadline - self._clock()), found.workload
        elsewhere = self._others.drained(workload.proxy, workload.pod, left)
        result, others = await asyncio.gather(self._hub.wait_revision(snapshot, left), elsewhere)
        refusing = (nack.proxy for nack in result.nacked)
        pending = tuple(dict.fromkeys((*result.pending, *result.stuck, *refusing, *others)))
        return reply(DrainResponse(result.published and not pending, pending))

    async def _reach(self, request: web.Request, caller: Caller) -> web.Response:
        """Try the caller's own listeners, and only at the address that it comes from: we scan nobody for anybody."""
        found = await self._own(request, caller)
        key, workload = found.key, found.workload
        seen = "" if isinstance(caller, LocalCaller) else caller.address
        own = seen and not is_loopback(seen)  # through a tunnel, a caller on loopback is perhaps not of this host
        addresses = [port.inbound for port in workload.ports if own and port.inbound.host == seen]
        if key in self._reaching or len(self._reaching) >= REACHING_AT_ONCE:
            raise Refused(429, "busy", "too many workloads ask for this at once; ask again", about=key)
        self._reaching.add(key)
        try:
            context = reach_context(self._authority.workload_bundle)
            failures = await unreachable(addresses, self._issuing.identity(workload), context)
        finally:
            self._reaching.discard(key)
        return reply(ReachResponse(seen, len(addresses), failures))

    async def _requests(self, request: web.Request, caller: Caller) -> web.Response:
        """What a proxy noted of requests; the answer says what somebody watches, and when to come again."""
        key = (await self._own(request, caller)).key
        if not self._pace.allows(key, asyncio.get_running_loop().time()):
            raise Refused(429, "too-often", "an agent tells of requests twice a second at most", about=key)
        body: RequestsReport = await json_body(request, RequestsReport)
        workloads = len(self._collector.snapshot.workloads)
        order = self._taps.take(key, body)
        interval = max(_REPORT_SECONDS, workloads / _REPORTS_PER_SECOND)
        return reply(RequestsAnswer(interval, order, (await self._revocations.current())[0]))

    async def _delete(self, request: web.Request, caller: Caller) -> web.Response:
        found = await self._own(request, caller)
        await self._where(found).end(found, caller)
        self._heard.forget(found.key)
        return web.Response(status=204)

    async def _own(self, request: web.Request, caller: Caller) -> Registered:
        """The registration named in the path, if the caller may act for it."""
        of_a_pod = isinstance(caller, RemoteCaller) and bool(caller.pod)
        where: Registrations = self._pods if of_a_pod else self._stored
        return await where.own(request, caller)

    def _where(self, found: Registered) -> Registrations:
        return self._pods if found.workload.pod else self._stored

    async def _revoked_list(self, _request: web.Request) -> web.Response:
        """Which certificates hand-shakes refuse: as public as the bundle."""
        return reply(RevokedResponse(*await self._revocations.current()))

    def _welcome(self, request: web.Request, caller: Caller, made: Made) -> RegisterResponse:
        settings = self._settings
        xds, agent_api = settings.xds, settings.agent_api
        shared = isinstance(caller, LocalCaller) and caller.identities is not None
        elsewhere = shared and bool(settings.advertised) and is_wildcard(settings.bind)  # it may be in a container
        if elsewhere or not isinstance(caller, LocalCaller):
            name = request.transport.get_extra_info("sockname") if request.transport else None
            host = settings.advertised or (plain_address(name[0]) if name else "")
            xds, agent_api = (host_and_port(host, address.rpartition(":")[2]) for address in (xds, agent_api))
        return RegisterResponse(
            made.issued,
            xds,
            settings.xds_identity,
            self._authority.trust_domain,
            self._leases.ttl,
            agent_api,
            metrics=self._metrics(made.workload),
            workers=made.workload.workers,
        )

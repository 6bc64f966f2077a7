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
from weft.admin.groups import Groups, check_member
from weft.admin.local_users import LocalUser
from weft.admin.names import Names
from weft.admin.reach import reach_context, unreachable
from weft.admin.registrations import check_reachable, check_workload
from weft.admin.replies import Refused, json_body, reply, seconds
from weft.admin.reports import Reports
from weft.admin.revocations import RevocationLists
from weft.admin.server import mark_authenticated, new_application
from weft.admin.standing import Standing, read_standing, read_standing_of
from weft.admin.workload_trust import WorkloadTrust
from weft.ca.authority import CONTROL_PLANE_ACCOUNT, CONTROL_PLANE_NAMESPACE
from weft.ca.issued import BUCKET as CERTIFICATES
from weft.ca.issued import certificate_of, put_certificate
from weft.ca.request import CertificateRefusedError
from weft.ca.tokens import TokenGrant, TokenRefusedError, read_token
from weft.mesh.policies.telemetry import metric_settings
from weft.mesh.services.workloads import workload_source
from weft.model.addresses import host_and_port, is_loopback, is_wildcard, plain_address
from weft.model.canonical import canonical_revision, canonical_service
from weft.model.distrust import Ended, Trust
from weft.model.enrolment import (
    CertificateRequest,
    DrainResponse,
    Issued,
    ReachResponse,
    RegisterRequest,
    RegisterResponse,
    RenewRequest,
    RenewResponse,
    RevokedResponse,
)
from weft.model.identity import SpiffeId
from weft.model.requests import RequestsAnswer, RequestsReport
from weft.model.telemetry import MetricSettings
from weft.model.workload import Workload, WorkloadState
from weft.sources.distrust import put_distrust
from weft.sources.workloads import put_workload, workload_from_value, workload_key
from weft.store.protocol import LEASED_BUCKET, Change, ConflictError, Delete, Entry
from weft.traffic.pace import Pace

BODY_LIMIT = 256 * 1024
LONGEST_DRAIN = 300.0
KNOWN_SECONDS = 5.0
REACHING_AT_ONCE = 16
_COMPILED_SECONDS = 2.0
_REPORT_SECONDS = 2.0
_REPORTS_PER_SECOND = 200.0
"""How often agents come, all together: in a large mesh each comes more seldom."""
_TRIES = 20
_TELL_SECONDS = 0.25
_TELLS_AT_ONCE = 20
"""Of one workload, whose agent looks for requests every half second: what is more would take the turns of others."""

_Action = Callable[[web.Request, Caller], Awaitable[web.Response]]


class AgentApi:
    """Handlers of the agent API. One object serves the unix socket and the TLS port."""

    def __init__(self, context: ApiContext) -> None:
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
        self._reaching: set[str] = set()
        self._answered = context.answered("agent")
        self._reports = Reports(context)
        self._trust = WorkloadTrust(context, self._own)
        self._groups = Groups(context)
        self._names = Names(context, self._own)
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
        application.router.add_get("/v1/trust-bundle", self._bundle)
        application.router.add_get("/v1/revoked", self._revoked_list)
        application.router.add_get("/v1/nonce", self._attestation.nonce)
        return application

    async def _recorded(
        self, request: web.Request, who: Callable[[web.Request], Caller], action: str, run: _Action
    ) -> web.StreamResponse:
        name, about = request.remote or "local", _path_key(request)
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
        workload = body.workload
        check_workload(workload)
        if not isinstance(caller, LocalCaller):
            check_reachable(workload, caller.address)
        key = workload_key(workload.namespace, workload.name)
        identity = self._identity(workload)
        if (workload.namespace, workload.service_account) == (CONTROL_PLANE_NAMESPACE, CONTROL_PLANE_ACCOUNT):
            raise Refused(403, "reserved-identity", "this identity is the control plane's own", about=key)
        entry = await self._store.get(LEASED_BUCKET, key)
        standing = await read_standing(self._store, workload)
        standing.check(key)
        grant = await self._authorise_registration(caller, body, entry, standing)
        issued = self._issue(body.csr, identity, workload, standing.trust)
        registration = put_workload(workload)
        kept, expect = await self._kept(issued, key, workload, standing)
        changes = [registration, *kept]
        if entry is None or entry.value != registration.value:
            changes.append(
                self._audit.workload(str(caller), "register", object=f"workload {key}", detail=str(identity))
            )
        expect |= {(LEASED_BUCKET, key): entry.revision if entry else 0}
        revision = await self._write_registration(changes, expect, key, grant, caller)
        self._leases.heard(key, self._leases.ttl)
        self._heard.note(key, body.clock, body.version, self._clock())
        self._heard.issued(key, issued.not_before, issued.not_after)
        welcome = self._welcome(request, caller, issued, workload)
        try:
            async with asyncio.timeout(KNOWN_SECONDS):  # the proxy connects next, and should be known by then
                snapshot = await self._collector.included(revision)
        except TimeoutError:  # it is registered and its token used up: without this answer it could not come again
            return reply(welcome)
        problems = await self._problems(workload, snapshot)
        return reply(dataclasses.replace(welcome, problems=problems, workers=await self._workers(workload)))

    async def _write_registration(
        self,
        changes: list[Change],
        expect: dict[tuple[str, str], int],
        key: str,
        grant: TokenGrant | None,
        caller: Caller,
    ) -> int:
        """Write a registration, and that the join token was used, in one step; the store's revision. ConflictError if
        what was expected does not hold any more. Of a token for several, others may be using it at the same time."""
        for _ in range(_TRIES):
            used = [grant.use] if grant is not None else []
            also = grant.expect if grant is not None else {}
            try:
                return await self._store.write([*changes, *used], {**expect, **also}, self._leases.granted(key))
            except ConflictError:
                if grant is None or not isinstance(caller, RemoteCaller):
                    raise
                again = await self._grant(caller.token, key)  # refused if somebody else's use of it came first
                if not grant.shared or again.revision == grant.revision:
                    raise
                grant = again
        raise Refused(
            409, "changed-meanwhile", "the join token is used by too many at the same time: repeat", about=key
        )

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
        entry, workload = await self._own(request, caller)
        body: RenewRequest = await json_body(request, RenewRequest)
        leaving = workload.state is WorkloadState.DRAINING
        now = dataclasses.replace(workload, state=body.state, unused_proxy=body.unused_proxy)
        if now != workload and not leaving:
            await self._change(entry, now)
        self._heard.note(entry.key, body.clock, body.version, self._clock())
        self._heard.uses(entry.key, body.trust, body.issuer)
        lease = await self._leases.renew(entry.key)
        if lease is None:
            raise _not_registered(entry.key)
        due = bool(body.trust) and not self._authority.wanted.met(body.trust, body.issuer)
        return reply(RenewResponse(lease, self._metrics(workload), due))

    def _metrics(self, workload: Workload) -> MetricSettings:
        """What documents change of the metrics that its agent serves."""
        mesh = self._compiled.value.mesh
        return metric_settings(mesh.telemetries, workload, mesh.catalog) if mesh else MetricSettings()

    async def _certificate(self, request: web.Request, caller: Caller) -> web.Response:
        entry, workload = await self._own(request, caller)
        body: CertificateRequest = await json_body(request, CertificateRequest)
        standing = await read_standing(self._store, workload)
        issued = self._issue(body.csr, self._identity(workload), workload, standing.trust)
        await self._store.write(*await self._kept(issued, entry.key, workload, standing))
        self._heard.issued(entry.key, issued.not_before, issued.not_after)
        return reply(issued)

    async def _drain(self, request: web.Request, caller: Caller) -> web.Response:
        wait = seconds(request, "wait", LONGEST_DRAIN) or 0.0
        entry, workload = await self._own(request, caller)
        revision = await self._change(entry, dataclasses.replace(workload, state=WorkloadState.DRAINING))
        deadline = self._clock() + wait
        async with asyncio.timeout(KNOWN_SECONDS):
            snapshot = await self._collector.included(revision)
        result = await self._hub.wait_revision(snapshot, max(0.0, deadline - self._clock()))
        pending = tuple(dict.fromkeys((*result.pending, *result.stuck, *(nack.proxy for nack in result.nacked))))
        return reply(DrainResponse(result.published and not pending, pending))

    async def _reach(self, request: web.Request, caller: Caller) -> web.Response:
        """Try the caller's own listeners, and only at the address that it comes from: we scan nobody for anybody."""
        entry, workload = await self._own(request, caller)
        seen = "" if isinstance(caller, LocalCaller) else caller.address
        own = seen and not is_loopback(seen)  # through a tunnel, a caller on loopback is perhaps not of this host
        addresses = [port.inbound for port in workload.ports if own and port.inbound.host == seen]
        if entry.key in self._reaching or len(self._reaching) >= REACHING_AT_ONCE:
            raise Refused(429, "busy", "too many workloads ask for this at once; ask again", about=entry.key)
        self._reaching.add(entry.key)
        try:
            context = reach_context(self._authority.workload_bundle)
            failures = await unreachable(addresses, self._identity(workload), context)
        finally:
            self._reaching.discard(entry.key)
        return reply(ReachResponse(seen, len(addresses), failures))

    async def _requests(self, request: web.Request, caller: Caller) -> web.Response:
        """What a proxy noted of requests; the answer says what somebody watches, and when to come again."""
        entry, _ = await self._own(request, caller)
        if not self._pace.allows(entry.key, asyncio.get_running_loop().time()):
            raise Refused(429, "too-often", "an agent tells of requests twice a second at most", about=entry.key)
        body: RequestsReport = await json_body(request, RequestsReport)
        workloads = len(self._collector.snapshot.workloads)
        order = self._taps.take(entry.key, body)
        interval = max(_REPORT_SECONDS, workloads / _REPORTS_PER_SECOND)
        return reply(RequestsAnswer(interval, order, (await self._revocations.current())[0]))

    async def _delete(self, request: web.Request, caller: Caller) -> web.Response:
        entry, _ = await self._own(request, caller)
        record = self._audit.workload(str(caller), "deregister", object=f"workload {entry.key}")
        await self._store.write([Delete(LEASED_BUCKET, entry.key), record])
        self._leases.forget(entry.key)
        self._heard.forget(entry.key)
        return web.Response(status=204)

    async def _own(self, request: web.Request, caller: Caller) -> tuple[Entry, Workload]:
        """The registration named in the path, if the caller may act for it."""
        key = _path_key(request)
        entry = await self._store.get(LEASED_BUCKET, key)
        workload = workload_from_value(entry.value) if entry else None
        namespace, name = request.match_info["namespace"], request.match_info["name"]
        account = workload.service_account if workload else _account(caller)
        standing = await read_standing_of(self._store, namespace, name, account)
        if isinstance(caller, LocalCaller):
            if workload is not None:
                _check_user(caller, (namespace, account), key)
        else:
            if caller.identity is None:
                raise Refused(401, "certificate-required", "show the workload's certificate", about=key)
            if caller.proxy != f"{name}.{namespace}" or caller.identity.namespace != namespace:
                raise Refused(403, "not-your-workload", f"this certificate is that of {caller.proxy}", about=key)
            if workload is not None and caller.identity != self._identity(workload):
                raise Refused(403, "not-your-workload", "this name is registered by another identity", about=key)
            standing.check_certificate(caller.trust, key)
        standing.check(key)
        if entry is None or workload is None:
            if standing.removed:
                raise Refused(410, "workload-removed", f"{key} was removed: start it again if it is to come back")
            raise _not_registered(key)
        return entry, workload

    async def _authorise_registration(
        self, caller: Caller, body: RegisterRequest, entry: Entry | None, standing: Standing
    ) -> TokenGrant | None:
        """Refused unless the caller may register the workload; the grant of the join token that it does so by."""
        workload = body.workload
        key = workload_key(workload.namespace, workload.name)
        if isinstance(caller, LocalCaller):
            _check_user(caller, (workload.namespace, workload.service_account), key)
            _check_gateway(workload, caller, key)
            await self._check_holder(entry, workload)
            return None
        shown = caller.identity == self._identity(workload) and caller.proxy == workload.proxy
        own = shown and standing.accepts(caller.trust)
        if not own and not caller.token and body.proof is not None and body.proof.svid:
            _check_gateway(workload, caller, key)
            self._attestation.check_svid(body, self._identity(workload), standing)
            await self._check_holder(entry, workload, newcomer=True)
            return None
        if not own and not caller.token:
            if shown:
                raise Refused(403, "trust-ended", standing.ended_text(), about=key)
            if caller.identity is not None:
                text = f"this certificate is that of {caller.proxy} as {caller.identity}; another needs a join token"
                raise Refused(403, "not-your-workload", text, about=key)
            raise Refused(401, "token-required", "show a join token: weft token create", about=key)
        _check_gateway(workload, caller, key)
        grant = None if own else await self._grant(caller.token, key, standing.since)
        if grant is not None and (grant.namespace, grant.service_account) != (
            workload.namespace,
            workload.service_account,
        ):
            text = f"the join token is for {grant.namespace}/{grant.service_account}"
            raise Refused(403, "token-for-another", text, about=f"{key} as {workload.service_account}")
        if grant is not None and grant.group:
            check_member(self._collector.snapshot.documents, grant.group, workload, key)
        if grant is not None and grant.demands is not None:
            self._attestation.check(grant.demands, body, caller.address, self._identity(workload))
        await self._check_holder(entry, workload, newcomer=not own)
        return grant

    async def _grant(self, token: str, key: str, since: float = 0.0) -> TokenGrant:
        """What the token grants; one made before `since` nothing."""
        try:
            return await read_token(self._store, token, self._clock, since)
        except TokenRefusedError as error:
            record = f"{error.code}: {error.detail}"
            raise Refused(401, "token-refused", str(error), record=record, about=key) from error

    async def _check_holder(self, entry: Entry | None, workload: Workload, *, newcomer: bool = False) -> None:
        """Refuse a name that a live lease of another identity holds; to a newcomer, also one of the same identity."""
        if entry is None:
            return
        holder = workload_from_value(entry.value)
        differs = newcomer or holder.service_account != workload.service_account
        if differs and await self._leases.held(entry.key):
            text = (
                f"{entry.key} is registered as service account {holder.service_account}, and its agent or its proxy "
                "is there; stop that one first"
            )
            raise Refused(409, "name-taken", text, about=entry.key)

    async def _change(self, entry: Entry, workload: Workload) -> int:
        """Write the registration of `entry` anew, at once; the store's revision that has it."""
        try:
            return await self._store.write([put_workload(workload)], {(LEASED_BUCKET, entry.key): entry.revision})
        except ConflictError as error:
            raise Refused(409, "changed-meanwhile", f"{entry.key} was changed at the same time: repeat") from error

    def _identity(self, workload: Workload) -> SpiffeId:
        return SpiffeId(self._authority.trust_domain, workload.namespace, workload.service_account)

    async def _kept(
        self, issued: Issued, key: str, workload: Workload, standing: Standing
    ) -> tuple[list[Change], dict[tuple[str, str], int]]:
        """The writes that keep a certificate on record, and what must hold then: that trust has not ended meanwhile."""
        entry = await self._store.get(CERTIFICATES, key)
        certificate = certificate_of(issued, workload.service_account, str(standing.trust))
        changes: list[Change] = [put_certificate(entry, key, certificate, self._clock())]
        removed = [one for one in standing.ends if one.ended is Ended.REMOVED]
        changes += [put_distrust(dataclasses.replace(one, ended=Ended.RESTORED)) for one in removed]
        return changes, {**standing.expect, (CERTIFICATES, key): entry.revision if entry else 0}

    async def _revoked_list(self, _request: web.Request) -> web.Response:
        """Which certificates hand-shakes refuse: as public as the bundle."""
        return reply(RevokedResponse(*await self._revocations.current()))

    def _issue(self, csr: str, identity: SpiffeId, workload: Workload, trust: Trust) -> Issued:
        try:
            return self._authority.issue(
                csr,
                identity,
                workload.proxy,
                self._settings.certificate_ttl,
                service=canonical_service(workload),
                revision=canonical_revision(workload),
                trust=trust,
            )
        except CertificateRefusedError as error:
            key = workload_key(workload.namespace, workload.name)
            raise Refused(403, error.code, str(error), about=key) from error

    def _welcome(self, request: web.Request, caller: Caller, issued: Issued, workload: Workload) -> RegisterResponse:
        settings = self._settings
        xds, agent_api = settings.xds, settings.agent_api
        shared = isinstance(caller, LocalCaller) and caller.identities is not None
        elsewhere = shared and bool(settings.advertised) and is_wildcard(settings.bind)  # it may be in a container
        if elsewhere or not isinstance(caller, LocalCaller):
            name = request.transport.get_extra_info("sockname") if request.transport else None
            host = settings.advertised or (plain_address(name[0]) if name else "")
            xds, agent_api = (host_and_port(host, address.rpartition(":")[2]) for address in (xds, agent_api))
        return RegisterResponse(
            issued,
            xds,
            settings.xds_identity,
            self._authority.trust_domain,
            self._leases.ttl,
            agent_api,
            metrics=self._metrics(workload),
            workers=workload.workers,
        )


def _not_registered(key: str) -> Refused:
    return Refused(404, "not-registered", f"{key} is not registered (any more): register it again")


def _check_user(caller: LocalCaller, identity: tuple[str, str], key: str) -> None:
    """Refused unless a caller of this host may have an identity (namespace, service account)."""
    if caller.identities is not None and identity not in caller.identities:
        mine = ", ".join("/".join(one) for one in caller.identities)
        text = f"user {caller.uid} may be {mine}, not {'/'.join(identity)}: weft serve --allow-uid"
        raise Refused(403, "not-your-identity", text, about=key)


def _check_gateway(workload: Workload, caller: Caller, key: str) -> None:
    """Refused if who is not the mesh's own user takes a Gateway that its service account is not named for."""
    own = isinstance(caller, LocalCaller) and caller.identities is None
    if not own and workload.gateway is not None and workload.service_account != workload.gateway.gateway:
        text = "from another host, a gateway's service account must have the Gateway's name: it is given its secrets"
        raise Refused(403, "not-the-gateways-account", text, about=key)


def _account(caller: Caller) -> str:
    """The service account that a caller has proven; empty for one of this host."""
    return caller.identity.service_account if isinstance(caller, RemoteCaller) and caller.identity else ""


def _path_key(request: web.Request) -> str:
    if "name" not in request.match_info:
        return ""
    return workload_key(request.match_info["namespace"], request.match_info["name"])

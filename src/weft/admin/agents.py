"""The agent API: workloads register, renew their lease and certificate, drain, and leave (see model/enrolment.py)."""

from __future__ import annotations

import asyncio
import dataclasses
from collections.abc import Awaitable, Callable

from aiohttp import web

from weft.admin.callers import Caller, LocalCaller, local_caller, remote_caller
from weft.admin.context import ApiContext
from weft.admin.reach import reach_context, unreachable
from weft.admin.registrations import check_reachable, check_workload
from weft.admin.replies import Refused, json_body, reply, seconds
from weft.admin.server import mark_authenticated, new_application
from weft.ca.authority import CONTROL_PLANE_ACCOUNT, CONTROL_PLANE_NAMESPACE
from weft.ca.request import CertificateRefusedError
from weft.ca.tokens import TokenRefusedError, consume_token, read_token
from weft.model.addresses import host_and_port, is_loopback, plain_address
from weft.model.enrolment import (
    CertificateRequest,
    DrainResponse,
    Issued,
    ReachResponse,
    RegisterRequest,
    RegisterResponse,
    RenewRequest,
    RenewResponse,
)
from weft.model.identity import SpiffeId
from weft.model.workload import Workload, WorkloadState
from weft.sources.workloads import put_workload, workload_from_value, workload_key
from weft.store.protocol import LEASED_BUCKET, ConflictError, Delete, Entry

BODY_LIMIT = 256 * 1024
LONGEST_DRAIN = 300.0
KNOWN_SECONDS = 5.0
REACHING_AT_ONCE = 16

_Action = Callable[[web.Request, Caller], Awaitable[web.Response]]


class AgentApi:
    """Handlers of the agent API. One object serves the unix socket and the TLS port."""

    def __init__(self, context: ApiContext) -> None:
        self._store = context.store
        self._leases = context.leases
        self._authority = context.authority
        self._collector = context.collector
        self._hub = context.hub
        self._audit = context.audit
        self._settings = context.enrolment
        self._clock = context.clock
        self._reaching = 0

    def application(self, *, local: bool) -> web.Application:
        """The web application for the unix socket (`local`) or for TLS."""
        who = local_caller if local else remote_caller
        application = new_application(body_limit=BODY_LIMIT)
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
        add("DELETE", one, "deregister", self._delete)
        application.router.add_get("/v1/trust-bundle", self._bundle)
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
        """The trust bundle, which is public: an agent elsewhere checks it against the fingerprint it was given."""
        return web.Response(text=self._authority.bundle, content_type="application/x-pem-file")

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
        await self._authorise_registration(caller, workload, entry)
        issued = self._issue(body.csr, identity, workload)
        changes = [put_workload(workload)]
        if entry is None or entry.value != changes[0].value:
            changes.append(self._audit.done(str(caller), "register", object=f"workload {key}", detail=str(identity)))
        expect = {(LEASED_BUCKET, key): entry.revision if entry else 0}
        revision = await self._store.write(changes, expect, self._leases.granted(key))
        self._leases.heard(key, self._leases.ttl)
        async with asyncio.timeout(KNOWN_SECONDS):  # the proxy connects next, and must be known by then
            await self._collector.included(revision)
        return reply(self._welcome(request, caller, issued))

    async def _renew(self, request: web.Request, caller: Caller) -> web.Response:
        entry, workload = await self._own(request, caller)
        body: RenewRequest = await json_body(request, RenewRequest)
        leaving = workload.state is WorkloadState.DRAINING
        if body.state is not workload.state and not leaving:
            await self._change_state(entry, workload, body.state)
        lease = await self._leases.renew(entry.key)
        if lease is None:
            raise _not_registered(entry.key)
        return reply(RenewResponse(lease))

    async def _certificate(self, request: web.Request, caller: Caller) -> web.Response:
        _, workload = await self._own(request, caller)
        body: CertificateRequest = await json_body(request, CertificateRequest)
        return reply(self._issue(body.csr, self._identity(workload), workload))

    async def _drain(self, request: web.Request, caller: Caller) -> web.Response:
        wait = seconds(request, "wait", LONGEST_DRAIN) or 0.0
        entry, workload = await self._own(request, caller)
        revision = await self._change_state(entry, workload, WorkloadState.DRAINING)
        deadline = self._clock() + wait
        async with asyncio.timeout(KNOWN_SECONDS):
            snapshot = await self._collector.included(revision)
        result = await self._hub.wait_revision(snapshot, max(0.0, deadline - self._clock()))
        pending = tuple(dict.fromkeys((*result.pending, *(nack.proxy for nack in result.nacked))))
        return reply(DrainResponse(result.published and not pending, pending))

    async def _reach(self, request: web.Request, caller: Caller) -> web.Response:
        """Try the caller's own listeners, and only at the address that it comes from: we scan nobody for anybody."""
        entry, workload = await self._own(request, caller)
        seen = "" if isinstance(caller, LocalCaller) else caller.address
        own = seen and not is_loopback(seen)  # through a tunnel, a caller on loopback is perhaps not of this host
        addresses = [port.inbound for port in workload.ports if own and port.inbound.host == seen]
        if self._reaching >= REACHING_AT_ONCE:
            raise Refused(429, "busy", "too many workloads ask for this at once; ask again", about=entry.key)
        self._reaching += 1
        try:
            context = reach_context(self._authority.bundle)
            failures = await unreachable(addresses, self._identity(workload), context)
        finally:
            self._reaching -= 1
        return reply(ReachResponse(seen, len(addresses), failures))

    async def _delete(self, request: web.Request, caller: Caller) -> web.Response:
        entry, _ = await self._own(request, caller)
        record = self._audit.done(str(caller), "deregister", object=f"workload {entry.key}")
        await self._store.write([Delete(LEASED_BUCKET, entry.key), record])
        self._leases.forget(entry.key)
        return web.Response(status=204)

    async def _own(self, request: web.Request, caller: Caller) -> tuple[Entry, Workload]:
        """The registration named in the path, if the caller may act for it."""
        key = _path_key(request)
        entry = await self._store.get(LEASED_BUCKET, key)
        workload = workload_from_value(entry.value) if entry else None
        if not isinstance(caller, LocalCaller):
            namespace, name = request.match_info["namespace"], request.match_info["name"]
            if caller.identity is None:
                raise Refused(401, "certificate-required", "show the workload's certificate", about=key)
            if caller.proxy != f"{name}.{namespace}" or caller.identity.namespace != namespace:
                raise Refused(403, "not-your-workload", f"this certificate is that of {caller.proxy}", about=key)
            if workload is not None and caller.identity != self._identity(workload):
                raise Refused(403, "not-your-workload", "this name is registered by another identity", about=key)
        if entry is None or workload is None:
            raise _not_registered(key)
        return entry, workload

    async def _authorise_registration(self, caller: Caller, workload: Workload, entry: Entry | None) -> None:
        if isinstance(caller, LocalCaller):
            return await self._check_holder(entry, workload)
        key = workload_key(workload.namespace, workload.name)
        own = caller.identity == self._identity(workload) and caller.proxy == workload.proxy
        if not own and not caller.token:
            if caller.identity is not None:
                text = f"this certificate is that of {caller.proxy} as {caller.identity}; another needs a join token"
                raise Refused(403, "not-your-workload", text, about=key)
            raise Refused(401, "token-required", "show a join token: weft token create", about=key)
        if workload.gateway is not None and workload.service_account != workload.gateway.gateway:
            text = (
                "from another host, a gateway's service account must have the Gateway's name: it is given its secrets"
            )
            raise Refused(403, "not-the-gateways-account", text, about=key)
        if own:
            return await self._check_holder(entry, workload)
        return await self._admit(caller.token, workload, entry)

    async def _admit(self, token: str, workload: Workload, entry: Entry | None) -> None:
        """Use up a join token that is for just this identity, unless the name is held by somebody who is there."""
        key = workload_key(workload.namespace, workload.name)
        try:
            grant = await read_token(self._store, token, self._clock)
            fits = (grant.namespace, grant.service_account) == (workload.namespace, workload.service_account)
            if fits:
                await self._check_holder(entry, workload, newcomer=True)
            await consume_token(self._store, token, self._clock)
        except TokenRefusedError as error:
            raise Refused(
                401, "token-refused", str(error), record=f"{error.code}: {error.detail}", about=key
            ) from error
        if not fits:
            text = f"the join token is for {grant.namespace}/{grant.service_account}"
            raise Refused(403, "token-for-another", text, about=f"{key} as {workload.service_account}")

    async def _check_holder(self, entry: Entry | None, workload: Workload, *, newcomer: bool = False) -> None:
        """Refuse a name that a live lease of another identity holds; to a newcomer, also one of the same identity."""
        if entry is None:
            return
        holder = workload_from_value(entry.value)
        differs = newcomer or holder.service_account != workload.service_account
        if differs and await self._leases.held(entry.key):
            text = f"{entry.key} is registered as service account {holder.service_account}; stop that one first"
            raise Refused(409, "name-taken", text, about=entry.key)

    async def _change_state(self, entry: Entry, workload: Workload, state: WorkloadState) -> int:
        """Write a new state at once; the store's revision that has it."""
        change = put_workload(dataclasses.replace(workload, state=state))
        try:
            return await self._store.write([change], {(LEASED_BUCKET, entry.key): entry.revision})
        except ConflictError as error:
            raise Refused(409, "changed-meanwhile", f"{entry.key} was changed at the same time: repeat") from error

    def _identity(self, workload: Workload) -> SpiffeId:
        return SpiffeId(self._authority.trust_domain, workload.namespace, workload.service_account)

    def _issue(self, csr: str, identity: SpiffeId, workload: Workload) -> Issued:
        try:
            return self._authority.issue(csr, identity, workload.proxy, self._settings.certificate_ttl)
        except CertificateRefusedError as error:
            key = workload_key(workload.namespace, workload.name)
            raise Refused(403, error.code, str(error), about=key) from error

    def _welcome(self, request: web.Request, caller: Caller, issued: Issued) -> RegisterResponse:
        settings = self._settings
        xds, agent_api = settings.xds, settings.agent_api
        if not isinstance(caller, LocalCaller):
            name = request.transport.get_extra_info("sockname") if request.transport else None
            host = settings.advertised or (plain_address(name[0]) if name else "")
            xds, agent_api = (host_and_port(host, address.rpartition(":")[2]) for address in (xds, agent_api))
        return RegisterResponse(
            issued, xds, settings.xds_identity, self._authority.trust_domain, self._leases.ttl, agent_api
        )


def _not_registered(key: str) -> Refused:
    return Refused(404, "not-registered", f"{key} is not registered (any more): register it again")


def _path_key(request: web.Request) -> str:
    if "name" not in request.match_info:
        return ""
    return workload_key(request.match_info["namespace"], request.match_info["name"])

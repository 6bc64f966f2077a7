"""Registrations in the store: by agents of this host, holders of join tokens, of certificates and of SVIDs."""

from __future__ import annotations

import asyncio
import dataclasses

from aiohttp import web

from weft.admin.attestation import Attestation
from weft.admin.callers import Caller, LocalCaller, RemoteCaller
from weft.admin.context import ApiContext
from weft.admin.groups import check_member
from weft.admin.issuing import Issuing
from weft.admin.registered import Made, Registered, key_of, not_registered, path_key
from weft.admin.registrations import check_reachable, check_workload
from weft.admin.replies import Refused
from weft.admin.standing import Standing, read_standing, read_standing_of
from weft.ca.tokens import TokenGrant, TokenRefusedError, read_token
from weft.model.enrolment import RegisterRequest, RenewRequest
from weft.model.workload import Workload, WorkloadState
from weft.sources.workloads import put_workload, workload_from_value
from weft.store.protocol import LEASED_BUCKET, Change, ConflictError, Delete, Entry

KNOWN_SECONDS = 5.0
"""How long a change of the store may take until it is in a snapshot."""
_TRIES = 20


class StoredRegistrations:
    """See `weft.admin.registered.Registrations`."""

    def __init__(self, context: ApiContext, issuing: Issuing, attestation: Attestation) -> None:
        self._store = context.store
        self._leases = context.leases
        self._collector = context.collector
        self._audit = context.audit
        self._clock = context.clock
        self._issuing = issuing
        self._attestation = attestation

    async def register(self, caller: Caller, body: RegisterRequest) -> Made:
        """See `Registrations`."""
        workload = body.workload
        check_workload(workload)
        if not isinstance(caller, LocalCaller):
            check_reachable(workload, caller.address)
        self._issuing.check_reserved(workload)
        key = key_of(workload)
        entry = await self._store.get(LEASED_BUCKET, key)
        standing = await read_standing(self._store, workload)
        standing.check(key)
        grant = await self._authorise(caller, body, entry, standing)
        issued = self._issuing.issue(body.csr, workload, standing.trust)
        registration = put_workload(workload)
        kept, expect = await self._issuing.kept(issued, workload, standing)
        changes = [registration, *kept]
        if entry is None or entry.value != registration.value:
            identity = str(self._issuing.identity(workload))
            changes.append(self._audit.workload(str(caller), "register", object=f"workload {key}", detail=identity))
        expect |= {(LEASED_BUCKET, key): entry.revision if entry else 0}
        revision = await self._write(changes, expect, key, grant, caller)
        self._leases.heard(key, self._leases.ttl)
        return Made(key, workload, issued, revision)

    async def own(self, request: web.Request, caller: Caller) -> Registered:
        """See `Registrations`."""
        key = path_key(request)
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
            if workload is not None and caller.identity != self._issuing.identity(workload):
                raise Refused(403, "not-your-workload", "this name is registered by another identity", about=key)
            standing.check_certificate(caller.trust, key)
        standing.check(key)
        if entry is None or workload is None:
            if standing.removed:
                raise Refused(410, "workload-removed", f"{key} was removed: start it again if it is to come back")
            raise not_registered(key)
        return Registered(key, workload, entry.revision)

    async def renew(self, found: Registered, body: RenewRequest, /) -> float:
        """See `Registrations`."""
        workload = found.workload
        now = dataclasses.replace(workload, state=body.state, unused_proxy=body.unused_proxy)
        if now != workload and workload.state is not WorkloadState.DRAINING:
            await self._change(found, now)
        lease = await self._leases.renew(found.key)
        if lease is None:
            raise not_registered(found.key)
        return lease

    async def drain(self, found: Registered, _: float, /) -> int:
        """See `Registrations`."""
        revision = await self._change(found, dataclasses.replace(found.workload, state=WorkloadState.DRAINING))
        async with asyncio.timeout(KNOWN_SECONDS):
            return await self._collector.included(revision)

    async def end(self, found: Registered, caller: Caller) -> None:
        """See `Registrations`."""
        record = self._audit.workload(str(caller), "deregister", object=f"workload {found.key}")
        await self._store.write([Delete(LEASED_BUCKET, found.key), record])
        self._leases.forget(found.key)

    async def _write(
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

    async def _authorise(
        self, caller: Caller, body: RegisterRequest, entry: Entry | None, standing: Standing
    ) -> TokenGrant | None:
        """Refused unless the caller may register the workload; the grant of the join token that it does so by."""
        workload = body.workload
        key = key_of(workload)
        identity = self._issuing.identity(workload)
        if isinstance(caller, LocalCaller):
            _check_user(caller, (workload.namespace, workload.service_account), key)
            _check_gateway(workload, caller, key)
            await self._check_holder(entry, workload)
            return None
        shown = caller.identity == identity and caller.proxy == workload.proxy and not caller.pod
        own = shown and standing.accepts(caller.trust)
        if not own and not caller.token and body.proof is not None and body.proof.svid:
            _check_gateway(workload, caller, key)
            self._attestation.check_svid(body, identity, standing)
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
        if grant is not None:
            self._check_grant(grant, body, caller, key)
        await self._check_holder(entry, workload, newcomer=not own)
        return grant

    def _check_grant(self, grant: TokenGrant, body: RegisterRequest, caller: RemoteCaller, key: str) -> None:
        """Refused unless a join token is for this workload, and its bearer proves what it demands."""
        workload = body.workload
        if (grant.namespace, grant.service_account) != (workload.namespace, workload.service_account):
            text = f"the join token is for {grant.namespace}/{grant.service_account}"
            raise Refused(403, "token-for-another", text, about=f"{key} as {workload.service_account}")
        if grant.group:
            check_member(self._collector.snapshot.documents, grant.group, workload, key)
        if grant.demands is not None:
            self._attestation.check(grant.demands, body, caller.address, self._issuing.identity(workload))

    async def _grant(self, token: str, key: str, since: float = 0.0) -> TokenGrant:
        """What the token grants; one made before `since` nothing."""
        try:
            return await read_token(self._store, token, self._clock, since)
        except TokenRefusedError as error:
            record = f"{error.code}: {error.detail}"
            raise Refused(401, "token-refused", str(error), record=record, about=key) from error

    async def _check_holder(self, entry: Entry | None, workload: Workload, *, newcomer: bool = False) -> None:
        """Refuse a name that a Pod has, or a live lease of another identity holds; to a newcomer, also one of the same
        identity."""
        if entry is None:
            if self._collector.pod(workload.proxy) is not None:
                key = key_of(workload)
                text = f"{key} is the name of a Pod of the cluster; take another name (weft run --name)"
                raise Refused(409, "name-taken", text, about=key)
            return
        holder = workload_from_value(entry.value)
        differs = newcomer or holder.service_account != workload.service_account
        if differs and await self._leases.held(entry.key):
            text = (
                f"{entry.key} is registered as service account {holder.service_account}, and its agent or its proxy "
                "is there; stop that one first"
            )
            raise Refused(409, "name-taken", text, about=entry.key)

    async def _change(self, found: Registered, workload: Workload) -> int:
        """Write the registration anew, at once; the store's revision that has it."""
        try:
            return await self._store.write([put_workload(workload)], {(LEASED_BUCKET, found.key): found.revision})
        except ConflictError as error:
            raise Refused(409, "changed-meanwhile", f"{found.key} was changed at the same time: repeat") from error


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

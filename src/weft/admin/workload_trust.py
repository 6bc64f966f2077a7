"""What agents ask for the applications behind them: a certificate, tokens, and the bundles to check others' against.

All of it is for the identity that the caller has proven, never for one that it names.
"""

from __future__ import annotations

import asyncio
from typing import TypeVar

from aiohttp import web

from weft.admin.callers import Caller
from weft.admin.context import ApiContext
from weft.admin.registered import Own
from weft.admin.replies import Refused, json_body, reply
from weft.admin.standing import read_standing
from weft.ca.issued import APPLICATIONS, certificate_of, put_certificate
from weft.ca.request import CertificateRefusedError
from weft.ca.token_keys import AudienceError, TokenKeys
from weft.model.bundles import BundleText, TokenRequest, TrustAnswer, key_set
from weft.model.enrolment import CertificateRequest
from weft.model.identity import SpiffeId
from weft.model.workload import Workload
from weft.traffic.pace import Pace

_AGAIN_SECONDS = 3.0
_ASKED_PER_SECOND = 100.0
"""How often agents look for new bundles, all together: in a large mesh each looks more seldom."""
_ONE_SECONDS = 0.1
_AT_ONCE = 50
"""Of one workload: its application may want a token for each audience that it calls."""
AnswerT = TypeVar("AnswerT")


class WorkloadTrust:
    """Handlers below ``/v1/workloads/{namespace}/{name}``. `own` is the registration that the caller may act for."""

    def __init__(self, context: ApiContext, own: Own) -> None:
        self._context = context
        self._own = own
        self._pace = Pace(_AT_ONCE, _ONE_SECONDS)

    async def certificate(self, request: web.Request, caller: Caller) -> web.Response:
        """A certificate for a key of the application: the workload's identity, but not as a proxy, so it opens nothing
        at the control plane. It ends with the trust in the workload, so it is kept on record."""
        key, workload = await self._caller(request, caller)
        body: CertificateRequest = await json_body(request, CertificateRequest)
        context, store, ttl = self._context, self._context.store, self._context.enrolment.certificate_ttl
        standing, entry = await read_standing(store, workload), await store.get(APPLICATIONS, key)
        try:
            issued = context.authority.issue_application(
                body.csr, self._identity(workload), workload.proxy, ttl, trust=standing.trust
            )
        except CertificateRefusedError as error:
            raise Refused(403, error.code, str(error), about=key) from error
        certificate = certificate_of(issued, workload.service_account, str(standing.trust))
        put = put_certificate(entry, key, certificate, context.clock(), APPLICATIONS)
        await store.write([put], {**standing.expect, (APPLICATIONS, key): entry.revision if entry else 0})
        return reply(issued)

    async def token(self, request: web.Request, caller: Caller) -> web.Response:
        """A JWT-SVID for the audiences that are asked for."""
        key, workload = await self._caller(request, caller)
        body: TokenRequest = await json_body(request, TokenRequest)
        try:
            return reply(self._keys().sign(self._identity(workload), body.audiences))
        except AudienceError as error:
            raise Refused(400, "bad-audience", str(error), about=key) from error

    async def trust(self, request: web.Request, caller: Caller) -> web.Response:
        """The bundles of this trust domain and of those that it is federated with."""
        await self._caller(request, caller)
        own = self._keys().bundle(self._context.authority.workload_bundle)
        mesh = self._context.compiled.value.mesh
        foreign = [one.bundle for one in mesh.federation.domains] if mesh is not None else []
        bundles = tuple(
            BundleText(one.trust_domain, "".join(one.roots), key_set(one.token_keys)) for one in (own, *foreign)
        )
        workloads = len(self._context.collector.snapshot.workloads)
        return reply(TrustAnswer(bundles, max(_AGAIN_SECONDS, workloads / _ASKED_PER_SECOND)))

    async def _caller(self, request: web.Request, caller: Caller) -> tuple[str, Workload]:
        """The registration and its key. Refused if they ask too often."""
        found = await self._own(request, caller)
        if not self._pace.allows(found.key, asyncio.get_running_loop().time()):
            raise Refused(429, "too-often", "an agent asks for identities ten times a second at most", about=found.key)
        return found.key, found.workload

    def _identity(self, workload: Workload) -> SpiffeId:
        return SpiffeId(self._context.authority.trust_domain, workload.namespace, workload.service_account)

    def _keys(self) -> TokenKeys:
        keys = self._context.token_keys
        if keys is None:
            raise Refused(404, "not-wanted", "this control plane signs no tokens")
        return keys

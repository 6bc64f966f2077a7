"""Join tokens through the admin API: make one, list them, revoke one."""

from __future__ import annotations

import msgspec
from aiohttp import web

from weft.admin.context import ApiContext, EnrolmentSettings
from weft.admin.people.calling import who_calls
from weft.admin.replies import Refused, instant, json_body, reply
from weft.admin.routing import Route
from weft.ca.attestation import Demands
from weft.ca.authority import CONTROL_PLANE_ACCOUNT, CONTROL_PLANE_NAMESPACE
from weft.ca.tokens import (
    DEFAULT_TOKEN_TTL,
    TokenParametersError,
    TokenRecord,
    UnknownTokenError,
    create_token,
    list_tokens,
    revoke_token,
)
from weft.model.addresses import host_and_port, is_wildcard
from weft.settings.addresses import outward_address


class TokenRequest(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Body of ``POST /v1/tokens``. `ttl` in seconds; `uses` more than one with a `group` only."""

    namespace: str
    service_account: str
    ttl: float = DEFAULT_TOKEN_TTL
    demands: Demands | None = None
    group: str = ""
    uses: int = 1


class Tokens:
    """Handlers of join tokens."""

    def __init__(self, context: ApiContext) -> None:
        self._context = context

    def routes(self) -> tuple[Route, ...]:
        """The rows of the route table."""
        return (
            Route("GET", "/v1/tokens", self.list, "Join tokens: what each is for and whether it is still valid"),
            Route(
                "POST",
                "/v1/tokens",
                self.create,
                "Make a join token",
                body="JSON: namespace, service_account, ttl, demands, group, uses",
            ),
            Route("DELETE", "/v1/tokens/{id}", self.revoke, "Revoke a join token that has not been used"),
        )

    async def list(self, _request: web.Request) -> web.Response:
        """``GET /v1/tokens``: never the tokens themselves, which nobody keeps."""
        context = self._context
        return reply({"tokens": [_token_json(one) for one in await list_tokens(context.store, context.clock)]})

    async def create(self, request: web.Request) -> web.Response:
        """``POST /v1/tokens``: the token is in the answer and nowhere else."""
        body: TokenRequest = await json_body(request, TokenRequest)
        context = self._context
        if (body.namespace, body.service_account) == (CONTROL_PLANE_NAMESPACE, CONTROL_PLANE_ACCOUNT):
            raise Refused(403, "reserved-identity", "this identity is the control plane's own")
        try:
            token = await create_token(
                context.store,
                body.namespace,
                body.service_account,
                body.ttl,
                context.clock,
                body.demands,
                group=body.group,
                uses=body.uses,
            )
        except TokenParametersError as error:
            raise Refused(400, "bad-parameter", str(error)) from error
        about = f"token {token.id} for {token.namespace}/{token.service_account}"
        often = "once" if body.uses == 1 else f"{body.uses} times"
        of_group = f" for WorkloadGroup {body.group}" if body.group else ""
        detail = f"valid {often}{of_group}, until {instant(token.expires)}"
        await context.store.write([context.audit.done(who_calls(request), "create token", object=about, detail=detail)])
        return reply(
            {
                "token": token.text,
                "id": token.id,
                "fingerprint": context.authority.fingerprint,
                "expires": instant(token.expires),
                "agent_api": _join_address(context.enrolment),
            }
        )

    async def revoke(self, request: web.Request) -> web.Response:
        """``DELETE /v1/tokens/{id}``."""
        context = self._context
        try:
            token = await revoke_token(context.store, request.match_info["id"], context.clock)
        except UnknownTokenError as error:
            raise Refused(404, "no-such-token", str(error)) from error
        about = f"token {token.id} for {token.namespace}/{token.service_account}"
        detail = f"it was valid until {instant(token.expires)}"
        await context.store.write([context.audit.done(who_calls(request), "revoke token", object=about, detail=detail)])
        return reply({"revoked": _token_json(token)})


def _token_json(token: TokenRecord) -> dict[str, object]:
    """A token as it is listed; null for what never happened."""
    row: dict[str, object] = {name: getattr(token, name) for name in token.__dataclass_fields__}
    moments = {name: getattr(token, name) for name in ("created", "expires", "used", "revoked")}
    return row | {name: instant(moment) if moment else None for name, moment in moments.items()}


def _join_address(enrolment: EnrolmentSettings) -> str:
    """``HOST:PORT`` of the agent API for other hosts, as far as we know: what is advertised, else where we listen, and
    with a wildcard this host's address on its default route."""
    host = enrolment.advertised or (outward_address() if is_wildcard(enrolment.bind) else "")
    return host_and_port(host, enrolment.agent_api.rpartition(":")[2]) if host else enrolment.agent_api

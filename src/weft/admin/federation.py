"""Federation through the admin API: this trust domain's own bundle, and how it stands with the others."""

from __future__ import annotations

from aiohttp import web

from weft.admin.context import ApiContext
from weft.admin.replies import Refused, instant, reply
from weft.admin.routing import Route
from weft.model.bundles import bundle_to_json, key_set
from weft.model.federation import DomainState


class FederationResource:
    """Handlers below ``/v1/federation``."""

    def __init__(self, context: ApiContext) -> None:
        self._context = context

    def routes(self) -> tuple[Route, ...]:
        """Its rows of the route table."""
        return (
            Route("GET", "/v1/federation", self.domains, "Federated trust domains, their roots, and how it stands"),
            Route("GET", "/v1/federation/bundle", self.bundle, "This trust domain's bundle, as others are given it"),
            Route("GET", "/v1/federation/keys", self.keys, "The keys of this trust domain's tokens, as a JWK Set"),
        )

    async def domains(self, _request: web.Request) -> web.Response:
        """``GET /v1/federation``."""
        states = self._context.federation()
        return reply(
            {"trust_domain": self._context.authority.trust_domain, "domains": [_domain(one) for one in states]}
        )

    async def bundle(self, _request: web.Request) -> web.Response:
        """``GET /v1/federation/bundle``."""
        keys = self._context.token_keys
        if keys is None:
            raise Refused(404, "not-wanted", "this control plane publishes no bundle")
        return _text(bundle_to_json(keys.bundle(self._context.authority.workload_bundle)))

    async def keys(self, _request: web.Request) -> web.Response:
        """``GET /v1/federation/keys``."""
        keys = self._context.token_keys
        if keys is None:
            raise Refused(404, "not-wanted", "this control plane signs no tokens")
        return _text(key_set(keys.published()))


def _domain(one: DomainState) -> dict[str, object]:
    return {
        "trust_domain": one.trust_domain,
        "state": one.state,
        "endpoint": one.endpoint or None,
        "roots": [{"fingerprint": root.fingerprint, "expires": instant(root.not_after)} for root in one.roots],
        "token_keys": list(one.token_keys),
        "fetched": None if one.fetched is None else instant(one.fetched),
        "error": one.error or None,
        "source": one.source,
    }


def _text(text: str) -> web.Response:
    return web.Response(text=text, content_type="application/json")

"""The one table of which permission each route of the admin API needs. What is not in it, only admins may call."""

from __future__ import annotations

from collections.abc import Mapping

from weft.admin.people.access import Permission

PERMISSIONS: Mapping[tuple[str, str], Permission] = {
    ("GET", "/v1/documents"): Permission.READ,
    ("POST", "/v1/documents"): Permission.EDIT,
    ("GET", "/v1/documents/{kind}/{namespace}/{name}"): Permission.READ,
    ("DELETE", "/v1/documents/{kind}/{namespace}/{name}"): Permission.EDIT,
    ("POST", "/v1/validation"): Permission.READ,
    ("GET", "/v1/confirmation"): Permission.READ,
    ("POST", "/v1/confirmation"): Permission.READ,
    ("GET", "/v1/proxies"): Permission.READ,
    ("GET", "/v1/proxies/{name}/config/{type}"): Permission.READ,
    ("GET", "/v1/proxies/{name}/signals"): Permission.READ,
    ("GET", "/v1/problems"): Permission.READ,
    ("GET", "/v1/workloads"): Permission.READ,
    ("GET", "/v1/services"): Permission.READ,
    ("GET", "/v1/health"): Permission.PUBLIC,
    ("GET", "/v1/version"): Permission.READ,
    ("GET", "/v1/events"): Permission.READ,
    ("GET", "/v1/audit/chain"): Permission.READ,
    ("POST", "/v1/explain"): Permission.READ,
    ("GET", "/v1/requests"): Permission.READ,
    ("GET", "/v1/requests/explain"): Permission.READ,
    ("GET", "/v1/tap"): Permission.OPERATE,
    ("GET", "/v1/history"): Permission.READ,
    ("GET", "/v1/history/{revision}"): Permission.READ,
    ("GET", "/v1/diff"): Permission.READ,
    ("POST", "/v1/history/{revision}/undo"): Permission.UNDO,
    ("GET", "/v1/check"): Permission.READ,
    ("GET", "/v1/analysis"): Permission.READ,
    ("GET", "/v1/tokens"): Permission.READ,
    ("POST", "/v1/tokens"): Permission.OPERATE,
    ("DELETE", "/v1/tokens/{id}"): Permission.OPERATE,
    ("GET", "/v1/identities"): Permission.READ,
    ("POST", "/v1/identities/revoke"): Permission.OPERATE,
    ("POST", "/v1/identities/restore"): Permission.OPERATE,
    ("DELETE", "/v1/workloads/{namespace}/{name}"): Permission.OPERATE,
    ("GET", "/v1/principals"): Permission.READ,
    ("POST", "/v1/principals"): Permission.ADMINISTER,
    ("DELETE", "/v1/principals/{name}"): Permission.ADMINISTER,
    ("GET", "/v1/self"): Permission.READ,
    ("GET", "/v1/secrets"): Permission.READ,
    ("GET", "/v1/injection"): Permission.READ,
    ("POST", "/v1/secrets/rotation"): Permission.ADMINISTER,
    ("POST", "/v1/secrets/loss"): Permission.ADMINISTER,
    ("GET", "/v1/ca"): Permission.READ,
    ("POST", "/v1/ca/rotate"): Permission.OPERATE,
    ("POST", "/v1/ca/abort"): Permission.OPERATE,
    ("POST", "/v1/ca/csr"): Permission.ADMINISTER,
    ("DELETE", "/v1/ca/csr"): Permission.ADMINISTER,
    ("POST", "/v1/ca/install"): Permission.ADMINISTER,
    ("POST", "/v1/authz/check"): Permission.READ,
    ("GET", "/v1/authz/policies"): Permission.READ,
    ("GET", "/v1/authz/matrix"): Permission.READ,
    ("GET", "/v1/federation"): Permission.READ,
    ("GET", "/v1/federation/bundle"): Permission.READ,
    ("GET", "/v1/federation/keys"): Permission.READ,
    ("GET", "/v1/traffic"): Permission.READ,
    ("GET", "/v1/traffic/series"): Permission.READ,
    ("GET", "/v1/graph"): Permission.READ,
    ("GET", "/v1/metrics"): Permission.READ,
    ("GET", "/v1/prometheus/targets"): Permission.READ,
    ("POST", "/v1/dashboard"): Permission.READ,
    ("DELETE", "/v1/dashboard"): Permission.READ,
    ("DELETE", "/v1/session"): Permission.READ,
    ("GET", "/v1/live"): Permission.READ,
    ("GET", "/v1/openapi.json"): Permission.READ,
}


def needed(method: str, path: str) -> Permission:
    """What a call of the route with this path (with its placeholders) needs."""
    return PERMISSIONS.get((method, path), Permission.ADMINISTER)

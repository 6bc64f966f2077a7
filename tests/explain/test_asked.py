"""Requests that a guard, or who is asked, has refused: the policy, its line, and who it was."""

from __future__ import annotations

from typing import Any

import pytest

from support.meshdocs import Compiled, gateway_workload, service, workload
from weft.explain.asked import guard_texts
from weft.explain.facts import Facts
from weft.explain.journal import Noted
from weft.explain.ladder import explain_requests
from weft.model.instants import instant
from weft.model.requests import RequestSeen

DOCUMENTS = """
---
apiVersion: weft.dev/v1alpha1
kind: MeshConfig
metadata: {name: default, namespace: istio-system}
spec:
  extensionProviders:
    - {name: opa, envoyExtAuthzGrpc: {service: 127.0.0.1, port: 9191}}
---
apiVersion: security.istio.io/v1
kind: AuthorizationPolicy
metadata: {name: asks}
spec: {selector: {matchLabels: {app: reviews}}, action: CUSTOM, provider: {name: opa}, rules: [{}]}
---
apiVersion: gateway.networking.k8s.io/v1
kind: Gateway
metadata: {name: edge}
spec: {gatewayClassName: weft, listeners: [{name: http, port: 80, protocol: HTTP}]}
---
apiVersion: gateway.networking.k8s.io/v1
kind: HTTPRoute
metadata: {name: shop}
spec:
  parentRefs: [{name: edge}]
  rules:
    - filters: [{type: ExternalAuth, externalAuth: {protocol: HTTP, backendRef: {name: reviews, port: 9080}}}]
      backendRefs: [{name: reviews, port: 9080}]
---
apiVersion: v1
kind: Secret
metadata: {name: keys}
stringData: {acme: key-of-acme}
---
apiVersion: weft.dev/v1alpha1
kind: CredentialPolicy
metadata: {name: keys}
spec:
  targetRefs: [{kind: Gateway, name: edge}]
  apiKey: {from: {headers: [x-key]}, secretRefs: [{name: keys}]}
---
apiVersion: weft.dev/v1alpha1
kind: CsrfPolicy
metadata: {name: pages}
spec: {targetRefs: [{kind: HTTPRoute, name: shop}]}
"""


def compiled() -> Compiled:
    return Compiled(service("reviews") + DOCUMENTS, workloads=[workload("reviews"), gateway_workload("edge")])


def explained(proxy: str, details: str, **fields: Any) -> list[tuple[str, str, str, str]]:
    """Code, object, place and text of the causes of one request."""
    seen = RequestSeen(
        10.0, fields.pop("side", "inbound"), id="x", method="GET", host="shop", path="/", details=details, **fields
    )
    found = explain_requests(Facts(compiled().mesh, 20.0), [Noted(proxy, seen)], instant)
    return [(cause.code, cause.object, cause.source, cause.text) for cause in found.causes]


@pytest.mark.parametrize(
    ("details", "code", "words"),
    [("ext_authz_denied", "asked-refused", "said no"), ("ext_authz_error", "asked-unanswered", "did not answer")],
)
def test_who_was_asked_is_named_with_the_policy_that_has_it_asked(details: str, code: str, words: str) -> None:
    ((found, about, place, text),) = explained("default/reviews-v1", details, status=403, flags="UAEX")
    assert (found, about) == (code, "AuthorizationPolicy default/asks")
    assert place.startswith("doc0.yaml:")
    assert f"'opa', which AuthorizationPolicy default/asks has asked, {words}" in text
    assert "(provider at doc0.yaml:" in text


@pytest.mark.parametrize(
    ("details", "about", "words"),
    [
        ("unknown_api_key", "CredentialPolicy default/keys", "an API key that nobody has"),
        ("csrf_origin_mismatch", "CsrfPolicy default/pages", "a page of another host"),
    ],
)
def test_the_policy_of_a_gateway_or_route_is_named(details: str, about: str, words: str) -> None:
    proxy = gateway_workload("edge")
    name = f"{proxy.namespace}/{proxy.name}"
    found = explained(name, details, side="gateway", status=403, object="HTTPRoute default/shop", source="doc0.yaml:25")
    assert [(code, key) for code, key, _, _ in found] == [("not-let-in", about)]
    assert words in found[0][3]


def test_a_rule_says_what_its_clients_meet() -> None:
    rules = compiled().gateway("edge").ports[0].servers[0].virtual_hosts[0].rules
    texts = list(guard_texts(rules[-1]))
    assert texts[0].startswith("answers 403 to changes that come from pages of other hosts (CsrfPolicy default/pages,")
    assert texts[1].startswith("answers 401 to who shows no API key of 1 clients (CredentialPolicy default/keys, doc0.")
    assert texts[2] == "asks reviews.default.svc.cluster.local:9080 whether the request may pass (HTTP)"
    assert "key-of-acme" not in str(texts)

"""Where a document means something else than in Istio: what is warned of, and that what the pages say holds."""

from __future__ import annotations

import pytest

from support.meshdocs import Compiled, documents, service, short, workload
from weft.mesh.routes.rules import SAFE_RETRY
from weft.schema.istio_differences import DIFFERENCES
from weft.schema.registry import KINDS
from weft.xds.limits import AVOIDED_AFTER_FAILURES, AVOIDED_SECONDS, CONNECT_SECONDS, MAX_CONNECTIONS, MAX_REQUESTS
from weft.xds.limits import MAX_RETRIES as RETRIES

SERVICES = service("web", namespace="shop") + service("own")


def virtual(host: str, gateways: str = "", namespace: str = "default") -> str:
    return f"""
---
apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {{name: v, namespace: {namespace}}}
spec: {{hosts: ["{host}"], {gateways} http: [{{directResponse: {{status: 418}}}}]}}
"""


@pytest.mark.parametrize(
    ("text", "codes"),
    [
        (virtual("web.shop"), ["differs-from-istio"]),
        (virtual("web.shop.svc.cluster.local", "gateways: [mesh, default/gw],"), ["differs-from-istio"]),
        (virtual("web.shop", "gateways: [default/gw],"), []),
        (virtual("web", namespace="shop"), []),
        (virtual("own"), []),
        (virtual("*.example.com"), []),
        (virtual("*.shop.svc.cluster.local"), ["differs-from-istio"]),
        (virtual("*.svc.cluster.local"), ["differs-from-istio"]),
        (virtual("*.default.svc.cluster.local"), []),
    ],
)
def test_hosts_of_other_namespaces_are_warned_of(text: str, codes: list[str]) -> None:
    found = [code for code in Compiled(SERVICES, text).codes if code == "differs-from-istio"]
    assert found == codes


def test_a_document_is_for_its_own_namespaces_callers_unless_the_service_is_there() -> None:
    elsewhere, home = Compiled(SERVICES, virtual("web.shop")), Compiled(SERVICES, virtual("web", namespace="shop"))
    other = workload("other", namespace="third")
    assert [short(mesh.ask("web.shop/", other)) for mesh in (elsewhere, home)] == ["web.shop:9080", "418"]
    assert short(elsewhere.ask("web.shop/")) == "418"


def test_of_two_rules_for_one_host_subsets_do_not_merge() -> None:
    text = """
apiVersion: networking.istio.io/v1
kind: DestinationRule
metadata: {name: NAME}
spec: {host: own, subsets: [{name: NAME}]}
"""
    old = documents(text.replace("NAME", "old"), created=1.0)
    mesh = Compiled(SERVICES, old, documents(text.replace("NAME", "young"), created=2.0))
    assert mesh.codes == ["host-conflict"]


def test_the_numbers_and_words_of_the_pages_are_those_of_the_code() -> None:
    assert set(DIFFERENCES) <= {kind.name for kind in KINDS}
    rules = " ".join(DIFFERENCES["DestinationRule"])
    for number in (MAX_CONNECTIONS, MAX_REQUESTS, RETRIES):
        assert f" {number} " in rules
    assert AVOIDED_AFTER_FAILURES == 3
    assert f"left alone for {AVOIDED_SECONDS:g} s" in rules
    assert f"within {CONNECT_SECONDS:g} s" in rules
    assert ", ".join(SAFE_RETRY.conditions) in " ".join(DIFFERENCES["VirtualService"])

"""AUTO_PASSTHROUGH: to which services mutual TLS is passed on, by exportTo and the namespaces of a server's hosts."""

from __future__ import annotations

import pytest

from support.meshdocs import Compiled, gateway_workload, workload

LABELS = (("istio", "eastwest"),)


def meshed(hosts: str = "'*.local'", export: str = "") -> Compiled:
    """A gateway process and a Gateway in namespace edge, and a service of namespace shop that demands mutual TLS."""
    annotations = f", annotations: {{networking.istio.io/exportTo: '{export}'}}" if export else ""
    return Compiled(
        f"""
apiVersion: v1
kind: Service
metadata: {{name: cart, namespace: shop{annotations}}}
spec: {{selector: {{app: cart}}, ports: [{{name: http, port: 80, targetPort: 9080}}]}}
---
apiVersion: networking.istio.io/v1
kind: Gateway
metadata: {{name: cross, namespace: edge}}
spec:
  selector: {{istio: eastwest}}
  servers:
  - port: {{number: 15443, name: tls, protocol: TLS}}
    tls: {{mode: AUTO_PASSTHROUGH}}
    hosts: [{hosts}]
""",
        workloads=[gateway_workload("eastwest", "edge", labels=LABELS), workload("cart", namespace="shop")],
    )


def passed(mesh: Compiled) -> list[str]:
    return [each.key.host for each in mesh.gateway("eastwest", "edge").passed]


CART = ["cart.shop.svc.cluster.local"]


def test_what_everybody_is_told_of_is_passed_on() -> None:
    assert passed(meshed()) == CART


@pytest.mark.parametrize(("export", "found"), [(".", []), ("edge", CART), ("., near", []), ("~", []), ("*", CART)])
def test_what_is_not_exported_to_the_gateway_is_not(export: str, found: list[str]) -> None:
    assert passed(meshed(export=export)) == found


@pytest.mark.parametrize(
    ("hosts", "found"),
    [
        ("'./*'", []),
        ("'shop/*'", CART),
        ("'*/*'", CART),
        ("'near/*.local'", []),
        ("'near/*', 'shop/cart.shop.svc.cluster.local'", CART),
        ("'shop/*.example.com', './*.local'", []),
    ],
)
def test_hosts_say_whose_services(hosts: str, found: list[str]) -> None:
    assert passed(meshed(hosts)) == found

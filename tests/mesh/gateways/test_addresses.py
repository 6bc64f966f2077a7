"""Addresses that a Gateway asks for: where a process listens, and not where one in a pod does."""

from __future__ import annotations

from dataclasses import replace

import pytest

from support.meshdocs import Compiled, documents, gateway_workload
from weft.mesh.gateways.status import gateway_conditions, listener_statuses
from weft.mesh.view import build_view
from weft.mesh.views import GatewayView
from weft.model.origin import Origin
from weft.model.problem import Problem, Severity

GATEWAY = """
apiVersion: gateway.networking.k8s.io/v1
kind: Gateway
metadata: {name: front}
spec:
  gatewayClassName: weft
  addresses: [ADDRESSES]
  listeners: [{name: http, port: 80, protocol: HTTP}]
"""


def listening(addresses: str, *, pod: str = "") -> tuple[list[str], list[str]]:
    """Where the process of the Gateway listens, and the codes of what is wrong."""
    process = gateway_workload("front")
    if process.gateway is not None and pod:
        process = replace(process, pod=pod, gateway=replace(process.gateway, address="::"))
    mesh = Compiled(documents(GATEWAY.replace("ADDRESSES", addresses)), workloads=(process,))
    view = build_view(mesh.mesh, process, mesh.memo)
    assert isinstance(view, GatewayView)
    return [str(port.listen) for port in view.ports], mesh.codes


@pytest.mark.parametrize(
    ("addresses", "expected"),
    [
        ("{value: 127.0.0.1}", (["127.0.0.1:80"], [])),
        ("{type: IPAddress}", (["127.0.0.1:80"], [])),
        ("{value: 127.0.0.9}", ([], ["bind-not-served"])),
        ("{value: 127.0.0.1}, {value: 127.0.0.9}", ([], ["bind-not-served"])),
        ("{value: a.example, type: Hostname}", ([], ["unsupported-address"])),
    ],
)
def test_an_address_narrows_where_a_process_listens(addresses: str, expected: tuple[list[str], list[str]]) -> None:
    assert listening(addresses) == expected


@pytest.mark.parametrize(
    ("addresses", "codes"),
    [
        ("{value: 203.0.113.7}", []),
        ("{value: 203.0.113.7}, {value: 203.0.113.8}", []),
        ("{value: a.example, type: Hostname}", ["unsupported-address"]),
    ],
)
def test_in_a_pod_it_is_a_matter_of_its_service(addresses: str, codes: list[str]) -> None:
    assert listening(addresses, pod="the-uid") == (["[::]:80"], codes)


@pytest.mark.parametrize(
    ("address", "code", "accepted", "programmed"),
    [
        ("{value: 203.0.113.7}", "", "Accepted", "Programmed"),
        ("{value: 203.0.113.7}", "address-not-usable", "Accepted", "AddressNotUsable"),
        ("{value: a.example, type: Hostname}", "", "UnsupportedAddress", "Invalid"),
    ],
)
def test_what_is_said_of_an_address(address: str, code: str, accepted: str, programmed: str) -> None:
    [document] = documents(GATEWAY.replace("ADDRESSES", address))
    mesh = Compiled((document,)).mesh
    told = [Problem(Severity.ERROR, code, "no", Origin("kubernetes:test"), document.key)] if code else []
    statuses = listener_statuses(document.key, mesh.gateways, mesh.problems)
    found = gateway_conditions(statuses, served=True, problems=[*mesh.problems, *told])
    assert [each.reason for each in found] == [accepted, programmed]

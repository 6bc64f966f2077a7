"""Ports of Services: which ones are the mesh's, and where what is wrong with them is told."""

from __future__ import annotations

import pytest

from support.meshdocs import documents, workload
from weft.mesh.build import build_mesh
from weft.mesh.memo import Memo
from weft.mesh.model import Mesh
from weft.model.problem import Severity
from weft.model.snapshot import ConfigSnapshot
from weft.schema.decode import decode_documents

AGENT = """
apiVersion: v1
kind: Service
metadata: {name: agent}
spec:
  selector: {app: agent}
  ports:
  - {name: compact, port: 6831, protocol: UDP}
  - {name: dns, port: 53, protocol: UDP}
  - {name: dns-tcp, port: 53}
  - {name: http, port: 5778, targetPort: 80}
"""


def mesh_of(text: str) -> Mesh:
    return build_mesh(ConfigSnapshot(1, documents(text), (workload("agent", port=53),)), Memo())


def test_ports_that_are_not_tcp_are_left_out_with_a_warning() -> None:
    decoded = decode_documents(AGENT.replace("UDP", "SCTP"), "f")
    assert [(problem.path, problem.code, problem.severity) for problem in decoded.problems] == [
        (("spec", "ports", index, "protocol"), "no-effect", Severity.WARNING) for index in (0, 1)
    ]
    for protocol in ("UDP", "SCTP"):
        (frontend,) = mesh_of(AGENT.replace("UDP", protocol)).catalog.frontends
        assert [(port.number, port.name) for port in frontend.ports] == [(53, "dns-tcp"), (5778, "http")]


def test_ports_for_udp_are_beside_the_others() -> None:
    assert not decode_documents(AGENT, "f").problems
    mesh = mesh_of(AGENT)
    (frontend,) = mesh.catalog.frontends
    assert [(port.number, port.name) for port in frontend.datagrams] == [(6831, "compact"), (53, "dns")]


def test_problems_of_the_others_stand_at_their_own_lines() -> None:
    other, problem = mesh_of(AGENT).problems
    assert (problem.code, problem.path) == ("target-port-not-served", ("spec", "ports", 3, "targetPort"))
    assert (other.code, other.path) == ("udp-not-served", ("spec", "ports", 0, "protocol"))


@pytest.mark.parametrize(("protocol", "code"), [("UDP", "udp-not-served"), ("SCTP", "no-ports")])
def test_a_service_without_any_tcp_port_has_none_here(protocol: str, code: str) -> None:
    text = AGENT.partition("  - {name: dns,")[0].replace("UDP", protocol)
    (problem,) = mesh_of(text).problems
    assert (problem.code, problem.severity) == (code, Severity.WARNING)


def test_a_port_and_protocol_may_stand_once() -> None:
    (problem,) = (
        one for one in decode_documents(AGENT + "  - {name: b, port: 53}\n", "f").problems if one.code == "duplicate"
    )
    assert problem.path == ("spec", "ports", 4, "port")

"""``weft proxy config`` as a table: what a proxy is given, and which line is the reason."""

from __future__ import annotations

from support.views import TRUST_DOMAIN, backend, gateway_port, inbound, outbound, sidecar
from weft.cli.resources import resource_table
from weft.mesh.memo import Memo
from weft.mesh.signals import SILENT
from weft.mesh.views import Certificate
from weft.model.origin import Origin
from weft.xds.build import build_xds
from weft.xds.describe import describe_with_origins
from weft.xds.gateways.gateway import encode_certificate, encode_gateway_listener
from weft.xds.services.cluster import encode_backend
from weft.xds.sidecars.inbound import encode_inbound
from weft.xds.snapshot import ROUTES


def test_clusters_listeners_and_certificates_show_the_lines_that_are_not_in_their_bytes() -> None:
    shown = {
        "clusters": [encode_backend(backend(), "cluster.local")],
        "listeners": [
            encode_inbound(inbound(), "cluster.local", SILENT),
            encode_gateway_listener(gateway_port(), SILENT, TRUST_DOMAIN),
        ],
        "secrets": [encode_certificate(Certificate("default/a", b"chain", b"key", Origin("secret.yaml", 4)))],
    }
    sources = {}
    for section, resources in shown.items():
        headings, rows = resource_table(section, [describe_with_origins(one) for one in resources])
        assert {len(row) for row in rows} == {len(headings)}
        sources[section] = [row[headings.index("SOURCE")] for row in rows]
    assert sources == {
        "clusters": ["mesh.yaml:7"],
        "listeners": ["mesh.yaml:7", "gateway.yaml:3"],
        "secrets": ["secret.yaml:4"],
    }


def test_each_route_shows_its_own_line() -> None:
    resource = build_xds(sidecar(outbound()), 1, Memo()).get(ROUTES, "outbound")
    assert resource is not None
    headings, rows = resource_table("routes", [describe_with_origins(resource)])
    ours = [dict(zip(headings, row, strict=True)) for row in rows if "reviews" in str(row[1])]
    assert [(row["MATCH"], row["SOURCE"]) for row in ours] == [("CONNECT", ""), ("/*", "mesh.yaml:7")]

"""Resources: wire forms, versions, and what people are shown of them."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest
from envoy.config.cluster.v3.cluster_pb2 import Cluster
from envoy.service.discovery.v3.discovery_pb2 import DeltaDiscoveryResponse, DiscoveryResponse
from envoy.service.discovery.v3.discovery_pb2 import Resource as DeltaResource
from google.protobuf.any_pb2 import Any as AnyMessage

from support.views import (
    BACKEND,
    KEY,
    PLAINTEXT,
    TRUST_DOMAIN,
    backend,
    endpoint,
    gateway_port,
    inbound,
    looked_up,
    outbound,
    sidecar,
    virtual_host,
)
from weft.mesh.memo import Memo
from weft.mesh.services.service import Ejection, EndpointSet, TrafficPolicy
from weft.mesh.signals import SILENT
from weft.mesh.views import Certificate
from weft.model.origin import Origin
from weft.xds.bootstrap import BootstrapParameters, build_bootstrap, build_secret_files
from weft.xds.build import build_xds
from weft.xds.describe import describe_resource, describe_with_origins
from weft.xds.gateways.gateway import encode_certificate, encode_gateway_listener
from weft.xds.messages import duration, share
from weft.xds.policies.balancing import set_ejection
from weft.xds.resource import encode_resource
from weft.xds.routes.domains import DomainLedger, host_domains
from weft.xds.services.cluster import encode_backend
from weft.xds.services.endpoints import encode_endpoints
from weft.xds.sidecars.inbound import encode_inbound
from weft.xds.snapshot import CLUSTER, ENDPOINTS, TYPES

PARAMETERS = BootstrapParameters(
    "reviews.default", "127.0.0.1:15012", "spiffe://cluster.local/ns/weft-system/sa/cp", "/run/a.sock", "cluster.local"
)


def test_the_wire_forms_are_what_responses_hold() -> None:
    resource = encode_resource(Cluster(name="a"), "a", (Origin("f", 1),))
    assert resource.type_url == CLUSTER
    wrapped = AnyMessage.FromString(bytes(resource.any_bytes))
    cluster = Cluster()
    assert wrapped.Unpack(cluster)
    assert cluster.name == "a"
    delta = DeltaResource.FromString(resource.delta_bytes)
    assert (delta.name, delta.version, delta.resource) == ("a", resource.version, wrapped)

    # Encoded once, the bytes stand in a response as they are: field 2, length-delimited, in both variants.
    def field(body: bytes) -> bytes:
        assert len(body) < 128
        return b"\x12" + bytes([len(body)]) + body

    assert DiscoveryResponse.FromString(field(bytes(resource.any_bytes))) == DiscoveryResponse(resources=[wrapped])
    assert DeltaDiscoveryResponse.FromString(field(resource.delta_bytes)) == DeltaDiscoveryResponse(resources=[delta])


def test_the_version_follows_the_content_alone() -> None:
    one = encode_resource(Cluster(name="a"), "a", (Origin("f", 1),))
    moved = encode_resource(Cluster(name="a"), "a", (Origin("g", 9),))
    other = encode_resource(Cluster(name="a", alt_stat_name="b"), "a")
    assert one.version == moved.version
    assert one.version != other.version


def test_no_key_is_shown() -> None:
    certificate = Certificate("default/shop", b"PUBLIC", b"PRIVATE", Origin("secret.yaml", 1))
    described = json.dumps(describe_resource(encode_certificate(certificate)))
    assert '"private_key": "[redacted]"' in described
    assert "UFJJVkFURQ" not in described  # base64 of PRIVATE
    assert "PRIVATE" not in repr(certificate) + repr(encode_certificate(certificate))


def test_every_resource_can_be_described() -> None:
    snapshot = build_xds(sidecar(outbound(allow_any=True)), 1, Memo())
    described = [describe_resource(each) for kind in TYPES for each in snapshot.of_type(kind)]
    assert {each.get("name") or each["cluster_name"] for each in described} == {
        each.name for kind in TYPES for each in snapshot.of_type(kind)
    }


def test_an_endpoint_change_is_small() -> None:
    endpoints = EndpointSet(KEY, tuple(map(endpoint, range(10))))
    assert len(encode_endpoints(endpoints).delta_bytes) <= 500


def test_clusters_wait_for_their_endpoints_and_gateways_for_their_certificates() -> None:
    assert encode_backend(backend(), "cluster.local").requires == ((ENDPOINTS, BACKEND),)
    assert encode_backend(backend(dns=looked_up("example.com"), transport=PLAINTEXT), "cluster.local").requires == ()


def test_routes_say_object_and_line_and_what_envoy_replaces_the_object_only() -> None:
    snapshot = build_xds(sidecar(), 1, Memo())
    described = {kind: [describe_resource(each) for each in snapshot.of_type(kind)] for kind in TYPES}
    [route] = [
        route
        for routes in described["type.googleapis.com/envoy.config.route.v3.RouteConfiguration"]
        for host in routes["virtual_hosts"]
        for route in host["routes"]
        if route["name"] == "reviews/0"
    ]
    expected = {"src": "mesh.yaml:7", "object": "HTTPRoute default/reviews"}
    assert route["metadata"]["filter_metadata"]["weft"] == expected
    cluster = encode_backend(backend(), "cluster.local")
    assert describe_resource(cluster)["metadata"]["filter_metadata"]["weft"] == {"object": "Service default/reviews"}
    listener = describe_resource(encode_gateway_listener(gateway_port(), SILENT, TRUST_DOMAIN))
    assert listener["metadata"]["filter_metadata"]["weft"] == {"object": "Gateway default/edge"}


def test_a_described_resource_names_lines_that_are_not_in_its_bytes() -> None:
    for resource in (encode_backend(backend(), "cluster.local"), encode_inbound(inbound(), "cluster.local", SILENT)):
        assert b"mesh.yaml" not in resource.delta_bytes
        assert describe_with_origins(resource)["origins"] == ["mesh.yaml:7"]
    for routes in build_xds(sidecar(), 1, Memo()).of_type(
        "type.googleapis.com/envoy.config.route.v3.RouteConfiguration"
    ):
        assert "origins" not in describe_with_origins(routes)


def test_ejection_enforces_only_what_is_asked_for() -> None:
    cluster = Cluster()
    set_ejection(cluster, Ejection(consecutive_5xx=0, consecutive_gateway_errors=4, min_health_percent=30))
    detection = cluster.outlier_detection
    assert detection.enforcing_consecutive_5xx.value == 0
    assert (detection.consecutive_gateway_failure.value, detection.enforcing_consecutive_gateway_failure.value) == (
        4,
        100,
    )
    assert detection.enforcing_success_rate.value == 0
    assert cluster.common_lb_config.healthy_panic_threshold.value == 30


def test_without_ejection_only_endpoints_that_cannot_be_connected_to_are_avoided() -> None:
    detection = Cluster.FromString(
        encode_backend(backend(policy=TrafficPolicy()), "cluster.local").body
    ).outlier_detection
    assert detection.split_external_local_origin_errors
    assert detection.enforcing_consecutive_local_origin_failure.value == 100
    others = ("consecutive_5xx", "success_rate", "local_origin_success_rate", "failure_percentage")
    assert [getattr(detection, f"enforcing_{name}").value for name in others] == [0, 0, 0, 0]
    assert detection.max_ejection_percent.value < 100
    outside = encode_backend(
        backend(policy=TrafficPolicy(), dns=looked_up("example.com"), transport=PLAINTEXT), "cluster.local"
    )
    assert not Cluster.FromString(outside.body).HasField("outlier_detection")


def test_a_port_stands_in_the_domain_and_80_or_the_only_one_without() -> None:
    ports = ("b",)
    assert host_domains(("a",), 80, ports) == ("a:80", "a")
    assert host_domains(("a",), 8080, ports) == ("a:8080",)
    assert host_domains(("b",), 8080, ports) == ("b:8080", "b")
    assert host_domains(("example.com",), 0, ()) == ("example.com", "example.com:*")
    assert host_domains(("*", "*.example.com"), 0, ()) == ("*", "*.example.com")


def test_no_domain_stands_twice() -> None:
    ledger = DomainLedger()
    assert ledger.claim(("a", "b", "a")) == ("a", "b")
    assert ledger.claim(("b", "c")) == ("c",)
    twice = replace(outbound(), virtual_hosts=(virtual_host(), virtual_host(name="again")))
    assert build_xds(sidecar(twice), 1, Memo()).problems == ()


def test_durations_and_shares_are_exact() -> None:
    assert (duration(0.25).seconds, duration(0.25).nanos) == (0, 250_000_000)
    assert (duration(1.1).seconds, duration(1.1).nanos) == (1, 100_000_000)
    assert [share(percent).numerator for percent in (0, 0.1, 12.5, 100, 150)] == [
        0,
        1000,
        125_000,
        1_000_000,
        1_000_000,
    ]


def test_the_bootstrap_keeps_admin_private_and_the_control_plane_proven() -> None:
    bootstrap = json.loads(build_bootstrap(PARAMETERS))
    assert bootstrap["admin"]["address"]["pipe"] == {"path": "/run/a.sock", "mode": 0o600}
    assert bootstrap["node"]["id"] == "reviews.default"
    ads = bootstrap["dynamic_resources"]["ads_config"]
    assert ads["api_type"] == "DELTA_GRPC"
    [cluster] = bootstrap["static_resources"]["clusters"]
    context = cluster["transport_socket"]["typed_config"]["common_tls_context"]
    assert context["tls_params"] == {
        "tls_minimum_protocol_version": "TLSv1_3",
        "tls_maximum_protocol_version": "TLSv1_3",
    }
    [name] = context["combined_validation_context"]["default_validation_context"]["match_typed_subject_alt_names"]
    assert name == {"san_type": "URI", "matcher": {"exact": PARAMETERS.xds_identity}}
    assert build_bootstrap(PARAMETERS) == build_bootstrap(replace(PARAMETERS))


def test_only_gateways_close_connections_on_which_streams_are_reset() -> None:
    def values(edge: bool) -> dict[str, object]:
        layers = json.loads(build_bootstrap(replace(PARAMETERS, edge=edge)))["layered_runtime"]["layers"]
        layer, switches = layers
        assert switches == {"name": "agent", "admin_layer": {}}
        found: dict[str, object] = layer["static_layer"]
        return found

    assert set(values(edge=False)) - set(values(edge=True)) == {"overload.premature_reset_total_stream_count"}


@pytest.mark.parametrize("path", ["sds/identity.json", "sds/bundle.json", "sds/host-trust.json"])
def test_secret_files_name_files_and_hold_no_secret(path: str) -> None:
    text = build_secret_files()[path]
    assert "certs/" in text
    assert "inline" not in text
    assert json.loads(text)["resources"][0]["name"] in ("identity", "bundle", "host-trust")

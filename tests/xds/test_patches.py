"""Patches of EnvoyFilter, operation by operation, on what a real view comes to."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
import yaml

from support.views import gateway, sidecar
from weft.mesh.memo import Memo
from weft.mesh.patches import Patches
from weft.mesh.policies.envoyfilter import compile_filter
from weft.mesh.views import ProxyView
from weft.schema.decode import decode_documents
from weft.xds.build import build_xds
from weft.xds.describe import describe_resource
from weft.xds.patches.apply import Patched, apply_patches
from weft.xds.snapshot import CLUSTER, LISTENER, ROUTES, XdsSnapshot

HTTP = "envoy.filters.network.http_connection_manager"
MANAGER = "type.googleapis.com/envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager"
EVERYWHERE = {"socket_address": {"address": "0.0.0.0", "port_value": 1}}
UNKNOWN = {"@type": "type.googleapis.com/no.such.Type"}
BUFFER = {
    "name": "buffer",
    "typed_config": {
        "@type": "type.googleapis.com/envoy.extensions.filters.http.buffer.v3.Buffer",
        "max_request_bytes": 9,
    },
}


def patches(*each: dict[str, Any]) -> Patches:
    text = yaml.safe_dump(
        {
            "apiVersion": "networking.istio.io/v1alpha3",
            "kind": "EnvoyFilter",
            "metadata": {"name": "mine"},
            "spec": {"configPatches": list(each)},
        }
    )
    found = decode_documents(text, "mine.yaml")
    assert found.problems == ()
    [document] = found.documents
    return Patches(compile_filter(document, "istio-system").patches)  # type: ignore[arg-type]


def patch(apply_to: str, operation: str, value: Any = None, **match: Any) -> dict[str, Any]:
    body = {"operation": operation} | ({} if value is None else {"value": value})
    return {"applyTo": apply_to, "match": match, "patch": body}


def patched(found: Patches, view: ProxyView | None = None) -> Patched:
    view = view or sidecar()
    return apply_patches(Memo(), build_xds(view, 1, Memo()).layers, found, getattr(view, "gateway", ""))


def described(result: Patched, kind: str, name: str) -> Any:
    resource = XdsSnapshot(1, result.layers).get(kind, name)
    return None if resource is None else describe_resource(resource)


def filters(result: Patched, name: str = "inbound|9080") -> list[str]:
    chain = described(result, LISTENER, name)["filter_chains"][0]
    return [each["name"] for each in chain["filters"][-1]["typed_config"]["http_filters"]]


def beside(name: str) -> dict[str, Any]:
    return {"filterChain": {"filter": {"name": HTTP, "subFilter": {"name": name}}}}


def test_where_filters_of_requests_go() -> None:
    def place(operation: str, **match: Any) -> int:
        return filters(patched(patches(patch("HTTP_FILTER", operation, BUFFER, **match)))).index("buffer")

    last = len(filters(patched(patches(patch("HTTP_FILTER", "INSERT_FIRST", BUFFER))))) - 1
    assert place("INSERT_FIRST") == 0
    assert place("ADD") == last - 1, "the last one is terminal"
    assert place("INSERT_BEFORE", listener=beside("envoy.filters.http.router")) == last - 1
    assert place("INSERT_AFTER", listener=beside("weft.tokens")) < last - 1, "a slot is found by its own name"


def test_filters_are_removed_replaced_and_merged() -> None:
    gone = patched(patches(patch("HTTP_FILTER", "REMOVE", listener=beside("envoy.filters.http.router"))))
    assert "envoy.filters.http.router" not in filters(gone)
    other = patched(patches(patch("HTTP_FILTER", "REPLACE", BUFFER, listener=beside("envoy.filters.http.router"))))
    assert filters(other)[-1] == "buffer"
    value = {"typed_config": {"@type": MANAGER, "server_name": "mine"}}
    more = patched(
        patches(patch("NETWORK_FILTER", "MERGE", value, listener={"filterChain": {"filter": {"name": HTTP}}}))
    )
    manager = described(more, LISTENER, "inbound|9080")["filter_chains"][0]["filters"][-1]["typed_config"]
    assert manager["server_name"] == "mine"
    assert manager["merge_slashes"], "the rest stays"


def test_what_is_meant_by_context_and_port() -> None:
    found = patches(
        patch("HTTP_FILTER", "INSERT_FIRST", BUFFER, context="SIDECAR_INBOUND", listener={"portNumber": 9080})
    )
    result = patched(found)
    assert "buffer" in filters(result)
    assert "buffer" not in filters(result, "outbound")
    assert "buffer" not in filters(patched(found, gateway()), "gateway|80")
    other = patches(patch("HTTP_FILTER", "INSERT_FIRST", BUFFER, listener={"portNumber": 1}))
    assert patched(other).by == ()
    edge = patches(patch("HTTP_FILTER", "INSERT_FIRST", BUFFER, context="GATEWAY", listener={"portNumber": 80}))
    assert "buffer" in filters(patched(edge, gateway()), "gateway|80")


@pytest.mark.parametrize(
    ("said", "meant"),
    [
        ({"name": "virtualInbound"}, {"inbound|9080"}),
        ({"portNumber": 15006}, {"inbound|9080"}),
        ({"name": "virtualInbound", "filterChain": {"destinationPort": 9080}}, {"inbound|9080"}),
        ({"portNumber": 15006, "filterChain": {"destinationPort": 1}}, set()),
        ({"portNumber": 15006, "filterChain": {"transportProtocol": "tls"}}, {"inbound|9080"}),
        ({"filterChain": {"transportProtocol": "raw_buffer"}}, set()),
        ({"name": "virtualOutbound"}, {"outbound"}),
        ({"name": "0.0.0.0_80"}, {"gateway|80"}),
        ({"name": "0.0.0.0_81"}, set()),
        ({"name": "0.0.0.0_9080"}, set()),
    ],
)
def test_listeners_by_the_names_that_they_have_elsewhere(said: dict[str, Any], meant: set[str]) -> None:
    found = patches(patch("HTTP_FILTER", "INSERT_FIRST", BUFFER, listener=said))
    views: dict[str, ProxyView] = {"inbound|9080": sidecar(), "outbound": sidecar(), "gateway|80": gateway()}
    assert {name for name, view in views.items() if "buffer" in filters(patched(found, view), name)} == meant


@pytest.mark.parametrize(
    ("said", "meant"),
    [
        ({"vhost": {"name": "inbound|http|9080"}}, {"inbound|9080"}),
        ({"vhost": {"name": "inbound|http|80"}}, set()),
        ({"name": "inbound|9080||"}, {"inbound|9080"}),
        ({"name": "http.80"}, {"gateway|80"}),
        ({"name": "http.8080"}, set()),
        ({"name": "80"}, set()),
        ({"vhost": {"name": "*:80"}}, {"gateway|80"}),
    ],
)
def test_routes_by_the_names_that_they_have_elsewhere(said: dict[str, Any], meant: set[str]) -> None:
    value: dict[str, Any] = {"rate_limits": [{"actions": [{"remote_address": {}}]}]}
    found = patches(patch("VIRTUAL_HOST", "MERGE", value, routeConfiguration=said))
    views: dict[str, ProxyView] = {"inbound|9080": sidecar(), "outbound": sidecar(), "gateway|80": gateway()}
    changed = {
        name
        for name, view in views.items()
        if any("rate_limits" in each for each in described(patched(found, view), ROUTES, name)["virtual_hosts"])
    }
    assert changed == meant


def test_layers_that_no_patch_is_about_stay_the_same() -> None:
    layers = build_xds(sidecar(), 1, Memo()).layers
    found = patches(patch("HTTP_FILTER", "INSERT_FIRST", BUFFER, context="SIDECAR_INBOUND"))
    result = apply_patches(Memo(), layers, found)
    assert [before is after for before, after in zip(layers, result.layers, strict=True)] == [True, True, False]


def test_routes_and_hosts() -> None:
    host = "reviews.default.svc.cluster.local:9080"
    first = {"name": "first", "match": {"path": "/x"}, "direct_response": {"status": 204}}
    found = patches(
        patch("HTTP_ROUTE", "INSERT_FIRST", first, routeConfiguration={"vhost": {"name": host}}),
        patch("HTTP_ROUTE", "REMOVE", routeConfiguration={"vhost": {"route": {"name": "connect"}}}),
        patch("VIRTUAL_HOST", "ADD", {"name": "mine", "domains": ["mine.example.com"]}, context="SIDECAR_OUTBOUND"),
        patch("VIRTUAL_HOST", "REMOVE", routeConfiguration={"vhost": {"name": "unknown-hosts"}}),
    )
    result = patched(found)
    hosts = {each["name"]: each for each in described(result, ROUTES, "outbound")["virtual_hosts"]}
    assert "unknown-hosts" not in hosts
    assert hosts["mine"]["domains"] == ["mine.example.com"]
    names = [route["name"] for route in hosts[host]["routes"]]
    assert names[0] == "first"
    assert "connect" not in names
    assert len(result.by) == 4


def test_clusters() -> None:
    name = "outbound|9080||reviews.default.svc.cluster.local"
    of_reviews = {"service": "reviews.default.svc.cluster.local"}
    merged = patched(patches(patch("CLUSTER", "MERGE", {"connect_timeout": "9s"}, cluster=of_reviews)))
    assert described(merged, CLUSTER, name)["connect_timeout"] == "9s"
    assert described(merged, CLUSTER, "inbound|9080")["connect_timeout"] != "9s"
    removed = patched(patches(patch("CLUSTER", "REMOVE", cluster=of_reviews)))
    assert described(removed, CLUSTER, name) is None
    added = patched(patches(patch("CLUSTER", "ADD", {"name": "mine", "type": "STATIC"}, context="SIDECAR_OUTBOUND")))
    assert described(added, CLUSTER, "mine")["name"] == "mine"


TLS = "type.googleapis.com/envoy.extensions.transport_sockets.tls.v3."


def test_a_transport_socket_is_merged_with_what_is_in_it() -> None:
    change = {"session_timeout": "77s"}
    value = {"name": "tls", "typed_config": {"@type": TLS + "DownstreamTlsContext"} | change}
    found = patches(patch("FILTER_CHAIN", "MERGE", {"transport_socket": value}, context="SIDECAR_INBOUND"))
    before = chains_with_tls(patched(Patches()))
    after = chains_with_tls(patched(found))
    assert before
    for was, now in zip(before, after, strict=True):
        assert now["session_timeout"] == "77s"
        assert now["common_tls_context"] == was["common_tls_context"], "the rest stays"
    other = {"name": "raw", "typed_config": {"@type": RAW}}
    raw = patched(patches(patch("FILTER_CHAIN", "MERGE", {"transport_socket": other}, context="SIDECAR_INBOUND")))
    assert {each["@type"] for each in sockets(raw)} == {RAW}, "another type is put in its place"


RAW = "type.googleapis.com/envoy.extensions.transport_sockets.raw_buffer.v3.RawBuffer"


def sockets(result: Patched) -> list[Any]:
    chains = described(result, LISTENER, "inbound|9080")["filter_chains"]
    return [each["transport_socket"]["typed_config"] for each in chains if "transport_socket" in each]


def chains_with_tls(result: Patched) -> list[Any]:
    return [each for each in sockets(result) if each["@type"].startswith(TLS)]


@pytest.mark.parametrize(
    ("wrong", "why"),
    [
        (patch("CLUSTER", "MERGE", {"no_such_field": 1}), "no_such_field"),
        (patch("CLUSTER", "MERGE", {"name": "other"}), "its name is the mesh's"),
        (patch("CLUSTER", "ADD", {"name": "outbound|1||x"}), "none of the mesh's"),
        (
            patch("LISTENER", "MERGE", {"address": EVERYWHERE}),
            "addresses",
        ),
        (patch("LISTENER", "MERGE", {"additional_addresses": [{}]}), "addresses"),
        (patch("ROUTE_CONFIGURATION", "MERGE", {"name": "x"}), "its name is the mesh's"),
        (
            patch("HTTP_FILTER", "ADD", {"name": "x", "typed_config": UNKNOWN}),
            "type",
        ),
        (patch("HTTP_FILTER", "ADD", ["a", "list"]), "HttpFilter"),
        (patch("HTTP_FILTER", "ADD", "text"), "HttpFilter"),
        (patch("HTTP_FILTER", "ADD", {"name": "x", "typed_config": {"@type": 5}}), "HttpFilter"),
        (patch("HTTP_FILTER", "ADD", {"name": "x", "typed_config": {"@type": [UNKNOWN]}}), "HttpFilter"),
        (patch("CLUSTER", "MERGE", {"lb_policy": float("inf")}), "Cluster"),
    ],
)
def test_values_that_are_no_messages(wrong: dict[str, Any], why: str) -> None:
    result = patched(patches(wrong))
    assert result.by == ()
    assert result.wrong
    assert why in result.wrong[0][1]


def test_what_listens_stays() -> None:
    before = described(patched(patches(patch("LISTENER", "MERGE", {"tcp_backlog_size": 7}))), LISTENER, "inbound|9080")
    assert before["tcp_backlog_size"] == 7
    assert before["address"]["socket_address"]["address"] == "127.0.0.1"


def test_a_view_without_patches_is_built_without_them() -> None:
    view = sidecar()
    found = patches(patch("CLUSTER", "MERGE", {"connect_timeout": "9s"}))
    with_patches = build_xds(replace(view, patches=found), 1, Memo())
    assert with_patches.get(CLUSTER, "inbound|9080") is not None
    assert build_xds(view, 1, Memo()).layers != with_patches.layers

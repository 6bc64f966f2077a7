"""Where what belongs to an application in a network namespace of its own is: what it connects to inside, its callers
and everybody else outside."""

from __future__ import annotations

from typing import Any

from support.certificates import TestAuthority, write_workload_directory
from support.envoy import validate
from support.nodes import compiled, of_case
from support.views import identity
from weft.model.network_namespace import NetworkNamespace
from weft.xds.describe import describe_resource
from weft.xds.nodes.local import DOOR
from weft.xds.nodes.names import carried_name
from weft.xds.snapshot import CLUSTER, LISTENER, TYPES, XdsSnapshot
from weft.xds.static import static_bootstrap

WHERE = NetworkNamespace("/run/netns/shop", "4-4026532462")
CASE = "outbound-listeners"
INSIDE = {"address": "127.0.0.1", "network_namespace_filepath": "/run/netns/shop"}


def described(snapshot: XdsSnapshot, kind: str) -> dict[str, Any]:
    return {each.name: describe_resource(each) for each in snapshot.of_type(kind)}


def test_what_the_application_connects_to_is_inside_and_callers_are_outside() -> None:
    node, sidecars = compiled(of_case(CASE), doors=True, placed=WHERE)
    plain, _ = compiled(of_case(CASE), doors=True)
    listeners, before = described(node, LISTENER), described(plain, LISTENER)
    assert len(listeners) == len(before)
    for name, said in before.items():
        kind = name.split("~")[2]
        if "address" not in said or kind.startswith("inbound|"):
            assert listeners[name] == said
            continue
        moved = listeners[f"{name}|4-4026532462"]
        port = said["address"]["socket_address"]["port_value"]
        assert moved["address"] == {"socket_address": {**INSIDE, "port_value": port}}
        assert {**moved, "address": said["address"], "name": name} == said
    assert any(DOOR in name for name in listeners)
    for proxy in sidecars:
        assert f"{carried_name(proxy).prefix}outbound|4-4026532462" in listeners


def test_what_connects_to_the_application_or_to_strangers_does_so_from_inside() -> None:
    node, _ = compiled(of_case(CASE), placed=WHERE)
    plain, _ = compiled(of_case(CASE))
    clusters, moved = described(node, CLUSTER), set()
    for name, said in described(plain, CLUSTER).items():
        if clusters[name] != said:
            moved.add(name.split("~")[2].partition("|")[0])
            assert clusters[name] == {
                **said,
                "upstream_bind_config": {"source_address": {**INSIDE, "address": "0.0.0.0", "port_value": 0}},
            }
    assert moved == {"inbound", "forward-proxy"}
    others = [kind for kind in TYPES if kind not in (LISTENER, CLUSTER)]
    assert {kind: described(node, kind) for kind in others} == {kind: described(plain, kind) for kind in others}


def test_envoy_takes_it(tmp_path: Any) -> None:
    """As far as it looks at it without opening the namespace: listeners are tried in `tests/e2e`."""
    authority = TestAuthority()
    node, sidecars = compiled(of_case(CASE), doors=True, placed=WHERE)
    home = tmp_path / "workloads"
    for proxy in sidecars:
        whose = carried_name(proxy)
        where = home / whose.namespace / whose.name
        where.mkdir(parents=True)
        write_workload_directory(where, authority.issue(uri=str(identity(whose.name))), authority.bundle, whose)
    own = home / "default" / "host"
    own.mkdir()
    assert validate(static_bootstrap(node), own) == ""

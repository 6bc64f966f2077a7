"""What captured connections may be for: the services a workload may call, by address, and no others."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from support.meshdocs import Compiled, service, workload
from weft.mesh.services.service import BackendKey, Protocol
from weft.mesh.views import Captured, CapturedPort, SidecarView
from weft.model.workload import SocketAddress, WorkloadPort, WorkloadState

LED = (SocketAddress("127.0.0.1", 15001), SocketAddress("::1", 15001))
TCP = "---\napiVersion: v1\nkind: Service\nmetadata: {name: bytes}\nspec: {ports: [{name: tcp, port: 7000}]}\n"
ANY = "---\napiVersion: v1\nkind: Service\nmetadata: {name: any}\nspec: {ports: [{name: it, port: 6000}]}\n"
HEADLESS = (
    "---\napiVersion: v1\nkind: Service\nmetadata: {name: db}\n"
    "spec: {selector: {app: db}, clusterIP: None, ports: [{name: tcp, port: 5432, targetPort: 9080}]}\n"
)
NUMBERS = {
    f"Service/{name}": number for number, name in enumerate(("default/reviews", "default/bytes", "default/any"), 1)
}
PAIR = ("240.240.0.1", "fd77:6566:7400::1")


def view_of(compiled: Compiled, **changes: Any) -> SidecarView:
    return compiled.sidecar(capture=LED, **changes)


def captured(compiled: Compiled, **changes: Any) -> Captured:
    found = view_of(compiled, **changes).captured
    assert found is not None
    return found


def ports(found: Captured) -> dict[tuple[str, int], CapturedPort]:
    return {(each.host.partition(".")[0], each.port): each for each in found.ports}


def instance(name: str, host: str) -> Any:
    """A workload at an address of its own, whose proxy accepts at another port than the service's."""
    port = WorkloadPort(9080, SocketAddress("127.0.0.1", 9080), SocketAddress(host, 20000))
    return replace(workload("db"), name=name, ports=(port,))


def test_who_captures_nothing_is_told_nothing_more() -> None:
    compiled = Compiled(service("reviews"), TCP, numbers=NUMBERS)
    plain = compiled.sidecar()
    assert (plain.capture, plain.captured, plain.outbound.by_address) == ((), None, False)
    assert not any(PAIR[0] in host.domains for host in plain.outbound.virtual_hosts)


def test_each_port_is_known_by_the_addresses_of_its_service() -> None:
    found = ports(captured(Compiled(service("reviews"), TCP, ANY, numbers=NUMBERS)))
    assert found["reviews", 9080].addresses == PAIR
    assert found["reviews", 9080].protocol is Protocol.HTTP
    assert found["bytes", 7000].addresses == ("240.240.0.2", "fd77:6566:7400::2")
    assert found["bytes", 7000].connections.backends() == (BackendKey("bytes.default.svc.cluster.local", 7000),)
    assert found["any", 6000].connections.backends()[0].opaque


def test_requests_are_known_by_an_address_as_their_host_and_what_is_detected_can_be_carried() -> None:
    view = view_of(Compiled(service("reviews"), ANY, numbers=NUMBERS))
    (host,) = [each for each in view.outbound.virtual_hosts if each.name.startswith("reviews")]
    assert {PAIR[0], f"[{PAIR[1]}]"} <= set(host.domains)
    carried = [target.backend.key for target in view.targets.carried]
    assert carried == [BackendKey("any.default.svc.cluster.local", 6000, opaque=True)]


def test_callers_of_one_class_share_what_is_captured() -> None:
    compiled = Compiled(service("reviews"), numbers=NUMBERS)
    one, other = (view_of(compiled, name=name) for name in ("one", "other"))
    assert one.captured is other.captured
    assert one.outbound is other.outbound


def test_what_is_not_used_or_has_no_address_is_not_known() -> None:
    compiled = Compiled(service("reviews"), TCP, ANY, HEADLESS, numbers=NUMBERS | {"Service/default/any": 0})
    assert set(ports(captured(compiled))) == {("reviews", 9080), ("bytes", 7000)}
    used = captured(compiled, uses=("reviews",))
    assert set(ports(used)) == {("reviews", 9080)}
    assert used.instances == ()


def test_a_sidecar_leaves_the_ports_that_it_names() -> None:
    sidecar = (
        "---\napiVersion: networking.istio.io/v1\nkind: Sidecar\nmetadata: {name: default}\n"
        "spec: {egress: [{port: {number: 9080, protocol: HTTP, name: h}, hosts: ['./*']}]}\n"
    )
    found = captured(Compiled(service("reviews", 9080, 9081), sidecar, numbers=NUMBERS))
    assert set(ports(found)) == {("reviews", 9080)}


def test_a_given_address_is_the_one_and_a_wildcard_s_is_any() -> None:
    given = service("reviews", 80, extra="  clusterIP: 10.200.0.4\n")
    outside = (
        "---\napiVersion: networking.istio.io/v1\nkind: ServiceEntry\nmetadata: {name: out}\n"
        "spec: {hosts: ['*.example.com'], ports: [{number: 443, name: tls, protocol: TLS}], resolution: NONE}\n"
    )
    found = captured(Compiled(given, outside))
    assert ports(found)["reviews", 80].addresses == ("10.200.0.4",)
    (passed,) = [each for each in found.ports if each.called]
    assert (passed.called, passed.addresses, passed.tls) == ("*.example.com", (), True)


def test_instances_of_headless_services_are_known_by_their_own_address_at_both_numbers() -> None:
    compiled = Compiled(HEADLESS, workloads=[instance("db-0", "10.77.0.2"), instance("db-1", "127.0.0.1")])
    found = captured(compiled)
    assert {(each.address, each.port, each.accepts) for each in found.instances} == {
        ("10.77.0.2", number, SocketAddress("10.77.0.2", 20000)) for number in (5432, 9080)
    }
    assert all(each.mutual_tls for each in found.instances)
    assert [backend.key.port for backend in found.direct] == [5432]


def test_an_instance_that_is_not_healthy_is_known_too_for_it_must_not_be_reached_in_clear() -> None:
    ill = replace(instance("db-0", "10.77.0.2"), state=WorkloadState.UNHEALTHY)
    assert {each.address for each in captured(Compiled(HEADLESS, workloads=[ill])).instances} == {"10.77.0.2"}

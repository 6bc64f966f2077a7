"""EDS: endpoints grouped by where they run, and nothing said where nobody says it."""

from __future__ import annotations

from envoy.config.endpoint.v3.endpoint_pb2 import ClusterLoadAssignment

from support.views import KEY, endpoint
from weft.mesh.services.service import Endpoint, EndpointGroup, EndpointSet
from weft.model.locality import Locality
from weft.xds.services.endpoints import encode_endpoints


def decoded(*endpoints: Endpoint, groups: tuple[EndpointGroup, ...] = ()) -> ClusterLoadAssignment:
    message = ClusterLoadAssignment()
    message.ParseFromString(encode_endpoints(EndpointSet(KEY, endpoints, groups)).body)
    return message


def test_endpoints_of_nowhere_are_one_group_without_a_locality() -> None:
    found = decoded(endpoint(1), endpoint(2))
    assert [len(group.lb_endpoints) for group in found.endpoints] == [2]
    assert not found.endpoints[0].HasField("locality")
    assert not found.endpoints[0].HasField("load_balancing_weight")
    assert not decoded().endpoints


def test_each_locality_is_a_group_in_the_order_of_names() -> None:
    far, near = Locality("b", "b1"), Locality("a", "a1", "r")
    found = decoded(endpoint(1, locality=far), endpoint(2, locality=near), endpoint(3), endpoint(4, locality=far))
    places = [(group.locality.region, group.locality.zone, group.locality.sub_zone) for group in found.endpoints]
    assert places == [("", "", ""), ("a", "a1", "r"), ("b", "b1", "")]
    ports = [
        [one.endpoint.address.socket_address.port_value for one in group.lb_endpoints] for group in found.endpoints
    ]
    assert ports == [[3], [2], [1, 4]]


def test_weights_and_priorities_are_said_where_they_are_set() -> None:
    one, other = endpoint(1, weight=3), endpoint(2)
    groups = (EndpointGroup(Locality("a"), (one,), 0, 70), EndpointGroup(Locality("b"), (other,), 1))
    first, second = decoded(one, other, groups=groups).endpoints
    assert (first.priority, first.load_balancing_weight.value) == (0, 70)
    assert (second.priority, second.HasField("load_balancing_weight")) == (1, False)
    assert first.lb_endpoints[0].load_balancing_weight.value == 3
    assert not second.lb_endpoints[0].HasField("load_balancing_weight")

"""Blanks: what is written for each workload from one, is what the slow way makes of the sidecar's resource."""

from __future__ import annotations

from pathlib import Path

import pytest
from envoy.config.route.v3.route_pb2 import RouteConfiguration

from support.corpus import INPUTS
from support.nodes import compiled
from weft.mesh.memo import Memo
from weft.xds.nodes.blank import blank_resource, filled_blank
from weft.xds.nodes.carried import carry_resource
from weft.xds.resource import encode_resource
from weft.xds.snapshot import EXTENSION, ROUTES, TYPES, Resource

OWNERS = (("a", "b"), ("reviews-v1", "default"), ("n" * 63, "s" * 63))
"""Their prefixes have lengths that take one byte and two."""


@pytest.mark.parametrize("path", INPUTS, ids=lambda path: path.parent.name)
def test_it_is_the_same_byte_for_byte(path: Path) -> None:
    _, sidecars = compiled(path)
    memo, seen = Memo(), set[str]()
    for sidecar in sidecars.values():
        for resource in [each for kind in TYPES for each in sidecar.of_type(kind) if each.version not in seen]:
            seen.add(resource.version)
            blank = blank_resource(resource)
            if blank is None:
                assert any(kind == EXTENSION for kind, _ in resource.requires), resource.name
                continue
            for owner in OWNERS:
                filled, carried = filled_blank(memo, blank, *owner), carry_resource(resource, *owner)
                assert filled.delta_bytes == carried.delta_bytes, resource.name
                assert described(filled) == described(carried)
    assert seen


def described(resource: Resource) -> tuple[object, ...]:
    return (
        resource.type_url,
        resource.name,
        resource.version,
        resource.body,
        bytes(resource.any_bytes),
        resource.origins,
        resource.requires,
    )


def test_a_text_in_which_an_owner_seems_to_stand_is_nobodys() -> None:
    """A document may say anything, for instance in the body of an answer."""
    routes = RouteConfiguration(name="r")
    host = routes.virtual_hosts.add(name="\x01~\x02~", domains=["*"])
    host.routes.add().direct_response.body.inline_string = "../../\x02/\x01/"
    resource = encode_resource(routes, "r")
    assert resource.type_url == ROUTES
    assert blank_resource(resource) is None

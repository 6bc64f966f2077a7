"""The consistency check before publishing: everything a resource refers to exists in the same snapshot."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from weft.mesh.memo import Memo
from weft.model.origin import Origin
from weft.model.problem import Problem, Severity
from weft.xds.snapshot import CLUSTER, ENDPOINTS, EXTENSION, ROUTES, SECRET, Resource, ResourceSet

_WORDS = {CLUSTER: "cluster", ENDPOINTS: "endpoints", ROUTES: "route configuration", SECRET: "certificate"}


Reference = tuple[Resource, str, str]
"""A resource, and the type and name of one that it refers to."""
Names = Mapping[str, Resource]


@dataclass(frozen=True, slots=True, eq=False)
class Outward:
    """References of one type that a layer does not meet itself. Compared by identity."""

    type_url: str
    references: tuple[Reference, ...]


def check_layers(memo: Memo, layers: tuple[ResourceSet, ...]) -> tuple[Problem, ...]:
    """A Problem for each resource that refers to one that none of `layers` has.

    Envoy would take such configuration and answer 503, or wait for ever before a listener opens. What a layer refers to
    is looked up in the others once, and again only when it or their resources of that type change: endpoints that come
    and go cost nothing here but to the layer that holds them. Those that several proxies share (all but the last) come
    first, so that what they meet among themselves is looked up once for all proxies.
    """
    return tuple(problem for layer in layers for problem in check_layer(memo, layer, layers))


def check_layer(memo: Memo, layer: ResourceSet, layers: tuple[ResourceSet, ...]) -> tuple[Problem, ...]:
    """Those of one of the `layers`, or of one more. They are asked in turn."""
    return tuple(
        _problem(*reference) for outward in memo(_outward, layer.by_type) for reference in _left(memo, outward, layers)
    )


def _left(memo: Memo, outward: Outward, layers: tuple[ResourceSet, ...]) -> tuple[Reference, ...]:
    """The references that no layer meets."""
    for layer in layers:
        outward = memo(_unmet, outward, layer.of_type(outward.type_url))
        if not outward.references:
            break
    return outward.references


def _outward(by_type: Mapping[str, Names]) -> tuple[Outward, ...]:
    """References of a layer that it does not meet itself, by type. Slots of filters may stay empty."""
    found: dict[str, list[Reference]] = {}
    for named in by_type.values():
        for resource in named.values():
            for type_url, name in resource.requires:
                if type_url != EXTENSION and name not in by_type.get(type_url, ()):
                    found.setdefault(type_url, []).append((resource, type_url, name))
    return tuple(Outward(type_url, tuple(references)) for type_url, references in found.items())


def _unmet(outward: Outward, given: Names) -> Outward:
    """The references that the `given` resources do not meet."""
    return Outward(outward.type_url, tuple([each for each in outward.references if each[2] not in given]))


def _problem(resource: Resource, type_url: str, name: str) -> Problem:
    word = _WORDS.get(type_url, type_url)
    return Problem(
        Severity.ERROR,
        "dangling-xds-reference",
        f"{resource.name} refers to the {word} '{name}', which this proxy is not given",
        resource.origins[0] if resource.origins else Origin("weft"),
        expected="a route to a port that the service declares",
    )

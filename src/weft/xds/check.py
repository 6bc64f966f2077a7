"""The consistency check before publishing: everything a resource refers to exists in the same snapshot."""

from __future__ import annotations

from weft.mesh.memo import Memo
from weft.model.origin import Origin
from weft.model.problem import Problem, Severity
from weft.xds.snapshot import CLUSTER, ENDPOINTS, ROUTES, SECRET, Resource, ResourceSet

_WORDS = {CLUSTER: "cluster", ENDPOINTS: "endpoints", ROUTES: "route configuration", SECRET: "certificate"}


Reference = tuple[Resource, str, str]
"""A resource, and the type and name of one that it refers to."""


def check_layers(memo: Memo, layers: tuple[ResourceSet, ...]) -> tuple[Problem, ...]:
    """A Problem for each resource that refers to one that none of `layers` has.

    Envoy would take such configuration and answer 503, or wait for ever before a listener opens. What the layers that
    several proxies share (all but the last) refer to among themselves is looked up once.
    """
    *shared, own = layers
    unmet = [*memo.over(_unmet_among, shared), *memo(_outward, own)]
    return tuple(
        _problem(resource, type_url, name)
        for resource, type_url, name in unmet
        if not any(name in layer.of_type(type_url) for layer in layers)
    )


def _unmet_among(layers: tuple[ResourceSet, ...]) -> tuple[Reference, ...]:
    """References that none of these layers meets."""
    unmet = [reference for layer in layers for reference in _outward(layer)]
    for layer in layers:
        unmet = _without(unmet, layer)
    return tuple(unmet)


def _outward(layer: ResourceSet) -> tuple[Reference, ...]:
    """References of a layer that it does not meet itself."""
    resources = [resource for named in layer.by_type.values() for resource in named.values()]
    return tuple(_without([(each, *reference) for each in resources for reference in each.requires], layer))


def _without(references: list[Reference], layer: ResourceSet) -> list[Reference]:
    """Those that `layer` does not meet."""
    held = layer.by_type
    return [reference for reference in references if reference[2] not in held.get(reference[1], ())]


def _problem(resource: Resource, type_url: str, name: str) -> Problem:
    word = _WORDS.get(type_url, type_url)
    return Problem(
        Severity.ERROR,
        "dangling-xds-reference",
        f"{resource.name} refers to the {word} '{name}', which this proxy is not given",
        resource.origins[0] if resource.origins else Origin("weft"),
        expected="a route to a port that the service declares",
    )

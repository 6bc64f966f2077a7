"""The consistency check before publishing: everything a resource refers to exists in the same snapshot."""

from __future__ import annotations

from dataclasses import dataclass

from weft.mesh.memo import Memo
from weft.model.origin import Origin
from weft.model.problem import Problem, Severity
from weft.xds.snapshot import CLUSTER, ENDPOINTS, ROUTES, SECRET, Resource, ResourceSet

_WORDS = {CLUSTER: "cluster", ENDPOINTS: "endpoints", ROUTES: "route configuration", SECRET: "certificate"}


@dataclass(frozen=True, slots=True, eq=False)
class _References:
    """What resources refer to and was not found yet, as (resource, type, name)."""

    missing: tuple[tuple[Resource, str, str], ...]


def check_layers(memo: Memo, layers: tuple[ResourceSet, ...]) -> tuple[Problem, ...]:
    """A Problem for each resource that refers to one that none of `layers` has.

    Envoy would take such configuration and answer 503, or wait for ever before a listener opens. What layers refer to
    in each other is looked up once for all proxies that share them.
    """
    problems: list[Problem] = []
    for layer in layers:
        references = memo(_references, layer)
        for other in layers:
            if references.missing and other is not layer:
                references = memo(_not_in, references, other)
        problems += [_problem(*reference) for reference in references.missing]
    return tuple(problems)


def _references(layer: ResourceSet) -> _References:
    """Those that a layer does not meet itself."""
    return _References(
        tuple(
            (resource, type_url, name)
            for named in layer.by_type.values()
            for resource in named.values()
            for type_url, name in resource.requires
            if name not in layer.of_type(type_url)
        )
    )


def _not_in(references: _References, layer: ResourceSet) -> _References:
    return _References(tuple(each for each in references.missing if each[2] not in layer.of_type(each[1])))


def _problem(resource: Resource, type_url: str, name: str) -> Problem:
    word = _WORDS.get(type_url, type_url)
    return Problem(
        Severity.ERROR,
        "dangling-xds-reference",
        f"{resource.name} refers to the {word} '{name}', which this proxy is not given",
        resource.origins[0] if resource.origins else Origin("weft"),
        expected="a route to a port that the service declares",
    )

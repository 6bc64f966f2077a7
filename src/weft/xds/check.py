"""The consistency check before publishing: everything a resource refers to exists in the same snapshot."""

from __future__ import annotations

from collections.abc import Iterator

from weft.model.origin import Origin
from weft.model.problem import Problem, Severity
from weft.xds.snapshot import CLUSTER, ENDPOINTS, ROUTES, SECRET, ResourceSet

_WORDS = {CLUSTER: "cluster", ENDPOINTS: "endpoints", ROUTES: "route configuration", SECRET: "certificate"}


def check_layers(*layers: ResourceSet) -> tuple[Problem, ...]:
    """A Problem for each resource that refers to one that none of `layers` has.

    Envoy would take such configuration and answer 503, or wait for ever before a listener opens.
    """
    return tuple(_dangling(layers))


def _dangling(layers: tuple[ResourceSet, ...]) -> Iterator[Problem]:
    for layer in layers:
        for named in layer.by_type.values():
            for resource in named.values():
                for type_url, name in resource.requires:
                    if not any(name in other.of_type(type_url) for other in layers):
                        word = _WORDS.get(type_url, type_url)
                        yield Problem(
                            Severity.ERROR,
                            "dangling-xds-reference",
                            f"{resource.name} refers to the {word} '{name}', which this proxy is not given",
                            resource.origins[0] if resource.origins else Origin("weft"),
                            expected="a route to a port that the service declares",
                        )

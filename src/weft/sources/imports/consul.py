"""Consul's catalogue: services, and of each the instances whose checks pass.

https://developer.hashicorp.com/consul/api-docs/health#list-service-instances-for-service
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any
from urllib.parse import quote

from weft.sources.imports.blocking import sorted_instances
from weft.sources.imports.catalogue import ImportedService, ImportReadError, Instance, is_wanted
from weft.sources.imports.labels import account_said, called_by, labels_of, locality_said
from weft.sources.imports.settings import ImportSettings

_ITSELF = "consul"
_MOST_WEIGHT = 128


class Consul:
    """The dialect of `weft.sources.imports.blocking`."""

    index_header = "x-consul-index"
    token_header = "X-Consul-Token"  # noqa: S105

    def usual(self, settings: ImportSettings) -> Mapping[str, str]:
        """See `Dialect`. A stale answer comes from any server, also where there is no leader for the moment."""
        said = {"dc": settings.datacenter, "ns": settings.registry_namespace}
        return {**{name: value for name, value in said.items() if value}, **({"stale": ""} if settings.stale else {})}

    def list_path(self) -> str:
        """See `Dialect`."""
        return "/v1/catalog/services"

    def service_path(self, name: str) -> str:
        """See `Dialect`."""
        return f"/v1/health/service/{quote(name, safe='')}?passing=1"

    def names(self, answer: Any, settings: ImportSettings) -> set[str]:
        """See `Dialect`."""
        if not isinstance(answer, dict):
            raise ImportReadError("its list of services is no JSON object")
        return {
            name
            for name, tags in answer.items()
            if name and name != _ITSELF and is_wanted(name, settings.services) and _has(tags, settings)
        }

    def service(self, name: str, answer: Any, settings: ImportSettings) -> ImportedService:
        """See `Dialect`."""
        if not isinstance(answer, list) or not all(
            isinstance(entry, dict) and isinstance(entry.get("Service"), dict) and isinstance(entry.get("Node"), dict)
            for entry in answer
        ):
            raise ImportReadError(f"its answer about '{name[:80]}' is no list of instances")
        kept = [
            (entry["Node"], entry["Service"])
            for entry in answer
            if not entry["Service"].get("Kind") and _has(entry["Service"].get("Tags"), settings)
        ]
        instances = [_instance(node, service, name) for node, service in kept]
        called = called_by([service.get("Meta") or {} for _, service in kept])
        return ImportedService(name, sorted_instances(instances, name), called.port, called.protocol)

    def check(self, headers: Mapping[str, str]) -> None:
        """See `Dialect`. A server that knows no leader may have lost what it knew. What it streams to itself, as for
        blocking queries, never says that there is one."""
        streamed = headers.get("x-consul-query-backend") == "streaming"
        if headers.get("x-consul-knownleader") == "false" and not streamed:
            raise ImportReadError("its servers have no leader")


def _has(tags: Any, settings: ImportSettings) -> bool:
    said = {each for each in tags if isinstance(each, str)} if isinstance(tags, list) else set()
    return set(settings.tags) <= said


def _instance(node: Mapping[str, Any], service: Mapping[str, Any], name: str) -> Instance:
    address, port = service.get("Address") or node.get("Address"), service.get("Port")
    identity, host = service.get("ID"), node.get("Node")
    if not (isinstance(address, str) and isinstance(port, int) and isinstance(identity, str) and isinstance(host, str)):
        raise ImportReadError(f"an instance of '{name[:80]}' has no address, port or ID")
    meta = service.get("Meta")
    meta = meta if isinstance(meta, dict) else {}
    weights = service.get("Weights")
    weight = weights.get("Passing") if isinstance(weights, dict) else 1
    return Instance(
        id=f"{host}/{identity}",
        address=address,
        port=port,
        labels=labels_of(service.get("Tags") or (), meta),
        locality=locality_said(meta) or _locality(service),
        weight=min(max(weight, 1), _MOST_WEIGHT) if isinstance(weight, int) else 1,
        account=account_said(meta),
    )


def _locality(service: Mapping[str, Any]) -> str:
    found = service.get("Locality")
    if not isinstance(found, dict):
        return ""
    parts = [part for part in (found.get("Region"), found.get("Zone")) if isinstance(part, str) and part]
    return locality_said({"weft-locality": "/".join(parts)})

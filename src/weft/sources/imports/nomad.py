"""Nomad's own service discovery: what the tasks of jobs register while they run.

https://developer.hashicorp.com/nomad/api-docs/services
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any
from urllib.parse import quote

from weft.sources.imports.blocking import sorted_instances
from weft.sources.imports.catalogue import ImportedService, ImportReadError, Instance, is_wanted
from weft.sources.imports.labels import account_said, called_by, labels_of, locality_said
from weft.sources.imports.settings import ImportSettings


class Nomad:
    """The dialect of `weft.sources.imports.blocking`. Nomad has no metadata of services: tags ``weft-port=5432`` and
    the like say it."""

    index_header = "x-nomad-index"
    token_header = "X-Nomad-Token"  # noqa: S105

    def usual(self, settings: ImportSettings) -> Mapping[str, str]:
        """See `Dialect`."""
        said = {"namespace": settings.registry_namespace, "region": settings.datacenter}
        return {**{name: value for name, value in said.items() if value}, **({"stale": ""} if settings.stale else {})}

    def list_path(self) -> str:
        """See `Dialect`."""
        return "/v1/services"

    def service_path(self, name: str) -> str:
        """See `Dialect`."""
        return f"/v1/service/{quote(name, safe='')}"

    def names(self, answer: Any, settings: ImportSettings) -> set[str]:
        """See `Dialect`."""
        if not isinstance(answer, list) or not all(isinstance(each, dict) for each in answer):
            raise ImportReadError("its list of services is no list")
        services = [one for each in answer for one in each.get("Services") or () if isinstance(one, dict)]
        return {
            name
            for one in services
            if isinstance(name := one.get("ServiceName"), str)
            and name
            and is_wanted(name, settings.services)
            and set(settings.tags) <= set(_tags(one))
        }

    def service(self, name: str, answer: Any, settings: ImportSettings) -> ImportedService:
        """See `Dialect`."""
        if not isinstance(answer, list) or not all(isinstance(each, dict) for each in answer):
            raise ImportReadError(f"its answer about '{name[:80]}' is no list of instances")
        kept = [each for each in answer if set(settings.tags) <= set(_tags(each))]
        called = called_by([_said(each) for each in kept])
        instances = [_instance(each, name) for each in kept]
        return ImportedService(name, sorted_instances(instances, name), called.port, called.protocol)

    def check(self, headers: Mapping[str, str]) -> None:
        """See `Dialect`."""
        if headers.get("x-nomad-knownleader") == "false":
            raise ImportReadError("its servers have no leader")


def _tags(one: Mapping[str, Any]) -> list[str]:
    tags = one.get("Tags")
    return [each for each in tags if isinstance(each, str)] if isinstance(tags, list) else []


def _said(one: Mapping[str, Any]) -> dict[str, str]:
    """The tags ``weft-NAME=VALUE``."""
    pairs = [tag.partition("=") for tag in _tags(one)]
    return {name: value for name, equals, value in pairs if equals and name.startswith("weft-")}


def _instance(one: Mapping[str, Any], name: str) -> Instance:
    address, port, identity = one.get("Address"), one.get("Port"), one.get("ID")
    if not (isinstance(address, str) and isinstance(port, int) and isinstance(identity, str)):
        raise ImportReadError(f"an instance of '{name[:80]}' has no address, port or ID")
    said = _said(one)
    tags = [tag for tag in _tags(one) if not tag.startswith("weft-")]
    meta = {"nomad-job": one.get("JobID"), "nomad-datacenter": one.get("Datacenter")}
    return Instance(identity, address, port, labels_of(tags, meta), locality_said(said), account=account_said(said))

"""Rules of mesh-wide settings."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from weft.schema.findings import Finding, Rule, conflicting, missing
from weft.schema.kinds.meshconfig import ConfigMapData, MeshConfigSpec


def mesh_config(spec: MeshConfigSpec) -> Iterator[Finding]:
    """Default retries say how many."""
    retries = spec.default_http_retry_policy
    if retries is not None and retries.attempts is None:
        yield missing(("defaultHttpRetryPolicy",), "the field 'attempts' is missing", "attempts; 0 for no retries")


def config_map_data(spec: ConfigMapData) -> Iterator[Finding]:
    """The settings stand in one place."""
    if spec.mesh is not None and spec.mesh_config is not None:
        yield conflicting(("meshConfig",), "mesh and meshConfig exclude each other", "one of them")


RULES: Mapping[type, tuple[Rule, ...]] = {MeshConfigSpec: (mesh_config,), ConfigMapData: (config_map_data,)}

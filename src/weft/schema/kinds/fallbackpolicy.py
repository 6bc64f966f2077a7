"""weft: FallbackPolicy, another Service takes the calls of one that has no healthy instance."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Literal

from weft.schema.kinds.servicepolicy import ServiceTargets
from weft.schema.scalars import Length, Name, Port, Range


@dataclass(frozen=True, slots=True, kw_only=True)
class FallbackReference:
    """A Service of the mesh, and its port: by default the same number. One of another namespace needs a ReferenceGrant
    there."""

    name: Name
    group: Literal[""] = ""
    kind: Literal["Service"] = "Service"
    namespace: Name | None = None
    port: Port | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class FallbackPolicySpec:
    """Calls to a Service go to the first of `fallbackRefs` that has a healthy instance, while the Service has none: all
    of them are ejected, fail their health checks, drain, or are not there.

    With `belowHealthyPercent` some calls go there already when so many percent of its instances are not healthy any
    more: as many as the others would have to take beyond that. A fallback's own fallbacks do not count.
    """

    target_refs: ServiceTargets
    fallback_refs: Annotated[tuple[FallbackReference, ...], Length(1, 4)]
    below_healthy_percent: Annotated[int, Range(1, 100)] | None = None

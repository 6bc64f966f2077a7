"""weft: what policies for Services have in common: what they are for."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Literal

from weft.schema.scalars import Length, Name, Subdomain


@dataclass(frozen=True, slots=True, kw_only=True)
class ServiceTarget:
    """A Service of the same namespace. `sectionName` narrows it: to a port, by its name or number, or else to a subset
    of its DestinationRule."""

    name: Name
    group: Literal[""] = ""
    kind: Literal["Service"] = "Service"
    section_name: Subdomain | None = None


ServiceTargets = Annotated[tuple[ServiceTarget, ...], Length(1, 16)]

"""weft: CsrfPolicy, requests that change something come from pages of the same site."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated

from weft.schema.kinds.edge import EdgeTarget
from weft.schema.scalars import Hostname, Length


@dataclass(frozen=True, slots=True, kw_only=True)
class CsrfPolicySpec:
    """Requests that change something (POST, PUT, PATCH, DELETE) come from pages of the host they go to, or of one of
    `additionalOrigins`, by their ``Origin`` or ``Referer``. Others are refused with 403, and so are those with neither
    header."""

    target_refs: Annotated[tuple[EdgeTarget, ...], Length(1, 16)]
    additional_origins: Annotated[tuple[Hostname, ...], Length(0, 64)] = ()

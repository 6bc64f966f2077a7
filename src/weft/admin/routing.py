"""The route table's rows: what is served where, and what the OpenAPI description says about it."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass

from aiohttp import web


@dataclass(frozen=True, slots=True)
class Parameter:
    """A query parameter or header of a route; `kind` is its JSON Schema type."""

    name: str
    text: str
    kind: str = "string"
    place: str = "query"


@dataclass(frozen=True, slots=True)
class Route:
    """One row. `body` tells what the request carries (empty: nothing); `public` needs no token, `readable` only
    that of readers; `answer` names the schema of what it answers (empty: not described)."""

    method: str
    path: str
    handler: Callable[[web.Request], Awaitable[web.StreamResponse]]
    summary: str
    parameters: tuple[Parameter, ...] = ()
    body: str = ""
    public: bool = False
    answer: str = ""
    readable: bool = False


WAIT = Parameter("wait", "seconds to wait until every proxy concerned has confirmed", "number")

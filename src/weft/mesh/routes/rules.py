"""Route nodes: what a request must look like and what is done with it."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal

from weft.mesh.access.guard import Authorizer, Guard, Login, servers_of
from weft.mesh.services.service import BackendKey
from weft.model.document import ObjectKey
from weft.model.labels import Labels
from weft.model.origin import Origin

MatchKind = Literal["exact", "prefix", "segment-prefix", "regex", "present"]


@dataclass(frozen=True, slots=True)
class TextMatch:
    """A condition on a text. ``segment-prefix`` (paths only) matches whole segments; ``present`` ignores `value`."""

    kind: MatchKind
    value: str = ""
    ignore_case: bool = False

    @property
    def everything(self) -> bool:
        """Whether every path meets it at first sight."""
        match self.kind:
            case "present":
                return True
            case "prefix" | "segment-prefix":
                return self.value in ("", "/")
            case "regex":
                return self.value == ".*"
            case "exact":
                return False


@dataclass(frozen=True, slots=True)
class NamedMatch:
    """A condition on a header or query parameter; `invert` asks that it does not hold."""

    name: str
    match: TextMatch
    invert: bool = False


@dataclass(frozen=True, slots=True)
class ClaimMatch:
    """A condition on a claim of the request's valid token, at `path`: a text, or a list that has such a text; `invert`
    asks that it does not hold, which is so without a token, too."""

    path: tuple[str, ...]
    match: TextMatch
    invert: bool = False


@dataclass(frozen=True, slots=True)
class RequestMatch:
    """All conditions must hold; the empty one matches every request."""

    path: TextMatch | None = None
    method: TextMatch | None = None
    scheme: TextMatch | None = None
    authority: TextMatch | None = None
    headers: tuple[NamedMatch, ...] = ()
    query: tuple[NamedMatch, ...] = ()
    claims: tuple[ClaimMatch, ...] = ()

    @property
    def everything(self) -> bool:
        """Whether every request meets it at first sight."""
        if self.method or self.scheme or self.authority or self.headers or self.query or self.claims:
            return False
        return self.path is None or self.path.everything


@dataclass(frozen=True, slots=True)
class SourceMatch:
    """Which callers a rule is for. Empty fields match all."""

    namespace: str = ""
    labels: Labels = ()

    def covers(self, namespace: str, selectors: tuple[Labels, ...]) -> bool:
        """Whether callers in `namespace` that match exactly these source selectors are meant."""
        return self.namespace in ("", namespace) and (not self.labels or self.labels in selectors)


EVERYBODY = SourceMatch()


@dataclass(frozen=True, slots=True)
class HeaderChanges:
    """Header operations, applied in the order set, add, remove."""

    set: tuple[tuple[str, str], ...] = ()
    add: tuple[tuple[str, str], ...] = ()
    remove: tuple[str, ...] = ()


NO_CHANGES = HeaderChanges()


@dataclass(frozen=True, slots=True)
class PathRewrite:
    """``full`` replaces the path, ``prefix`` the matched prefix (exact text), ``segment-prefix`` the matched prefix by
    Gateway API's rules about slashes, ``regex`` every find of `pattern`. The query string always stays."""

    kind: Literal["full", "prefix", "segment-prefix", "regex"]
    value: str
    pattern: str = ""


@dataclass(frozen=True, slots=True)
class Session:
    """All requests of a client go to the instance that its first went to: it brings back a cookie (for `path`, kept for
    `lifetime` seconds, None: until the client ends, over TLS only if `secure`) or a header called `name`."""

    kind: Literal["cookie", "header"]
    name: str
    lifetime: float | None = None
    path: str = "/"
    secure: bool = False


@dataclass(frozen=True, slots=True)
class WeightedBackend:
    """A destination, or None for one that does not exist: its share of the requests gets the Forward's
    `missing_status`. `request` and `response` are its own changes. `by_caller`: the request says itself where it
    goes. `session` is that of its service, where the Forward has none."""

    backend: BackendKey | None
    weight: int = 1
    request: HeaderChanges = NO_CHANGES
    response: HeaderChanges = NO_CHANGES
    host_rewrite: str = ""
    path_rewrite: PathRewrite | None = None
    by_caller: bool = False
    session: Session | None = None


@dataclass(frozen=True, slots=True)
class Mirror:
    """Send a copy of `percent` (0 to 100) of the requests to `backend`; its answer is dropped."""

    backend: BackendKey
    percent: float = 100.0


@dataclass(frozen=True, slots=True)
class Retry:
    """`attempts` tries after the first. `conditions` in Envoy's x-envoy-retry-on words, `codes` HTTP statuses. Tries go
    to an endpoint that was not tried (`other_host`), after two of them to localities that were not (`other_locality`).
    """

    attempts: int
    conditions: tuple[str, ...] = ()
    codes: tuple[int, ...] = ()
    per_try_timeout: float | None = None
    backoff: float | None = None
    other_host: bool = False
    other_locality: bool = False


SAFE_RETRY = Retry(
    attempts=2, conditions=("connect-failure", "refused-stream", "reset-before-request"), other_host=True
)
"""The default: only where the request cannot have been processed, and on another endpoint if there is one."""


@dataclass(frozen=True, slots=True)
class Fault:
    """Injected delay (seconds) and abort, each for a share of requests (0 to 100)."""

    delay: float | None = None
    delay_percent: float = 100.0
    abort_http: int | None = None
    abort_grpc: int | None = None
    abort_percent: float = 100.0


@dataclass(frozen=True, slots=True)
class Cors:
    """Cross-origin policy. `max_age` in seconds. `forward_unmatched`: preflight requests of origins that it does not
    name go to the backend."""

    origins: tuple[TextMatch, ...] = ()
    methods: tuple[str, ...] = ()
    headers: tuple[str, ...] = ()
    expose: tuple[str, ...] = ()
    max_age: float | None = None
    credentials: bool = False
    forward_unmatched: bool = True


@dataclass(frozen=True, slots=True)
class Forward:
    """Send to one of the backends by weight. No backend, or a total weight of 0, answers `missing_status`.

    `timeout` is how long the answer may take, in seconds: None if nobody said, 0 if there is to be no bound. `retry`
    None means the safe default, each try of it within `per_try_timeout` if there is one. `missing_status` answers the
    share of a backend that does not exist. `websocket`: a backend says that it speaks WebSocket, where long silence is
    usual. `session`: who has one stays at its instance, unless its backend is `deserted`. `hedge`: of a request that
    changes nothing, a try that takes longer than its time goes on beside the next.
    """

    backends: tuple[WeightedBackend, ...]
    timeout: float | None = None
    retry: Retry | None = None
    per_try_timeout: float | None = None
    host_rewrite: str = ""
    path_rewrite: PathRewrite | None = None
    mirrors: tuple[Mirror, ...] = ()
    missing_status: int = 500
    websocket: bool = False
    session: Session | None = None
    deserted: tuple[BackendKey, ...] = ()
    hedge: bool = False


@dataclass(frozen=True, slots=True)
class Redirect:
    """Answer with a redirect. Empty fields keep the request's. `port` 0 lets the client's port stand only if the scheme
    stays and `port_from_request`; otherwise the scheme's default port, unwritten."""

    status: int
    scheme: str = ""
    host: str = ""
    port: int = 0
    port_from_request: bool = False
    path_rewrite: PathRewrite | None = None


@dataclass(frozen=True, slots=True)
class Respond:
    """Answer at once."""

    status: int
    body: bytes = b""


Action = Forward | Redirect | Respond


@dataclass(frozen=True, slots=True)
class Rule:
    """One rule with one match, in force for the callers in `source`. `object` and `origin` say which document made it;
    `index` which of its rules, `place` which of that rule's matches. `sampling` is the share of its requests that are
    traced where the caller did not decide (0 to 100), None where the proxy's own holds. `access_log`: whether its
    requests have lines in access logs whatever these say. `authorizer` is asked about each of its requests; `guard` is
    what a client at a gateway meets, `limited` the RateLimitPolicy (``namespace/name``) whose limits hold there.
    `stat_prefix` names statistics of its own."""

    name: str
    match: RequestMatch
    action: Action
    origin: Origin
    object: ObjectKey | None = None
    index: int = 0
    place: int = 0
    source: SourceMatch = SourceMatch()
    request: HeaderChanges = NO_CHANGES
    response: HeaderChanges = NO_CHANGES
    fault: Fault | None = None
    cors: Cors | None = None
    sampling: float | None = None
    access_log: Literal["", "on", "off"] = ""
    authorizer: Authorizer | None = None
    guard: Guard | None = None
    limited: str = ""
    stat_prefix: str = ""

    def backends(self) -> Iterator[BackendKey]:
        """Every backend that it sends requests or copies to."""
        if isinstance(self.action, Forward):
            yield from (item.backend for item in self.action.backends if item.backend is not None)
        yield from self.mirrors()

    def mirrors(self) -> Iterator[BackendKey]:
        """Every backend that it sends copies and questions to: a proxy has to know it before there is a request."""
        asked = servers_of((self.authorizer,), (self.guard.find(Login) if self.guard else None,))
        yield from (server.backend for server, _ in asked if server.backend is not None)
        if isinstance(self.action, Forward):
            yield from (mirror.backend for mirror in self.action.mirrors)


@dataclass(frozen=True, slots=True)
class VirtualHost:
    """The rules of some hosts, in the order they are tried; no rule matching answers 404.

    `domains` are lower-case host names without port, ``*`` or with a leading ``*.``; `port` is the service port they
    are for (0: any). In a view, `rules` holds only those for its callers.
    """

    name: str
    domains: tuple[str, ...]
    port: int
    rules: tuple[Rule, ...]

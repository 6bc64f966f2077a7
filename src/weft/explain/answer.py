"""What an explanation consists of. As JSON these are the names of the admin API and of ``-o json``."""

from __future__ import annotations

from dataclasses import dataclass, field


@dataclass(frozen=True, slots=True)
class Decider:
    """The document that decides: ``KIND NAMESPACE/NAME``, and ``FILE:LINE``."""

    object: str
    source: str


@dataclass(frozen=True, slots=True)
class Tried:
    """A rule that was tried, in order. `why` has what the request does not meet; empty for the one that decides."""

    rule: Decider | None
    name: str
    match: str
    why: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Share:
    """Where a share (0 to 1) of the requests goes; `cluster` empty: nowhere, that share is answered by the proxy."""

    cluster: str
    share: float
    service: str = ""
    port: int = 0
    subset: str = ""


@dataclass(frozen=True, slots=True)
class EndpointState:
    """An instance that could be chosen, or why it cannot: `health` is healthy, unhealthy, draining or starting."""

    address: str
    workload: str
    health: str
    accepts: str = ""
    note: str = ""


@dataclass(frozen=True, slots=True)
class Hop:
    """What one proxy does. `side` is outbound, inbound or gateway; `does` says in words what the rule does, `transport`
    how the connection onwards is protected. `verdicts` are those of policies. Where the hop was seen and not computed,
    `time`, `duration_ms`, `status`, `flags` and `meaning` say what happened."""

    proxy: str
    side: str
    rule: Decider | None = None
    match: str = ""
    does: tuple[str, ...] = ()
    tried: tuple[Tried, ...] = ()
    split: tuple[Share, ...] = ()
    cluster: str = ""
    transport: str = ""
    endpoints: tuple[EndpointState, ...] = ()
    verdicts: tuple[str, ...] = ()
    time: str = ""
    duration_ms: float | None = None
    status: int | None = None
    flags: str = ""
    meaning: str = ""
    upstream: str = ""
    attempts: int = 0


@dataclass(frozen=True, slots=True)
class Cause:
    """Something that is wrong, or that explains the answer; the most telling first. `code` is stable, `object` and
    `source` say where it is written if it is, `fix` what to do, `page` where the pages say more."""

    code: str
    text: str
    object: str = ""
    source: str = ""
    fix: str = ""
    severity: str = "error"
    page: str = ""


@dataclass(frozen=True, slots=True)
class Change:
    """What was changed before: revision, when, who, which object and where it is written."""

    revision: int
    time: str
    who: str
    action: str
    object: str
    source: str = ""


@dataclass(frozen=True, slots=True)
class Answer:
    """What a request gets: `status` where a proxy answers itself, None where the application does. `outcome` is
    forwarded, answered, refused or unavailable."""

    outcome: str
    text: str
    status: int | None = None


@dataclass(frozen=True, slots=True)
class Explanation:
    """The whole: the answer, the proxies on the way, what was changed lately, and the causes. `worked_until` is when
    calls of this caller to this service last succeeded, as far as the window of traffic knows (empty: not known)."""

    answer: Answer
    hops: tuple[Hop, ...] = ()
    changed: tuple[Change, ...] = ()
    causes: tuple[Cause, ...] = field(default=())
    worked_until: str = ""

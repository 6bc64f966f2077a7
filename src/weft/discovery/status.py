"""What the hub reports: the state of proxies, refused resources, the outcome of waiting for a revision."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

from weft.discovery.refusals import UNCOMPARED, Verdict
from weft.discovery.stream import Stream
from weft.discovery.subscription import Rejection
from weft.model.origin import Origin
from weft.model.printable import printable


@dataclass(frozen=True, slots=True)
class Nack:
    """A proxy refused a resource. `type` is its short name (``Listener``), `message` the proxy's own words; `taken_by`
    is how many others have taken the very same, and with `stands_alone` these are more than those who refuse it."""

    proxy: str
    type: str
    resource: str
    message: str
    origins: tuple[Origin, ...]
    taken_by: int = 0
    stands_alone: bool = False


@dataclass(frozen=True, slots=True)
class TypeStatus:
    """One resource type of one stream. `subscribed` counts names; with `wildcard`, all the proxy is entitled to.

    `sent`, `acked` and `nacked` count responses; `pending` resources that the proxy does not hold as it should,
    `rejected` those it refuses at present.
    """

    type: str
    wildcard: bool
    subscribed: int
    sent: int
    acked: int
    nacked: int
    pending: int
    rejected: int
    bytes: int


@dataclass(frozen=True, slots=True)
class ProxyStatus:
    """One connected stream. Times are seconds since the epoch; `revision` is that of its snapshot. `stuck`: the proxy
    has not answered for so long that nobody waits for it; `envoy` is the version it says it has."""

    name: str
    variant: Literal["delta", "sotw"]
    connected: float
    identity: str
    certificate_expires: float
    revision: int
    revision_acked: int
    bytes_sent: int
    types: tuple[TypeStatus, ...]
    last_nack: Nack | None
    stuck: bool = False
    envoy: str = ""

    @property
    def pending(self) -> bool:
        """Whether the proxy has not acknowledged everything yet."""
        return self.revision_acked < self.revision


@dataclass(frozen=True, slots=True)
class WaitResult:
    """Proxies whose configuration changed with a revision. `gone` were concerned, but have disconnected or had nothing
    yet; `stuck` have not answered anything for so long that they were not waited for.

    A proxy that refused something is in `nacked`, not in `confirmed`. `published` is False when the wait timed out
    before the revision was offered to anyone. `when` are the moments (monotonic seconds) at which this was learnt of
    those in `confirmed`.
    """

    confirmed: tuple[str, ...]
    nacked: tuple[Nack, ...]
    pending: tuple[str, ...]
    gone: tuple[str, ...] = ()
    stuck: tuple[str, ...] = ()
    published: bool = True
    when: Mapping[str, float] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Lack:
    """What a proxy has not taken: it `refused` something, in its own words, or has not answered."""

    text: str
    refused: bool = False


def status_of(stream: Stream, *, stuck: bool = False) -> ProxyStatus:
    """The state of one stream."""
    session = stream.session
    types = tuple(
        TypeStatus(
            short_type(type_url),
            one.wildcard,
            len(one.names),
            one.counters.sent,
            one.counters.acked,
            one.counters.nacked,
            one.outstanding,
            len(one.rejected),
            one.counters.bytes,
        )
        for type_url, one in session.subscriptions.items()
    )
    last = session.last_nack
    return ProxyStatus(
        stream.proxy,
        session.variant,
        stream.connected,
        str(stream.peer.identity),
        stream.peer.not_after,
        session.snapshot.revision,
        stream.acked_revision,
        stream.bytes_sent,
        types,
        None if last is None else nack_from_rejection(stream.proxy, last),
        stuck,
        stream.client,
    )


def nack_from_rejection(proxy: str, rejection: Rejection, verdict: Verdict = UNCOMPARED) -> Nack:
    """What is reported of a refusal."""
    kind = short_type(rejection.type_url)
    return Nack(proxy, kind, rejection.name, rejection.message, rejection.origins, verdict.taken, verdict.stands_alone)


def short_type(type_url: str) -> str:
    """``Cluster`` for ``type.googleapis.com/envoy.config.cluster.v3.Cluster``; clients may ask for any type."""
    return printable(type_url.rpartition("/")[2].rpartition(".")[2], 100)

"""A Session: the state machine of one xDS stream, without I/O or clock; variants are in delta.py and sotw.py.

Order of what is sent (Envoy's "eventual consistency considerations"): clusters and endpoints; when the client has
acknowledged those, listeners and routes; when it has acknowledged everything, removals: listeners, routes, clusters,
endpoints, each after the ACK of the one before. Endpoints never wait for the ACK of clusters, because Envoy holds that
back until the clusters are warm, and for that it needs their endpoints. One response per type is on the way at a time;
what changes meanwhile is merged into the next.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from typing import Literal

from weft.discovery.blame import named_resources
from weft.discovery.limits import Limits
from weft.discovery.shared import Shared
from weft.discovery.subscription import ABSENT, UNKNOWN, Flight, Pending, Rejection, Subscription
from weft.xds.snapshot import CLUSTER, ENDPOINTS, LISTENER, ROUTES, SECRET, TYPES, Resource, XdsSnapshot

MAX_MESSAGE = 2000
"""Characters of a client's error message that are kept."""
_FREE = (CLUSTER, ENDPOINTS, SECRET)
_GATED = (LISTENER, ROUTES)
_REMOVALS = ((LISTENER,), (ROUTES,), (CLUSTER, SECRET), (ENDPOINTS,))
Items = list[tuple[str, Resource | None]]


class RefusedRequestError(Exception):
    """The client broke a limit or the protocol: its stream ends. `code` is a kebab-case word."""

    def __init__(self, code: str, message: str) -> None:
        super().__init__(message)
        self.code = code


@dataclass(frozen=True, slots=True)
class Outgoing:
    """A response to write: its encoded message."""

    type_url: str
    nonce: str
    body: bytes = field(repr=False)


class Session(ABC):
    """What both variants share. `snapshot` is what the client should hold as far as it subscribed to it."""

    variant: Literal["delta", "sotw"]

    def __init__(self, snapshot: XdsSnapshot, shared: Shared, limits: Limits) -> None:
        self.snapshot = snapshot
        self.subscriptions: dict[str, Subscription] = {}
        self.last_nack: Rejection | None = None
        self._shared = shared
        self._limits = limits
        self._nonce = 0
        self._rejected = 0

    # what the hub asks

    def offer(self, snapshot: XdsSnapshot) -> None:
        """From now on the client should hold `snapshot`; what is not sent yet is merged into it."""
        before, self.snapshot = self.snapshot, snapshot
        for subscription in self.subscriptions.values():
            names = self._shared.touched(before, snapshot, subscription.type_url)
            if not names:
                continue
            for name in sorted(subscription.touched(names)):
                self._changed(subscription, name, before)
            subscription.tidy()

    def next(self) -> Outgoing | None:
        """The next response to write, if any may be written now."""
        if not any(subscription.pending or subscription.greet for subscription in self.subscriptions.values()):
            return None
        for type_url, subscription in self.subscriptions.items():
            if type_url not in TYPES and (out := self._send_additions(subscription)):
                return out
        for type_url in _FREE:
            if out := self._send_additions(self.subscriptions.get(type_url)):
                return out
        if not (self._quiet(CLUSTER) and self._quiet(ENDPOINTS)):
            return None
        for type_url in _GATED:
            if out := self._send_additions(self.subscriptions.get(type_url)):
                return out
        return self._next_removal() if self._removals_waiting() and all(map(self._quiet, TYPES)) else None

    @property
    def acked_revision(self) -> int:
        """The highest revision of which the client has acknowledged or refused everything; -1 before its first load."""
        if not self._loaded():
            return -1
        oldest = self.snapshot.revision + 1
        for subscription in self.subscriptions.values():
            for name, entry in subscription.pending.items():
                if entry.first < oldest and not self._at_rest(subscription, name, entry):
                    oldest = entry.first
        return oldest - 1

    def rejections(self) -> Iterator[Rejection]:
        """What the client refuses at present."""
        if self._rejected:
            for subscription in self.subscriptions.values():
                yield from subscription.rejected.values()

    def unmet(self) -> Iterator[tuple[str, str]]:
        """Names (as type, name) the client asked for that were never in its snapshot since."""
        for subscription in self.subscriptions.values():
            for name in subscription.unmet:
                yield subscription.type_url, name

    # subscriptions

    def _subscription(self, type_url: str) -> tuple[Subscription, bool]:
        """The state of a type and whether this is the first request for it."""
        known = self.subscriptions.get(type_url)
        if known is not None:
            return known, False
        if len(self.subscriptions) >= self._limits.types:
            raise RefusedRequestError("too-many-types", f"more than {self._limits.types} resource types on one stream")
        if len(type_url) > self._limits.name_bytes:
            raise RefusedRequestError("name-too-long", "the type URL is too long")
        fresh = self.subscriptions[type_url] = Subscription(type_url)
        return fresh, True

    def _check_names(self, names: Iterable[str], total: int) -> None:
        if total > self._limits.names:
            raise RefusedRequestError("too-many-names", f"{total} names of one type; at most {self._limits.names}")
        if max(map(len, names), default=0) > self._limits.name_bytes:
            raise RefusedRequestError("name-too-long", f"a resource name exceeds {self._limits.name_bytes} characters")

    def _expect(self, subscription: Subscription, name: str, held: str) -> None:
        """The client wants `name` and holds version `held` of it."""
        resource = self.snapshot.get(subscription.type_url, name)
        if resource is None:
            subscription.unmet.add(name)
        if held != (resource.version if resource is not None else ABSENT):
            revision = self.snapshot.revision
            subscription.pending[name] = Pending(held, None, revision, revision)
        if subscription.flight is not None:
            subscription.flight.sent.pop(name, None)

    def _forget(self, subscription: Subscription, name: str) -> None:
        subscription.pending.pop(name, None)
        self._clear_rejection(subscription, name)
        subscription.unmet.discard(name)
        if subscription.flight is not None:
            subscription.flight.sent.pop(name, None)

    # changes

    def _changed(self, subscription: Subscription, name: str, before: XdsSnapshot) -> None:
        resource = self.snapshot.get(subscription.type_url, name)
        version = ABSENT if resource is None else resource.version
        revision = self.snapshot.revision
        if resource is not None:
            subscription.unmet.discard(name)
        entry = subscription.pending.get(name)
        if entry is None:
            old = before.get(subscription.type_url, name)
            held = ABSENT if old is None else old.version
            if held != version:
                subscription.pending[name] = Pending(held, old, revision, revision)
            return
        entry.last = revision
        entry.again = entry.again and resource is not None
        refused = subscription.rejected.get(name)
        if refused is not None and refused.version != version:
            self._clear_rejection(subscription, name)
            entry.first = revision
        if subscription.flying(name):
            entry.later = entry.later or revision
        elif entry.held == version and not entry.again:
            del subscription.pending[name]
        elif resource is None and entry.held not in (ABSENT, UNKNOWN) and entry.old is None:
            entry.old = before.get(subscription.type_url, name)

    def _clear_rejection(self, subscription: Subscription, name: str) -> None:
        if subscription.rejected.pop(name, None) is not None:
            self._rejected -= 1

    # acknowledgement

    def _answered(self, subscription: Subscription, message: str | None) -> tuple[Rejection, ...]:
        """The client answered the response on the way: None accepts, a message refuses. Returns what it refused."""
        flight, subscription.flight = subscription.flight, None
        refused: tuple[Rejection, ...] = ()
        if flight is None:
            return refused
        if message is None:
            subscription.counters.acked += 1
            accepted: Iterable[str] = flight.sent
        else:
            subscription.counters.nacked += 1
            refused, accepted = self._refused(subscription, flight, message[:MAX_MESSAGE])
        for name in accepted:
            self._accepted(subscription, name, flight.sent[name])
        subscription.tidy()
        return refused

    def _accepted(self, subscription: Subscription, name: str, sent: Resource | None) -> None:
        entry = subscription.pending.get(name)
        if entry is None:
            return
        entry.held, entry.old = (ABSENT, None) if sent is None else (sent.version, sent)
        if entry.held == self._version(subscription.type_url, name) and not entry.again:
            del subscription.pending[name]
        else:
            entry.first = entry.later or entry.first
            entry.later = 0

    def _refused(
        self, subscription: Subscription, flight: Flight, message: str
    ) -> tuple[tuple[Rejection, ...], list[str]]:
        """Hold what the client refused; returns that and the names that count as accepted."""
        changed = {name: resource for name, resource in flight.sent.items() if resource is not None}
        bad = named_resources(message, changed) or self._suspects(subscription, changed)
        rejections = []
        for name in bad:
            resource, entry = changed[name], subscription.pending.get(name)
            if entry is None:
                continue
            rejection = Rejection(
                subscription.type_url, name, resource.version, message, resource.origins, entry.first, entry.last
            )
            rejections.append(rejection)
            entry.again = False
            current = self._version(subscription.type_url, name)
            if resource.version == current:
                self._rejected += name not in subscription.rejected
                subscription.rejected[name] = rejection
            elif entry.held == current:
                del subscription.pending[name]
            else:
                entry.first, entry.later = entry.later or entry.first, 0
        if rejections:
            self.last_nack = rejections[0]
        return tuple(rejections), self._accepted_besides(flight, changed, bad)

    @abstractmethod
    def _suspects(self, subscription: Subscription, changed: dict[str, Resource]) -> list[str]:
        """Which resources a refusal that names none is about."""

    @abstractmethod
    def _accepted_besides(self, flight: Flight, changed: dict[str, Resource], bad: list[str]) -> list[str]:
        """Which names of a refused response the client has accepted all the same."""

    # what may be sent

    def _version(self, type_url: str, name: str) -> str:
        resource = self.snapshot.get(type_url, name)
        return ABSENT if resource is None else resource.version

    def _additions(self, subscription: Subscription) -> Iterator[tuple[str, Resource | None]]:
        """What may be added or changed at the client; None tells that a name does not exist."""
        for name, entry in subscription.pending.items():
            resource = self.snapshot.get(subscription.type_url, name)
            if resource is None:
                if entry.held == UNKNOWN:
                    yield name, None
            elif not self._held_back(subscription, resource) and (entry.held != resource.version or entry.again):
                yield name, resource

    def _held_back(self, subscription: Subscription, resource: Resource) -> bool:
        """Whether the client refused just this version, or one that it needs and has no earlier version of."""
        if not self._rejected:
            return False
        refused = subscription.rejected.get(resource.name)
        if refused is not None and refused.version == resource.version:
            return True
        for type_url, name in resource.requires:
            other = self.subscriptions.get(type_url)
            if other is not None and name in other.rejected and other.pending[name].held in (ABSENT, UNKNOWN):
                return True
        return False

    def _quiet(self, type_url: str) -> bool:
        """Whether no addition of a type is waiting or on the way."""
        subscription = self.subscriptions.get(type_url)
        if subscription is None or (subscription.flight is None and not subscription.pending):
            return True
        if subscription.flight is not None and not subscription.flight.removal:
            return False
        return next(self._additions(subscription), None) is None

    def _send_additions(self, subscription: Subscription | None) -> Outgoing | None:
        if subscription is None or subscription.flight is not None:
            return None
        if not subscription.pending and not subscription.greet:
            return None
        items = list(self._additions(subscription))
        while subscription.apart and items:
            group = subscription.apart.pop(0)
            if chosen := [item for item in items if item[0] in group]:
                items = chosen
                break
        if not items and not subscription.greet:
            return None
        subscription.greet = False
        out = self._compose(subscription, items, removal=False)
        if out is not None and subscription.type_url == CLUSTER:
            self._resend_endpoints(self._sent(subscription))
        return out

    @staticmethod
    def _sent(subscription: Subscription) -> list[Resource | None]:
        return [] if subscription.flight is None else list(subscription.flight.sent.values())

    def _resend_endpoints(self, clusters: Iterable[Resource | None]) -> None:
        """A cluster that was sent again waits for its endpoints again, even if they are the same."""
        endpoints = self.subscriptions.get(ENDPOINTS)
        if endpoints is None:
            return
        for cluster in clusters:
            if cluster is None:
                continue
            for name in [name for kind, name in cluster.requires if kind == ENDPOINTS] or [cluster.name]:
                resource = self.snapshot.get(ENDPOINTS, name)
                if resource is None or not endpoints.wants(name):
                    continue
                revision = self.snapshot.revision
                entry = endpoints.pending.get(name)
                if entry is None:
                    entry = endpoints.pending[name] = Pending(resource.version, resource, revision, revision)
                entry.again = True

    # removals

    def _removable(self, subscription: Subscription) -> list[str]:
        return [
            name
            for name, entry in subscription.pending.items()
            if entry.held not in (ABSENT, UNKNOWN) and self.snapshot.get(subscription.type_url, name) is None
        ]

    def _removals_waiting(self) -> bool:
        return any(subscription.pending for subscription in self.subscriptions.values())

    def _removals_held(self, type_url: str) -> bool:
        """A client that refused a listener or routes goes on with the old ones, which need the old clusters."""
        if not self._rejected or type_url in _GATED:
            return False
        for kind in _GATED:
            subscription = self.subscriptions.get(kind)
            for name in subscription.pending if subscription is not None else ():
                resource = self.snapshot.get(kind, name)
                if resource is not None and self._held_back(self.subscriptions[kind], resource):
                    return True
        return False

    def _next_removal(self) -> Outgoing | None:
        for stage in _REMOVALS:
            busy = False
            for type_url in stage:
                subscription = self.subscriptions.get(type_url)
                if subscription is None or not subscription.pending or self._removals_held(type_url):
                    continue
                names = self._removable(subscription)
                busy = busy or bool(names)
                if names and subscription.flight is None:
                    items: Items = [(name, None) for name in names]
                    if out := self._compose(subscription, items, removal=True):
                        return out
            if busy and any(s.flight for t in stage if (s := self.subscriptions.get(t)) is not None):
                return None
        return None

    def _at_rest(self, subscription: Subscription, name: str, entry: Pending) -> bool:
        """Whether a difference stays as it is until the configuration changes."""
        if subscription.flying(name) or not self._rejected:
            return False
        resource = self.snapshot.get(subscription.type_url, name)
        if resource is None:
            return entry.held not in (ABSENT, UNKNOWN) and self._removals_held(subscription.type_url)
        return self._held_back(subscription, resource)

    # variants

    @abstractmethod
    def _loaded(self) -> bool:
        """Whether the client has asked for what it will hold."""

    @abstractmethod
    def _compose(self, subscription: Subscription, items: Items, *, removal: bool) -> Outgoing | None:
        """Encode a response and put it on the way. None if there is no way to say it: then it counts as said."""

    def _launch(self, subscription: Subscription, sent: dict[str, Resource | None], *, removal: bool) -> str:
        """Put a response on the way; returns its nonce."""
        self._nonce += 1
        nonce = f"{self._nonce:x}"
        subscription.flight = Flight(nonce, sent, removal)
        subscription.nonce = nonce
        for name in sent:
            if (entry := subscription.pending.get(name)) is not None:
                entry.again, entry.later = False, 0
        return nonce

    def _count(self, subscription: Subscription, body: bytes, resources: int) -> None:
        subscription.counters.sent += 1
        subscription.counters.resources += resources
        subscription.counters.bytes += len(body)

"""Federation: fetches the bundles of other trust domains, keeps them through outages, and says how it stands.

https://github.com/spiffe/spiffe/blob/main/standards/SPIFFE_Federation.md. A bundle that cannot be fetched again stays
in force for a week: a trust domain does not lose its callers because its endpoint is down. What was fetched is in the
store, so it is there after a restart, and in all replicas.
"""

from __future__ import annotations

import asyncio
import datetime
import logging
import ssl
import time
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, replace

from cryptography import x509
from cryptography.hazmat.primitives import hashes

from weft.admin.context import Compiled
from weft.aio.cell import Cell
from weft.aio.fetch import FetchError, FetchLimits, Network, fetch
from weft.ca.authority import Authority
from weft.controlplane.spiffe_tls import spiffe_client_context
from weft.mesh.policies.federatedtrustdomain import BundleEndpoint, Federation, ForeignDomain
from weft.model.bundles import MAX_BUNDLE_BYTES, BundleError, ForeignBundle, bundle_from_json
from weft.model.federation import DomainState, RootState
from weft.model.printable import printable
from weft.model.problem import Problem, Severity
from weft.sources.bundles import forget, kept_bundles, put_bundle, put_time
from weft.store.protocol import Change, Store, StoreError

KEPT_SECONDS = 7 * 24 * 3600.0
DEFAULT_REFRESH = 300.0
SHORTEST_REFRESH = 10.0
LONGEST_REFRESH = 3600.0
_FIRST_RETRY = 1.0
_LONGEST_RETRY = 60.0
_TIME_KEPT_EVERY = 3600.0
_LOOK_SECONDS = 30.0
_FAILURES_TOLD = 3
_AT_ONCE = 8
_LIMITS = FetchLimits(size=MAX_BUNDLE_BYTES)
_log = logging.getLogger("weft.federation")
Get = Callable[[str, ssl.SSLContext | None], Awaitable[str]]
"""The text at a URL; with a context, from whom that accepts. Raises FetchError."""


@dataclass(frozen=True, slots=True)
class Tried:
    """How fetching from one source went. Times are epoch seconds; `fetched` 0: never."""

    fetched: float = 0.0
    written: float = 0.0
    next: float = 0.0
    failures: int = 0
    error: str = ""


def get_within_limits(networks: Sequence[Network]) -> Get:
    """Fetches from public addresses and from `networks`, over HTTPS only."""

    async def get(url: str, tls: ssl.SSLContext | None) -> str:
        body = (await fetch(url, networks, limits=_LIMITS, tls=tls)).body
        try:
            return body.decode()
        except UnicodeDecodeError as error:
            raise FetchError("its answer is no text") from error

    return get


class Bundles:
    """Owns what is kept of other trust domains. `run` is its one task."""

    def __init__(
        self,
        store: Store,
        compiled: Cell[Compiled],
        authority: Authority,
        get: Get,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._store = store
        self._compiled = compiled
        self._authority = authority
        self._get = get
        self._clock = clock
        self._kept: dict[str, ForeignBundle] = {}
        self._tried: dict[str, Tried] = {}

    async def load(self) -> None:
        """Read what was fetched before. StoreError if it cannot be."""
        kept, times = await kept_bundles(self._store)
        self._kept = dict(kept)
        for name, bundle in kept.items():
            fetched = times.get(name, 0.0)
            self._tried[bundle.source] = Tried(fetched, fetched)

    async def run(self) -> None:
        """Fetch what is due, for ever."""
        version = 0
        while True:
            try:
                await self.refresh()
            except StoreError as error:
                _log.warning("bundles of other trust domains cannot be kept, trying again: %s", error)
            waits = [self._tried[each.source].next for each in self._endpoints() if each.source in self._tried]
            due = min(waits, default=0.0)
            pause = min(max(due - self._clock(), _FIRST_RETRY), _LOOK_SECONDS) if due else _LOOK_SECONDS
            try:
                async with asyncio.timeout(pause):
                    version = await self._compiled.changed(version)
            except TimeoutError:
                continue

    async def refresh(self) -> None:
        """Fetch each bundle that is due, and drop those that nobody names or that are too old. StoreError."""
        if self._compiled.value.mesh is None:
            return
        endpoints = {each.source: each for each in self._endpoints()}
        now = self._clock()
        due = [each for each in endpoints.values() if self._tried.get(each.source, Tried()).next <= now]
        for at in range(0, len(due), _AT_ONCE):
            await asyncio.gather(*(self._fetch(each) for each in due[at : at + _AT_ONCE]))
        gone = [name for name, kept in self._kept.items() if self._is_over(kept, endpoints, now)]
        for name in gone:
            await self._write(forget(name))
            _log.info("the bundle of %s is no longer in force", name)
            del self._kept[name]
        self._tried = {source: tried for source, tried in self._tried.items() if source in endpoints}

    def _is_over(self, kept: ForeignBundle, endpoints: Mapping[str, BundleEndpoint], now: float) -> bool:
        endpoint = endpoints.get(kept.source)
        named = endpoint is not None and endpoint.trust_domain == kept.bundle.trust_domain
        return not named or now - self._tried.get(kept.source, Tried()).fetched > KEPT_SECONDS

    async def _fetch(self, endpoint: BundleEndpoint) -> None:
        tried = self._tried.get(endpoint.source, Tried())
        try:
            text = await self._get(endpoint.url, self._context(endpoint))
            bundle = bundle_from_json(endpoint.trust_domain, text)
            if not bundle.roots:
                raise BundleError("it has no root")
        except (FetchError, ssl.SSLError, ValueError) as error:
            failures = tried.failures + 1
            pause = min(_FIRST_RETRY * 2 ** min(failures, 10), _LONGEST_RETRY)
            self._tried[endpoint.source] = replace(
                tried, next=self._clock() + pause, failures=failures, error=printable(str(error))[:300]
            )
            if failures == 1:
                _log.warning("the bundle of %s cannot be fetched: %s", endpoint.trust_domain, error)
            return
        now = self._clock()
        before = self._kept.get(endpoint.trust_domain)
        withdrawn = before.withdrawn if before is not None else 0
        if before is not None and not set(before.bundle.roots) <= set(bundle.roots):
            withdrawn += 1
        found = ForeignBundle(bundle, endpoint.source, withdrawn)
        written = tried.written
        if found != before or now - written >= _TIME_KEPT_EVERY:
            await self._write((put_bundle(found), put_time(endpoint.trust_domain, now)))
            written = now
        if found != before:
            counts = len(bundle.roots), len(bundle.token_keys)
            _log.info("%s has %d roots and %d token keys", endpoint.trust_domain, *counts)
        self._kept[endpoint.trust_domain] = found
        hint = bundle.refresh_hint or DEFAULT_REFRESH
        self._tried[endpoint.source] = Tried(now, written, now + min(max(hint, SHORTEST_REFRESH), LONGEST_REFRESH))

    async def _write(self, changes: Sequence[Change]) -> None:
        await self._store.write(changes)

    def _context(self, endpoint: BundleEndpoint) -> ssl.SSLContext | None:
        """What the endpoint is checked with; None: as any web server. FetchError if there is nothing to check it
        with."""
        if not endpoint.spiffe_id:
            return None
        domain = endpoint.spiffe_id.split("/")[2]
        if domain == self._authority.trust_domain:
            return spiffe_client_context(self._authority.bundle, endpoint.spiffe_id)
        found = next((each for each in self._federation().domains if each.name == domain), None)
        if found is None:
            raise FetchError(f"there is no bundle of {domain} to check the endpoint with")
        return spiffe_client_context("".join(found.bundle.roots), endpoint.spiffe_id)

    def _federation(self) -> Federation:
        mesh = self._compiled.value.mesh
        return mesh.federation if mesh is not None else Federation()

    def _endpoints(self) -> tuple[BundleEndpoint, ...]:
        return self._federation().endpoints

    def states(self) -> tuple[DomainState, ...]:
        """How it stands with each federated trust domain."""
        federation, now = self._federation(), self._clock()
        domains = {each.name: each for each in federation.domains}
        endpoints = {each.trust_domain: each for each in federation.endpoints}
        return tuple(
            self._state(name, domains.get(name), endpoints.get(name), now) for name in sorted({*domains, *endpoints})
        )

    def _state(
        self, name: str, domain: ForeignDomain | None, endpoint: BundleEndpoint | None, now: float
    ) -> DomainState:
        tried = self._tried.get(endpoint.source, Tried()) if endpoint is not None else Tried()
        roots = tuple(_root(root) for root in domain.bundle.roots) if domain is not None else ()
        origin = domain.origin if domain is not None else endpoint.origin if endpoint is not None else ""
        ended = bool(roots) and all(root.not_after <= now for root in roots)
        too_old = not roots and 0 < tried.fetched <= now - KEPT_SECONDS
        state = "trusted" if roots else "missing"
        if ended or too_old:
            state = "expired"
        elif roots and tried.failures >= _FAILURES_TOLD:
            state = "stale"
        keys = tuple(key.kid for key in domain.bundle.token_keys) if domain is not None else ()
        url = endpoint.url if endpoint is not None else ""
        return DomainState(name, state, url, roots, keys, tried.fetched or None, tried.error, str(origin))

    def problems(self) -> tuple[Problem, ...]:
        """What is wrong with them now."""
        federation, found = self._federation(), []
        places = {each.trust_domain: each for each in federation.endpoints}
        origins = {each.name: each.origin for each in federation.domains}
        for one in self.states():
            endpoint = places.get(one.trust_domain)
            origin = endpoint.origin if endpoint is not None else origins[one.trust_domain]
            severity, code, text = _told(one, self._clock())
            if code and (one.state != "missing" or one.error):  # it may be on its way
                document = endpoint.document if endpoint is not None else None
                found.append(Problem(severity, code, text, origin, document))
        return tuple(found)


def _told(one: DomainState, now: float) -> tuple[Severity, str, str]:
    name = one.trust_domain
    if one.state == "missing":
        text = f"no bundle of {name} is known yet, so its callers are refused: {one.error}"
        return Severity.ERROR, "trust-bundle-missing", text
    if one.state == "stale":
        age = datetime.timedelta(seconds=int(now - (one.fetched or now)))
        text = f"the bundle of {name} cannot be fetched, and that of {age} ago is in force: {one.error}"
        return Severity.WARNING, "trust-bundle-stale", text
    if one.state == "expired":
        text = f"every root of {name} that is known has ended, so its callers are refused"
        return Severity.ERROR, "trust-bundle-expired", text
    return Severity.NOTE, "", ""


def _root(pem: str) -> RootState:
    certificate = x509.load_pem_x509_certificate(pem.encode())
    fingerprint = certificate.fingerprint(hashes.SHA256()).hex()
    return RootState(f"sha256:{fingerprint}", certificate.not_valid_after_utc.timestamp())

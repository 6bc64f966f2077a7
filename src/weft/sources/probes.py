"""Probes of instances that no agent can ask for their health: the control plane asks, as their WorkloadGroup says.

An instance is a WorkloadEntry with the annotation ``weft.dev/group``. What is found goes to callers as the health of
endpoints. Asked are only addresses of networks that the operator has named: who may write documents must not have the
control plane look around on its own network.
"""

from __future__ import annotations

import asyncio
import random
import ssl
import time
from collections import Counter, deque
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

import aiohttp

from weft.aio.cell import Cell
from weft.aio.connector import Connector
from weft.aio.fetch import Network
from weft.mesh.services.workloadgroup import build_group
from weft.model.document import Document, ObjectKey
from weft.model.groups import GroupProbe
from weft.model.problem import Problem, Severity
from weft.model.snapshot import ConfigSnapshot
from weft.schema.annotations import GROUP
from weft.schema.kinds.workloadentry import WorkloadEntrySpec
from weft.schema.kinds.workloadgroup import WorkloadGroupSpec
from weft.sources.collector import Collected
from weft.sources.contents import Contents
from weft.sources.imports.networks import address_refusal

MOST_PROBED = 2000
PROBES_PER_SECOND = 100.0
"""Of one control plane, to all instances together; more instances are asked less often than their groups say."""
_LONGEST_SECONDS = 10.0
"""Of one probe, whatever its group says: so there are never more at once than a thousand."""
_JITTER = 0.2
_FLAP_SECONDS = 300.0
"""Who has failed lately is believed after more successes: twice as many for each time, up to eight times."""
_MOST_DOUBLINGS = 4


@dataclass(frozen=True, slots=True)
class Target:
    """Whom to ask, at which address, how; `group` is the WorkloadGroup that says so."""

    key: ObjectKey
    group: ObjectKey
    address: str
    port: int
    probe: GroupProbe


@dataclass(slots=True)
class Standing:
    """What is known of one instance. `failures` are the times at which it became unhealthy."""

    healthy: bool = True
    streak: int = 0
    failures: deque[float] = field(default_factory=lambda: deque(maxlen=_MOST_DOUBLINGS))

    def heard(self, probe: GroupProbe, now: float, *, good: bool) -> bool:
        """Count one answer; whether it changes what callers are told."""
        if good is self.healthy:
            self.streak = 0
            return False
        self.streak += 1
        lately = sum(now - each < _FLAP_SECONDS for each in self.failures)
        needed = probe.healthy_after * 2 ** max(lately - 1, 0) if good else probe.unhealthy_after
        if self.streak < needed:
            return False
        self.healthy, self.streak = good, 0
        if not good:
            self.failures.append(now)
        return True


class ProbeSource:
    """A source without documents: `contents` are the instances that do not pass. Where of a group's instances none
    passes, none is told: rather the network of this host is broken, or the probe, than all of them."""

    def __init__(
        self,
        collected: Callable[[], Cell[Collected]],
        networks: tuple[Network, ...],
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._collected = collected
        self._networks = networks
        self._clock = clock
        self._contents: Cell[Contents | None] = Cell(Contents())
        self._tasks: dict[Target, asyncio.Task[None]] = {}
        self._standings: dict[ObjectKey, Standing] = {}
        self._refused: tuple[Problem, ...] = ()
        self._slot = 0.0

    @property
    def contents(self) -> Cell[Contents | None]:
        """The last value."""
        return self._contents

    async def run(self) -> None:
        """Ask for ever."""
        version = 0
        async with asyncio.TaskGroup() as group:
            while True:
                version = await self._collected().changed(version)
                wanted, self._refused = wanted_targets(self._collected().value.snapshot, self._networks)
                for target in self._tasks.keys() - wanted:
                    self._tasks.pop(target).cancel()
                keys = {target.key for target in wanted}
                self._standings = {key: one for key, one in self._standings.items() if key in keys}
                for target in sorted(wanted - self._tasks.keys(), key=lambda each: each.key):
                    self._tasks[target] = group.create_task(self._watch(target))
                self._publish()

    async def _watch(self, target: Target) -> None:
        probe = target.probe
        await asyncio.sleep(probe.delay + random.uniform(0.0, min(probe.interval, 1.0)))  # noqa: S311
        while True:
            good = await self._ask(target)
            standing = self._standings.setdefault(target.key, Standing())
            if standing.heard(probe, self._clock(), good=good):
                self._publish()
            await asyncio.sleep(probe.interval * random.uniform(1 - _JITTER, 1 + _JITTER))  # noqa: S311

    async def _ask(self, target: Target) -> bool:
        now = time.monotonic()
        slot = self._slot = max(now, self._slot) + 1 / PROBES_PER_SECOND
        await asyncio.sleep(slot - now)
        return await passes(target)

    def _publish(self) -> None:
        sick = {key for key, one in self._standings.items() if not one.healthy}
        groups = {target.key: target.group for target in self._tasks}
        asked, failed = Counter(groups.values()), Counter(groups[key] for key in sick if key in groups)
        none = {group for group, count in failed.items() if count == asked[group]}
        told = tuple(sorted(key for key in sick if groups.get(key) not in none))
        groups_told = [each for each in self._collected().value.snapshot.documents if each.key in none]
        problems = (*self._refused, *(_none_passes(each, asked[each.key]) for each in groups_told))
        contents = Contents(sick=told, problems=problems)
        if contents != self._contents.value:
            self._contents.set(contents)


def wanted_targets(
    snapshot: ConfigSnapshot, networks: tuple[Network, ...]
) -> tuple[frozenset[Target], tuple[Problem, ...]]:
    """Whom to ask, and which instances name a group and cannot be asked."""
    groups = {
        (each.key.namespace, each.key.name): (each.key, each.spec)
        for each in snapshot.documents
        if isinstance(each.spec, WorkloadGroupSpec)
    }
    found: list[Target] = []
    problems: list[Problem] = []
    for document in snapshot.documents:
        name = dict(document.annotations).get(GROUP) if document.annotations else None
        if name is None or not isinstance(document.spec, WorkloadEntrySpec):
            continue
        group = groups.get((document.key.namespace, name))
        why = "" if group is not None else f"there is no WorkloadGroup '{name}' in its namespace"
        if group is not None:
            key, spec = group
            probe = build_group(spec).probe
            why = _refusal(document.spec.address, networks) if probe is not None else ""
            if probe is not None and not why and len(found) >= MOST_PROBED:
                why = f"more than {MOST_PROBED} instances are asked already"
            if probe is not None and not why:
                port = _port(document.spec, spec, probe.port)
                found.append(Target(document.key, key, document.spec.address, port, probe))
        if why:
            problems.append(_not_asked(document, why))
    return frozenset(found), tuple(problems)


def _refusal(address: str, networks: tuple[Network, ...]) -> str:
    if not networks:
        return "weft serve was started without --probe-network"
    why = address_refusal(address, networks)
    return f"its address {address} {why}" if why else ""


def _port(entry: WorkloadEntrySpec, group: WorkloadGroupSpec, number: int) -> int:
    """Where an instance serves the port that its group calls `number`."""
    name = next((name for name, port in group.template.ports.items() if port == number), "")
    return entry.ports.get(name, number)


async def passes(target: Target) -> bool:
    """One probe. A redirect passes, and is not followed; of an answer's body nothing is read."""
    probe = target.probe
    try:
        async with asyncio.timeout(min(probe.timeout, _LONGEST_SECONDS)):
            if probe.kind == "tcp":
                _, writer = await asyncio.open_connection(target.address, target.port)
                writer.close()
                return True
            return await _http(target)
    except (TimeoutError, OSError, aiohttp.ClientError, ValueError):
        return False


async def _http(target: Target) -> bool:
    probe = target.probe
    host = f"[{target.address}]" if ":" in target.address else target.address
    url = f"{'https' if probe.tls else 'http'}://{host}:{target.port}{probe.path}"
    headers: Mapping[str, str] = {"User-Agent": "weft-health", **dict(probe.headers)}
    if probe.host:
        headers = {**headers, "Host": probe.host}
    tls = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    tls.check_hostname, tls.verify_mode = False, ssl.CERT_NONE  # health says nothing of who answers
    connector = Connector(ssl=tls, force_close=True)
    async with (
        aiohttp.ClientSession(connector=connector, auto_decompress=False) as session,
        session.get(url, allow_redirects=False, headers=headers) as response,
    ):
        return 200 <= response.status < 400


def _not_asked(document: Document[object], why: str) -> Problem:
    message = f"its health is not asked for: {why}"
    path = ("metadata", "annotations", GROUP)
    expected = "a WorkloadGroup of its namespace, and its address in a --probe-network of weft serve"
    return Problem(Severity.WARNING, "probe-not-asked", message, document.at(*path), document.key, path, expected)


def _none_passes(document: Document[object], count: int) -> Problem:
    message = f"none of its {count} instances passes the probe, so all of them are called, as if nobody had asked"
    path = ("spec", "probe")
    expected = "a probe that instances pass, and a way to them from the control plane"
    return Problem(Severity.WARNING, "probe-none-passes", message, document.at(*path), document.key, path, expected)

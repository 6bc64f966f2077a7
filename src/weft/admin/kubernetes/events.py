"""Events for documents that are refused: one for each object, generation and kind of mistake, few at a time.

https://kubernetes.io/docs/reference/kubernetes-api/cluster-resources/event-v1/. An Event's name says all of this, so
whoever leads next does not say it again, nor does this control plane after a restart, while the Event lasts.
"""

from __future__ import annotations

import asyncio
import hashlib
import logging
import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass

import msgspec

from weft.admin.context import Compiled
from weft.admin.kubernetes.duty import Duty
from weft.admin.kubernetes.wording import reason_of, words
from weft.aio.backoff import Backoff
from weft.aio.cell import Cell
from weft.model.document import ObjectKey
from weft.model.problem import Problem, Severity
from weft.sources.kubernetes.client import ApiClient, ApiError
from weft.sources.kubernetes.documents import PREFIX
from weft.sources.kubernetes.election import micro_time
from weft.sources.kubernetes.source import KubernetesSource, ServedObject

REPORTER = "weft.dev/control-plane"
_GROUP = "/apis/events.k8s.io/v1"
_LONGEST_NOTE = 1024
_LONGEST_INSTANCE = 128
_AT_A_TIME = 20
_EVERY = 2.0
_FORBIDDEN = 403
_SETTLED = frozenset((400, 404, 409, 422))
"""There is no more to do: it is there already, or its object's namespace is not."""
_log = logging.getLogger("weft.kubernetes")


@dataclass(frozen=True, slots=True)
class Refusal:
    """What is wrong with an object of a cluster; `name` is that of the Event that says it."""

    name: str
    found: ServedObject
    problem: Problem

    @property
    def namespace(self) -> str:
        """Where the Event stands; that about an object without a namespace stands in ``default``."""
        return self.found.reading.key.namespace or "default"


def refusals_of(
    problems: Iterable[Problem], object_of: Callable[[ObjectKey], ServedObject | None]
) -> Iterator[Refusal]:
    """Those errors that are about a document of the cluster, each name once."""
    told: set[str] = set()
    for problem in problems:
        key = problem.object
        if problem.severity is not Severity.ERROR or key is None or not problem.origin.source.startswith(PREFIX):
            continue
        found = object_of(key)
        if found is None:
            continue
        name = event_name(found, problem.code)
        if name not in told:
            told.add(name)
            yield Refusal(name, found, problem)


def event_name(found: ServedObject, code: str) -> str:
    """The same for one object, generation and code."""
    about = f"{found.uid} {found.reading.generation} {code}"
    return f"{found.reading.key.name[:200]}.{hashlib.blake2b(about.encode(), digest_size=8).hexdigest()}"


def event_body(refusal: Refusal, instance: str, clock: float) -> bytes:
    """The Event, as the API wants it. `instance` is who reports, `clock` seconds since the epoch."""
    key, found = refusal.found.reading.key, refusal.found
    regarding = {"apiVersion": found.served.api_version, "kind": key.kind, "name": key.name, "uid": found.uid}
    note = words(refusal.problem).encode()
    short = note if len(note) <= _LONGEST_NOTE else note[: _LONGEST_NOTE - 3] + "…".encode()
    return msgspec.json.encode(
        {
            "apiVersion": "events.k8s.io/v1",
            "kind": "Event",
            "metadata": {"name": refusal.name, "namespace": refusal.namespace},
            "eventTime": micro_time(clock),
            "reportingController": REPORTER,
            "reportingInstance": instance[:_LONGEST_INSTANCE],
            "action": "Compile",
            "reason": reason_of(refusal.problem.code)[:128],
            "regarding": regarding | ({"namespace": key.namespace} if key.namespace else {}),
            "note": short.decode(errors="ignore"),
            "type": "Warning",
        }
    )


class EventWriter:
    """Writes them as its `duty` is. `problems` gives all that is wrong in a compiled mesh; `refused` is why the server
    takes no Events (empty: it does)."""

    def __init__(
        self,
        client: ApiClient,
        source: KubernetesSource,
        compiled: Cell[Compiled],
        duty: Duty,
        problems: Callable[[Compiled], Iterable[Problem]],
        instance: str,
        wrote: Callable[[str], None] = lambda _: None,
    ) -> None:
        self._client = client
        self._source = source
        self._compiled = compiled
        self._duty = duty
        self._problems = problems
        self._instance = instance
        self._wrote = wrote
        self._told: set[str] = set()
        self._backoff = Backoff(0.5, 30.0)
        self.refused = ""

    async def run(self) -> None:
        """Write for ever: some, and then others after a while."""
        version, left = 0, False
        while True:
            if not left:
                version = await self._compiled.changed(version)
            wait = _EVERY
            if self._duty.leads():
                try:
                    left = await self._round()
                    self._backoff.reset()
                except ApiError as error:
                    left, wait = True, self._backoff.next(error.after)
                except Exception:  # whatever a document may say, the next may be told of
                    _log.exception("events cannot be written")
            else:
                left, self.refused = True, ""  # it may lead soon
            await asyncio.sleep(wait)

    async def _round(self) -> bool:
        """Whether there are more. ApiError if the server takes none now."""
        every = refusals_of(self._problems(self._compiled.value), self._source.object_of)
        refusals = [each for each in every if self._duty.owns(each.found.reading.key)]
        self._told &= {each.name for each in refusals}
        fresh = [each for each in refusals if each.name not in self._told]
        for each in fresh[:_AT_A_TIME]:
            if not self._duty.owns(each.found.reading.key):
                return True
            await self._write(each)
        return len(fresh) > _AT_A_TIME

    async def _write(self, refusal: Refusal) -> None:
        path = f"{_GROUP}/namespaces/{refusal.namespace}/events"
        try:
            await self._client.send("POST", path, event_body(refusal, self._instance, time.time()))
            self._wrote("written")
        except ApiError as error:
            if error.status == _FORBIDDEN:
                self._wrote("refused")
                self.refused = str(error)
            if error.status not in _SETTLED:
                raise
        self.refused = ""
        self._told.add(refusal.name)

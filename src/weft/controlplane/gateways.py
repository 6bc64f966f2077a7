"""Gateways of a cluster: keeps the objects that Gateway documents become as they should be, by server-side apply."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field

import msgspec

from weft.admin.context import Compiled
from weft.aio.cell import Cell
from weft.model.document import Document, ObjectKey
from weft.model.origin import Origin
from weft.model.problem import Problem, Severity
from weft.provision.manifests import MANAGED, MANAGER, ApiObject, GatewayPods, objects_of
from weft.provision.plan import GatewayPlan, Plans, own_classes, plans_of
from weft.sources.kubernetes.backoff import Backoff
from weft.sources.kubernetes.client import APPLY_PATCH, ApiClient, ApiError

_log = logging.getLogger("weft.kubernetes")
_NOT_FOUND = 404
_FIRST_RETRY, _LONGEST_RETRY = 0.5, 30.0
_AGAIN_SECONDS = 60.0
"""How often all is applied once more: somebody may have changed or deleted what is ours."""
_SOON_SECONDS = 2.0
"""How often while a load balancer has not said its address."""
_AT_ONCE = 8
_APPLY = {"fieldManager": "weft", "force": "true"}

Addresses = Mapping[ObjectKey, tuple[str, ...]]
"""Where clients reach each Gateway: IP addresses and host names."""


class _Owner(msgspec.Struct):
    uid: str = ""


class _Metadata(msgspec.Struct, rename="camel"):
    labels: dict[str, str] = msgspec.field(default_factory=dict)
    owner_references: tuple[_Owner, ...] = ()


class _Ingress(msgspec.Struct):
    ip: str = ""
    hostname: str = ""


class _LoadBalancer(msgspec.Struct):
    ingress: tuple[_Ingress, ...] = ()


class _Status(msgspec.Struct, rename="camel"):
    load_balancer: _LoadBalancer = msgspec.field(default_factory=_LoadBalancer)


class _Spec(msgspec.Struct, rename="camel"):
    type: str = ""
    cluster_ips: tuple[str, ...] = msgspec.field(default=(), name="clusterIPs")


class _There(msgspec.Struct):
    """What of an object is looked at."""

    metadata: _Metadata = msgspec.field(default_factory=_Metadata)
    spec: _Spec = msgspec.field(default_factory=_Spec)
    status: _Status = msgspec.field(default_factory=_Status)


@dataclass(slots=True)
class _Kept:
    """A Gateway whose objects are kept: as they were planned, where clients reach it (nothing yet: None), and what
    keeps it from being as planned."""

    plan: GatewayPlan
    reached: tuple[str, ...] | None = None
    due: float = 0.0
    problem: Problem | None = None
    backoff: Backoff = field(default_factory=lambda: Backoff(_FIRST_RETRY, _LONGEST_RETRY))


class GatewayKeeper:
    """See the module. `leads` says whether this control plane is the one that writes; `documents` are those in force.

    `addresses` is what the API server says of the Services.
    """

    def __init__(
        self,
        client: Callable[[], ApiClient],
        compiled: Cell[Compiled],
        documents: Callable[[], Iterable[Document[object]]],
        pods: Callable[[], GatewayPods],
        leads: Callable[[], bool],
    ) -> None:
        self._client = client
        self._compiled = compiled
        self._documents = documents
        self._pods = pods
        self._leads = leads
        self._kept: dict[ObjectKey, _Kept] = {}
        self._refused: tuple[Problem, ...] = ()
        self.addresses: Cell[Addresses] = Cell({})

    def problems(self) -> tuple[Problem, ...]:
        """Gateways that have no process, or another than they should."""
        return (*self._refused, *(each.problem for each in self._kept.values() if each.problem is not None))

    async def run(self) -> None:
        """Keep them for ever."""
        version = 0
        async with self._client() as client:
            while True:
                version = await self._wait(version)
                if not self._leads():
                    self._kept.clear()
                    continue
                await self._take(client, self._plans())
                now = asyncio.get_running_loop().time()
                due = [each for each in self._kept.values() if each.due <= now]
                for start in range(0, len(due), _AT_ONCE):
                    await asyncio.gather(*(self._keep(client, each) for each in due[start : start + _AT_ONCE]))
                self._tell()

    async def _wait(self, version: int) -> int:
        """Wait until the mesh has changed, or something is to be applied again."""
        now = asyncio.get_running_loop().time()
        next_due = min((each.due for each in self._kept.values()), default=now + _SOON_SECONDS)
        try:
            async with asyncio.timeout(max(0.1, next_due - now)):
                return await self._compiled.changed(version)
        except TimeoutError:
            return version

    def _plans(self) -> Plans:
        mesh = self._compiled.value.mesh
        return plans_of(mesh.gateways, own_classes(self._documents())) if mesh is not None else Plans()

    async def _take(self, client: ApiClient, found: Plans) -> None:
        """Note what is wanted now, and take away what no document wants any more that is there still."""
        self._refused = found.problems
        wanted = {each.key: each for each in found.plans}
        there = {each.key for each in self._documents()} if self._kept.keys() - wanted.keys() else set()
        for key in self._kept.keys() - wanted.keys():
            former = self._kept[key]
            if key not in there or await self._removed(client, former.plan):
                del self._kept[key]
        for key, plan in wanted.items():
            known = self._kept.get(key)
            if known is None or known.plan.uid != plan.uid:
                self._kept[key] = _Kept(plan)
            elif known.plan != plan:
                known.plan, known.due = plan, 0.0
                known.backoff.reset()

    async def _removed(self, client: ApiClient, plan: GatewayPlan) -> bool:
        """Take away the objects of a Gateway that is not ours any more; those of a document that is gone go by
        themselves."""
        try:
            for each in reversed(objects_of(plan, self._pods())):
                there = await _there(client, each.path)
                if there is not None and _is_ours(there, plan):
                    await client.send("DELETE", each.path)
        except ApiError as error:
            _log.warning("%s: its objects cannot be deleted: %s", plan.key, error)
            return False
        return True

    async def _keep(self, client: ApiClient, kept: _Kept) -> None:
        now = asyncio.get_running_loop().time()
        plan = kept.plan
        try:
            for each in objects_of(plan, self._pods()):
                kept.problem = await _foreign(client, plan, each)
                if kept.problem is not None:
                    kept.due = now + kept.backoff.next()
                    return
                body = await client.send("PATCH", each.path, msgspec.json.encode(each.body), APPLY_PATCH, _APPLY)
            kept.reached = _reached(msgspec.json.decode(body, type=_There))
            kept.due = now + (_AGAIN_SECONDS if kept.reached else _SOON_SECONDS)
            kept.backoff.reset()
        except (ApiError, msgspec.MsgspecError) as error:
            if kept.problem is None:
                _log.warning("%s: its objects cannot be applied: %s", plan.key, error)
            kept.problem = _problem(plan, f"its process cannot be made: {error}", "rights to make it")
            kept.due = now + kept.backoff.next(error.after if isinstance(error, ApiError) else 0.0)

    def _tell(self) -> None:
        found = {key: each.reached for key, each in self._kept.items() if each.reached}
        if found != self.addresses.value:
            self.addresses.set(found)


async def _there(client: ApiClient, path: str) -> _There | None:
    try:
        return msgspec.json.decode((await client.get(path)).body, type=_There)
    except ApiError as error:
        if error.status == _NOT_FOUND:
            return None
        raise


async def _foreign(client: ApiClient, plan: GatewayPlan, wanted: ApiObject) -> Problem | None:
    """What is in the way: an object of that name that is not this Gateway's is not taken over."""
    there = await _there(client, wanted.path)
    if there is None or _is_ours(there, plan):
        return None
    kind = wanted.body["kind"]
    message = f"there is a {kind} {plan.key.namespace}/{plan.name} that is not this Gateway's"
    return _problem(plan, message, f"another name of the Gateway or of the {kind}")


def _is_ours(there: _There, plan: GatewayPlan) -> bool:
    owned = plan.uid in {each.uid for each in there.metadata.owner_references}
    return owned and there.metadata.labels.get(MANAGED) == MANAGER


def _reached(service: _There) -> tuple[str, ...]:
    """Where a Service is reached: its load balancer's addresses, or for other types its own."""
    if service.spec.type == "LoadBalancer":
        return tuple(each.ip or each.hostname for each in service.status.load_balancer.ingress)
    return tuple(each for each in service.spec.cluster_ips if each and each != "None")


def _problem(plan: GatewayPlan, message: str, expected: str) -> Problem:
    source = f"kubernetes:Gateway/{plan.key.namespace}/{plan.key.name}"
    text = f"Gateway {plan.key.namespace}/{plan.key.name}: {message}"
    return Problem(Severity.ERROR, "gateway-not-made", text, Origin(source), object=plan.key, expected=expected)

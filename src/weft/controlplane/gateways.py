"""Gateways of a cluster: keeps the objects that Gateway documents become as they should be, by server-side apply."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

import msgspec

from weft.admin.context import INTERNAL, Compiled
from weft.admin.kubernetes.duty import Duty
from weft.aio.backoff import Backoff
from weft.aio.cell import Cell
from weft.mesh.gateways.infrastructure import INVALID_PARAMETERS, OF_GATEWAY
from weft.mesh.gateways.status import NOT_USABLE
from weft.mesh.model import Mesh
from weft.model.document import Document, ObjectKey
from weft.model.origin import FieldPath, Origin
from weft.model.problem import Problem, Severity
from weft.provision.manifests import MANAGED, MANAGER, ApiObject, GatewayPods, objects_of, retired_of
from weft.provision.parameters import CLASS_NAME, NO_PARAMETERS
from weft.provision.plan import GatewayPlan, Plans, plans_of
from weft.sources.kubernetes.client import APPLY_PATCH, ApiClient, ApiError

_log = logging.getLogger("weft.kubernetes")
_NOT_FOUND, _UNPROCESSABLE = 404, 422
_NOT_VALID = (400, _UNPROCESSABLE)
_FIRST_RETRY, _LONGEST_RETRY = 0.5, 30.0
_AGAIN_SECONDS = 60.0
"""How often all is applied once more: somebody may have changed or deleted what is ours."""
_FIRST_LOOK, _LONGEST_LOOK = 1.0, 60.0
"""How often, while a load balancer has not said its address, the Service is looked at."""
_LONGEST_WAIT = 2.0
"""After so long it is asked whether this control plane leads now."""
_AT_ONCE = 8
_OURS = {"fieldManager": "weft", "force": "true"}
_NEW = {"fieldManager": "weft"}
_TRIED = {**_OURS, "dryRun": "All"}
_SCALED = {"fieldManager": "weft-scaled", "force": "true"}

Addresses = Mapping[ObjectKey, tuple[str, ...]]
"""Where clients reach each Gateway: IP addresses and host names."""


class _Owner(msgspec.Struct):
    uid: str = ""


class _Managed(msgspec.Struct):
    """Which fields somebody has said."""

    manager: str = ""
    operation: str = ""
    fields: dict[str, Any] = msgspec.field(default_factory=dict, name="fieldsV1")


class _Metadata(msgspec.Struct, rename="camel"):
    uid: str = ""
    labels: dict[str, str] = msgspec.field(default_factory=dict)
    owner_references: tuple[_Owner, ...] = ()
    managed_fields: tuple[_Managed, ...] = ()


class _Ingress(msgspec.Struct):
    ip: str = ""
    hostname: str = ""


class _LoadBalancer(msgspec.Struct):
    ingress: tuple[_Ingress, ...] = ()


class _Status(msgspec.Struct, rename="camel"):
    load_balancer: _LoadBalancer = msgspec.field(default_factory=_LoadBalancer)


class _Spec(msgspec.Struct, rename="camel"):
    type: str = ""
    replicas: int | None = None
    cluster_ips: tuple[str, ...] = msgspec.field(default=(), name="clusterIPs")


class _There(msgspec.Struct):
    """What of an object is looked at."""

    metadata: _Metadata = msgspec.field(default_factory=_Metadata)
    spec: _Spec = msgspec.field(default_factory=_Spec)
    status: _Status = msgspec.field(default_factory=_Status)


class _NotLeadingError(Exception):
    """Another control plane writes now."""


@dataclass(slots=True)
class _Kept:
    """A Gateway whose objects are kept: as they were planned, where clients reach it (None: not known yet), what keeps
    it from being as planned, what was logged of that, and when something is to be done next, and all of it to be
    applied."""

    plan: GatewayPlan
    reached: tuple[str, ...] | None = None
    due: float = 0.0
    apply_due: float = 0.0
    problem: Problem | None = None
    logged: str = ""
    backoff: Backoff = field(default_factory=lambda: Backoff(_FIRST_RETRY, _LONGEST_RETRY))
    looks: Backoff = field(default_factory=lambda: Backoff(_FIRST_LOOK, _LONGEST_LOOK))


class GatewayKeeper:
    """See the module. `duty` says for which Gateways this control plane is the one that writes; `documents` are those
    in force.

    `addresses` is what the API server says of the Services, of Gateways whose Service has any.
    """

    def __init__(
        self,
        client: Callable[[], ApiClient],
        compiled: Cell[Compiled],
        documents: Callable[[], Iterable[Document[object]]],
        pods: Callable[[], GatewayPods],
        duty: Duty,
    ) -> None:
        self._client = client
        self._compiled = compiled
        self._documents = documents
        self._pods = pods
        self._duty = duty
        self._kept: dict[ObjectKey, _Kept] = {}
        self._refused: tuple[Problem, ...] = ()
        self._looked = False
        self._planned: tuple[Mesh | None, tuple[Document[object], ...], Plans] = (None, (), Plans())
        self._fault: Problem | None = None
        self.addresses: Cell[Addresses] = Cell({})

    def problems(self) -> tuple[Problem, ...]:
        """Gateways that have no process, or another than they should."""
        return (*self._refused, *(each.problem for each in self._kept.values() if each.problem is not None))

    def reached(self, key: ObjectKey) -> tuple[str, ...] | None:
        """Where clients reach a Gateway; None while that is being found out."""
        if not self._looked:
            return None
        kept = self._kept.get(key)
        return kept.reached if kept is not None else ()

    async def run(self) -> None:
        """Keep them for ever."""
        version = 0
        async with self._client() as client:
            while True:
                version = await self._wait(version)
                if self._duty.leads():
                    await self._round(client)
                elif self._looked or self._refused:
                    self._kept, self._refused, self._looked = {}, (), False
                    self._tell()

    async def _wait(self, version: int) -> int:
        """Wait until the mesh has changed, or something is to be done again."""
        now = asyncio.get_running_loop().time()
        due = min((each.due for each in self._kept.values()), default=now + _LONGEST_WAIT)
        try:
            async with asyncio.timeout(max(0.1, min(due - now, _LONGEST_WAIT))):
                return await self._compiled.changed(version)
        except TimeoutError:
            return version

    async def _round(self, client: ApiClient) -> None:
        """One Gateway must not stop the others, whatever its objects and the server may say."""
        mesh, documents = self._compiled.value.mesh, tuple(self._documents())
        if mesh is not self._planned[0] or documents is not self._planned[1]:  # a round may be for a due look alone
            self._planned = (mesh, documents, self._plans(mesh, documents))
        if self._fault is not None and not self._looked:
            self._refused = (self._fault,)
            return  # where clients reach Gateways is not known, rather than nowhere
        try:
            await self._take(client, self._planned[2], documents)
        except _NotLeadingError:
            return
        now = asyncio.get_running_loop().time()
        due = [each for each in self._kept.values() if each.due <= now]
        for start in range(0, len(due), _AT_ONCE):
            if self._duty.leads():
                await asyncio.gather(*(self._keep(client, each) for each in due[start : start + _AT_ONCE]))
                self._tell()

    def _plans(self, mesh: Mesh | None, documents: tuple[Document[object], ...]) -> Plans:
        """What is wanted now. Where planning fails itself, all that are there stay as they were planned, for nobody's
        document may end the control plane."""
        before, self._fault = self._fault, None
        try:
            return plans_of(mesh.gateways, documents) if mesh is not None else Plans()
        except Exception as error:
            text = f"the processes of Gateways cannot be planned ({type(error).__name__}); please report it"
            self._fault = Problem(Severity.ERROR, INTERNAL, text, Origin("kubernetes:Gateway"))
            if self._fault != before:  # meshes change all the time
                _log.exception("Gateways cannot be planned: unexpected")
            there, former = {each.key for each in documents}, self._planned[2]
            told = [each for each in former.problems if each.object in there]
            return Plans(tuple([each for each in former.plans if each.key in there]), (*told, self._fault))

    async def _take(self, client: ApiClient, found: Plans, documents: Iterable[Document[object]]) -> None:
        """Note what is wanted now. Objects of a Gateway that is another controller's are taken away; those of a
        document that is gone go by themselves. Whoever has no plan for another reason (its class is not there, it asks
        for what cannot be) keeps what it has: clients are connected to it."""
        owns = self._duty.owns
        self._refused = tuple([each for each in found.problems if each.object is None or owns(each.object)])
        self._looked = self._compiled.value.mesh is not None
        for key in [key for key in self._kept if not owns(key)]:
            del self._kept[key]  # of another revision now, which keeps its objects from here on
        wanted = {each.key: each for each in found.plans if owns(each.key)}
        unplanned = self._kept.keys() - wanted.keys()
        there = {each.key for each in documents} if unplanned else set()
        for key in unplanned:
            if key not in there or (key in found.left and await self._removed(client, self._kept[key].plan, None)):
                del self._kept[key]
        for key, plan in wanted.items():
            known = self._kept.get(key)
            if known is None or known.plan.uid != plan.uid:
                self._kept[key] = _Kept(plan)
            elif known.plan.name != plan.name:  # of another class of ours
                if await self._removed(client, known.plan, plan):
                    self._kept[key] = _Kept(plan)
            elif known.plan != plan:
                known.plan, known.due, known.apply_due = plan, 0.0, 0.0
                known.backoff.reset()

    async def _removed(self, client: ApiClient, former: GatewayPlan, now: GatewayPlan | None) -> bool:
        """Take away the objects that a Gateway had, and has not as it is planned `now`."""
        kept = {each.path for each in objects_of(now, self._pods())} if now is not None else set()
        try:
            for each in reversed(objects_of(former, self._pods())):
                if each.path not in kept:
                    await self._delete(client, former, each)
        except _NotLeadingError:
            raise
        except Exception as error:
            _log.warning("%s: its objects cannot be deleted: %s", former.key, error)
            if not isinstance(error, ApiError | msgspec.MsgspecError):
                _log.exception("%s: unexpected", former.key)
            return False
        return True

    async def _delete(self, client: ApiClient, plan: GatewayPlan, unwanted: ApiObject) -> None:
        """Delete an object if it is the Gateway's, and still the very one that was looked at."""
        there = await _there(client, unwanted.path)
        if there is None or not _is_ours(there, plan):
            return
        self._check_leading(plan)
        body = msgspec.json.encode({"preconditions": {"uid": there.metadata.uid}})
        await client.send("DELETE", unwanted.path, body)

    def _check_leading(self, plan: GatewayPlan) -> None:
        if not self._duty.owns(plan.key):
            raise _NotLeadingError

    async def _keep(self, client: ApiClient, kept: _Kept) -> None:
        now = asyncio.get_running_loop().time()
        try:
            if now >= kept.apply_due:
                kept.problem = await self._apply(client, kept.plan)
                kept.apply_due = now + _AGAIN_SECONDS
            kept.reached = await self._reached(client, kept.plan)
            kept.problem = kept.problem or _elsewhere(kept.plan, kept.reached)
            if kept.problem is not None:
                kept.due = kept.apply_due = now + kept.backoff.next()
                return
            kept.backoff.reset()
            if kept.reached:
                kept.due = kept.apply_due
                kept.looks.reset()
            else:
                kept.due = now + kept.looks.next()
        except _NotLeadingError:
            return
        except Exception as error:
            if kept.problem is None:
                _log.warning("%s: its objects cannot be applied: %s", kept.plan.key, error)
            if not isinstance(error, ApiError | msgspec.MsgspecError):
                _log.exception("%s: unexpected", kept.plan.key)
            kept.reached = kept.reached or ()
            kept.problem = _not_made(kept.plan, error)
            wait = kept.backoff.next(error.after if isinstance(error, ApiError) else 0.0)
            kept.due = kept.apply_due = now + wait

    async def _apply(self, client: ApiClient, plan: GatewayPlan) -> Problem | None:
        """Apply all objects; what is in the way of one, which is not taken over."""
        if plan.parameters.layers and (refused := await self._refused_by_server(client, plan)) is not None:
            return refused
        for each in objects_of(plan, self._pods()):
            there = await _there(client, each.path)
            self._check_leading(plan)
            if there is not None and not _is_ours(there, plan):
                return _anothers(plan, each)
            if there is not None and (left := _leaving(there, each)):
                await client.send("PATCH", each.path, left, APPLY_PATCH, _SCALED)
            uid = {"uid": there.metadata.uid} if there is not None else {}
            body = {**each.body, "metadata": {**each.body["metadata"], **uid}}
            how = _OURS if there is not None else _NEW  # who makes it in between is not overruled
            await client.send("PATCH", each.path, msgspec.json.encode(body), APPLY_PATCH, how)
        for each in retired_of(plan, self._pods()):
            await self._delete(client, plan, each)
        return None

    async def _refused_by_server(self, client: ApiClient, plan: GatewayPlan) -> Problem | None:
        """Why the API server would not take an object as parameters have it: all are tried before one is changed. What
        it would not take without them, or without an address, is no fault of theirs."""
        pods = self._pods()
        without = {each.path: each for each in objects_of(replace(plan, parameters=NO_PARAMETERS), pods)}
        anywhere = {each.path: each for each in objects_of(replace(plan, address=""), pods)} if plan.address else {}
        for each in objects_of(plan, pods):
            there = await _there(client, each.path)
            if there is not None and not _is_ours(there, plan):
                return _anothers(plan, each)
            if (error := await _refusal(client, each)) is None:
                continue
            plain, free = without.get(each.path), anywhere.get(each.path)
            if plain is not None and (plain.body == each.body or await _refusal(client, plain) is not None):
                continue
            if free is not None and free.body != each.body and await _refusal(client, free) is None:
                continue
            return self._misfit(plan, each, error)
        return None

    def _misfit(self, plan: GatewayPlan, wanted: ApiObject, error: ApiError) -> Problem:
        """That parameters say what the API server does not take. What a class says is not told to its Gateways."""
        cannot = f"{wanted.body['kind']} {plan.name} cannot be as"
        rest = "that the API server takes; until then all stays as it is"
        if plan.parameters.own:
            expected = f"parameters {rest}"
            return _problem(plan, f"{cannot} its parameters say: {error}", expected, INVALID_PARAMETERS, OF_GATEWAY)
        why, kept = f"{cannot} the parameters of GatewayClass '{plan.gateway_class}' say", self._kept.get(plan.key)
        if kept is not None and kept.logged != str(error):
            kept.logged = str(error)
            _log.warning("%s: %s: %s", plan.key, why, error)
        expected = f"parameters of the class {rest}; the control plane's log has the API server's words"
        return _problem(plan, why, expected, INVALID_PARAMETERS, CLASS_NAME)

    async def _reached(self, client: ApiClient, plan: GatewayPlan) -> tuple[str, ...]:
        """Where clients reach a Gateway; nowhere yet, if nobody has said."""
        there = await _there(client, objects_of(plan, self._pods())[-1].path)
        return _addresses(there) if there is not None and _is_ours(there, plan) else ()

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


async def _refusal(client: ApiClient, wanted: ApiObject) -> ApiError | None:
    """Why the API server would not take an object, as it is. ApiError for whatever is not about the object."""
    try:
        await client.send("PATCH", wanted.path, msgspec.json.encode(wanted.body), APPLY_PATCH, _TRIED)
    except ApiError as error:
        if error.status not in _NOT_VALID:
            raise
        return error
    return None


def _anothers(plan: GatewayPlan, found: ApiObject) -> Problem:
    kind = found.body["kind"]
    message = f"there is a {kind} {plan.key.namespace}/{plan.name} that is not this Gateway's"
    return _problem(plan, message, f"another name of the Gateway or of the {kind}")


def _leaving(there: _There, wanted: ApiObject) -> bytes:
    """What is applied under another name before a number of pods, which weft has said until now, is left to an
    autoscaler: a field that nobody says goes back to one pod. Empty where there is none.
    https://kubernetes.io/docs/reference/using-api/server-side-apply/#transferring-ownership"""
    said = any(
        "f:replicas" in each.fields.get("f:spec", {})
        for each in there.metadata.managed_fields
        if (each.manager, each.operation) == (_OURS["fieldManager"], "Apply")
    )
    if not said or "replicas" in wanted.body["spec"]:
        return b""
    metadata = {name: wanted.body["metadata"][name] for name in ("name", "namespace")}
    about = {name: wanted.body[name] for name in ("apiVersion", "kind")}
    spec = {"replicas": there.spec.replicas}
    return msgspec.json.encode({**about, "metadata": {**metadata, "uid": there.metadata.uid}, "spec": spec})


def _is_ours(there: _There, plan: GatewayPlan) -> bool:
    owned = plan.uid in {each.uid for each in there.metadata.owner_references}
    return owned and there.metadata.labels.get(MANAGED) == MANAGER


def _addresses(service: _There) -> tuple[str, ...]:
    """Where a Service is reached: its load balancer's addresses, or for other types its own."""
    if service.spec.type == "LoadBalancer":
        return tuple(each.ip or each.hostname for each in service.status.load_balancer.ingress)
    return tuple(each for each in service.spec.cluster_ips if each and each != "None")


def _elsewhere(plan: GatewayPlan, reached: tuple[str, ...]) -> Problem | None:
    """That clients do not reach a Gateway where it asks for."""
    if not plan.address or plan.address in reached:
        return None
    found = f"has {', '.join(reached)}" if reached else "has no address yet"
    return _problem(plan, f"asks for {plan.address}, and its Service {found}", "an address that is free", NOT_USABLE)


def _not_made(plan: GatewayPlan, error: Exception) -> Problem:
    if plan.address and isinstance(error, ApiError) and error.status == _UNPROCESSABLE:
        return _problem(plan, f"cannot have {plan.address}: {error}", "an address of the cluster's", NOT_USABLE)
    return _problem(plan, f"its process cannot be made: {error}", "rights to make it")


def _problem(
    plan: GatewayPlan, message: str, expected: str, code: str = "gateway-not-made", path: FieldPath = ()
) -> Problem:
    source = f"kubernetes:Gateway/{plan.key.namespace}/{plan.key.name}"
    text = f"Gateway {plan.key.namespace}/{plan.key.name}: {message}"
    return Problem(Severity.ERROR, code, text, Origin(source), object=plan.key, path=path, expected=expected)

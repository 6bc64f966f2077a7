"""Installing weft in a cluster, and bringing an installation to another version or other settings.

Webhooks come last, when there is somebody who answers them; each step leaves a cluster that works, and the same
command goes on where one was broken off.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass, replace

from weft import __version__
from weft.cluster import applying
from weft.cluster.applying import ConflictError, apply, delete, difference, path_of, take_over, title
from weft.cluster.definitions import PATH as DEFINITIONS
from weft.cluster.definitions import is_served
from weft.cluster.installed import Installed, find_installed
from weft.cluster.manifests import Settings, objects_of
from weft.cluster.reading import Reader, all_of, member, name_of, namespace_of
from weft.cluster.record import (
    MANAGED_BY,
    NAME,
    PART_OF,
    Record,
    applyset_id,
    kinds_of,
    member_labels,
    read_record,
    record_of,
    record_path,
)
from weft.cluster.revisions import (
    CLASS,
    HELM,
    Neighbour,
    beside,
    is_agent,
    is_anothers,
    is_older,
    orphans,
    revisions_of,
    who_needs,
)
from weft.cluster.rights import Right
from weft.findings.cluster.told import numbers
from weft.model.revisions import DEFAULT
from weft.schema.definitions import DEFINED
from weft.sources.kubernetes.client import ApiClient, ApiError
from weft.sources.kubernetes.server_objects import Json, live

_THEIRS = frozenset(("helm", "kubectl", "kubectl-client-side-apply", "kubectl-create"))
_DEFINITION, _NAMESPACE = "CustomResourceDefinition", "Namespace"
_WEBHOOKS = ("MutatingWebhookConfiguration", "ValidatingWebhookConfiguration")
_GATEWAY_CLASS = "gatewayclasses.gateway.networking.k8s.io"
_ROOT, _FORMER = "weft-ca", "weft"
"""The Secret of the authority, and the StatefulSet that former versions had."""
_AGENT = "/apis/apps/v1/namespaces/kube-system/daemonsets/weft-cni"
_NOT_FOUND = 404
_PACE = 0.5


class InstallError(Exception):
    """It is not done; the message says why and what to do instead."""


class LateError(InstallError):
    """It was waited for in vain."""


@dataclass(frozen=True, slots=True)
class Before:
    """What is there before something is changed. `rootless`: the control plane has its root on a volume, as former
    versions had, and there is no Secret of it from which this one could go on. `agent_apart`: it is of somebody else's
    making, and its agent of nodes is not where this one has it. `others` are the other revisions of the
    namespace, `elsewhere` those of other namespaces; `unseen` may not be listed there, so there may be more. `own`
    is how it is seen beside them."""

    installed: Installed | None
    record: Record | None
    rootless: bool = False
    others: tuple[Neighbour, ...] = ()
    elsewhere: tuple[Neighbour, ...] = ()
    unseen: tuple[str, ...] = ()
    own: Neighbour | None = None
    agent_apart: bool = False

    @property
    def neighbours(self) -> tuple[Neighbour, ...]:
        """All other revisions of the cluster, as far as they may be seen: those of the namespace first."""
        return (*self.others, *self.elsewhere)

    @property
    def on_volume(self) -> bool:
        """Whether the control plane is the StatefulSet of former versions."""
        return self.installed is not None and self.installed.fact.workload.startswith("statefulset/")

    @property
    def version(self) -> str:
        """The version that is installed; empty: none is."""
        if self.record is not None:
            return self.record.version
        return self.installed.fact.version if self.installed is not None else ""

    def settings(self, namespace: str) -> Settings | None:
        """Those that are installed in `namespace`: by the record, else as far as what runs says them."""
        if self.record is not None or self.installed is None:
            return self.record.settings if self.record is not None else None
        fact, names, usual = self.installed.fact, self.installed.names, Settings()
        domains = [each.trust_domain for each in (self.own, *self.others) if each is not None and each.trust_domain]
        return Settings(
            namespace=namespace,
            image=fact.image,
            trust_domain=domains[0] if domains else usual.trust_domain,
            replicas=fact.wanted or usual.replicas,
            features=replace(self.installed.features, cni=self.own is not None and self.own.cni),
            revision=names.name,
            revision_tags=names.tags,
        )

    @property
    def by_others(self) -> str:
        """Who has installed it, if it was not `weft install`."""
        if self.installed is None or self.record is not None:
            return ""
        return HELM if self.installed.fact.managed_by == HELM else "kubectl"


@dataclass(frozen=True, slots=True)
class Change:
    """What becomes of an object: ``created``, ``changed``, ``unchanged``, ``removed`` or ``kept``, and what differs."""

    what: str
    title: str
    diff: str = ""


@dataclass(frozen=True, slots=True)
class Way:
    """How it is done. `force`: fields that others own are taken from them; `take_over`: what Helm or kubectl has
    installed becomes ours. `waits`: webhooks wait for the control plane, for so many seconds at most."""

    force: bool = False
    take_over: bool = False
    waits: bool = True
    timeout: float = 300.0


async def look(client: ApiClient, namespace: str, revision: str = DEFAULT) -> Before:
    """What is installed of a revision in `namespace`. ApiError, RecordError."""
    found = await find_installed(Reader(client), namespace, 0.0, revision)
    record = await read_record(client, namespace, revision)
    reader, wide = Reader(client), Reader(client)
    everywhere = await revisions_of(wide)
    inside = await revisions_of(reader, namespace) if wide.unread else everywhere
    if reader.unread:
        raise ApiError(f"you may not list {', '.join(reader.unread)} in {namespace}", 403)
    before = Before(
        found,
        record,
        others=beside([each for each in inside if each.namespace == namespace], namespace, revision),
        elsewhere=tuple(each for each in everywhere if each.namespace != namespace),
        unseen=tuple(wide.unread),
        own=next((each for each in inside if (each.namespace, each.revision) == (namespace, revision)), None),
    )
    if before.by_others and before.own is not None and before.own.cni:
        before = replace(before, agent_apart=not await is_there(client, _AGENT))
    former = f"/apis/apps/v1/namespaces/{namespace}/statefulsets/{_FORMER}"
    if not (before.on_volume if revision == DEFAULT else await is_there(client, former)):
        return before
    return replace(before, rootless=not await is_there(client, f"/api/v1/namespaces/{namespace}/secrets/{_ROOT}"))


async def is_there(client: ApiClient, path: str) -> bool:
    """Whether an object is there; what it holds is not asked for. ApiError."""
    try:
        await client.get(path, "application/json;as=PartialObjectMetadata;g=meta.k8s.io;v=v1")
    except ApiError as error:
        if error.status == _NOT_FOUND:
            return False
        raise
    return True


def refusal(before: Before, namespace: str, revision: str = DEFAULT, *, take_over: bool, force: bool) -> str:
    """Why this version does not touch what is there; empty if it does."""
    twin = next((each for each in before.elsewhere if each.revision == revision), None)
    if twin is not None:
        return (
            f"weft, the revision {revision}, is in the namespace {twin.namespace} already, and what is the cluster's, "
            "such as ClusterRoles and webhooks, would be called the same: install another with --revision, or take "
            "that one out first"
        )
    if before.by_others == HELM and not take_over:
        release = (before.installed.release if before.installed is not None else "") or "weft"
        return (
            f"weft was installed in {namespace} by Helm, as the release {release}: use `helm upgrade {release}`, or "
            "say --take-over, after which Helm must not touch it any more"
        )
    if before.by_others and not take_over:
        return (
            f"weft was installed in {namespace} by kubectl: apply the new manifests (weft install -o yaml prints "
            "them), or say --take-over"
        )
    if before.agent_apart:
        return (
            "its agent of nodes is in another namespace than kube-system, where it would go on beside another one: "
            "helm upgrade --reuse-values --set cni.namespace=kube-system first"
        )
    if before.rootless:
        return (
            f"the control plane in {namespace} has its root on a volume, and there is no Secret {_ROOT}: this version "
            "would begin with another root, and every proxy have to join anew. Make that Secret of its directory "
            f"(docs/replicas.md), or, to begin anew: kubectl -n {namespace} delete statefulset {_FORMER}"
        )
    return "" if force else _too_far(before)


def _too_far(before: Before) -> str:
    """Why this release is too far from the one that is there, or from those beside it; empty if it is not."""
    if _apart(before.version) > 1:
        return (
            f"weft {before.version} is installed, and this is {__version__}: go one release at a time (a proxy and "
            "a control plane may be one release apart), or say --force-version"
        )
    for each in before.others:
        if _apart(each.version) > 1:
            return (
                f"{each} is weft {each.version}, and this is {__version__}: revisions beside each other may be one "
                "release apart; upgrade one release at a time, or say --force-version"
            )
    return ""


def _apart(version: str) -> int:
    """How many releases `version` is from this one; an empty one is not known, and taken for this one."""
    there, here = numbers(version or __version__), numbers(__version__)
    return abs(there[1] - here[1]) if there[0] == here[0] else 2


async def unknown_versions(client: ApiClient) -> list[str]:
    """The definitions of weft's kinds of which objects may lie in versions that this weft does not know. ApiError."""
    found = []
    for kind in DEFINED:
        name = f"{kind.plural}.{kind.group}"
        there = await live(client, f"{DEFINITIONS}/{name}")
        unknown = set(member(there, "status", "storedVersions") or ()) - set(kind.versions)
        if unknown:
            found.append(f"{name} ({', '.join(sorted(unknown))})")
    return found


def needed_rights(settings: Settings) -> tuple[Right, ...]:
    """What whoever installs has to be allowed."""
    found = set()
    for each in objects_of(settings):
        kind = applying.kind_of(each)
        namespace = namespace_of(each)
        for verb in ("get", "create", "patch"):
            found.add(Right(kind.group, kind.plural, verb, namespace))
    return tuple(sorted(found))


class Installer:
    """Brings what `settings` describe into a cluster, by `way`. `before` is what is there; `tell` is given what is
    waited for, when that changes."""

    def __init__(
        self, client: ApiClient, settings: Settings, before: Before, way: Way, tell: Callable[[str], None]
    ) -> None:
        self._client = client
        self._tell = tell
        self._settings = settings
        self._before = before
        self._way = way
        self._members = [
            each
            for each in objects_of(settings, labels=member_labels(settings.namespace, settings.revision))
            if each["kind"] not in (_DEFINITION, _NAMESPACE)
        ]

    async def objects(self) -> list[Json]:
        """All objects, in order, without a GatewayClass where the cluster does not have the Gateway API, and without
        what is another revision's: the agent of nodes, and definitions that a later release has written."""
        first = [each for each in objects_of(self._settings) if each["kind"] in (_DEFINITION, _NAMESPACE)]
        first[0]["metadata"]["labels"][MANAGED_BY] = NAME  # who finds it there leaves it as it is
        if is_older(__version__, self._before.neighbours):
            first = [each for each in first if not await live(self._client, path_of(each))]
        kept = [each for each in self._members if not (is_agent(each) and await self._is_anothers(each))]
        if not await is_served(Reader(self._client), _GATEWAY_CLASS):
            kept = [each for each in kept if each["kind"] != CLASS]
        return [*first, *kept]

    async def _is_anothers(self, thing: Json) -> bool:
        there = await live(self._client, path_of(thing))
        installed = self._before.installed
        release = (installed.release if installed is not None else "", self._settings.namespace)
        own = thing["metadata"]["labels"][PART_OF]
        others, unseen = self._before.neighbours, self._before.unseen
        return there is not None and is_anothers(there, own, release, others, unseen)

    async def plan(self) -> list[Change]:
        """What would change; nothing does. ConflictError, ApiError."""
        found = await all_of(*(self._planned(each) for each in await self.objects()))
        return [*found, *map(self._end, await self._left())]

    async def _planned(self, thing: Json) -> Change:
        there = await live(self._client, path_of(thing))
        if there is None:
            return Change("created", title(thing))
        if thing["kind"] == _NAMESPACE:
            return Change("unchanged", title(thing))
        after = await apply(self._client, thing, force=self._forced(thing), dry=True)
        diff = difference(there, after)
        return Change("changed" if diff else "unchanged", title(thing), diff)

    async def run(self) -> AsyncIterator[Change]:
        """Do it; each object as it is done. InstallError, ConflictError, ApiError."""
        recorded = False
        for thing in await self.objects():
            if thing["kind"] in (_NAMESPACE, _DEFINITION):
                yield await self._applied(thing)
                continue
            if not recorded:
                await self._served()
                yield await self._applied(record_of(self._settings, self._members, self._before.record))
                recorded = True
            if thing["kind"] in _WEBHOOKS and self._way.waits:
                await self.until_ready()
            yield await self._applied(thing)
        kept = []
        for each in await self._left():
            change = self._end(each)
            if change.what == "removed":
                await delete(self._client, path_of(each))
            else:
                kept.append(each)
            yield change
        # What stays for others is still of this ApplySet: the record leads to it when they have gone.
        yield await self._applied(record_of(self._settings, [*self._members, *kept], None))

    async def _applied(self, thing: Json) -> Change:
        there = await live(self._client, path_of(thing))
        if there is not None and thing["kind"] == _NAMESPACE:
            return Change("unchanged", title(thing))
        if there is not None and self._way.take_over:
            await take_over(self._client, there, _THEIRS)
        after = await apply(self._client, thing, force=self._forced(thing))
        if there is None:
            return Change("created", title(thing))
        same = member(there, "metadata", "resourceVersion") == member(after, "metadata", "resourceVersion")
        return (
            Change("unchanged", title(thing))
            if same or not difference(there, after)
            else Change("changed", title(thing))
        )

    def _end(self, thing: Json) -> Change:
        """What becomes of one that is not wanted any more."""
        needed = who_needs(self._before.neighbours, self._before.unseen) if is_agent(thing) else ""
        return Change("kept", f"{title(thing)}, which {needed}") if needed else Change("removed", title(thing))

    def _forced(self, thing: Json) -> bool:
        """Definitions are this version's, whoever wrote them, and so is the GatewayClass, which Helm leaves behind."""
        return self._way.force or self._way.take_over or thing["kind"] in (_DEFINITION, CLASS)

    async def _served(self) -> None:
        """Wait until the definitions are served."""
        names = [f"{kind.plural}.{kind.group}" for kind in DEFINED]

        async def there() -> str:
            served = await all_of(*(is_served(Reader(self._client), name) for name in names))
            return next((name for name, good in zip(names, served, strict=True) if not good), "")

        await self._wait(there, "the definition {} is not served")

    async def until_ready(self) -> None:
        """Wait until every pod of the control plane is ready, and new ones have taken the place of the old.
        LateError if they do not become so in time."""
        (workload,) = [each for each in self._members if each["kind"] in ("StatefulSet", "Deployment")]

        async def why() -> str:
            found = await live(self._client, path_of(workload))
            if found is None:
                return f"{title(workload)} is not there"
            missing = not_rolled_out(found)
            if not missing:
                return ""
            reader, settings = Reader(self._client), self._settings
            installed = await find_installed(reader, settings.namespace, 0.0, settings.revision)
            pods = installed.fact.pods if installed is not None else ()
            said = next((f"pod {each.name}: {each.why}" for each in pods if not each.ready), "")
            return said or missing

        await self._wait(why, "{}")

    async def _wait(self, why: Callable[[], Awaitable[str]], text: str) -> None:
        said = last = ""
        try:
            async with asyncio.timeout(self._way.timeout):
                while True:
                    said = await why()
                    if not said:
                        return
                    if said != last:
                        self._tell(text.format(said))
                        last = said
                    await asyncio.sleep(_PACE)
        except TimeoutError:
            again = "it goes on by itself; `weft check` says how it is, and the same command again waits on"
            raise LateError(f"after {self._way.timeout:.0f} s {text.format(said)}; {again}") from None

    async def _left(self) -> list[Json]:
        """Objects of the installation before that are not wanted any more; the StatefulSet of former versions too,
        whoever has made it."""
        namespace, found = self._settings.namespace, []
        if self._before.record is not None:
            found = await members(self._client, self._before.record)
            found = [each for each in found if each["kind"] != CLASS]
        if self._before.by_others and self._before.own is not None and self._before.own.cni:
            found += await self._agent()
        if self._before.on_volume:
            former = {"apiVersion": "apps/v1", "kind": "StatefulSet"}
            found.append({**former, "metadata": {"name": _FORMER, "namespace": namespace}})
        wanted = {path_of(each) for each in self._members}
        return list({path_of(each): each for each in found if path_of(each) not in wanted}.values())

    async def _agent(self) -> list[Json]:
        """The agent of nodes that is taken over, as far as it is there."""
        features = replace(self._settings.features, injection=True, cni=True)
        asked = [each for each in objects_of(replace(self._settings, features=features)) if is_agent(each)]
        return [each for each in asked if await live(self._client, path_of(each)) is not None]


async def members(client: ApiClient, record: Record) -> list[Json]:
    """The objects of an installation that are there, without its record; and shared ones that are nobody's any more.
    ApiError."""
    reader = Reader(client)
    selector = f"{PART_OF}={applyset_id(record.settings.namespace, record.settings.revision)}"
    asked = [
        (kind, inside)
        for kind in kinds_of(record)
        for inside in (("",) if kind.cluster_wide else sorted(record.namespaces))
    ]
    lists = await all_of(*(reader.every(kind.path(inside), kind.plural, selector) for kind, inside in asked))
    if reader.unread:
        raise ApiError(f"you may not list {', '.join(reader.unread)}", 403)
    found = [
        {**each, "apiVersion": f"{kind.group}/{kind.version}".lstrip("/"), "kind": kind.name}
        for (kind, _), every in zip(asked, lists, strict=True)
        for each in every
    ]
    return list({path_of(each): each for each in (*found, *await orphans(client))}.values())


def not_rolled_out(workload: Json) -> str:
    """What a Deployment or StatefulSet waits for; empty: all its pods are ready, and as it says now."""
    wanted = int(member(workload, "spec", "replicas") or 0)
    status = member(workload, "status") or {}
    about = f"{workload['kind']} {name_of(workload)}"
    if int(status.get("observedGeneration") or 0) < int(member(workload, "metadata", "generation") or 0):
        return f"{about} was not looked at yet"
    for field in ("updatedReplicas", "readyReplicas"):
        if int(status.get(field) or 0) < wanted:
            return f"of the {wanted} pods of {about} {int(status.get(field) or 0)} are ready and new"
    if workload["kind"] == "Deployment" and int(status.get("replicas") or 0) > wanted:
        return f"old pods of {about} have not ended"
    return ""


__all__ = [
    "Before",
    "Change",
    "ConflictError",
    "InstallError",
    "Installer",
    "LateError",
    "Way",
    "look",
    "members",
    "record_path",
]

"""Gathers the facts of a cluster, as whoever asks sees it."""

from __future__ import annotations

import time
from dataclasses import dataclass

from weft import __version__
from weft.cluster.definitions import definition_facts, is_served
from weft.cluster.installed import Installed, find_installed
from weft.cluster.manifests import Features, role_rights
from weft.cluster.pods import injected_namespaces, node_facts, pod_facts
from weft.cluster.reading import Reader, all_of, clock_difference, name_of, namespace_of
from weft.cluster.revisions import beside, is_older, revisions_of
from weft.cluster.rights import Right, granted, granted_or_unknown
from weft.cluster.trials import try_document, try_pod
from weft.cluster.webhooks import webhook_facts
from weft.findings.cluster.facts import ClusterFacts, NamespaceFact, RightFact, TrialFact
from weft.model.revisions import DEFAULT, Revision
from weft.sources.kubernetes.access import Credentials
from weft.sources.kubernetes.client import ApiClient, ApiError

_AT_ONCE = 16
_ESCALATE = Right("rbac.authorization.k8s.io", "clusterroles", "escalate")
_CORE, _APPS = "/api/v1", "/apis/apps/v1"


@dataclass(frozen=True, slots=True)
class Question:
    """What is asked: of the server that people call `server`, about a `revision` in `namespace`. `needed` are the
    rights that installing takes."""

    server: str
    namespace: str
    needed: tuple[Right, ...] = ()
    revision: str = DEFAULT


async def gather_cluster(credentials: Credentials, question: Question) -> ClusterFacts:
    """The facts; a server that cannot be asked is one, too."""
    try:
        async with ApiClient(credentials, _AT_ONCE) as client:
            return await _gathered(client, question)
    except ApiError as error:
        return ClusterFacts(
            question.server, question.namespace, __version__, unreachable=str(error), revision=question.revision
        )


async def _gathered(client: ApiClient, question: Question) -> ClusterFacts:
    version, now, ahead = await clock_difference(client, time.time())
    reader = Reader(client)
    namespaces, nodes, installed, definitions = await all_of(
        reader.every(f"{_CORE}/namespaces", "namespaces"),
        reader.every(f"{_CORE}/nodes", "nodes"),
        find_installed(reader, question.namespace, now, question.revision),
        definition_facts(reader),
    )
    names = installed.names if installed is not None else Revision(question.revision)
    beats, istiod, cni, webhooks, pods, revisions = await all_of(
        reader.every("/apis/coordination.k8s.io/v1/namespaces/kube-node-lease/leases", "leases of nodes"),
        reader.every(f"{_APPS}/deployments", "deployments", "app=istiod"),
        reader.every(
            f"{_APPS}/daemonsets", "daemonsets", "app.kubernetes.io/component=cni,app.kubernetes.io/part-of=weft"
        ),
        webhook_facts(reader, namespaces, question.namespace, names),
        reader.every(f"{_CORE}/pods", "pods"),
        revisions_of(Reader(client)),  # what may not be listed is no fault: it is only not known
    )
    injected = injected_namespaces(namespaces, question.namespace, names)
    rights: tuple[RightFact, ...] = ()
    account: tuple[RightFact, ...] = ()
    trials: tuple[TrialFact, ...] = ()
    if installed is None:
        rights = await granted(client, await _needed(client, question))
    else:
        given = role_rights(installed.features, question.namespace, names)
        name = f"{question.namespace}/{installed.account}"
        account = await granted_or_unknown(client, given, name, reader.unread)
        trials = await _trials(client, reader, installed, injected)
    features = installed.features if installed is not None else Features()
    injects = installed is not None and features.injection
    return ClusterFacts(
        server=question.server,
        namespace=question.namespace,
        client=__version__,
        version=str(version.get("gitVersion") or ""),
        ahead=ahead,
        nodes=node_facts(nodes, beats, now),
        definitions=definitions,
        istiod=tuple(f"{namespace_of(each)}/{name_of(each)}" for each in istiod),
        webhooks=webhooks,
        injected=injected,
        pods=pod_facts(pods, namespaces, question.namespace, names) if injects else (),
        rights=rights,
        account_rights=account,
        installation=installed.fact if installed is not None else None,
        lease=installed.lease if installed is not None else None,
        state_lease=installed.state_lease if installed is not None else None,
        now=now,
        injects=features.injection,
        validates=features.validation,
        has_cni=bool(cni),
        trials=trials,
        unread=tuple(reader.unread),
        root=next((each.fingerprint for each in trials if each.fingerprint), ""),
        revision=question.revision,
        later=is_older(__version__, beside(revisions, question.namespace, question.revision)),
    )


async def _needed(client: ApiClient, question: Question) -> tuple[Right, ...]:
    """What whoever installs has to be allowed: who gives rights away has to have them, unless he may give any."""
    (escalates,) = await granted(client, (_ESCALATE,))
    given = () if escalates.granted else role_rights(Features(), question.namespace)
    return (*question.needed, *given)


async def _trials(
    client: ApiClient, reader: Reader, installed: Installed, injected: tuple[NamespaceFact, ...]
) -> tuple[TrialFact, ...]:
    """In an injected namespace that lets sidecars in, if there is one, else in the namespace default."""
    fitting = [each.name for each in injected if each.enforce in ("", "privileged")]
    namespace = fitting[0] if fitting else "default"
    features, names = installed.features, installed.names
    found = []
    if features.injection:
        found.append(await try_pod(client, namespace, bool(fitting), reader.unread, names))
    if features.validation and await is_served(reader, "ejectionpolicies.weft.dev"):
        found.append(await try_document(client, namespace, reader.unread, names))
    return tuple(each for each in found if each is not None)


__all__ = ["Installed", "Question", "gather_cluster"]

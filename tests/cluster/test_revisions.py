"""Revisions beside each other: which there are, what they are called, and whose what they share is."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest

from weft import __version__
from weft.cluster.applying import path_of
from weft.cluster.gather import Question, _gathered
from weft.cluster.install import Before, Installer, InstallError, Way, look, refusal
from weft.cluster.manifests import Features, ManifestError, Settings, checked, objects_of
from weft.cluster.pods import injected_namespaces, pod_facts
from weft.cluster.reading import Reader
from weft.cluster.record import Record, applyset_id, member_labels, read_record, record_of
from weft.cluster.revisions import Neighbour, beside, is_anothers, is_older, missing, revisions_of
from weft.cluster.uninstall import check_alone, left_over, remaining, uninstall
from weft.inject.names import PROXY
from weft.model.revisions import Revision
from weft.sources.kubernetes.client import Answer, ApiError

NAMESPACE = "weft-system"
CANARY = Neighbour(NAMESPACE, "canary", "0.1.0", "cluster.local", cni=True, applyset=applyset_id(NAMESPACE, "canary"))
DEFAULT = Neighbour(NAMESPACE, "default", "0.1.0", "cluster.local", cni=True, applyset=applyset_id(NAMESPACE))
AGENT = "/apis/apps/v1/namespaces/kube-system/daemonsets/weft-cni"


class Cluster:
    """An API server that has these objects, by path; lists have those below them with the labels that are asked for."""

    def __init__(self, *objects: Any) -> None:
        self.objects = {path_of(each): each for each in objects}

    async def get(self, path: str, *_: object) -> Answer:
        """One object, or a list."""
        asked = urlsplit(path)
        if not asked.query:
            if path not in self.objects:
                raise ApiError("not found", 404)
            return Answer(json.dumps(self.objects[path]).encode())
        wanted = parse_qs(asked.query).get("labelSelector", [""])[0].split(",")
        plural = asked.path.rpartition("/")[2]
        found = [
            each
            for where, each in self.objects.items()
            if where.rpartition("/")[0].endswith(plural) and self._below(where, asked.path) and _has(each, wanted)
        ]
        return Answer(json.dumps({"items": found}).encode())

    def _below(self, where: str, path: str) -> bool:
        return where.startswith(f"{path}/") if "/namespaces/" in path else True

    async def send(self, method: str, path: str, body: bytes, *_: object) -> bytes:
        """A deletion, or an object that is applied whole."""
        if method == "PATCH":
            established = {"status": {"conditions": [{"type": "Established", "status": "True"}]}}
            self.objects[path] = json.loads(body) | (established if "customresource" in path else {})
            return json.dumps(self.objects[path]).encode()
        assert method == "DELETE"
        if self.objects.pop(path, None) is None:
            raise ApiError("not found", 404)
        return b"{}"


def _has(thing: Any, wanted: list[str]) -> bool:
    labels = thing["metadata"].get("labels", {})
    return all(key in labels and (not value or labels[key] == value) for key, _, value in
               (each.partition("=") for each in wanted if each))  # fmt: skip


def installed(revision: str = "default", *, cni: bool = False, shared: bool = True) -> list[Any]:
    """What `weft install` makes of a revision, with its record; without what is `shared`, if another has it."""
    settings = checked(Settings(image="a", revision=revision, features=Features(cni=cni)))
    members = objects_of(settings, labels=member_labels(NAMESPACE, revision))
    members = [each for each in members if each["kind"] not in ("Namespace", "CustomResourceDefinition")]
    there = [each for each in members if shared or "cni" not in each["metadata"]["name"]]
    return [*there, record_of(settings, members, None)]


async def recorded(cluster: Any, revision: str = "default") -> Record:
    found = await read_record(cluster, NAMESPACE, revision)
    assert found is not None
    return found


async def test_which_there_are() -> None:
    cluster: Any = Cluster(*installed(cni=True), *installed("canary", cni=True, shared=False))
    assert await revisions_of(Reader(cluster), NAMESPACE) == (DEFAULT, CANARY)
    assert beside(await revisions_of(Reader(cluster)), NAMESPACE, "canary") == (DEFAULT,)
    assert await revisions_of(Reader(cluster), "elsewhere") == ()


async def test_one_of_which_there_is_only_the_record_and_one_of_helms() -> None:
    (record,) = installed("canary", cni=True)[-1:]
    (workload,) = [each for each in objects_of(checked(Settings(image="a"))) if each["kind"] == "Deployment"]
    cluster: Any = Cluster(record, workload)
    helms = Neighbour(NAMESPACE, "default", "0.1.0", "cluster.local")
    assert await revisions_of(Reader(cluster), NAMESPACE) == (helms, CANARY)


async def test_who_may_not_see_them_changes_nothing() -> None:
    class Closed(Cluster):
        async def get(self, path: str, *words: object) -> Answer:
            if "?" in path and "deployments" in path:
                raise ApiError("forbidden", 403)
            return await super().get(path, *words)

    cluster: Any = Closed(*installed())
    with pytest.raises(ApiError, match="you may not list deployments in weft-system"):
        await look(cluster, NAMESPACE, "canary")


def test_one_that_is_not_there_is_named_with_the_nearest() -> None:
    text = missing("canari", NAMESPACE, (DEFAULT, CANARY))
    assert text.endswith("is not in the namespace weft-system; there are default, canary; did you mean 'canary'?")
    assert missing("default", NAMESPACE, (CANARY,)).endswith("there is canary (--revision canary)")
    assert missing("default", NAMESPACE, ()) == "there is no weft in the namespace weft-system"


async def test_records_of_before_are_read() -> None:
    record = installed()[-1]
    settings = json.loads(record["data"]["settings"])
    del settings["revision"], settings["revision_tags"]
    record["data"]["settings"] = json.dumps(settings)
    assert record["metadata"]["name"] == "weft-install"
    assert (await recorded(Cluster(record))).settings.names.names == ("default",)


def test_no_object_of_one_is_anothers() -> None:
    paths = [{path_of(each) for each in installed(revision)} for revision in ("default", "canary", "canary-2")]
    assert not paths[0] & paths[1] | paths[0] & paths[2] | paths[1] & paths[2]
    assert "/api/v1/namespaces/weft-system/configmaps/weft-install-canary" in paths[1]


def test_names_that_are_called_like_a_place_for_others() -> None:
    settings = checked(Settings("weft-tag", image="a", revision="weft-namespace", revision_tags=("weft-revision",)))
    found = {each["kind"]: each for each in objects_of(settings)}
    assert found["Deployment"]["metadata"]["namespace"] == "weft-tag"
    assert found["Deployment"]["metadata"]["name"] == "weft-weft-namespace"
    (container,) = found["Deployment"]["spec"]["template"]["spec"]["containers"]
    assert {"--revision=weft-namespace", "--revision-tag=weft-revision"} <= set(container["command"])


@pytest.mark.parametrize(
    ("revision", "tags", "said"),
    [
        ("A", (), "--revision: found 'A', expected lower-case letters"),
        ("view", (), "--revision: 'view' cannot be, since ClusterRoles of other revisions end so"),
        ("canary-admin", (), "'canary-admin' cannot be"),
        ("install-2", (), "'install-2' cannot be, since records of installations are called so"),
        ("canary", ("x_y",), "--revision-tag: found 'x_y'"),
        ("canary", ("canary",), "--revision-tag: the revision is called canary already"),
        ("default", ("default",), "--revision-tag: the revision is called default already"),
    ],
)
def test_names_that_cannot_be(revision: str, tags: tuple[str, ...], said: str) -> None:
    with pytest.raises(ManifestError, match=said.replace("'", ".")):
        checked(Settings(image="a", revision=revision, revision_tags=tags))


def test_whose_the_agent_of_nodes_is() -> None:
    def labelled(**labels: str) -> Any:
        return {"metadata": {"labels": {"app.kubernetes.io/managed-by": labels.get("by", "weft-install"),
                                        "applyset.kubernetes.io/part-of": labels.get("of", "")}}}  # fmt: skip

    own = applyset_id(NAMESPACE)
    assert is_anothers(labelled(of=CANARY.applyset), own, ("", NAMESPACE), (CANARY,))
    assert not is_anothers(labelled(of=own), own, ("", NAMESPACE), (CANARY,))
    assert not is_anothers(labelled(of=CANARY.applyset), own, ("", NAMESPACE), ()), "that one has gone"
    helms = labelled(by="Helm")
    helms["metadata"]["annotations"] = {
        "meta.helm.sh/release-name": "weft", "meta.helm.sh/release-namespace": NAMESPACE,
    }  # fmt: skip
    theirs = replace(CANARY, applyset="")
    assert is_anothers(helms, own, ("weft-canary", NAMESPACE), (theirs,))
    assert is_anothers(helms, own, ("weft", "elsewhere"), (), ("deployments",))
    assert not is_anothers(helms, own, ("weft-canary", NAMESPACE), (CANARY,)), "who had it has gone, or is taken over"
    assert not is_anothers(labelled(by="Helm"), own, ("", NAMESPACE), ()), "a chart that others have applied"
    assert not is_anothers(helms, own, ("weft", NAMESPACE), ()), "it is taken over with its release"


async def test_a_second_one_leaves_the_agent_of_nodes_to_the_first() -> None:
    cluster: Any = Cluster(*installed(cni=True))
    settings = checked(Settings(image="a", revision="canary", features=Features(cni=True)))
    installer = Installer(cluster, settings, Before(None, None, others=(DEFAULT,)), Way(), lambda _: None)
    paths = [path_of(each) for each in await installer.objects()]
    assert "/apis/apps/v1/namespaces/weft-system/deployments/weft-canary" in paths
    assert not [each for each in paths if "weft-cni" in each]


async def test_what_the_first_leaves_the_last_one_ends() -> None:
    cluster: Any = Cluster(*installed(cni=True), *installed("canary", cni=True, shared=False))
    said = [f"{each.what}: {each.title}" async for each in uninstall(cluster, await recorded(cluster), (CANARY,))]
    assert "kept: DaemonSet kube-system/weft-cni, which the revision canary in weft-system needs" in said
    assert "removed: Deployment weft-system/weft" in said
    assert not [each for each in said if each.startswith("removed") and "canary" in each]
    assert AGENT in cluster.objects
    others: tuple[Neighbour, ...] = ()
    said = [
        f"{each.what}: {each.title}" async for each in uninstall(cluster, await recorded(cluster, "canary"), others)
    ]
    assert "removed: DaemonSet kube-system/weft-cni" in said
    assert "removed: ServiceAccount kube-system/weft-cni" in said
    assert said[-1] == "removed: ConfigMap weft-system/weft-install-canary"


async def test_nodes_that_capture_for_another_go_on() -> None:
    cluster: Any = Cluster(*installed(cni=True), *installed("canary", cni=True, shared=False))
    settings = checked(Settings(image="a"))
    before = Before(None, await recorded(cluster), others=(CANARY,))
    installer = Installer(cluster, settings, before, Way(), lambda _: None)
    changes = [installer._end(each) for each in await installer._left()]
    assert {each.what for each in changes} == {"kept"}
    alone = Installer(cluster, settings, Before(None, before.record), Way(), lambda _: None)
    assert {alone._end(each).what for each in await alone._left()} == {"removed"}


async def brought(cluster: Any, revision: str = "default", *, cni: bool = False) -> list[str]:
    """What `weft upgrade` of a revision does."""
    settings = checked(Settings(image="a", revision=revision, features=Features(cni=cni)))
    before = await look(cluster, NAMESPACE, revision)
    installer = Installer(cluster, settings, before, Way(waits=False), lambda _: None)
    return [f"{each.what}: {each.title}" async for each in installer.run()]


@pytest.mark.parametrize("then", ["upgrade", "uninstall"])
async def test_an_agent_that_was_kept_for_another_ends_when_that_has_gone(then: str) -> None:
    cluster: Any = Cluster(*installed(cni=True), *installed("canary", cni=True, shared=False))
    for _ in range(2):
        assert "kept: DaemonSet kube-system/weft-cni, which the revision canary in weft-system needs" in await brought(
            cluster
        )
    async for _ in uninstall(cluster, await recorded(cluster, "canary"), (DEFAULT,)):
        pass
    if then == "upgrade":
        assert "removed: DaemonSet kube-system/weft-cni" in await brought(cluster)
    else:
        async for _ in uninstall(cluster, await recorded(cluster), ()):
            pass
    assert AGENT not in cluster.objects


def moved(things: list[Any], namespace: str) -> list[Any]:
    """The same of an installation in another namespace."""
    text = json.dumps(things).replace(NAMESPACE, namespace)
    found: list[Any] = json.loads(text.replace(applyset_id(NAMESPACE), applyset_id(namespace)))
    return found


async def test_the_same_revision_is_not_installed_in_another_namespace() -> None:
    cluster: Any = Cluster(*moved(installed(), "mesh"))
    before = await look(cluster, NAMESPACE)
    assert [str(each) for each in before.neighbours] == ["the revision default in mesh"]
    why = refusal(before, NAMESPACE, take_over=True, force=True)
    assert why.startswith("weft, the revision default, is in the namespace mesh already")
    assert why.endswith("install another with --revision, or take that one out first")
    beside_it = await look(cluster, NAMESPACE, "canary")
    assert refusal(beside_it, NAMESPACE, "canary", take_over=False, force=False) == ""
    assert refusal(await look(cluster, "mesh"), "mesh", take_over=False, force=False) == ""


async def test_an_agent_that_a_revision_of_another_namespace_needs_stays_its_own() -> None:
    cluster: Any = Cluster(*moved(installed(cni=True), "mesh"), *installed("canary", cni=True, shared=False))
    assert not [each for each in await brought(cluster, "canary", cni=True) if "weft-cni" in each]
    before = await look(cluster, "mesh")
    record = await read_record(cluster, "mesh")
    assert record is not None
    said = [f"{each.what}: {each.title}" async for each in uninstall(cluster, record, before.neighbours, dry=True)]
    assert "kept: DaemonSet kube-system/weft-cni, which the revision canary in weft-system needs" in said


class Narrow(Cluster):
    """One that lets whoever asks see single namespaces only."""

    async def get(self, path: str, *words: object) -> Answer:
        """One object, or a list."""
        if "?" in path and urlsplit(path).path in ("/api/v1/configmaps", "/apis/apps/v1/deployments"):
            raise ApiError("forbidden", 403)
        return await super().get(path, *words)


async def test_an_agent_stays_where_other_namespaces_may_not_be_seen() -> None:
    cluster: Any = Narrow(*installed(cni=True))
    before = await look(cluster, NAMESPACE)
    assert before.unseen == ("configmaps", "deployments")
    kept = "kept: DaemonSet kube-system/weft-cni, which another revision may need: you may not list configmaps, "
    assert f"{kept}deployments of all namespaces" in await brought(cluster)
    seen = (await recorded(cluster), before.neighbours, before.unseen)
    assert f"{kept}deployments of all namespaces" in [
        f"{each.what}: {each.title}" async for each in uninstall(cluster, *seen)
    ]
    assert AGENT in cluster.objects
    with pytest.raises(InstallError, match="you may not list configmaps, deployments of all namespaces, so there may"):
        check_alone(before.neighbours, before.unseen)


async def test_an_agent_of_an_unknown_revision_is_left_alone_where_not_all_may_be_seen() -> None:
    cluster: Any = Narrow(*moved(installed(cni=True), "mesh"))
    assert not [each for each in await brought(cluster, "canary", cni=True) if "weft-cni" in each]
    assert cluster.objects[AGENT]["metadata"]["labels"]["applyset.kubernetes.io/part-of"] == applyset_id("mesh")
    seeing: Any = Cluster(*[each for each in cluster.objects.values() if each["kind"] == "DaemonSet"])
    await brought(seeing, "canary", cni=True)
    assert seeing.objects[AGENT]["metadata"]["labels"]["applyset.kubernetes.io/part-of"] == CANARY.applyset, "nobody's"


async def test_what_revisions_share_is_ended_when_the_last_one_was_helms() -> None:
    cluster: Any = Cluster(*(each for each in installed(cni=True) if each["kind"] in ("GatewayClass", "DaemonSet")))
    planned = [each.title async for each in left_over(cluster, dry=True)]
    assert planned == ["DaemonSet kube-system/weft-cni", "GatewayClass weft"]
    assert len(cluster.objects) == 2
    assert [each.title async for each in left_over(cluster)] == planned
    assert not cluster.objects


async def test_one_that_is_called_weft_is_not_the_default() -> None:
    things = [each for each in installed("weft") if each["kind"] == "Deployment"]
    for labels in (things[0]["metadata"]["labels"], {"app.kubernetes.io/name": "weft-weft"}):
        things[0]["metadata"]["labels"] = {key: each for key, each in labels.items() if key != "weft.dev/rev"} | {
            "app.kubernetes.io/component": "control-plane", "app.kubernetes.io/part-of": "weft",
        }  # fmt: skip
        cluster: Any = Cluster(*things)
        assert [each.revision for each in await revisions_of(Reader(cluster))] == ["weft"]
    both: Any = Cluster(*installed("weft"), *installed())
    assert [each.revision for each in await revisions_of(Reader(both))] == ["default", "weft"]


def test_an_agent_of_kubectls_is_its_revisions() -> None:
    applied, own = {"metadata": {"labels": {"app.kubernetes.io/component": "cni"}}}, applyset_id(NAMESPACE)
    kubectls = Neighbour(NAMESPACE, "old", cni=True)
    assert is_anothers(applied, own, ("", NAMESPACE), (CANARY, kubectls))
    assert not is_anothers(applied, own, ("", NAMESPACE), (CANARY,)), "that one has made its own"
    assert not is_anothers(applied, own, ("", NAMESPACE), (Neighbour(NAMESPACE, "old"),))


def test_revisions_beside_each_other_are_one_release_apart() -> None:
    def said(*versions: str, force: bool = False) -> str:
        others = tuple(Neighbour(NAMESPACE, f"r{each}", each) for each in versions)
        return refusal(Before(None, None, others=others), NAMESPACE, "canary", take_over=False, force=force)

    assert said() == said("0.1.0", "0.2.0", "") == said("0.3.0", force=True) == ""
    assert said("0.2.0", "0.3.0").startswith("the revision r0.3.0 in weft-system is weft 0.3.0, and this is 0.1.0: ")


@pytest.mark.parametrize(("others", "sidecars"), [((DEFAULT,), 1), ((CANARY,), 2), ((), 3)])
async def test_pods_of_one_that_stays_are_not_counted_though_its_name_is_a_tag(
    others: tuple[Neighbour, ...], sidecars: int
) -> None:
    cluster: Any = Cluster(*(
        {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": each, "namespace": "shop",
                                                         "labels": {"weft.dev/rev": each}},
         "spec": {"containers": [{"name": PROXY, "image": "a:1"}]}}
        for each in ("default", "next", "other")
    ))  # fmt: skip
    found = await remaining(cluster, NAMESPACE, Revision("next", ("default",)), others)
    assert found.sidecars == sidecars


def test_definitions_of_a_later_release_stay() -> None:
    assert is_older("0.1.0", (Neighbour(NAMESPACE, "canary", "0.2.0"),))
    assert not is_older("0.2.0", (Neighbour(NAMESPACE, "canary", "0.1.0"), Neighbour(NAMESPACE, "other")))


class Answering(Cluster):
    """One that says its version, and lets whoever asks do anything."""

    async def get(self, path: str, *words: object) -> Answer:
        """One object, or a list."""
        return Answer(b'{"gitVersion": "v1.37.0"}') if path == "/version" else await super().get(path, *words)

    async def send(self, method: str, path: str, body: bytes, *words: object) -> bytes:
        """A review, or a trial."""
        return b'{"status": {"allowed": true}}'


async def test_a_later_revision_beside_it_is_known_to_checks() -> None:
    cluster: Any = Answering(*installed(), *installed("canary"))
    canary = cluster.objects["/apis/apps/v1/namespaces/weft-system/deployments/weft-canary"]
    for version, later in ((__version__, False), ("99.0.0", True)):
        canary["metadata"]["labels"]["app.kubernetes.io/version"] = version
        assert (await _gathered(cluster, Question("prod", NAMESPACE))).later is later
        assert not (await _gathered(cluster, Question("prod", NAMESPACE, revision="canary"))).later


def test_nothing_is_purged_beside_another() -> None:
    with pytest.raises(InstallError, match="away from the revision canary in weft-system: uninstall it first"):
        check_alone((CANARY,))
    check_alone(())


def test_sidecars_of_another_revision_are_not_its_own() -> None:
    def pod(namespace: str, revision: str, *containers: str) -> Any:
        labels = {"weft.dev/rev": revision} if revision else {}
        spec = {"containers": [{"name": each, "image": f"{each}:1"} for each in containers]}
        return {"metadata": {"name": revision or "none", "namespace": namespace, "labels": labels}, "spec": spec}

    namespaces = [
        {"metadata": {"name": "shop", "labels": {"istio-injection": "enabled"}}},
        {"metadata": {"name": "moved", "labels": {"istio.io/rev": "prod"}}},
    ]
    pods = [
        pod("shop", "default", PROXY), pod("shop", "canary", PROXY), pod("shop", "", "app"), pod("moved", "", "app"),
    ]  # fmt: skip

    def names(revision: Revision) -> list[tuple[str, str, bool]]:
        found = pod_facts(pods, namespaces, NAMESPACE, revision)
        return [(each.namespace, each.name, bool(each.image)) for each in found]

    assert names(Revision()) == [("shop", "default", True), ("shop", "none", False)]
    assert names(Revision("canary", ("prod",))) == [("shop", "canary", True), ("moved", "none", False)]
    assert [each.name for each in injected_namespaces(namespaces, NAMESPACE, Revision("canary", ("prod",)))] == [
        "moved"
    ]

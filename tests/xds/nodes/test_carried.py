"""What a node's Envoy holds for the workloads that it carries: for every document of the corpus the same as their
sidecars, under names of their own."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from golden.test_golden import references
from support.certificates import TestAuthority, write_workload_directory
from support.corpus import INPUTS, documents_of, workloads_for, world_documents
from support.envoy import validate
from support.nodes import NODE, compiled, of_case
from support.views import identity
from weft.mesh.build import build_mesh
from weft.mesh.memo import Memo
from weft.mesh.node import carried_workloads
from weft.model.network_namespace import NetworkNamespace
from weft.model.snapshot import ConfigSnapshot
from weft.model.trials import trial_of
from weft.model.workload import NodeBinding, Workload
from weft.sources.leases import carriers_of
from weft.xds.describe import describe_resource
from weft.xds.nodes.local import DOOR
from weft.xds.nodes.names import carried_name
from weft.xds.services.names import XDS_CLUSTER
from weft.xds.snapshot import EXTENSION, LISTENER, TYPES
from weft.xds.static import static_bootstrap


def strings(value: Any, key: str = "") -> Iterator[tuple[str, str]]:
    """Every text in a resource as JSON, with the name of its field."""
    if isinstance(value, dict):
        for name, each in value.items():
            yield from strings(each, name)
    elif isinstance(value, list):
        for each in value:
            yield from strings(each, key)
    elif isinstance(value, str):
        yield key, value


def with_files(value: Any) -> Any:
    """What a sidecar writes to its standard output goes into the file in which its agent has that written."""
    if isinstance(value, list):
        return [with_files(each) for each in value]
    if not isinstance(value, dict):
        return value
    found = {name: with_files(each) for name, each in value.items()}
    for stream, file in (("Stdout", "access.log"), ("Stderr", "envoy.log")):
        if str(value.get("@type", "")).endswith(f"stream.v3.{stream}AccessLog"):
            found |= {
                "@type": "type.googleapis.com/envoy.extensions.access_loggers.file.v3.FileAccessLog",
                "path": file,
            }
    return found


@pytest.mark.parametrize("path", INPUTS, ids=lambda path: path.parent.name)
def test_it_is_the_same_under_names_of_its_own(path: Path) -> None:
    node, sidecars = compiled(path)
    assert node.problems == ()
    assert sum(1 for kind in TYPES for _ in node.of_type(kind)) == sum(
        1 for each in sidecars.values() for kind in TYPES for _ in each.of_type(kind)
    )
    for proxy, sidecar in sidecars.items():
        whose = carried_name(proxy)
        for kind in TYPES:
            for resource in sidecar.of_type(kind):
                carried = node.get(kind, whose.prefix + resource.name)
                assert carried is not None, resource.name
                described = describe_resource(carried)
                for reference in references(described):
                    if reference[1] in (XDS_CLUSTER, "%UPSTREAM_CLUSTER%") or (
                        reference[0] == EXTENSION and "|" not in reference[1]
                    ):
                        continue
                    assert reference[1].startswith(whose.prefix), (resource.name, reference)
                for name, text in strings(described):
                    if name in ("filename", "path") and not text.startswith(("/", "%")):
                        assert text.startswith(whose.directory), (resource.name, name, text)
                text = json.dumps(described)
                for owned, plain in ((f"weft.{whose.prefix}.", "weft."), (f"weft.{whose.prefix}", "weft")):
                    text = text.replace(owned, plain)
                text = text.replace(whose.prefix, "").replace(whose.directory, "")
                assert json.loads(text) == with_files(describe_resource(resource)), resource.name


def test_envoy_takes_it_with_the_files_of_its_workloads(tmp_path: Path) -> None:
    """The files that agents write are where the node's Envoy looks for them, with the secrets' names in them."""
    authority = TestAuthority()
    node, sidecars = compiled(of_case("access-header"), doors=True)
    home = tmp_path / "workloads"
    for proxy in sidecars:
        whose = carried_name(proxy)
        where = home / whose.namespace / whose.name
        where.mkdir(parents=True)
        write_workload_directory(where, authority.issue(uri=str(identity(whose.name))), authority.bundle, whose)
    own = home / "default" / "host"
    own.mkdir()
    assert [each.name for each in node.of_type(LISTENER) if DOOR in each.name]
    assert validate(static_bootstrap(node), own) == ""


def test_only_what_both_sides_say_is_carried() -> None:
    """A node may not take a workload that does not name it, nor a workload force itself upon a node."""
    names = ("willing.default", "unwilling.default", "elsewhere.default")
    workloads = (
        Workload("willing", "default", "a", carrier=NODE),
        Workload("unwilling", "default", "b"),
        Workload("elsewhere", "default", "c", carrier="other.default"),
        Workload("uninvited", "default", "d", carrier=NODE),
        Workload("willing", "apart", "a", carrier=NODE),
        node := Workload("host", "default", "host", node=NodeBinding(names)),
    )
    memo = Memo()
    assert [each.proxy for each in carried_workloads(memo, workloads, node)] == ["willing.default"]
    assert carried_workloads(memo, workloads, workloads[0]) == ()


def test_a_namespace_is_used_only_where_both_sides_say_the_same() -> None:
    """A workload may not have the Envoy of a host open a file of its choice, nor be where its host does not say."""
    said, other = NetworkNamespace("/run/netns/a", "4-1"), NetworkNamespace("/run/netns/other", "4-2")
    before = NetworkNamespace("/run/netns/a", "4-0")
    node = Workload("host", "default", "host", node=NodeBinding(("a.default", "b.default"), (("a.default", said),)))
    memo = Memo()
    for name, where, taken in (
        ("a", said, True),
        ("a", other, False),
        ("a", before, False),
        ("a", None, False),
        ("b", None, True),
        ("b", said, False),
    ):
        workload = Workload(name, "default", name, carrier=NODE, network_namespace=where)
        assert (carried_workloads(memo, (workload, node), node) == (workload,)) is taken, (name, where)
        assert bool(dict(carriers_of((workload, node)))) is taken


@pytest.mark.parametrize("name", ["a.b", "ab", "b.a", "a-b.c", "a.b-c"])
def test_no_prefix_is_the_beginning_of_another(name: str) -> None:
    others = {"a.b", "ab.x", "b.a", "a-b.c", "a.b-c", "aa.b", "a.bb"} - {name}
    whose = carried_name(name if "." in name else f"{name}.x")
    mine = [other for other in others if carried_name(other) != whose]
    assert not any(carried_name(other).prefix.startswith(whose.prefix) for other in mine)


def test_patches_change_nothing_for_those_that_are_carried_and_that_is_told() -> None:
    documents = documents_of(of_case("envoyfilter").read_text(), "input.yaml")
    given = tuple(sorted((*world_documents(), *documents), key=lambda each: each.key))
    trials = tuple(trial_of(each) for each in given if each.key.kind == "EnvoyFilter")
    apart = tuple(each for each in workloads_for(documents) if each.gateway is None)
    together = tuple(replace(each, carrier=NODE) for each in apart)
    told = [
        {problem.origin.source for problem in build_mesh(snapshot, _memo()).problems if problem.code == "not-patched"}
        for snapshot in (ConfigSnapshot(1, given, workloads, trials=trials) for workloads in (apart, together))
    ]
    assert told[0] == set()
    assert told[1]
    assert told[1] <= {f"workload {each.proxy}" for each in together}


def _memo() -> Memo:
    memo = Memo()
    memo.begin()
    return memo

"""What changes no behaviour changes nothing that Envoy would replace: no cluster, endpoint, listener or secret."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Callable, Iterable, Mapping
from typing import Any

import pytest
import yaml

from support.corpus import EVERYTHING, INPUTS, SETTINGS, compile_mesh, documents_of, workloads_for, world_documents
from weft.model.document import Document
from weft.model.workload import Workload
from weft.schema.registry import KINDS
from weft.xds.describe import describe_resource
from weft.xds.snapshot import CLUSTER, ENDPOINTS, LISTENER, ROUTES, SECRET

Objects = list[dict[str, Any]]
REPLACED = (CLUSTER, ENDPOINTS, LISTENER, SECRET)
"""Types whose resources Envoy replaces together with their connections, certificates or statistics."""


def objects(text: str) -> Objects:
    """The objects of a YAML text."""
    return [each for each in yaml.safe_load_all(text) if each]


def versions(documents: Iterable[Document[object]], workloads: Iterable[Workload]) -> Mapping[tuple[str, ...], str]:
    """The version of everything that any proxy is sent and that Envoy would replace."""
    return {
        (proxy, kind, each.name): each.version
        for proxy, snapshot in compile_mesh(documents, workloads).snapshots.items()
        for kind in REPLACED
        for each in snapshot.of_type(kind)
    }


def comment_on_top(text: str) -> str:
    """Every document begins some lines further down."""
    return "# a comment\n# and another\n\n" + text.replace("---\n", "---\n# a comment\n")


def reformatted(text: str) -> str:
    """Block style instead of flow style, other indentation."""
    return yaml.safe_dump_all(objects(text), default_flow_style=False, indent=6, sort_keys=False)


def reordered_keys(text: str) -> str:
    """Every mapping the other way round."""
    return yaml.safe_dump_all([_reversed(each) for each in objects(text)], sort_keys=False)


def applied_as_json(text: str) -> str:
    """As another client of the API sends it: one List, on one line."""
    return json.dumps({"apiVersion": "v1", "kind": "List", "items": objects(text)})


def documents_in_reverse(text: str) -> str:
    """The last document first."""
    return yaml.safe_dump_all(objects(text)[::-1], sort_keys=False)


def lists_of_named_things_in_reverse(text: str) -> str:
    """The last port of a Service, listener of a Gateway, subset of a DestinationRule first."""
    changed = objects(text)
    for each in changed:
        for name in ("ports", "listeners", "subsets"):
            if isinstance(found := each.get("spec", {}).get(name), list):
                found.reverse()
    return yaml.safe_dump_all(changed, sort_keys=False)


def filled_in_by_a_server(text: str) -> str:
    """Metadata that nobody reads: versions, annotations, labels that nobody selects."""
    changed = objects(text)
    for number, each in enumerate(changed):
        metadata = each["metadata"]
        metadata |= {"resourceVersion": str(number), "generation": number, "uid": f"u-{number}"}
        metadata.setdefault("annotations", {})["example.com/note"] = "read by nobody"
        metadata["labels"] = {**metadata.get("labels", {}), "unselected": "yes"}
    return yaml.safe_dump_all(changed, sort_keys=False)


def _reversed(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _reversed(value[key]) for key in reversed(value)}
    return [_reversed(item) for item in value] if isinstance(value, list) else value


EDITS = (
    comment_on_top,
    reformatted,
    reordered_keys,
    applied_as_json,
    documents_in_reverse,
    lists_of_named_things_in_reverse,
    filled_in_by_a_server,
)


def test_every_kind_is_edited() -> None:
    edited = {each["kind"] for path in (EVERYTHING, *SETTINGS) for each in objects(path.read_text())}
    assert edited >= {kind.name for kind in KINDS}


@pytest.mark.parametrize("edit", EDITS, ids=lambda edit: edit.__name__)
@pytest.mark.parametrize("path", INPUTS, ids=lambda path: path.parent.name)
def test_an_edit_without_meaning_replaces_nothing(path: Any, edit: Callable[[str], str]) -> None:
    before, after = (documents_of(text, "mesh.yaml") for text in (path.read_text(), edit(path.read_text())))
    assert [each.key for each in before] == sorted((each.key for each in after), key=[e.key for e in before].index)
    workloads = workloads_for(before)
    first = versions((*world_documents(), *before), workloads)
    assert first == versions((*after, *world_documents()), workloads)


def test_routes_differ_in_nothing_but_the_lines_they_name() -> None:
    text = EVERYTHING.read_text()
    described = []
    for edited in (text, comment_on_top(text), documents_in_reverse(text)):
        own = documents_of(edited, "mesh.yaml")
        snapshots = compile_mesh((*world_documents(), *own), workloads_for(own)).snapshots
        routes = {
            (proxy, each.name): _without_lines(describe_resource(each))
            for proxy, snapshot in snapshots.items()
            for each in snapshot.of_type(ROUTES)
        }
        described.append(routes)
    assert described[0] == described[1] == described[2]


def _without_lines(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _without_lines(item) for key, item in value.items() if key != "src"}
    return [_without_lines(item) for item in value] if isinstance(value, list) else value


def test_a_workload_that_renews_or_carries_other_labels_that_nobody_selects_replaces_nothing() -> None:
    own = documents_of(EVERYTHING.read_text(), "mesh.yaml")
    documents, workloads = (*world_documents(), *own), workloads_for(own)
    renewed = tuple(dataclasses.replace(each) for each in workloads)
    labelled = tuple(dataclasses.replace(each, labels=(*each.labels, ("zone", "a"))) for each in workloads[::-1])
    first = versions(documents, workloads)
    assert first == versions(documents, renewed)
    assert first == versions(documents, labelled)

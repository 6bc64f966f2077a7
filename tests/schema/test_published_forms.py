"""Forms in which documents are published elsewhere: old versions, lists for mappings, old names of filters."""

from __future__ import annotations

import pytest

from weft.model.document import Document
from weft.model.unreadable import Unreadable
from weft.schema.decode import Decoded, decode_documents, decode_stored
from weft.schema.kinds.envoyfilter import EnvoyFilterSpec
from weft.schema.kinds.smi import HttpRouteGroupSpec, TrafficSplitSpec, TrafficTargetSpec

OLD_GROUP = """\
apiVersion: specs.smi-spec.io/v1alpha2
kind: HTTPRouteGroup
metadata: {name: shelf}
matches:
- name: phones
  pathRegex: /books
  methods: [GET]
  headers:
  - user-agent: ".*Android.*"
  - x-reader: "yes"
"""
OLD_TARGET = """\
apiVersion: access.smi-spec.io/v1alpha1
kind: TrafficTarget
metadata: {name: readers, namespace: books}
destination: {kind: ServiceAccount, name: shelf, namespace: books}
specs:
- {kind: HTTPRouteGroup, name: shelf, matches: [phones]}
sources:
- {kind: ServiceAccount, name: reader, namespace: people}
"""
PATCHED = """\
apiVersion: networking.istio.io/v1alpha3
kind: EnvoyFilter
metadata: {name: mine}
spec:
  configPatches:
  - applyTo: %s
    match: {%s}
    patch: {operation: %s, value: {name: mine}}
"""
MANAGER = "envoy.filters.network.http_connection_manager"


def only(found: Decoded) -> Document[object]:
    assert not found.failed, found.problems
    [document] = found.documents
    return document


def test_old_versions_have_their_fields_beside_metadata() -> None:
    group = only(decode_documents(OLD_GROUP, "a.yaml"))
    assert isinstance(group.spec, HttpRouteGroupSpec)
    assert group.spec.matches[0].headers == {"user-agent": ".*Android.*", "x-reader": "yes"}
    assert group.at("spec", "matches", 0, "pathRegex").line == 6, "lines are those of the file"
    target = only(decode_documents(OLD_TARGET, "a.yaml"))
    assert isinstance(target.spec, TrafficTargetSpec)
    assert target.spec.rules[0].matches == ("phones",)
    assert target.spec.sources[0].namespace == "people"


@pytest.mark.parametrize("text", [OLD_GROUP, OLD_TARGET])
def test_what_is_stored_of_an_old_version_reads_the_same(text: str) -> None:
    first = only(decode_documents(text, "a.yaml"))
    again = only(decode_stored(first.text, first.lines))
    assert (again.spec, again.text, again.key) == (first.spec, first.text, first.key)


def test_a_field_of_an_old_version_that_narrows_is_not_ignored() -> None:
    found = decode_documents(OLD_TARGET.replace("namespace: books}\nspecs", "namespace: books, port: 80}\nspecs"), "a")
    assert [each.code for each in found.problems] == ["unsupported-field"]
    assert "TCPRoute" in found.problems[0].message
    assert isinstance(found.documents[0].spec, Unreadable), "it closes what it names"


def test_a_header_that_is_given_twice_is_told() -> None:
    found = decode_documents(OLD_GROUP.replace("x-reader", "user-agent"), "a.yaml")
    assert [(each.code, each.origin.line) for each in found.problems] == [("duplicate-field", 10)]
    found = decode_documents(OLD_GROUP.replace('x-reader: "yes"', "text"), "a.yaml")
    assert [each.code for each in found.problems] == ["wrong-type"]


@pytest.mark.parametrize(
    ("written", "meant"),
    [(("900m", "100m"), (900, 100)), (("1", "500m"), (1000, 500)), (("9", "1"), (9, 1)), (("'1'", "2"), (1000, 2000))],
)
def test_shares_in_thousandths(written: tuple[str, str], meant: tuple[int, int]) -> None:
    text = (
        "apiVersion: split.smi-spec.io/v1alpha1\nkind: TrafficSplit\nmetadata: {name: a}\nspec:\n  service: a\n"
        f"  backends: [{{service: b, weight: {written[0]}}}, {{service: c, weight: {written[1]}}}]\n"
    )
    spec = only(decode_documents(text, "a.yaml")).spec
    assert isinstance(spec, TrafficSplitSpec)
    assert tuple(each.weight for each in spec.backends) == meant


@pytest.mark.parametrize("weight", ["-1", "many", "1.5", "9m9", "m", "99999999999", "true"])
def test_what_is_no_share(weight: str) -> None:
    text = (
        "apiVersion: split.smi-spec.io/v1alpha1\nkind: TrafficSplit\nmetadata: {name: a}\n"
        f"spec: {{service: a, backends: [{{service: b, weight: {weight}}}]}}\n"
    )
    found = decode_documents(text, "a.yaml")
    assert found.failed
    assert found.problems[0].path == ("spec", "backends", 0, "weight")


def patch_of(apply_to: str, match: str, operation: str) -> tuple[EnvoyFilterSpec, Decoded]:
    found = decode_documents(PATCHED % (apply_to, match, operation), "a.yaml")
    spec = only(found).spec
    assert isinstance(spec, EnvoyFilterSpec)
    return spec, found


@pytest.mark.parametrize(
    ("apply_to", "match", "operation", "meant"),
    [
        ("HTTP_FILTER", f"listener: {{filterChain: {{filter: {{name: {MANAGER}}}}}}}", "INSERT_BEFORE", "INSERT_FIRST"),
        ("HTTP_FILTER", "context: ANY", "INSERT_AFTER", "ADD"),
        ("NETWORK_FILTER", "context: ANY", "INSERT_BEFORE", "INSERT_FIRST"),
        (
            "NETWORK_FILTER",
            f"listener: {{filterChain: {{filter: {{name: {MANAGER}}}}}}}",
            "INSERT_AFTER",
            "INSERT_AFTER",
        ),
        ("HTTP_ROUTE", 'routeConfiguration: {vhost: {route: {name: ""}}}', "INSERT_AFTER", "ADD"),
        ("HTTP_ROUTE", "routeConfiguration: {vhost: {route: {name: a}}}", "INSERT_BEFORE", "INSERT_BEFORE"),
    ],
)
def test_beside_nobody_is_at_the_end(apply_to: str, match: str, operation: str, meant: str) -> None:
    spec, found = patch_of(apply_to, match, operation)
    assert spec.config_patches[0].patch.operation == meant
    assert found.problems == ()


def test_old_names_of_filters() -> None:
    match = "listener: {filterChain: {filter: {name: envoy.http_connection_manager, subFilter: {name: envoy.router}}}}"
    spec, found = patch_of("HTTP_FILTER", match, "INSERT_BEFORE")
    listener = spec.config_patches[0].match.listener
    assert listener is not None and listener.filter_chain is not None and listener.filter_chain.filter is not None
    chosen = listener.filter_chain.filter
    assert chosen.name == MANAGER
    assert chosen.sub_filter is not None
    assert chosen.sub_filter.name == "envoy.filters.http.router"
    assert {each.code for each in found.problems} == {"deprecated-field"}


def test_an_empty_condition_is_none() -> None:
    spec, found = patch_of("VIRTUAL_HOST", 'routeConfiguration: {vhost: {name: "", domainName: ""}}', "MERGE")
    routes = spec.config_patches[0].match.route_configuration
    assert routes is not None and routes.vhost is not None
    assert routes.vhost.name is None
    assert routes.vhost.domain_name is None
    assert found.problems == ()


@pytest.mark.parametrize(
    ("text", "way_out"),
    [
        (PATCHED % ("HTTP_FILTER", "proxy: {proxyVersion: '^1.9.*'}", "INSERT_FIRST"), "one version"),
        (PATCHED % ("BOOTSTRAP", "context: ANY", "MERGE"), "how a proxy starts"),
        (PATCHED % ("HTTP_ROUTE", "routeConfiguration: {portName: http}", "MERGE"), "portNumber"),
        (PATCHED % ("HTTP_FILTER", "context: ANY}\n    listener: {portNumber: 80", "INSERT_FIRST"), "stand in match"),
    ],
)
def test_what_is_not_taken_says_the_reason(text: str, way_out: str) -> None:
    problems = decode_documents(text, "a.yaml").problems
    assert [each.code for each in problems] in (["unsupported-field"], ["unsupported-value"])
    assert way_out in problems[0].message

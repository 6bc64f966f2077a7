"""Parameters of Gateways by somebody who means harm, or does not look."""

from __future__ import annotations

import json
import time
from typing import Any

import pytest
import yaml

from provision.test_parameters import PODS, REFERENCE, in_container, in_pod, made, plan, plans, written
from provision.test_plans import planned
from support.meshdocs import documents
from weft.model.origin import FieldLines, path_text
from weft.model.problem import Severity
from weft.provision import manifests, parameters
from weft.provision.manifests import objects_of
from weft.provision.parameters import parameters_problems
from weft.schema.decode import decode_stored

LIMITS = "spec: {template: {spec: {containers: [{name: weft-proxy, resources: {limits: {memory: LIMIT}}}]}}}"


def read(**data: str) -> tuple[Any, list[str]]:
    """What a ConfigMap says, and the faults in it."""
    overlays, faults = parameters.read_parameters(json.dumps({"data": data}))
    return overlays, [each.finding.message for each in faults]


@pytest.mark.parametrize(
    "own",
    [
        {"deployment": "spec: {template: {spec: {containers: [{name: {}}]}}}"},
        {"deployment": "spec: {template: {spec: {imagePullSecrets: [{name: {}}, {name: []}]}}}"},
        {"service": "spec: {ports: [{port: []}, {port: []}]}"},
    ],
)
def test_a_list_is_merged_by_plain_words_alone(own: dict[str, str]) -> None:
    found = plans(own)
    assert not found.plans
    assert all("found a " in each.message for each in found.problems), found.problems


def test_a_text_that_weft_trips_over_is_a_fault_of_it_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    def trip(*_: object) -> None:
        raise RuntimeError

    monkeypatch.setattr(parameters, "faults_of", trip)
    parameters.read_parameters.cache_clear()
    try:
        [problem] = plans({"service": "spec: {}"}).problems
    finally:
        parameters.read_parameters.cache_clear()
    assert "weft cannot read it (RuntimeError in trip, line " in problem.message


@pytest.mark.parametrize("text", ["\n" * 200_000, " " * 200_000, "# a: b\n" * 30_000, "\n" * 200_000 + "a: b"])
def test_a_long_text_is_not_read_for_long(text: str) -> None:
    """Processor seconds of this process alone; each line again for each other one would be minutes."""
    stored = {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "sizes"}, "data": {"service": text}}
    began = time.process_time()
    decode_stored(json.dumps(stored), FieldLines("x", {}))
    _, [fault] = parameters.read_parameters(json.dumps(stored))
    assert time.process_time() - began < 10
    assert (fault.finding.message, fault.finding.expected) == (
        f"found a text of {len(text)} characters",
        "at most 32768",
    )


@pytest.mark.parametrize(
    "text", ["null", "---\nnull", "--- ~", "null\n...\n", "# none\n\n~ # at all\n", "%YAML 1.1\n---\nnull\n"]
)
def test_null_takes_away_however_it_is_written(text: str) -> None:
    assert read(horizontalPodAutoscaler=text) == ({"horizontalPodAutoscaler": None}, [])


def test_null_beside_another_document_is_one_too_many() -> None:
    for text in ("null\n---\nspec: {}", "spec: {}\n---\n~", "null\n---\nnull"):
        assert read(horizontalPodAutoscaler=text)[1] == ["found 2 YAML documents"]
    assert read(horizontalPodAutoscaler="---\n---\nspec: {}\n---\n") == ({"horizontalPodAutoscaler": {"spec": {}}}, [])
    assert read(horizontalPodAutoscaler="---\n# nothing\n") == ({}, [])


def test_a_short_text_does_not_stand_for_much() -> None:
    """By aliases: of values, of their mistakes, and of long words."""
    strange_fields = ", ".join(f"operatorx{index}: 1" for index in range(400))
    aliases = ", ".join(["*a"] * 480)
    in_pod = "spec: {{template: {{spec: {{tolerations: [&a {{{}}}, {}]}}}}}}"
    began = time.process_time()
    [message] = read(deployment=in_pod.format(f"key: a, {strange_fields}", aliases))[1]
    assert "more than 2000 values" in message
    [message] = read(deployment=in_pod.format(f"key: {'a' * 1000}", aliases))[1]
    assert "found a text of " in message
    assert "aliases expanded" in message
    unknown = read(service="spec: {" + ", ".join(f"selectorr{index}: a" for index in range(900)) + "}")[1]
    strange = read(**{f"services{index}": "{}" for index in range(900)})[1]
    assert (len(unknown), len(strange)) == (20, 20)
    assert time.process_time() - began < 10


KEYS = ("deployment", "service", "serviceAccount", "horizontalPodAutoscaler", "podDisruptionBudget")


@pytest.mark.parametrize("key", KEYS)
@pytest.mark.parametrize(
    "text", ["metadata: {labels: null}", "metadata: {labels: ~}", "kind: null", "apiVersion: null"]
)
def test_null_does_not_take_away_what_weft_knows_its_objects_by(key: str, text: str) -> None:
    assert read(**{key: text})[1] == ["found null, and weft needs it"]


def test_whatever_is_merged_an_object_is_this_gateways(monkeypatch: pytest.MonkeyPatch) -> None:
    """Beside the allow-list, not by it."""
    plain = objects_of(plan(), PODS)
    merging = {"kind": "x", "metadata": {"labels": {"of": "edge"}, "name": "x", "ownerReferences": [], "uid": "x"}}
    monkeypatch.setattr(manifests, "merged", lambda there, *_: {**there, **merging})
    own: dict[str, Any] = {key: {"metadata": {"annotations": {}}} for key in KEYS if key != "serviceAccount"}
    own["serviceAccount"] = {"metadata": {"labels": {}}}
    for before, after in zip(plain, objects_of(plan(own), PODS), strict=True):
        assert after.path == before.path
        assert {**after.body, "metadata": 0} == {**before.body, "metadata": 0}
        metadata = {name: after.body["metadata"][name] for name in ("name", "namespace", "ownerReferences")}
        assert metadata.items() <= before.body["metadata"].items()
        kept = {name: each for name, each in before.body["metadata"]["labels"].items() if name != "team"}
        assert after.body["metadata"]["labels"] == {**kept, "of": "edge"}


@pytest.mark.parametrize(
    ("own", "words"),
    [
        ({"horizontalPodAutoscaler": "spec: {maxReplicas: null}"}, "spec.maxReplicas: found null, and weft needs it"),
        (
            in_pod(containers=[{"name": "weft-proxy"}, {"name": "istio-proxy"}]),
            "containers[1]: the proxy is given twice",
        ),
        (in_container(resources={"limits": {"memory": float("inf")}}), "memory: found the number inf"),
        (in_container(resources={"limits": {"memory": float("nan")}}), "memory: found the number nan"),
        ({"deployment": LIMITS.replace("LIMIT", "1e400")}, "memory: found the number inf"),
        (
            {"deployment": LIMITS.replace("LIMIT", "9223372036854775808")},
            "memory: found the number 9223372036854775808",
        ),
    ],
)
def test_what_would_be_ignored_is_refused(own: dict[str, Any], words: str) -> None:
    found = plans(own)
    assert not found.plans
    [problem] = found.problems
    assert words in problem.message


def test_a_port_that_is_not_there_cannot_be_taken_away() -> None:
    ports = [{"port": 9999, "$patch": "delete"}, {"port": 80, "protocol": "UDP", "$patch": "delete"}]
    own = {"service": {"spec": {"ports": ports}}}
    found = plans(own)
    assert found.plans, "it may stay: Istio's own port is taken away in documents for Istio"
    assert [(each.code, each.severity) for each in found.problems] == [("no-effect", Severity.WARNING)] * 2
    assert [each.message for each in found.problems] == [
        "service: spec.ports: no listener has port 9999, so there is nothing to take away",
        "service: spec.ports: no listener has port 80 UDP, so there is nothing to take away",
    ]
    assert plans(None, own).problems == (), "what a class says of a port is for Gateways that have it"


def test_null_takes_away_the_type_that_a_class_says() -> None:
    of_class = {"service": {"spec": {"type": "NodePort"}}}
    text = written({"service": {"spec": {"type": None}}}, of_class)
    [one] = planned(text.replace("  listeners:", "  addresses: [{value: 10.0.0.9}]\n  listeners:")).plans
    spec = objects_of(one, PODS)[-1].body["spec"]
    assert (spec["type"], spec["loadBalancerIP"], "clusterIP" in spec) == ("LoadBalancer", "10.0.0.9", False)
    assert made(None, of_class)["Service"]["spec"]["type"] == "NodePort"


def test_names_are_shown_without_what_hides_in_them() -> None:
    strange = "\x1b[31mred\u202e" + "x" * 1000
    own = {
        "service": yaml.safe_dump({"metadata": {"labels": {f"weft.dev/{strange}": "x", strange: 1}}}),
        "deployment": yaml.safe_dump({strange: {}, **in_pod(imagePullSecrets=[{"name": strange}] * 2)["deployment"]}),
        strange: "{}",
    }
    text = written(own)
    found = [*planned(text).problems, *parameters_problems(documents(text))]
    assert len(found) >= 8
    for each in found:
        assert str(each).isprintable()
        assert len(str(each)) < 800, each
        assert len(path_text(each.path)) < 300


@pytest.mark.parametrize(
    "name", ["a&fieldSelector=", "../../secrets/x", "sizes#", "x,metadata.name!=y", "A", "", "x" * 254]
)
def test_a_reference_is_a_name(name: str) -> None:
    """It becomes a part of a question to the API server."""
    reference = REFERENCE.replace("name: sizes", f"name: '{name}'")
    of_gateway = planned(written({"service": {}}).replace(REFERENCE, reference)).problems
    [problem] = [each for each in of_gateway if each.object is not None and each.object.kind == "Gateway"]
    assert problem.path == ("spec", "infrastructure", "parametersRef", "name")
    assert "is no name of a ConfigMap" in problem.message
    assert len(problem.message) < 200
    if 0 < len(name) < 254:  # others no GatewayClass may have
        text = written(None, {"service": {}}).replace("name: usual, ", f"name: '{name}', ", 1)
        [problem] = [each for each in planned(text).problems if each.path == ("spec", "parametersRef", "name")]
        assert "is no name of a ConfigMap" in problem.message

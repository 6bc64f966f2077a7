"""Pods with their sidecars: what labels and annotations change, what is refused, and the patch that says it."""

from __future__ import annotations

import copy
import json
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from support.injection import SETTINGS, pod
from weft.agent.cni.pods import words_of
from weft.inject.decision import Namespace
from weft.inject.patch import json_patch
from weft.inject.pod import Injected, inject_pod, uninject_pod
from weft.inject.settings import InjectionSettingsError, check_settings
from weft.inject.vocabulary import WORDS, Meaning
from weft.model.problem import Severity
from weft.model.proof import proof_address

HERE = Namespace("shop", {"istio-injection": "enabled"})
TRAFFIC = "traffic.sidecar.istio.io/"


def inject(**parts: Any) -> Injected:
    return inject_pod(pod(**parts), HERE, SETTINGS)


def annotated(**annotations: str) -> Injected:
    return inject(annotations=annotations)


def container(done: Injected, name: str) -> dict[str, Any]:
    assert done.pod is not None, done
    spec = done.pod["spec"]
    [found] = [one for one in (*spec["initContainers"], *spec["containers"]) if one["name"] == name]
    return dict(found)


def environment(done: Injected) -> dict[str, str]:
    return {one["name"]: one["value"] for one in container(done, "weft-proxy")["env"] if "value" in one}


@pytest.mark.parametrize(
    ("annotations", "options"),
    [
        ({f"{TRAFFIC}includeOutboundIPRanges": "*"}, []),
        ({f"{TRAFFIC}includeOutboundIPRanges": ""}, ["--no-outbound"]),
        ({f"{TRAFFIC}includeOutboundIPRanges": "", f"{TRAFFIC}excludeOutboundPorts": "80"}, ["--no-outbound"]),
        ({f"{TRAFFIC}includeInboundPorts": "*", f"{TRAFFIC}excludeInboundPorts": "1, 2"},
         ["--exclude-inbound-port=1", "--exclude-inbound-port=2"]),
        ({f"{TRAFFIC}includeInboundPorts": ""}, ["--no-inbound"]),
        ({f"{TRAFFIC}includeInboundPorts": "80", f"{TRAFFIC}excludeInboundPorts": "80"}, ["--no-inbound"]),
        ({f"{TRAFFIC}excludeOutboundIPRanges": "10.1.2.3/8,10.0.0.0/8,"}, ["--exclude-outbound-address=10.0.0.0/8"]),
    ],
)  # fmt: skip
def test_what_is_captured(annotations: dict[str, str], options: list[str]) -> None:
    assert container(annotated(**annotations), "weft-init")["command"] == ["weft", "pod", "init", *options]


@pytest.mark.parametrize(
    "annotations",
    [
        {f"{TRAFFIC}excludeOutboundPorts": "80, http"},
        {f"{TRAFFIC}excludeOutboundPorts": "65536"},
        {f"{TRAFFIC}excludeOutboundIPRanges": "10.0.0.0/33"},
        {f"{TRAFFIC}excludeInterfaces": "--guard"},
        {f"{TRAFFIC}excludeInterfaces": "much-too-long-for-one"},
        {f"{TRAFFIC}includeOutboundIPRanges": "", f"{TRAFFIC}includeOutboundPorts": "443"},
        {f"{TRAFFIC}kubevirtInterfaces": "net1"},
        {f"{TRAFFIC}excludeOutboundPort": "80"},
        {"sidecar.istio.io/interceptionMode": "NONE"},
        {"proxy.istio.io/config": "interceptionMode: TPROXY"},
        {"inject.istio.io/templates": "gateway"},
    ],
)
def test_traffic_that_cannot_go_as_it_is_said_refuses_the_pod(annotations: dict[str, str]) -> None:
    done = annotated(**annotations)
    assert done.pod is None
    assert [one.code for one in done.problems if one.severity == Severity.ERROR] == ["injection-refused"]


def test_the_nearest_name_is_told() -> None:
    [problem] = annotated(**{f"{TRAFFIC}excludeOutboundPort": "80"}).problems
    assert problem.nearest == f"{TRAFFIC}excludeOutboundPorts"


@pytest.mark.parametrize("key", sorted(key for key, word in WORDS.items() if word.meaning is Meaning.WARNED))
def test_what_is_not_done_is_told_and_written_down(key: str) -> None:
    done = annotated(**{key: "something"})
    [problem] = done.problems
    assert (problem.severity, problem.code) == (Severity.WARNING, "injection-annotation")
    assert done.pod is not None
    assert json.loads(done.pod["metadata"]["annotations"]["weft.dev/status"])["warnings"] == [problem.message]


@pytest.mark.parametrize("key", sorted(key for key, word in WORDS.items() if word.fitting))
def test_what_says_what_weft_does_anyway_is_well(key: str) -> None:
    assert annotated(**{key: WORDS[key].fitting[0]}).problems == ()


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("concurrency: 2", "'concurrency' is not done: a ProxyConfig document with a selector says it"),
        ("holdApplicationsUntilProxyStarts: true", "weft does not know it"),
        ("terminationDrainDuration: soon", "terminationDrainDuration cannot be read"),
        ("holdApplicationUntilProxyStarts: maybe", "holdApplicationUntilProxyStarts cannot be read"),
        ("holdApplicationUntilProxyStarts: false", "the application waits for a native sidecar always"),
        ("[]", "cannot be read and does nothing"),
        ("{", "cannot be read and does nothing: not valid YAML"),
    ],
)
def test_proxy_config(text: str, told: str) -> None:
    done = annotated(**{"proxy.istio.io/config": text})
    assert done.pod is not None
    [problem] = done.problems
    assert told in problem.message


def test_drain_and_grace() -> None:
    config = {"proxy.istio.io/config": "terminationDrainDuration: 1m30s"}
    told = environment(inject(annotations=config, terminationGracePeriodSeconds=120))
    assert (told["WEFT_DRAIN_SECONDS"], told["WEFT_GRACE_SECONDS"]) == ("90", "120")
    assert environment(inject())["WEFT_DRAIN_SECONDS"] == "0"
    classic = environment(annotated(**{"sidecar.istio.io/nativeSidecar": "false"}))
    assert "WEFT_DRAIN_SECONDS" not in classic


@pytest.mark.parametrize(
    ("annotations", "requests", "limits"),
    [
        ({}, {"cpu": "100m", "memory": "192Mi"}, {"memory": "1Gi"}),
        ({"proxyMemoryLimit": "100Mi"}, {"cpu": "100m", "memory": "100Mi"}, {"memory": "100Mi"}),
        ({"proxyMemory": "2Gi"}, {"cpu": "100m", "memory": "2Gi"}, {"memory": "2Gi"}),
        ({"proxyCPU": "1", "proxyCPULimit": "2"}, {"cpu": "1", "memory": "192Mi"}, {"cpu": "2", "memory": "1Gi"}),
        ({"proxyCPULimit": "0.05"}, {"cpu": "0.05", "memory": "192Mi"}, {"cpu": "0.05", "memory": "1Gi"}),
    ],
)
def test_resources(annotations: dict[str, str], requests: dict[str, str], limits: dict[str, str]) -> None:
    done = annotated(**{f"sidecar.istio.io/{key}": text for key, text in annotations.items()})
    assert container(done, "weft-proxy")["resources"] == {"requests": requests, "limits": limits}


def test_a_quantity_that_is_none_is_left_out() -> None:
    done = annotated(**{"sidecar.istio.io/proxyCPU": "much"})
    assert container(done, "weft-proxy")["resources"]["requests"]["cpu"] == "100m"
    [problem] = done.problems
    assert problem.expected.startswith("a quantity such as 100m")


@pytest.mark.parametrize(
    ("spec", "told"),
    [
        ({"containers": [{"name": "web", "ports": [{"containerPort": 15020}]}]}, "port 15020 is the sidecar's"),
        ({"containers": [{"name": "web", "securityContext": {"runAsUser": 1337}}]}, "user 1337 is the proxy's"),
        ({"securityContext": {"runAsUser": 1337}}, "user 1337 is the proxy's"),
        ({"initContainers": [{"name": "weft-init"}]}, "the name weft-init is the sidecar's"),
        ({"volumes": [{"name": "weft-data"}]}, "the name weft-data is the sidecar's"),
        ({"containers": []}, "there are no containers"),
    ],
)
def test_pods_that_are_unfit(spec: dict[str, Any], told: str) -> None:
    done = inject(**spec)
    assert done.pod is None
    assert told in done.problems[0].message
    assert done.problems[0].severity == Severity.ERROR


def test_an_init_container_may_go_around_the_proxy() -> None:
    assert inject(initContainers=[{"name": "first", "securityContext": {"runAsUser": 1337}}]).problems == ()


def test_a_namespace_that_refuses_what_the_rules_need_is_told() -> None:
    labels = {"istio-injection": "enabled", "pod-security.kubernetes.io/enforce": "restricted"}
    done = inject_pod(pod(), Namespace("shop", labels), SETTINGS)
    assert done.pod is not None
    assert "the namespace enforces restricted" in done.problems[0].message


def test_a_job_ends_though_it_asks_for_a_classic_proxy() -> None:
    done = inject(annotations={"sidecar.istio.io/nativeSidecar": "false"}, restartPolicy="Never")
    assert container(done, "weft-proxy")["restartPolicy"] == "Always"
    assert "gets a native sidecar" in done.problems[0].message


def test_hooks_over_the_network_are_told() -> None:
    hook = {"preStop": {"httpGet": {"path": "/stop", "port": 80}}}
    [problem] = inject(containers=[{"name": "web", "lifecycle": hook}]).problems
    assert "the kubelet calls this hook through the proxy" in problem.message


def test_a_probe_of_a_port_that_is_not_there_stays() -> None:
    probe = {"httpGet": {"path": "/", "port": "http"}}
    done = inject(containers=[{"name": "web", "readinessProbe": probe}])
    assert container(done, "web")["readinessProbe"] == probe
    assert "the port 'http' is none of the container's" in done.problems[0].message


def test_the_pod_that_was_given_is_not_touched() -> None:
    probe = {"tcpSocket": {"port": 80}}
    before = pod(containers=[{"name": "web", "livenessProbe": probe}], annotations={"a": "b"})
    kept = copy.deepcopy(before)
    assert inject_pod(before, HERE, SETTINGS).pod is not None
    assert before == kept


def applied(before: dict[str, Any], patch: list[dict[str, Any]]) -> dict[str, Any]:
    """`before` after a JSON Patch."""
    after = copy.deepcopy(before)
    for step in patch:
        *way, last = [part.replace("~1", "/").replace("~0", "~") for part in step["path"].split("/")[1:]]
        where = after
        for part in way:
            where = where[part]
        assert (last in where) == (step["op"] != "add")
        if step["op"] == "remove":
            del where[last]
        else:
            where[last] = step["value"]
    return after


_WORDS = st.text("ab/~", min_size=1, max_size=3)
_VALUES: Any = st.recursive(
    st.none() | st.integers(0, 2) | _WORDS,
    lambda inner: st.lists(inner, max_size=2) | st.dictionaries(_WORDS, inner, max_size=3),
    max_leaves=8,
)


@given(st.dictionaries(_WORDS, _VALUES, max_size=4), st.dictionaries(_WORDS, _VALUES, max_size=4))
def test_a_patch_makes_one_of_the_other(before: dict[str, Any], after: dict[str, Any]) -> None:
    assert applied(before, json_patch(before, after)) == after


_PROBES = st.sampled_from(
    [
        {"httpGet": {"port": 80}},
        {"httpGet": {"port": "http", "path": "/x", "host": "1.2.3.4"}},
        {"grpc": {"port": 81}, "periodSeconds": 4},
        {"tcpSocket": {"port": "http"}},
        {"exec": {"command": ["x"]}},
    ]
)
_CONTAINERS = st.fixed_dictionaries(
    {"ports": st.just([{"name": "http", "containerPort": 80}])},
    optional={"livenessProbe": _PROBES, "readinessProbe": _PROBES, "startupProbe": _PROBES},
)


@given(
    st.lists(_CONTAINERS, min_size=1, max_size=3),
    st.lists(_CONTAINERS, max_size=2),
    st.sampled_from([{}, {"sidecar.istio.io/nativeSidecar": "false"}, {"sidecar.istio.io/logLevel": "debug"}]),
    st.booleans(),
)
def test_uninjected_is_what_it_was(
    containers: list[dict[str, Any]], inits: list[dict[str, Any]], annotations: dict[str, str], bare: bool
) -> None:
    spec: dict[str, Any] = {"containers": [{"name": f"c{i}", **one} for i, one in enumerate(containers)]}
    if inits:
        named = [{"name": f"i{i}", "restartPolicy": "Always", **one} for i, one in enumerate(inits)]
        spec |= {"initContainers": named, "volumes": [{"name": "x", "emptyDir": {}}]}
    before = {"spec": spec} if bare else pod(annotations=annotations, **spec)
    done = inject_pod(before, HERE, SETTINGS)
    assert done.pod is not None
    assert json.dumps(uninject_pod(done.pod), sort_keys=True) == json.dumps(before, sort_keys=True)
    assert applied(before, json_patch(before, done.pod)) == done.pod
    again = inject_pod(done.pod, HERE, SETTINGS)
    assert (again.pod, again.reason) == (None, "it has a container weft-proxy already")


def test_a_pod_that_its_node_captures_has_no_right() -> None:
    words = ("--exclude-outbound-port=3306",)
    annotations = {f"{TRAFFIC}excludeOutboundPorts": "3306"}
    restricted = Namespace("shop", {"istio-injection": "enabled", "pod-security.kubernetes.io/enforce": "restricted"})
    before = pod(annotations=annotations)
    done = inject_pod(before, restricted, replace(SETTINGS, cni=True))
    assert done.problems == ()
    init, proxy = container(done, "weft-init"), container(done, "weft-proxy")
    assert init["command"] == ["weft", "pod", "verify", proof_address(words)]
    assert init["securityContext"] == proxy["securityContext"]
    assert init["securityContext"]["capabilities"] == {"drop": ["ALL"]}
    assert done.pod is not None
    assert words_of(done.pod["metadata"]["annotations"]) == words
    assert uninject_pod(done.pod) == before


def test_what_is_captured_before_its_first_container_has_a_native_sidecar() -> None:
    wanted = pod(annotations={"sidecar.istio.io/nativeSidecar": "false"}, initContainers=[{"name": "a", "image": "a"}])
    done = inject_pod(wanted, HERE, replace(SETTINGS, cni=True))
    assert done.pod is not None
    assert [each["name"] for each in done.pod["spec"]["initContainers"]] == ["weft-init", "weft-proxy", "a"]
    assert "it gets a native sidecar" in done.problems[0].message
    with pytest.raises(InjectionSettingsError, match="cannot be classic containers where nodes capture pods"):
        check_settings(replace(SETTINGS, cni=True, native=False))


def test_a_pod_that_captures_itself_says_nothing_to_its_node() -> None:
    done = annotated()
    assert done.pod is not None
    assert words_of(done.pod["metadata"]["annotations"]) is None

"""What injection puts into a pod is what `weft pod init`, `weft pod proxy` and `weft pod wait` take there."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click
import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from support.injection import SETTINGS, pod
from weft.agent.pod.environment import PodParameters, pod_parameters
from weft.cli.pod import pod as commands
from weft.inject.decision import Namespace
from weft.inject.pod import inject_pod
from weft.inject.workloads import at, pods_in

CASES = sorted((Path(__file__).parent / "cases").glob("*/injected.yaml"))
FROM_POD = {
    "POD_NAME": "web",
    "POD_NAMESPACE": "shop",
    "POD_IP": "10.0.0.7",
    "POD_SERVICE_ACCOUNT": "default",
    "NODE_NAME": "node",
}


def check(injected: dict[str, Any]) -> PodParameters:
    """Everything of the sidecar, read as it reads it."""
    spec = injected["spec"]
    containers = {one["name"]: one for one in (*spec["initContainers"], *spec["containers"])}
    init, proxy = containers["weft-init"], containers["weft-proxy"]
    asked = [init["command"], proxy["command"]]
    if "lifecycle" in proxy:
        asked.append(proxy["lifecycle"]["postStart"]["exec"]["command"])
    for program, group, name, *options in asked:
        assert (program, group) == ("weft", "pod")
        command = commands.get_command(click.Context(commands), name)
        assert command is not None
        command.make_context(name, options)
    variables = {one["name"]: one.get("value", FROM_POD.get(one["name"], "")) for one in proxy["env"]}
    return pod_parameters(variables)


@pytest.mark.parametrize("path", CASES, ids=lambda path: path.parent.name)
def test_what_is_written_down(path: Path) -> None:
    for document in yaml.safe_load_all(path.read_text()):
        for where, _ in pods_in(document):
            one = at(document, where)
            if "weft.dev/status" in one.get("metadata", {}).get("annotations", {}):
                check(one)


_PORTS = st.sampled_from([80, "http", "81"])
_HEADERS = st.lists(
    st.fixed_dictionaries(
        {"name": st.sampled_from(["Host", "X-A", "ä b", ""]), "value": st.sampled_from(["a", "ü", "\u2603"])}
    ),
    max_size=2,
)
_HTTP = st.fixed_dictionaries(
    {"port": _PORTS},
    optional={
        "path": st.sampled_from(["/", "x", "/ü"]),
        "scheme": st.sampled_from(["HTTP", "HTTPS"]),
        "httpHeaders": _HEADERS,
        "protocol": st.sampled_from(["HTTP1", "HTTP2"]),
        "host": st.just(""),
    },
)
_GRPC = st.fixed_dictionaries(
    {"port": _PORTS}, optional={"service": st.just("a"), "mode": st.sampled_from(["TLS", "Plaintext"])}
)
_ACTIONS = st.one_of(
    st.builds(lambda one: {"httpGet": one}, _HTTP),
    st.builds(lambda one: {"grpc": one}, _GRPC),
    st.builds(lambda one: {"tcpSocket": {"port": one, "host": ""}}, _PORTS),
)
_PROBES = st.builds(
    lambda one, more: {**one, **more},
    _ACTIONS,
    st.fixed_dictionaries({}, optional={"timeoutSeconds": st.sampled_from([0, 2, 99999])}),
)


@given(_PROBES, _PROBES, st.sampled_from([None, 0, 30, 10**9]))
def test_whatever_the_probes_are(live: dict[str, Any], ready: dict[str, Any], grace: int | None) -> None:
    """One that the agent could not ask stays where it is, and does not keep it from starting."""
    container = {"name": "web", "ports": [{"name": "http", "containerPort": 80}]}
    spec: dict[str, Any] = {} if grace is None else {"terminationGracePeriodSeconds": grace}
    done = inject_pod(
        pod(containers=[{**container, "livenessProbe": live, "readinessProbe": ready}], **spec),
        Namespace("shop"),
        SETTINGS,
    )
    assert done.pod is not None
    parameters = check(done.pod)
    told = sum("the probe stays as it is" in problem.message for problem in done.problems)
    assert len(parameters.probes) + told == 2

"""Pods whose names stay, pods that end by themselves, and a node that is drained: nothing is lost, nothing hangs."""

from __future__ import annotations

import contextlib
import json
import uuid
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from tools.kubernetes_node import NodeCluster

from support.kubernetes import service
from support.mesh import until
from support.pod_apps import (
    ASK,
    CONNECT,
    LOAD,
    account,
    answer_of,
    as_list,
    cron_job,
    deployment,
    disruption_budget,
    job,
    make_room,
    namespace_of,
    stateful_set,
)

STOCK, OUTSIDE = "stock", "beside"
pytestmark = pytest.mark.timeout(600)  # pods of a busy machine take long to come and go
INSTANCES = ("db-0", "db-1", "db-2")


def run(node: NodeCluster, pod: str, script: str, *arguments: str, namespace: str = STOCK) -> str:
    """What a script prints that runs in a pod's application."""
    return node.kubectl("exec", "-n", namespace, pod, "-c", "app", "--", "python3", "-c", script, *arguments)


def ask(node: NodeCluster, url: str) -> tuple[int, Any]:
    return answer_of(run(node, "deploy/front", ASK, url))


def apply(node: NodeCluster, *objects: dict[str, Any]) -> None:
    node.kubectl("apply", "-f", "-", given=as_list(*objects))


def wait(node: NodeCluster, what: str, namespace: str = STOCK) -> None:
    node.kubectl("rollout", "status", "-n", namespace, what, "--timeout=180s")


def pods(node: NodeCluster, selector: str) -> dict[str, dict[str, Any]]:
    """Pods by name."""
    found = json.loads(node.kubectl("get", "pods", "-n", STOCK, "-l", selector, "-o", "json"))["items"]
    return {each["metadata"]["name"]: each for each in found}


@contextlib.contextmanager
def load_at(node: NodeCluster, hosts: str) -> Iterator[None]:
    """200 requests a second from front, in turn at hosts with commas between them; not one may fail."""
    stop = f"/tmp/stop-{uuid.uuid4().hex}"
    execute = ("exec", "-n", STOCK, "deploy/front", "-c", "app", "--")
    load = node.start_kubectl(*execute, "python3", "-c", LOAD, hosts, "200", stop)
    try:
        yield
    finally:
        node.kubectl(*execute, "touch", stop)
        said, _ = load.communicate(timeout=60)
    counted = json.loads(said)
    assert set(counted["counts"]) == {"200"}, counted
    assert counted["counts"]["200"] > 200


@pytest.fixture(scope="module")
def stock(weft_node: NodeCluster) -> Iterator[NodeCluster]:
    """A namespace of the mesh with a StatefulSet of three behind a headless Service and one with an address, who calls
    them, and a CronJob that is due within the minute; and a namespace beside it that is not in the mesh."""
    node = weft_node
    apply(node, namespace_of(STOCK, **{"istio-injection": "enabled"}), namespace_of(OUTSIDE))
    apply(
        node,
        *(account(name, STOCK) for name in ("front", "db", "web")),
        account("stranger", OUTSIDE),
        {**service("db", STOCK), "spec": _headless()},
        service("db-any", STOCK, "db"),
        stateful_set("db", STOCK, len(INSTANCES)),
        deployment("front", STOCK),
        deployment("stranger", OUTSIDE),
    )
    wait(node, "statefulset/db")
    wait(node, "deployment/front")
    wait(node, "deployment/stranger", OUTSIDE)
    apply(node, cron_job("every-minute", STOCK, "front", ASK, "http://db-any/"))  # it asks what is there
    yield node
    make_room(node, STOCK)


def _headless() -> dict[str, Any]:
    ports = [{"name": "http", "port": 8080}, {"name": "tcp-data", "port": 5432}]
    return {"clusterIP": "None", "selector": {"app": "db"}, "ports": ports}


def test_each_instance_is_called_by_its_own_name(stock: NodeCluster) -> None:
    """By HTTP and by TCP, with mutual TLS; in each of the forms that Kubernetes has."""
    for name in INSTANCES:
        status, answer = ask(stock, f"http://{name}.db:8080/")
        assert (status, answer["pod"]) == (200, name), answer
        assert f"spiffe://cluster.local/ns/{STOCK}/sa/front" in answer["headers"]["x-forwarded-client-cert"]
    for name, domain in zip(INSTANCES, ("db", f"db.{STOCK}.svc", f"db.{STOCK}.svc.cluster.local"), strict=True):
        assert run(stock, "deploy/front", CONNECT, f"{name}.{domain}", "5432").strip() == name


def test_who_has_no_identity_reaches_no_instance(stock: NodeCluster) -> None:
    """Neither by HTTP nor by TCP; the names are those of the cluster's DNS there."""
    for port in ("8080", "5432"):
        said = run(stock, "deploy/stranger", CONNECT, f"db-0.db.{STOCK}.svc", port, namespace=OUTSIDE)
        assert said.strip() == "", said


def test_an_instance_comes_back_under_its_name(stock: NodeCluster) -> None:
    """It has another address and another certificate; who calls the others, or all of them, does not notice."""
    before = pods(stock, "app=db")["db-1"]
    with load_at(stock, "db-0.db:8080,db-2.db:8080,db-any"):
        stock.kubectl("delete", "pod", "-n", STOCK, "db-1")
        wait(stock, "statefulset/db")
        after = pods(stock, "app=db")["db-1"]
        assert after["metadata"]["uid"] != before["metadata"]["uid"]
        assert after["status"]["podIP"] != before["status"]["podIP"]
        status, answer = until("its name leads to it", lambda: _answered(stock, "http://db-1.db:8080/"))
        assert (status, answer["pod"]) == (200, "db-1")
        assert run(stock, "deploy/front", CONNECT, "db-1.db", "5432").strip() == "db-1"


def _answered(node: NodeCluster, url: str) -> tuple[int, Any]:
    status, answer = ask(node, url)
    assert status == 200, answer
    return status, answer


def test_a_stateful_set_is_updated_under_load(stock: NodeCluster) -> None:
    """One instance after the other, the last first: the first is called by its name until its turn comes."""
    partition = {"spec": {"updateStrategy": {"rollingUpdate": {"partition": 1}}}}
    stock.kubectl("patch", "statefulset", "db", "-n", STOCK, "-p", json.dumps(partition))
    before = pods(stock, "app=db")
    with load_at(stock, "db-0.db:8080,db-any"):
        stock.kubectl("rollout", "restart", "-n", STOCK, "statefulset/db")
        wait(stock, "statefulset/db")
    after = pods(stock, "app=db")
    assert {name for name in INSTANCES if after[name]["metadata"]["uid"] != before[name]["metadata"]["uid"]} == {
        "db-1",
        "db-2",
    }
    for name in INSTANCES:
        status, answer = until(f"{name} answers", partial(_answered, stock, f"http://{name}.db:8080/"))
        assert (status, answer["pod"]) == (200, name)


def test_a_drained_node_loses_no_request(stock: NodeCluster, images: list[Path]) -> None:
    """All pods of a second node are evicted, as their budget allows, and come up on the first."""
    with stock.second_node(images) as second:
        stock.kubectl("cordon", stock.name)
        try:
            apply(
                stock,
                deployment("web", STOCK, replicas=2),
                service("web", STOCK),
                disruption_budget("web", STOCK, "app=web"),
            )
            wait(stock, "deployment/web")
        finally:
            stock.kubectl("uncordon", stock.name)
        assert _nodes(stock) == {second}
        with load_at(stock, "web"):
            said = stock.kubectl("drain", second, "--delete-emptydir-data", "--ignore-daemonsets", "--timeout=180s")
            wait(stock, "deployment/web")
        assert said.count("evicting pod") >= 2
        assert _nodes(stock) == {stock.name}


def _nodes(node: NodeCluster) -> set[str]:
    """Where pods of web are."""
    return {each["spec"]["nodeName"] for each in pods(node, "app=web").values()}


@pytest.mark.parametrize("native", ["true", "false"])
def test_a_job_ends_with_either_kind_of_sidecar(stock: NodeCluster, native: str) -> None:
    """A pod that is to end gets a native sidecar, also where it asks for a classic one, which would keep it."""
    name = f"once-{native}"
    apply(stock, job(name, STOCK, "front", ASK, "http://db-any/", native))
    stock.kubectl("wait", "-n", STOCK, "--for=condition=Complete", f"job/{name}", "--timeout=120s")
    _ended_well(stock, f"batch.kubernetes.io/job-name={name}")


def test_a_cron_job_ends_and_leaves_no_pod_hanging(stock: NodeCluster) -> None:
    """The cluster's own controller has started it by itself."""
    until("it has run", lambda: len(pods(stock, "cron=every-minute")) > 0, 120)
    stock.kubectl("patch", "cronjob", "every-minute", "-n", STOCK, "-p", '{"spec": {"suspend": true}}')
    _ended_well(stock, "cron=every-minute")


def _ended_well(node: NodeCluster, selector: str) -> None:
    """Every pod has ended, sidecar and all, and its application got its answer."""

    def phases() -> set[str]:
        return {each["status"]["phase"] for each in pods(node, selector).values()}

    until("its pods have ended", lambda: phases() <= {"Succeeded", "Failed"}, 120)
    assert phases() == {"Succeeded"}
    for name, pod in pods(node, selector).items():
        ended = [*pod["status"]["containerStatuses"], *pod["status"]["initContainerStatuses"]]
        assert [each["name"] for each in ended if "terminated" not in each["state"]] == []
        assert node.kubectl("logs", "-n", STOCK, name, "-c", "app").startswith("200")

"""Parameters of Gateways become part of the objects of a real API server, or a fault is told and nothing changes."""

from __future__ import annotations

from functools import partial
from typing import Any

from tools.kubernetes_cluster import ApiCluster

from kubernetes.test_gateways import declare_class, gateway, gone, keeping, paths, theirs, there, told_of
from support.kubernetes import ROUTES, Api
from weft.controlplane.gateways import GatewayKeeper
from weft.testing.polling import eventually


def sized(namespace: str, of_class: str = "weft") -> dict[str, Any]:
    """A Gateway with parameters of its own."""
    body = gateway(namespace, of_class=of_class)
    reference = {"group": "", "kind": "ConfigMap", "name": "sizes"}
    body["spec"]["infrastructure"] = {"parametersRef": reference}
    return body


async def put(api: Api, namespace: str, *, config_map: str = "sizes", **data: str) -> None:
    """Write the ConfigMap with parameters."""
    about = {"name": config_map, "namespace": namespace}
    body = {"apiVersion": "v1", "kind": "ConfigMap", "metadata": about, "data": data}
    await api.apply(f"/api/v1/namespaces/{namespace}/configmaps/{config_map}", body)


SIZES = """
spec:
  replicas: REPLICAS
  template:
    spec:
      nodeSelector: {disk: ssd}
      tolerations: [{key: edge, operator: Exists}]
      containers:
      - name: istio-proxy
        resources: {requests: {cpu: 300m}, limits: {cpu: LIMIT}}
"""


FAULTS = (
    ({"deployment": "spec: {replicas: 5, template: {spec: {hostNetwork: true}}}"}, "nothing of their node"),
    ({"deployment": "spec: {replica: 5}"}, "unknown field 'replica'"),
    ({"deployment": "spec: {replicas: 5", "service": "{}"}, "/sizes: deployment: "),
    ({"deploy": "spec: {}", "service": "spec: {type: ClusterIP}"}, "unknown key 'deploy'"),
    ({"deployment": SIZES.replace("REPLICAS", "5").replace("LIMIT", "200m")}, "less than or equal to cpu"),
    (
        {"deployment": "spec: {replicas: 5}", "service": "spec: {loadBalancerSourceRanges: [nowhere]}"},
        "Service web-weft cannot be as its parameters say",
    ),
)
"""What cannot be, of which the last two are for the API server to know, and what is told of it."""


async def test_parameters_are_merged_followed_and_a_fault_in_them_changes_nothing(
    cluster: ApiCluster, api: Api, namespace: str
) -> None:
    await declare_class(api)
    service, deployment, (account, budget, autoscaler) = paths(namespace)
    gateways = f"{ROUTES}/namespaces/{namespace}/gateways"
    await put(
        api,
        namespace,
        deployment=SIZES.replace("REPLICAS", "3").replace("LIMIT", "2"),
        service="{metadata: {annotations: {cloud: internal}}, spec: {type: NodePort, externalTrafficPolicy: Local}}",
        podDisruptionBudget="spec: {minAvailable: 50%}",
    )
    await api.apply(f"{gateways}/web", sized(namespace))

    async def replicas() -> int | None:
        found = await there(api, deployment)
        return found["spec"]["replicas"] if found is not None else None

    async def has(number: int) -> bool:
        return await replicas() == number

    async with keeping(cluster) as keeper:
        made = await eventually("the Service is made", lambda: there(api, service))
        assert (made["spec"]["type"], made["spec"]["externalTrafficPolicy"]) == ("NodePort", "Local")
        assert made["metadata"]["annotations"]["cloud"] == "internal"
        found = await there(api, deployment) or {}
        pod = found["spec"]["template"]["spec"]
        assert (found["spec"]["replicas"], pod["nodeSelector"]) == (3, {"disk": "ssd"})
        assert pod["tolerations"] == [{"key": "edge", "operator": "Exists"}]
        [container] = pod["containers"]
        assert (container["name"], container["image"]) == ("weft-proxy", "weft.test/weft:1")
        assert container["resources"] == {"requests": {"cpu": "300m"}, "limits": {"cpu": "2"}}
        assert (await there(api, budget) or {})["spec"]["minAvailable"] == "50%"
        assert await gone(api, autoscaler), "the number of pods is said"

        await put(api, namespace, deployment=SIZES.replace("REPLICAS", "4").replace("LIMIT", "2"))
        await eventually("the Deployment follows", lambda: has(4))
        await eventually("the budget is the usual one", lambda: _is_usual(api, budget))
        assert not told_of(keeper, namespace)
        generation = (await there(api, deployment) or {})["metadata"]["generation"]

        for wrong, words in FAULTS:
            await put(api, namespace, **wrong)
            await eventually(f"it is told: {words}", partial(_tells, keeper, namespace, words))
            assert await has(4), words
        await api.call("DELETE", f"/api/v1/namespaces/{namespace}/configmaps/sizes")
        await eventually("it is missed", lambda: "there is no ConfigMap" in told_of(keeper, namespace))
        assert _codes(keeper, namespace) == {"invalid-parameters"}
        assert (await there(api, deployment) or {})["metadata"]["generation"] == generation

        await api.apply(f"{gateways}/web", gateway(namespace))
        await eventually("there is an autoscaler again", lambda: there(api, autoscaler))
        await eventually("nothing is told", lambda: not told_of(keeper, namespace))
        now = await there(api, deployment) or {}
        assert "nodeSelector" not in now["spec"]["template"]["spec"]
        assert now["spec"]["replicas"] == 4, "clients are connected: the autoscaler begins with what there is"
        assert (await there(api, account)) is not None


async def test_parameters_of_a_class_come_first_and_null_takes_away(
    cluster: ApiCluster, api: Api, namespace: str
) -> None:
    reference = {"group": "", "kind": "ConfigMap", "name": "usual", "namespace": namespace}
    await declare_class(api, namespace, parametersRef=reference)
    _, deployment, (_, budget, autoscaler) = (_named(path, namespace) for path in paths(namespace))
    await put(
        api,
        namespace,
        config_map="usual",
        deployment="spec: {minReadySeconds: 7, template: {spec: {priorityClassName: system-cluster-critical}}}",
    )
    await api.create(f"{ROUTES}/namespaces/{namespace}/gateways", sized(namespace, of_class=namespace))
    await put(api, namespace, deployment="spec: {revisionHistoryLimit: 1}")
    async with keeping(cluster) as keeper:
        text = f"the parameters of GatewayClass '{namespace}' cannot be used"
        await eventually("the Gateway says so", lambda: text in told_of(keeper, namespace))
        told = [each.message for each in keeper.problems() if each.object and each.object.name == namespace]
        assert any("what a cluster cannot be without" in each for each in told), told
        assert await gone(api, deployment)
        usual = "spec: {minReadySeconds: 7, revisionHistoryLimit: 2}"
        await put(
            api, namespace, config_map="usual", deployment=usual, horizontalPodAutoscaler="spec: {maxReplicas: 9}"
        )
        scaler = await eventually("the autoscaler is made", lambda: there(api, autoscaler))
        assert scaler["spec"]["maxReplicas"] == 9
        spec = (await there(api, deployment) or {})["spec"]
        assert (spec["minReadySeconds"], spec["revisionHistoryLimit"]) == (7, 1)
        assert await there(api, budget)
        await put(api, namespace, horizontalPodAutoscaler="null", podDisruptionBudget="null")
        await eventually("there is no autoscaler", lambda: gone(api, autoscaler))
        await eventually("there is no budget", lambda: gone(api, budget))
        assert (await there(api, deployment) or {})["spec"]["revisionHistoryLimit"] == 2
        assert not told_of(keeper, namespace)


async def test_what_is_no_fault_of_parameters_is_not_told_as_theirs(
    cluster: ApiCluster, api: Api, namespace: str
) -> None:
    await declare_class(api)
    service, deployment, _ = paths(namespace)
    gateways = f"{ROUTES}/namespaces/{namespace}/gateways"
    body = sized(namespace)
    body["spec"]["addresses"] = [{"value": "192.0.2.1"}]
    await put(api, namespace, deployment="spec: {replicas: 3}", service="metadata: {labels: {of: edge}}")
    await api.create(f"/api/v1/namespaces/{namespace}/services", theirs(namespace))
    await api.apply(f"{gateways}/web", body)
    async with keeping(cluster) as keeper:
        await eventually("it is another's", partial(_tells, keeper, namespace, "that is not this Gateway's"))
        assert _codes(keeper, namespace) == {"gateway-not-made"}
        await api.call("DELETE", service)
        await eventually("it is told", partial(_tells, keeper, namespace, "cannot have 192.0.2.1"), 60)
        assert _codes(keeper, namespace) == {"address-not-usable"}
        made = await eventually("the rest is made", lambda: there(api, deployment))
        assert made["spec"]["replicas"] == 3
        await put(api, namespace, service="spec: {type: ClusterIP}")
        body["metadata"]["annotations"], body["spec"]["addresses"] = {}, [{"value": "192.0.2.2"}]
        await api.apply(f"{gateways}/web", body)
        await eventually("so it is with their type", partial(_tells, keeper, namespace, "cannot have 192.0.2.2"), 60)
        await put(api, namespace, service="spec: {type: ClusterIP, loadBalancerSourceRanges: [nowhere]}")
        await eventually("that is theirs", partial(_tells, keeper, namespace, "as its parameters say"), 60)


async def test_what_a_class_says_is_told_at_the_name_of_the_class(
    cluster: ApiCluster, api: Api, namespace: str
) -> None:
    reference = {"group": "", "kind": "ConfigMap", "name": "usual", "namespace": namespace}
    await declare_class(api, namespace, parametersRef=reference)
    await put(api, namespace, config_map="usual", service="spec: {loadBalancerSourceRanges: [nowhere]}")
    await api.create(f"{ROUTES}/namespaces/{namespace}/gateways", gateway(namespace, of_class=namespace))
    async with keeping(cluster) as keeper:
        text = f"cannot be as the parameters of GatewayClass '{namespace}' say"
        await eventually("it is told", partial(_tells, keeper, namespace, text))
        [problem] = [each for each in keeper.problems() if each.object and each.object.namespace == namespace]
        assert (problem.code, problem.path) == ("invalid-parameters", ("spec", "gatewayClassName"))
        assert "nowhere" not in problem.message, "another namespace's is not told"


def _codes(keeper: GatewayKeeper, namespace: str) -> set[str]:
    return {each.code for each in keeper.problems() if each.object and each.object.namespace == namespace}


async def _is_usual(api: Api, budget: str) -> bool:
    found = await there(api, budget)
    return found is not None and found["spec"].get("maxUnavailable") == 1


def _tells(keeper: GatewayKeeper, namespace: str, words: str) -> bool:
    return words in told_of(keeper, namespace)


def _named(path: Any, of_class: str) -> Any:
    """Paths of the objects of a Gateway of another class."""
    if isinstance(path, tuple):
        return tuple(_named(each, of_class) for each in path)
    return path.replace("web-weft", f"web-{of_class}")

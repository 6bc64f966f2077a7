"""What parameters of Gateways and GatewayClasses make of the objects, and what of them is refused."""

from __future__ import annotations

import copy
from collections.abc import Mapping
from typing import Any

import pytest
import yaml

from provision.test_plans import CLASS, planned
from support.meshdocs import documents
from weft.model.problem import Severity
from weft.provision.manifests import GatewayPods, objects_of, retired_of
from weft.provision.parameters import parameters_problems
from weft.provision.plan import GatewayPlan, Plans

POD = {
    "terminationGracePeriodSeconds": 60,
    "containers": [
        {
            "name": "weft-proxy",
            "image": "weft.test/weft:1",
            "env": [{"name": "A", "value": "1"}, {"name": "WEFT_GRACE_SECONDS", "value": "60"}],
            "resources": {"requests": {"cpu": "100m", "memory": "128Mi"}},
        }
    ],
}
PODS = GatewayPods(POD)
GATEWAY = """
---
apiVersion: gateway.networking.k8s.io/v1
kind: Gateway
metadata: {name: web, namespace: edge}
spec:
  gatewayClassName: weft
  infrastructure:
    labels: {team: shop}
    annotations: {cost: low}
    REFERENCE
  listeners:
  - {name: http, port: 80, protocol: HTTP}
  - {name: tcp, port: 53, protocol: TCP}
  - {name: udp, port: 53, protocol: UDP}
"""
HOST = {"topologyKey": "kubernetes.io/hostname"}
REFERENCE = "parametersRef: {group: '', kind: ConfigMap, name: sizes}"
OF_CLASS = "spec: {parametersRef: {group: '', kind: ConfigMap, name: usual, namespace: system}, "


def config_map(name: str, namespace: str, **data: object) -> str:
    texts = {key: each if isinstance(each, str) else yaml.safe_dump(each) for key, each in data.items()}
    about = {"name": name, "namespace": namespace}
    return "---\n" + yaml.safe_dump({"apiVersion": "v1", "kind": "ConfigMap", "metadata": about, "data": texts})


def written(own: Mapping[str, Any] | None = None, of_class: Mapping[str, Any] | None = None) -> str:
    declared = CLASS.replace("NAME", "weft")
    text = declared if of_class is None else declared.replace("spec: {", OF_CLASS)
    text += GATEWAY.replace("REFERENCE", "" if own is None else REFERENCE)
    text += config_map("sizes", "edge", **own) if own else ""
    return text + (config_map("usual", "system", **of_class) if of_class else "")


def plans(own: Mapping[str, Any] | None = None, of_class: Mapping[str, Any] | None = None) -> Plans:
    return planned(written(own, of_class))


def plan(own: Mapping[str, Any] | None = None, of_class: Mapping[str, Any] | None = None) -> GatewayPlan:
    found = plans(own, of_class)
    assert [str(each) for each in found.problems if each.severity is Severity.ERROR] == []
    [made] = found.plans
    return made


def made(own: Mapping[str, Any] | None, of_class: Mapping[str, Any] | None = None, pods: GatewayPods = PODS) -> Any:
    """The objects by kind."""
    return {each.body["kind"]: each.body for each in objects_of(plan(own, of_class), pods)}


def pod_of(objects: Any) -> Any:
    return objects["Deployment"]["spec"]["template"]["spec"]


def in_pod(**spec: object) -> dict[str, Any]:
    return {"deployment": {"spec": {"template": {"spec": spec}}}}


def in_container(**fields: object) -> dict[str, Any]:
    return in_pod(containers=[{"name": "weft-proxy", **fields}])


def test_without_parameters_everything_is_as_it_was() -> None:
    bodies = [each.body for each in objects_of(plan(), PODS)]
    assert bodies == [each.body for each in objects_of(plan({"service": "# nothing: yet\n", "deployment": "{}"}), PODS)]


def test_istios_example_carries_over() -> None:
    """Its container, its replicas beside its autoscaler, and a port of its own that is not here."""
    own = {
        "horizontalPodAutoscaler": "spec:\n  minReplicas: 2\n  maxReplicas: 2\n",
        "deployment": """
metadata:
  annotations: {additional-annotation: some-value}
spec:
  replicas: 4
  template:
    spec:
      containers:
      - name: istio-proxy
        resources: {requests: {cpu: 1234m}}
""",
        "service": 'spec:\n  ports:\n  - "$patch": delete\n    port: 15021\n',
    }
    found = plans(own)
    problem, of_port = found.problems
    assert {(each.code, each.severity) for each in found.problems} == {("no-effect", Severity.WARNING)}
    assert "'spec.replicas' of deployment has no effect beside horizontalPodAutoscaler" in problem.message
    assert "no listener has port 15021, so there is nothing to take away" in of_port.message
    objects = {each.body["kind"]: each.body for each in objects_of(found.plans[0], PODS)}
    [container] = pod_of(objects)["containers"]
    assert container["name"] == "weft-proxy"
    assert container["resources"] == {"requests": {"cpu": "1234m", "memory": "128Mi"}}
    assert container["image"] == "weft.test/weft:1"
    assert objects["Deployment"]["metadata"]["annotations"] == {"cost": "low", "additional-annotation": "some-value"}
    scaler = objects["HorizontalPodAutoscaler"]["spec"]
    assert (scaler["minReplicas"], scaler["maxReplicas"]) == (2, 2)
    assert len(objects["Service"]["spec"]["ports"]) == 3


def test_scheduling_and_lists_that_replace_lists() -> None:
    spread = [{"topologyKey": "zone", "maxSkew": 1, "whenUnsatisfiable": "ScheduleAnyway"}]
    of_class = in_pod(
        nodeSelector={"disk": "ssd", "zone": "a"},
        tolerations=[{"key": "edge", "operator": "Exists"}],
        topologySpreadConstraints=spread,
    )
    another = {**spread[0], "maxSkew": 2}
    own = in_pod(
        nodeSelector={"zone": None},
        tolerations=[{"key": "own"}],
        topologySpreadConstraints=[another],
        priorityClassName="high",
        affinity={"podAntiAffinity": {"requiredDuringSchedulingIgnoredDuringExecution": [HOST]}},
    )
    pod = pod_of(made(own, of_class))
    assert pod["nodeSelector"] == {"disk": "ssd"}
    assert pod["tolerations"] == [{"key": "own"}]
    assert pod["topologySpreadConstraints"] == [another]
    assert pod["priorityClassName"] == "high"
    assert pod["serviceAccountName"] == "web-weft"


def test_annotations_of_pods_and_labels_of_the_deployment() -> None:
    metadata = {"labels": {"of": "edge"}}
    template = {"metadata": {"annotations": {"prometheus.io/scrape": "true"}}}
    objects = made({"deployment": {"metadata": metadata, "spec": {"template": template}}})
    deployment = objects["Deployment"]
    assert deployment["metadata"]["labels"]["of"] == "edge"
    of_pods = deployment["spec"]["template"]["metadata"]
    assert of_pods["annotations"] == {"cost": "low", "prometheus.io/scrape": "true"}
    assert of_pods["labels"]["team"] == "shop"
    assert "of" not in of_pods["labels"], "policies select by labels of pods"


def test_the_agent_has_as_long_as_its_pod() -> None:
    [container] = pod_of(made(in_pod(terminationGracePeriodSeconds=300)))["containers"]
    assert {"name": "WEFT_GRACE_SECONDS", "value": "300"} in container["env"]
    assert {"name": "A", "value": "1"} in container["env"]
    [container] = pod_of(made(in_pod(terminationGracePeriodSeconds=None)))["containers"]
    assert {"name": "WEFT_GRACE_SECONDS", "value": "30"} in container["env"]


def test_what_is_shared_stays_as_it_is() -> None:
    before = copy.deepcopy(POD)
    made(in_container(resources={"requests": {"cpu": "1"}}, readinessProbe={"periodSeconds": 1}))
    assert before == POD
    assert "resources" not in pod_of(made(in_container(resources=None)))["containers"][0]


def test_a_number_of_pods_or_an_autoscaler() -> None:
    fixed = {"deployment": {"spec": {"replicas": 3}}}
    scaled = {"horizontalPodAutoscaler": {"spec": {"maxReplicas": 9}}}
    kinds = made(fixed)
    assert kinds["Deployment"]["spec"]["replicas"] == 3
    assert "HorizontalPodAutoscaler" not in kinds
    assert [each.body["kind"] for each in retired_of(plan(fixed), PODS)] == ["HorizontalPodAutoscaler"]
    kinds = made(fixed, scaled)  # of two ConfigMaps the Gateway's own counts
    assert (kinds["Deployment"]["spec"]["replicas"], "HorizontalPodAutoscaler" in kinds) == (3, False)
    kinds = made(scaled, fixed)
    assert kinds["HorizontalPodAutoscaler"]["spec"]["maxReplicas"] == 9
    assert not retired_of(plan(scaled, fixed), PODS)


def test_a_null_over_the_classes_number_of_pods_says_no_number() -> None:
    fixed, null = ({"deployment": {"spec": {"replicas": number}}} for number in (3, None))
    for own, of_class in ((null, fixed), (null, None)):
        kinds = made(own, of_class)
        assert "HorizontalPodAutoscaler" in kinds, "nobody says a number"
        assert "replicas" not in kinds["Deployment"]["spec"]
        kinds = made(own, of_class, GatewayPods(POD, fewest=2, most=0))
        assert kinds["Deployment"]["spec"]["replicas"] == 2, "and not what Kubernetes would choose"


def test_an_autoscaler_chooses_where_both_are_said_and_its_deployment_says_none() -> None:
    both = {"deployment": {"spec": {"replicas": 3}}, "horizontalPodAutoscaler": {"spec": {"maxReplicas": 9}}}
    assert "replicas" not in made(both)["Deployment"]["spec"]


def test_null_takes_the_autoscaler_and_the_budget_away() -> None:
    own = {"horizontalPodAutoscaler": "null", "podDisruptionBudget": "~"}
    of_class = {"horizontalPodAutoscaler": {"spec": {"maxReplicas": 9}}}
    kinds = made(own, of_class)
    assert set(kinds) == {"ServiceAccount", "Deployment", "Service"}
    assert kinds["Deployment"]["spec"]["replicas"] == 1
    gone = [each.body["kind"] for each in retired_of(plan(own, of_class), PODS)]
    assert gone == ["HorizontalPodAutoscaler", "PodDisruptionBudget"]


def test_an_autoscaler_where_weft_makes_none() -> None:
    pods = GatewayPods(POD, fewest=2, most=0)
    assert "HorizontalPodAutoscaler" not in made({"service": {"spec": {"type": "NodePort"}}}, pods=pods)
    spec = made({"horizontalPodAutoscaler": {"spec": {"maxReplicas": 4}}}, pods=pods)["HorizontalPodAutoscaler"]["spec"]
    assert (spec["minReplicas"], spec["maxReplicas"]) == (2, 4)
    assert spec["scaleTargetRef"]["name"] == "web-weft"


def test_the_half_that_is_not_said_follows() -> None:
    pods = GatewayPods(POD, fewest=3, most=5)
    for said, expected in (({"minReplicas": 8}, (8, 8)), ({"maxReplicas": 2}, (2, 2)), ({"maxReplicas": 4}, (3, 4))):
        spec = made({"horizontalPodAutoscaler": {"spec": said}}, pods=pods)["HorizontalPodAutoscaler"]["spec"]
        assert (spec["minReplicas"], spec["maxReplicas"]) == expected
    budget = made({"podDisruptionBudget": {"spec": {"minAvailable": "50%"}}})["PodDisruptionBudget"]["spec"]
    assert (budget["minAvailable"], "maxUnavailable" in budget) == ("50%", False)
    budget = made({"podDisruptionBudget": {"spec": {"maxUnavailable": 2}}})["PodDisruptionBudget"]["spec"]
    assert budget["maxUnavailable"] == 2
    least, most = ({"podDisruptionBudget": {"spec": spec}} for spec in ({"minAvailable": 1}, {"maxUnavailable": 3}))
    for own, of_class, name in ((least, most, "minAvailable"), (most, least, "maxUnavailable")):
        budget = made(own, of_class)["PodDisruptionBudget"]["spec"]
        assert [each for each in ("minAvailable", "maxUnavailable") if each in budget] == [name]
    nothing = {"podDisruptionBudget": {"spec": {"minAvailable": None}}}
    assert made(nothing)["PodDisruptionBudget"]["spec"]["maxUnavailable"] == 1
    strategy = made({"deployment": {"spec": {"strategy": {"type": "Recreate"}}}})["Deployment"]["spec"]["strategy"]
    assert strategy == {"type": "Recreate"}


def test_metrics_of_the_proxy_are_of_wefts_container() -> None:
    metric = {
        "type": "ContainerResource",
        "containerResource": {
            "name": "cpu",
            "container": "istio-proxy",
            "target": {"type": "Utilization", "averageUtilization": 70},
        },
    }
    spec = made({"horizontalPodAutoscaler": {"spec": {"metrics": [metric]}}})["HorizontalPodAutoscaler"]["spec"]
    assert [each["containerResource"]["container"] for each in spec["metrics"]] == ["weft-proxy"]


def test_the_service() -> None:
    own = {
        "service": {
            "metadata": {"annotations": {"cloud": "internal"}, "labels": {"of": "edge"}},
            "spec": {
                "type": "NodePort",
                "externalTrafficPolicy": "Local",
                "ports": [{"port": 53, "protocol": "UDP", "nodePort": 30053}, {"port": 80, "nodePort": 30080}],
            },
        }
    }
    service = made(own)["Service"]
    assert service["spec"]["type"] == "NodePort"
    assert service["spec"]["externalTrafficPolicy"] == "Local"
    ports = {(each["port"], each["protocol"]): each for each in service["spec"]["ports"]}
    assert ports[53, "UDP"]["nodePort"] == 30053
    assert "nodePort" not in ports[53, "TCP"]
    assert ports[80, "TCP"]["nodePort"] == 30080
    assert ports[80, "TCP"]["targetPort"] == 80
    assert service["metadata"]["annotations"] == {"cost": "low", "cloud": "internal"}
    assert service["metadata"]["labels"]["of"] == "edge"
    assert service["metadata"]["labels"]["gateway.networking.k8s.io/gateway-name"] == "web"
    gone = {"service": {"spec": {"ports": [{"port": 53, "protocol": "UDP", "$patch": "delete"}]}}}
    assert [each["protocol"] for each in made(gone)["Service"]["spec"]["ports"]] == ["TCP", "TCP"]


def test_a_port_that_nobody_listens_at_is_refused_and_that_of_a_class_is_for_others() -> None:
    own = {"service": {"spec": {"ports": [{"port": 443, "nodePort": 30443}]}}}
    [problem] = plans(own).problems
    assert "no listener has port 443" in problem.message
    assert problem.expected == "one of 53, 53, 80"
    assert {each["port"] for each in made(None, own)["Service"]["spec"]["ports"]} == {53, 80}


def test_an_address_is_asked_for_by_the_type_that_parameters_say() -> None:
    text = written({"service": {"spec": {"type": "ClusterIP"}}})
    [one] = planned(text.replace("  listeners:", "  addresses: [{value: 10.0.0.9}]\n  listeners:")).plans
    spec = objects_of(one, PODS)[-1].body["spec"]
    assert (spec["type"], spec["clusterIP"], "loadBalancerIP" in spec) == ("ClusterIP", "10.0.0.9", False)


@pytest.mark.parametrize(
    ("own", "where", "found", "expected", "nearest"),
    [
        ({"deploymnt": "spec: {}", "service": {}}, "deploymnt", "unknown key 'deploymnt'", "deployment", "deployment"),
        ({"deployment": {"spec": {"replica": 2}}}, "deployment.spec.replica", "unknown field", "one of", "replicas"),
        ({"deployment": {"spec": {"replicas": "2"}}}, "deployment.spec.replicas", "found '2'", "whole number", ""),
        ({"deployment": {"spec": {"replicas": True}}}, "deployment.spec.replicas", "boolean true", "whole number", ""),
        ({"deployment": {"spec": {"replicas": -1}}}, "deployment.spec.replicas", "number -1", "from 0", ""),
        ({"deployment": {"spec": []}}, "deployment.spec", "found a list", "a mapping", ""),
        ({"deployment": {"spec": {"replicas": 1001}}}, "spec.replicas", "number 1001", "from 0 to 1000", ""),
        (
            {"horizontalPodAutoscaler": {"spec": {"maxReplicas": 2000000}}},
            "horizontalPodAutoscaler.spec.maxReplicas",
            "number 2000000",
            "from 1 to 1000",
            "",
        ),
        (in_pod(tolerations={}), "spec.tolerations", "found a mapping", "a list", ""),
        (in_pod(tolerations=[None]), "spec.tolerations[0]", "found nothing", "an entry", ""),
        (in_pod(nodeSelector={"a": 1}), "nodeSelector.a", "the number 1", "text", ""),
        (in_container(resources={"limits": {"cpu": "much"}}), "limits.cpu", "found 'much'", "a quantity", ""),
        (in_container(imagePullPolicy="never"), "imagePullPolicy", "found 'never'", "one of Always", "Never"),
        ({"service": {"spec": {"type": "Loadbalancer"}}}, "spec.type", "found", "ClusterIP", "LoadBalancer"),
        ({"podDisruptionBudget": {"spec": {"minAvailable": "half"}}}, "minAvailable", "'half'", "a percentage", ""),
        ({"service": "spec: {type: [ClusterIP}"}, "service", "", "", ""),
        ({"service": "spec: {}\n---\nspec: {}"}, "service", "found 2 YAML documents", "one", ""),
    ],
)
def test_a_mistake_is_told_with_its_place(
    own: Mapping[str, Any], where: str, found: str, expected: str, nearest: str
) -> None:
    done = plans(own)
    assert not done.plans
    [problem] = done.problems
    assert problem.message.startswith("ConfigMap edge/sizes: ")
    assert where in problem.message
    assert found in problem.message
    assert expected in problem.expected
    assert problem.nearest == nearest


def test_mistakes_are_told_at_the_lines_of_a_file() -> None:
    text = """apiVersion: v1
kind: ConfigMap
metadata: {name: sizes, namespace: edge}
data:
  deployment: |
    spec:
      replicas: many
---"""
    [problem] = parameters_problems(documents(text + written({})))
    assert (problem.origin.line, problem.path) == (7, ("data", "deployment", "spec", "replicas"))
    assert problem.object is not None
    assert problem.object.kind == "ConfigMap"


def test_nobody_elses_config_maps_are_judged() -> None:
    bad = config_map("theirs", "edge", deployment="spec: {replicas: many}")
    assert parameters_problems(documents(written({"service": {}}) + bad)) == ()


def test_gateways_of_another_controller_are_not_judged() -> None:
    bad = written({"deployment": {"spec": {"replicas": "many"}}})
    theirs = bad.replace("weft.dev/gateway-controller", "istio.io/gateway-controller")
    assert parameters_problems(documents(theirs)) == ()
    proxy = REFERENCE.replace("group: '', kind: ConfigMap", "group: gateway.envoyproxy.io, kind: EnvoyProxy")
    assert parameters_problems(documents(theirs.replace(REFERENCE, proxy))) == ()
    for text in (bad, bad.partition("---")[2]):
        assert len(parameters_problems(documents(text))) == 1, "the class is ours, or not known"


@pytest.mark.parametrize(
    ("reference", "words"),
    [
        ("{group: '', kind: Secret, name: sizes}", "parameters are not read from Secret"),
        ("{group: example.com, kind: ConfigMap, name: sizes}", "parameters are not read from ConfigMap.example.com"),
        ("{group: '', kind: ConfigMap, name: none}", "there is no ConfigMap edge/none with parameters"),
    ],
)
def test_a_reference_that_leads_nowhere_makes_nothing(reference: str, words: str) -> None:
    text = written({"service": {}}).replace("{group: '', kind: ConfigMap, name: sizes}", reference)
    found = planned(text)
    assert not found.plans
    [problem] = found.problems
    assert words in problem.message
    assert problem.code == "invalid-parameters"


def test_a_class_with_bad_parameters_makes_nothing_and_says_it_once() -> None:
    for text, words in (
        (written(None, {"deployment": {"spec": {"replicas": "x"}}}), "ConfigMap system/usual: deployment.spec"),
        (written(None, {}), "there is no ConfigMap system/usual"),
        (written(None, {}).replace(", namespace: system", ""), "in a namespace, which is not said"),
    ):
        found = planned(text)
        assert not found.plans
        told = {each.object.kind: each for each in found.problems if each.object is not None}
        assert words in told["GatewayClass"].message
        assert "the parameters of GatewayClass 'weft' cannot be used" in told["Gateway"].message
        assert "system/usual" not in told["Gateway"].message, "another namespace's is not told"

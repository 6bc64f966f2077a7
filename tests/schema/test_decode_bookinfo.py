"""Documents in the manner of those published for the book-information application decode without a word."""

from __future__ import annotations

import pytest

from weft.mesh.build import build_mesh
from weft.mesh.memo import Memo
from weft.model.document import Document
from weft.model.snapshot import ConfigSnapshot
from weft.schema.decode import decode_documents
from weft.schema.kinds.core import ServiceSpec
from weft.schema.kinds.destinationrule import DestinationRuleSpec
from weft.schema.kinds.gateway import GatewaySpec
from weft.schema.kinds.httproute import HttpRouteSpec
from weft.schema.kinds.virtualservice import VirtualServiceSpec

APPLICATION = """
# Copyright notice
##################################################################################################
# Details service
##################################################################################################
apiVersion: v1
kind: Service
metadata:
  name: details
  labels:
    app: details
    service: details
spec:
  ports:
  - port: 9080
    name: http
  selector:
    app: details
---
apiVersion: v1
kind: ServiceAccount
metadata:
  name: bookinfo-details
  labels:
    account: details
---
apiVersion: v1
kind: Service
metadata: {name: ratings, labels: {app: ratings, service: ratings}}
spec:
  ports:
  - port: 9080
    name: http
  selector:
    app: ratings
---
apiVersion: v1
kind: Service
metadata: {name: reviews, labels: {app: reviews, service: reviews}}
spec:
  ports:
  - port: 9080
    name: http
  selector:
    app: reviews
---
apiVersion: v1
kind: Service
metadata:
  name: productpage
  uid: 6a1c
  resourceVersion: "12"
  creationTimestamp: "2026-01-01T00:00:00Z"
  generation: 3
  managedFields: [{manager: kubectl}]
  annotations:
    kubectl.kubernetes.io/last-applied-configuration: "{}"
spec:
  type: ClusterIP
  clusterIP: None
  clusterIPs: [None]
  sessionAffinity: None
  internalTrafficPolicy: Cluster
  ipFamilies: [IPv4]
  ipFamilyPolicy: SingleStack
  ports:
  - {port: 9080, name: http, protocol: TCP, targetPort: 9080, appProtocol: http}
  selector: {app: productpage}
status:
  loadBalancer: {}
---
apiVersion: v1
kind: Service
metadata: {name: reviews-v1}
spec: {ports: [{port: 9080, name: http}], selector: {app: reviews, version: v1}}
---
"""

DESTINATION_RULES = """
apiVersion: networking.istio.io/v1alpha3
kind: DestinationRule
metadata:
  name: reviews
spec:
  host: reviews
  trafficPolicy:
    loadBalancer:
      simple: RANDOM
    tls:
      mode: ISTIO_MUTUAL
    connectionPool:
      tcp: {maxConnections: 1}
      http: {http1MaxPendingRequests: 1, maxRequestsPerConnection: 1}
    outlierDetection:
      consecutive5xxErrors: 1
      interval: 1s
      baseEjectionTime: 3m
      maxEjectionPercent: 100
  subsets:
  - name: v1
    labels:
      version: v1
  - name: v2
    labels:
      version: v2
  - name: v3
    labels:
      version: v3
    trafficPolicy:
      loadBalancer:
        consistentHash:
          httpCookie: {name: user, ttl: 0s}
---
apiVersion: networking.istio.io/v1
kind: DestinationRule
metadata: {name: ratings}
spec:
  host: ratings.default.svc.cluster.local
  subsets:
  - {name: v1, labels: {version: v1}}
"""

ROUTES = """
apiVersion: networking.istio.io/v1alpha3
kind: VirtualService
metadata:
  name: reviews
spec:
  hosts:
    - reviews
  http:
  - match:
    - headers:
        end-user:
          exact: jason
    - headers:
        cookie:
          regex: "^(.*?;)?(user=jason)(;.*)?$"
      uri: {prefix: /reviews}
      queryParams: {a: {exact: b}}
      withoutHeaders: {x: {}}
    route:
    - destination:
        host: reviews
        subset: v2
  - route:
    - destination:
        host: reviews
        subset: v1
      weight: 90
    - destination:
        host: reviews
        subset: v3
        port: {number: 9080}
      weight: 10
    timeout: 0.5s
    retries: {attempts: 3, perTryTimeout: 2s, retryOn: "gateway-error,connect-failure,refused-stream"}
    headers:
      request: {set: {x-a: b}, remove: [x-c]}
---
apiVersion: networking.istio.io/v1beta1
kind: VirtualService
metadata:
  name: ratings
spec:
  hosts:
  - ratings
  http:
  - match:
    - headers:
        end-user:
          exact: jason
    fault:
      delay:
        percentage:
          value: 100.0
        fixedDelay: 7s
      abort:
        percentage: {value: 0.1}
        httpStatus: 500
    route:
    - destination:
        host: ratings
        subset: v1
  - route:
    - destination:
        host: ratings
        subset: v1
---
apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {name: bookinfo}
spec:
  hosts: ["*"]
  gateways: [bookinfo-gateway]
  http:
  - match:
    - uri: {exact: /productpage}
    - uri: {prefix: /static}
    route:
    - destination: {host: productpage, port: {number: 9080}}
---
apiVersion: gateway.networking.k8s.io/v1
kind: Gateway
metadata:
  name: bookinfo-gateway
spec:
  gatewayClassName: istio
  listeners:
  - name: http
    port: 80
    protocol: HTTP
    allowedRoutes:
      namespaces:
        from: Same
---
apiVersion: gateway.networking.k8s.io/v1beta1
kind: HTTPRoute
metadata:
  name: bookinfo
spec:
  parentRefs:
  - name: bookinfo-gateway
  rules:
  - matches:
    - path:
        type: Exact
        value: /productpage
    - path:
        type: PathPrefix
        value: /static
    backendRefs:
    - name: productpage
      port: 9080
---
apiVersion: gateway.networking.k8s.io/v1
kind: HTTPRoute
metadata: {name: reviews}
spec:
  parentRefs:
  - group: ""
    kind: Service
    name: reviews
    port: 9080
  rules:
  - backendRefs:
    - {name: reviews-v1, port: 9080, weight: 90}
---
apiVersion: security.istio.io/v1beta1
kind: PeerAuthentication
metadata: {name: default, namespace: istio-system}
spec:
  mtls: {mode: STRICT}
---
apiVersion: security.istio.io/v1
kind: PeerAuthentication
metadata: {name: reviews}
spec:
  selector: {matchLabels: {app: reviews}}
  mtls: {mode: STRICT}
  portLevelMtls: {9080: {mode: PERMISSIVE}}
"""


@pytest.fixture(scope="module")
def documents() -> dict[str, Document[object]]:
    decoded = decode_documents(APPLICATION + DESTINATION_RULES + "---\n" + ROUTES, "bookinfo.yaml")
    assert [str(problem) for problem in decoded.problems] == []
    return {f"{document.key.kind}/{document.key.name}": document for document in decoded.documents}


def test_all_are_there_and_every_reference_leads_somewhere(documents: dict[str, Document[object]]) -> None:
    assert len(documents) == 16
    problems = build_mesh(ConfigSnapshot(1, tuple(documents.values())), Memo()).problems
    assert {problem.code for problem in problems} == {"host-conflict"}  # VirtualServices and HTTPRoutes of one service


def test_metadata_is_kept_without_what_the_server_adds(documents: dict[str, Document[object]]) -> None:
    page = documents["Service/productpage"]
    assert page.created == 1767225600.0
    assert page.generation == 3
    assert page.annotations == ()
    assert "uid" not in page.text
    assert "status" not in page.text
    assert documents["Service/details"].labels == (("app", "details"), ("service", "details"))
    assert documents["PeerAuthentication/default"].key.namespace == "istio-system"


def test_values_are_decoded(documents: dict[str, Document[object]]) -> None:
    page = documents["Service/productpage"].spec
    assert isinstance(page, ServiceSpec)
    assert (page.cluster_ip, page.ports[0].target_port, page.ports[0].app_protocol) == ("None", 9080, "http")
    rule = documents["DestinationRule/reviews"].spec
    assert isinstance(rule, DestinationRuleSpec)
    assert rule.traffic_policy is not None
    assert rule.traffic_policy.outlier_detection is not None
    assert rule.traffic_policy.outlier_detection.base_ejection_time == 180.0
    assert [dict(subset.labels) for subset in rule.subsets] == [{"version": f"v{n}"} for n in (1, 2, 3)]
    reviews = documents["VirtualService/reviews"].spec
    assert isinstance(reviews, VirtualServiceSpec)
    assert [each.weight for each in reviews.http[1].route] == [90, 10]
    assert reviews.http[1].timeout == 0.5
    assert reviews.http[0].match[1].without_headers["x"].exact is None
    ratings = documents["VirtualService/ratings"].spec
    assert isinstance(ratings, VirtualServiceSpec)
    fault = ratings.http[0].fault
    assert fault is not None
    assert fault.delay is not None
    assert fault.delay.percentage is not None
    assert (fault.delay.fixed_delay, fault.delay.percentage.value) == (7.0, 100.0)


def test_defaults_are_those_of_gateway_api(documents: dict[str, Document[object]]) -> None:
    gateway = documents["Gateway/bookinfo-gateway"].spec
    assert isinstance(gateway, GatewaySpec)
    assert gateway.listeners[0].allowed_routes.namespaces.from_ == "Same"
    route = documents["HTTPRoute/reviews"].spec
    assert isinstance(route, HttpRouteSpec)
    (rule,) = route.rules
    assert [(match.path.type, match.path.value) for match in rule.matches] == [("PathPrefix", "/")]
    assert (rule.backend_refs[0].kind, rule.backend_refs[0].group, rule.backend_refs[0].weight) == ("Service", "", 90)
    (document,) = decode_documents(
        "{apiVersion: gateway.networking.k8s.io/v1, kind: HTTPRoute, metadata: {name: a},"
        " spec: {parentRefs: [{name: g}], rules: [{matches: []}]}}",
        "f",
    ).documents
    assert isinstance(document.spec, HttpRouteSpec)
    assert document.spec.rules == HttpRouteSpec().rules


def test_every_field_has_its_line(documents: dict[str, Document[object]]) -> None:
    lines = (APPLICATION + DESTINATION_RULES + "---\n" + ROUTES).splitlines()
    document = documents["VirtualService/reviews"]
    origin = document.at("spec", "http", 1, "route", 1, "destination", "subset")
    assert origin.source == "bookinfo.yaml"
    assert lines[origin.line - 1].strip() == "subset: v3"
    assert lines[document.at("spec", "http", 0, "match", 0).line - 1].strip() == "- headers:"
    assert lines[document.origin.line - 1] == "apiVersion: networking.istio.io/v1alpha3"
    assert document.at("spec", "http", 0, "nothing") == document.at("spec", "http", 0)

"""The documents of the day of edits: services that are called, whose rules change harmlessly, and many others."""

from __future__ import annotations

import random
from collections.abc import Callable, Mapping

OTHERS = "load-0"
"""The namespace of the services that nobody calls."""
CALLED: Mapping[str, frozenset[str]] = {
    "plain": frozenset({"one", "two"}),
    "weighted": frozenset({"one", "two"}),
    "pinned": frozenset({"two"}),
    "timed": frozenset({"one", "two"}),
    "divided": frozenset({"one", "two"}),
    "copied": frozenset({"one"}),
}
"""The services that are called, and the workloads that may answer."""
STEPPED = ("weighted", "pinned", "timed", "divided", "copied")
"""Those whose rules set a response header to the step of the edit that wrote them."""

_SERVICE = """\
apiVersion: v1
kind: Service
metadata: {{name: {name}, namespace: {namespace}}}
spec: {{selector: {{{selector}}}, ports: [{{name: http, port: 80, targetPort: 8080}}]}}
"""
_HTTP_ROUTE = """\
apiVersion: gateway.networking.k8s.io/v1
kind: HTTPRoute
metadata: {{name: {name}, namespace: {namespace}}}
spec:
  parentRefs: [{{group: "", kind: Service, name: {name}}}]
  rules:
    - filters:
        - {{type: ResponseHeaderModifier, responseHeaderModifier: {{set: [{{name: step, value: "{step}"}}]}}}}
{filters}      timeouts: {{request: {timeout}s}}
      backendRefs: [{backends}]
"""
_VIRTUAL_SERVICE = """\
apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {{name: {name}, namespace: {namespace}}}
spec:
  hosts: [{name}]
  http:
    - headers: {{response: {{set: {{step: "{step}"}}}}}}
      timeout: {timeout}s
      retries: {{attempts: {attempts}, retryOn: connect-failure}}
      route: [{routes}]
"""
_RULE = """\
apiVersion: networking.istio.io/v1
kind: DestinationRule
metadata: {{name: {name}, namespace: {namespace}}}
spec:
  host: {name}
  trafficPolicy:
    loadBalancer: {{simple: {balancer}}}
    connectionPool: {{tcp: {{connectTimeout: {timeout}s}}}}
  subsets: [{{name: v1, labels: {{version: v1}}}}, {{name: v2, labels: {{version: v2}}}}]
"""
_PEERS = """\
apiVersion: security.istio.io/v1
kind: PeerAuthentication
metadata: {{name: default, namespace: default}}
spec: {{mtls: {{mode: {mode}}}}}
"""
_MIRROR = (
    "        - {type: RequestMirror, requestMirror: {percent: PERCENT, backendRef: {name: version-two, port: 80}}}\n"
)


def service(name: str, namespace: str = OTHERS, selector: str = "") -> str:
    """A Service; what it selects is called as it is, unless said otherwise."""
    return _SERVICE.format(name=name, namespace=namespace, selector=selector or f"app: {name}")


def http_route(name: str, step: int, chance: random.Random, namespace: str = OTHERS) -> str:
    """An HTTPRoute of a service; what is harmless is left to chance."""
    weight, filters, backends = _weight(step, chance), "", f"{{name: {name}, port: 80}}"
    if name == "weighted":
        backends = f"{{name: version-one, port: 80, weight: {weight}}}, "
        backends += f"{{name: version-two, port: 80, weight: {100 - weight}}}"
    if name == "copied":
        filters = _MIRROR.replace("PERCENT", str(weight)) if weight % 2 else ""
        backends = "{name: version-one, port: 80}"
    timeout = chance.randint(10, 30)
    return _HTTP_ROUTE.format(
        name=name, namespace=namespace, step=step, filters=filters, timeout=timeout, backends=backends
    )


def _weight(step: int, chance: random.Random) -> int:
    """In the beginning even, so that callers soon need both sides."""
    return chance.randint(1, 99) if step else 50


def virtual_service(name: str, step: int, chance: random.Random, namespace: str = OTHERS) -> str:
    """A VirtualService that leads to subsets of its service."""
    weight = _weight(step, chance)
    shares = {"v2": 100} if name == "pinned" else {"v1": weight, "v2": 100 - weight}
    routes = ", ".join(
        f"{{destination: {{host: {name}, subset: {subset}}}, weight: {share}}}" for subset, share in shares.items()
    )
    timeout, attempts = chance.randint(10, 30), chance.randint(1, 5)
    return _VIRTUAL_SERVICE.format(
        name=name, namespace=namespace, step=step, timeout=timeout, attempts=attempts, routes=routes
    )


def rule(name: str, chance: random.Random, namespace: str = OTHERS) -> str:
    """A DestinationRule with two subsets."""
    balancer = chance.choice(("ROUND_ROBIN", "RANDOM", "LEAST_REQUEST"))
    return _RULE.format(name=name, namespace=namespace, balancer=balancer, timeout=chance.randint(2, 9))


def peers(mode: str) -> str:
    """What the called workloads accept."""
    return _PEERS.format(mode=mode)


def stepped(name: str, step: int, chance: random.Random) -> str:
    """The routes of a called service, in force when its answers carry the step."""
    write: Callable[..., str] = virtual_service if name in {"pinned", "divided"} else http_route
    return write(name, step, chance, namespace="default")


def called_documents(chance: random.Random) -> dict[str, str]:
    """All that is about the services that are called, by name."""
    found = {f"service {name}": service(name, "default", "app: backend") for name in CALLED}
    for name, version in (("version-one", "v1"), ("version-two", "v2")):
        found[f"service {name}"] = service(name, "default", f"app: backend, version: {version}")
    found |= {f"route {name}": stepped(name, 0, chance) for name in STEPPED}
    found |= {f"rule {name}": rule(name, chance, "default") for name in ("plain", "pinned", "divided")}
    return found | {"peers": peers("STRICT")}

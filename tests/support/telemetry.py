"""A mesh with Telemetry, and the signals of one workload in it."""

from __future__ import annotations

from typing import Any

from support.meshdocs import Compiled, service, workload
from weft.mesh.memo import Memo
from weft.mesh.policies.telemetry import metric_settings, signals_of
from weft.mesh.signals import FileSink, Signals
from weft.model.workload import Workload

GATEWAY = """
---
apiVersion: gateway.networking.k8s.io/v1
kind: Gateway
metadata: {name: edge}
spec:
  gatewayClassName: weft
  listeners: [{name: http, port: 80, protocol: HTTP}]
"""
PROVIDERS = """
  extensionProviders:
  - {name: One, envoyFileAccessLog: {path: one.log}}
  - {name: two, envoyFileAccessLog: {path: two.log, logFormat: {labels: {code: "%RESPONSE_CODE%"}}}}
  - {name: otel, opentelemetry: {service: 127.0.0.1, port: 4317}}
  - {name: zip, zipkin: {service: 127.0.0.1, port: 9411}}
"""


def config(spec: str = "", providers: str = PROVIDERS) -> str:
    """A MeshConfig with providers."""
    lines = "".join(f"  {line}\n" for line in spec.splitlines())
    return f"""
---
apiVersion: weft.dev/v1alpha1
kind: MeshConfig
metadata: {{name: default, namespace: istio-system}}
spec:
  connectTimeout: 1s
{lines}{providers}"""


def telemetry(spec: str, name: str = "t", namespace: str = "default", sampling: str = "") -> str:
    """A Telemetry."""
    lines = "".join(f"  {line}\n" for line in spec.splitlines())
    annotations = f", annotations: {{weft.dev/access-log-sampling: '{sampling}'}}" if sampling else ""
    return f"""
---
apiVersion: telemetry.istio.io/v1
kind: Telemetry
metadata: {{name: {name}, namespace: {namespace}{annotations}}}
spec:
{lines}"""


ROOT, LOCAL, OWN = "istio-system", "default", "selector: {matchLabels: {app: web}}\n"


class World:
    """A mesh and the signals of a workload in it."""

    def __init__(self, *texts: Any, of: Workload | None = None) -> None:
        self.mesh = Compiled(service("web"), *texts)
        workload_ = of or workload("web")
        found = signals_of(Memo(), self.mesh.mesh.telemetries, workload_, self.mesh.mesh.catalog)
        self.out, self.in_ = found.outgoing, found.incoming
        self.settings = metric_settings(self.mesh.mesh.telemetries, workload_, self.mesh.mesh.catalog)

    def logs(self, signals: Signals | None = None) -> dict[str, str]:
        """The files of access logs, and their filters."""
        found = (signals or self.out.signals).logs
        return {log.sink.path: log.filter for log in found if isinstance(log.sink, FileSink)}

    @property
    def codes(self) -> list[str]:
        """The codes of all problems."""
        return self.mesh.codes

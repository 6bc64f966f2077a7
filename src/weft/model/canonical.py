"""What a workload counts as in metrics: its canonical service and revision, from its labels, as Istio names them."""

from __future__ import annotations

from collections.abc import Iterable

from weft.model.workload import Workload

SERVICE_LABELS = ("service.istio.io/canonical-name", "app.kubernetes.io/name", "app")
REVISION_LABELS = ("service.istio.io/canonical-revision", "app.kubernetes.io/version", "version")
NO_REVISION = "latest"


def canonical_service(workload: Workload) -> str:
    """The service that the workload is an instance of: the first of SERVICE_LABELS that it has, else its name."""
    return _first(workload, SERVICE_LABELS) or workload.name


def canonical_revision(workload: Workload) -> str:
    """Which version of its service it is: the first of REVISION_LABELS that it has, else `latest`."""
    return _first(workload, REVISION_LABELS) or NO_REVISION


def _first(workload: Workload, names: Iterable[str]) -> str:
    labels = dict(workload.labels)
    return next((labels[name] for name in names if labels.get(name)), "")

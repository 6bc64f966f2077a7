"""The ports of a proxy in a pod: fixed, since its network namespace is the pod's own. They are Istio's."""

from __future__ import annotations

CAPTURE = 15001
"""Where connections of the pod's containers are led to, on loopback."""
INBOUND_CAPTURE = 15006
"""Where connections of callers are led to."""
METRICS = 15020
"""Metrics, and the probes of applications, at the pod's address."""
READINESS = 15021
"""Whether the proxy is ready, at the pod's address."""
READY_PATH = "/healthz/ready"

"""Codes of injection: sidecars in pods."""

from __future__ import annotations

from weft.findings.catalogue.entry import error, warning

INJECTION = (
    error(
        1600,
        "injection-refused",
        "A pod cannot have the sidecar that it asks for: its connections would go otherwise than its annotations say, "
        "or it uses a port, a user or a name of the sidecar. The pod is not made; without its sidecar it would be "
        "outside of the mesh.",
        "traffic.sidecar.istio.io/excludeOutboundPorts: 'http' is none; expected ports, with commas between them",
        "Change what the message names. To have the pod without a sidecar, give it the label sidecar.istio.io/inject: "
        "\"false\".",
    ),
    warning(
        1601,
        "injection-annotation",
        "A label or an annotation of a pod asks for what weft does not do. The pod gets its sidecar without; by hand, "
        "with `weft inject`, it is an error.",
        "'sidecar.istio.io/logLevel: debug' is not done: Envoy's log is at the level that weft sets",
        "Take it away; docs/injection.md says what is there instead. The annotation weft.dev/status of the pod has all "
        "warnings.",
    ),
    error(
        1602,
        "webhook-refused",
        "The control plane may not read or write the webhook configuration by which the API server asks it. When the "
        "mesh's root changes, the API server does not believe it any more, and pods that ask for a sidecar are not "
        "made.",
        "the mesh's roots cannot be kept in the mutatingwebhookconfigurations weft-injector: it answers 403: ...",
        "Let the account get and patch the two configurations (docs/injection.md has the ClusterRole).",
    ),
)  # fmt: skip

"""Codes of Kubernetes, whose API server has the documents where `weft serve --kubeconfig` says so."""

from __future__ import annotations

from weft.findings.catalogue.entry import error

KUBERNETES = (
    error(
        1590,
        "kubernetes-unavailable",
        "The API server that has the documents cannot be asked, or breaks off. What was read last stays in force, "
        "until weft itself starts anew.",
        "the API server of prod cannot be followed: no connection can be made; what was read last stays in force",
        "The message says why. See whether the server answers, and whether it takes the credentials of the kubeconfig "
        "file.",
    ),
    error(
        1591,
        "kubernetes-refused",
        "A kind may not be read by the account that weft has at the API server. The mesh does without its documents; "
        "of a kind about security it waits for them.",
        "httproutes.gateway.networking.k8s.io cannot be read: it answers 403: ...; the mesh does without them",
        "Let the account watch the kind (docs/kubernetes.md has the ClusterRole).",
    ),
    error(
        1592,
        "kubernetes-version",
        "The API server has a kind in versions only that weft does not read, so its documents are not in force.",
        "policies.security.istio.io are there in v7 only, which weft does not read; expected v1 or v1beta1",
        "Serve a version that weft reads, or take a newer weft.",
    ),
)

"""Codes of `weft check` about a Kubernetes cluster: whether weft can be installed there, and whether it works."""

from __future__ import annotations

from weft.findings.catalogue.entry import error, warning

CLUSTERS = (
    error(
        1630,
        "cluster-unfit",
        "The cluster, as it is, cannot take weft, or not all of it: its API server cannot be asked, Kubernetes or the "
        "Gateway API is too old, newer than weft was tried with, or not there; another mesh puts sidecars into the "
        "same pods; a namespace refuses what sidecars need; nodes, clocks or volumes do not fit.",
        "storage: there is no default StorageClass, so the control plane's volume is never made",
        "The message says what does not fit, and the line below it what to look at or to do.",
    ),
    error(
        1631,
        "cluster-rights",
        "A right at the API server is missing: one of yours, without which you cannot install or look at weft, or one "
        "of the control plane's account, without which it does not do what that right is for.",
        "service account weft-system/weft: it may not create tokenreviews.authentication.k8s.io",
        "Have an administrator give you the right; the control plane's come with `weft upgrade` or `helm upgrade`.",
    ),
    error(
        1632,
        "webhook-not-working",
        "The API server does not reach a webhook of weft, or does not know who answers it. Pods then start without a "
        "sidecar or not at all, and documents are written unseen. It was tried: a pod and a wrong document were "
        "offered without being made.",
        "weft-injector: it has no caBundle, so the API server cannot ask the control plane, which writes it by itself",
        "The message has the API server's own words. The control plane writes caBundle within seconds after it is "
        "ready; what is between the API server and the pods (a NetworkPolicy, a firewall) has to let port 15017 "
        "through.",
    ),
    error(
        1633,
        "control-plane-unwell",
        "The control plane in the cluster does not work as it should: a pod is not ready, nobody leads, a clock is "
        "off, definitions of weft's kinds are missing, or it is of another version than the command line. Proxies go "
        "on with what they know.",
        "pod weft-system/weft-0: its container waits: ImagePullBackOff: ...",
        "The line below the message says where to look. One release apart is a warning: both work together, and one "
        "of them is to follow.",
    ),
    warning(
        1634,
        "pod-not-injected",
        "Pods that should have a sidecar have none, most often because they are older than the label of their "
        "namespace; or they have the sidecar of another release than pods get now. The former speak plaintext, and "
        "are refused where mutual TLS is demanded.",
        "namespace shop: should have a sidecar and have none, so they speak plaintext: reviews-7d9f8-x2x4k",
        "Make them anew: the line below the message does. Pods that shall have none say so with the label "
        "`weft.dev/injection: disabled`.",
    ),
)

"""The messages of ``istioctl analyze`` that have no code of ours, each with the reason."""

from __future__ import annotations

_INJECTION = "what becomes of a pod is said when it is made (docs/injection.md)"
_KIND = "a kind that weft does not read yet (unsupported-kind)"
_KUBERNETES = "about an installation in Kubernetes"
_JWT = "about JSON web tokens, which weft does not check yet; the field is refused (unsupported-field)"

NOT_HERE: dict[str, str] = {
    "IST0102": _INJECTION,
    "IST0123": _INJECTION,
    "IST0126": "there is one registry, and no MeshNetworks",
    "IST0134": "applications name the host that they call, so an entry for TCP needs no address",
    "IST0137": "each port of a workload has a listener of its own, so Services may number it differently",
    "IST0138": "a request that comes over a connection made for another host is answered 421, and the client tries "
    "anew",
    "IST0139": _KUBERNETES,
    "IST0140": "gateways follow subsets as sidecars do",
    "IST0141": _KUBERNETES,
    "IST0142": _KUBERNETES,
    "IST0144": "the proxy runs as the user who starts the workload",
    "IST0146": _INJECTION,
    "IST0147": _INJECTION,
    "IST0148": _INJECTION,
    "IST0149": _JWT,
    "IST0156": _KUBERNETES,
    "IST0163": _KUBERNETES,
    "IST0164": _KUBERNETES,
    "IST0168": "weft changes no default without a line in the changelog, and has no compatibility versions",
    "IST0169": "weft changes no default without a line in the changelog, and has no compatibility versions",
    "IST0170": "one control plane has one set of services",
    "IST0176": _KUBERNETES,
    "IST0177": _KIND,
}

"""Codes of Kubernetes, whose API server has documents and Pods where `weft serve --kubeconfig` says so."""

from __future__ import annotations

from weft.findings.catalogue.entry import error, warning

KUBERNETES = (
    error(
        1590,
        "kubernetes-unavailable",
        "The API server that has documents and Pods cannot be asked, or breaks off. What was read last stays in "
        "force, until weft itself starts anew.",
        "the API server of prod cannot be followed: no connection can be made; what was read last stays in force",
        "The message says why. See whether the server answers, and whether it takes the credentials of the kubeconfig "
        "file.",
    ),
    error(
        1591,
        "kubernetes-refused",
        "The account that weft has at the API server may not read a kind, or not write what it writes: statuses, "
        "events, its Leases. The mesh does without the objects of that kind (of one about security it waits for them). "
        "Without Pods or EndpointSlices no Pod is in the mesh or behind a Service; without Nodes nobody knows in which "
        "zone a Pod runs; where TokenReviews are forbidden, no proxy of a Pod can join. Or it is a Secret or ConfigMap "
        "that a document refers to: what was read of it last stays in force, and proxies that have a Secret keep it. "
        "What cannot be written is shown by weft only. Who cannot have the Lease of a shared state writes no "
        "history and rotates no root.",
        "httproutes.gateway.networking.k8s.io cannot be read: it answers 403: ...; the mesh does without them",
        "Let the account do what is expected (docs/kubernetes.md has the roles), or serve with --no-write-status.",
    ),
    error(
        1592,
        "kubernetes-version",
        "The API server has a kind in versions only that weft does not read, so its documents are not in force.",
        "policies.security.istio.io are there in v7 only, which weft does not read; expected v1 or v1beta1",
        "Serve a version that weft reads, or take a newer weft.",
    ),
    error(
        1593,
        "pod-unusable",
        "A Pod has a proxy of the mesh that cannot be in it: weft has no name for the proxy or its certificate, or the "
        "Pod is in the network of its node. Nobody is sent to it, in plaintext neither.",
        "the Pod has a weft-proxy and is not in the mesh, so nobody can call it: its proxy cannot be called so; "
        "expected a DNS label (lower-case letters, digits and '-', at most 63) as its name",
        "Give the Pod (its Deployment, StatefulSet, ...) or its service account a shorter name without dots, or keep "
        "the Pod out of the mesh.",
    ),
    warning(
        1594,
        "slice-unusable",
        "An EndpointSlice that no controller of the cluster keeps has names in the place of addresses, or leaves out "
        "the number of a port. Nothing of it is behind its Service.",
        "its endpoints are names, or have ports without a number, so nothing is behind them; expected addressType IPv4 "
        "or IPv6, and the number of each port",
        "Write addresses and port numbers; a ServiceEntry with resolution DNS is for names.",
    ),
    error(
        1595,
        "pod-name-taken",
        "A Pod of the mesh is called as a workload that an agent has registered in the same namespace. The name is the "
        "agent's for as long as it is registered; the Pod's proxy cannot join, and nobody is sent to the Pod.",
        "an agent has registered a workload of the name of Pod shop/web-0, which is not in the mesh for as long as "
        "that one is; expected another name: stop that workload's agent, or name the Pod otherwise",
        "Stop the agent, or start it with another `weft run --name`; the Pod's proxy then joins by itself.",
    ),
    error(
        1598,
        "gateway-not-made",
        "A Gateway of a cluster has no process, or an older one: its Deployment, Service or what else it needs cannot "
        "be made, or somebody else has an object of that name.",
        "Gateway edge/web: there is a Service edge/web-weft that is not this Gateway's; expected another name of the "
        "Gateway or of the Service",
        "Give weft the rights that the message names, or one of the two another name. It is tried again by itself.",
    ),
    error(
        1599,
        "invalid-parameters",
        "What a Gateway asks for its process cannot be: the ConfigMap to which its parametersRef (or that of its "
        "GatewayClass) refers is not there or says what weft does not take, its Service would have an unknown type, it "
        "has a name that no Service can have, or a listener at a port of the agent. The process stays as it was.",
        "ConfigMap edge/sizes: deployment.spec.replica: unknown field 'replica' (line 2 of the text); expected one of "
        "minReadySeconds, progressDeadlineSeconds, replicas, …; did you mean 'replicas'?",
        "Correct the ConfigMap; what it may say is in docs/kubernetes.md. `weft validate` says the same of files.",
    ),
    error(
        1596,
        "kubernetes-too-many",
        "Documents refer to more Secrets and ConfigMaps of the cluster than are read. The namespaces of the documents "
        "share what is read equally, and of each the oldest documents come first.",
        "Secret shop/tls is not read: 500 Secrets and ConfigMaps are at most, and older documents of this namespace "
        "name its share of them; proxies that have it keep it",
        "Remove documents that nobody needs, or give the control plane the others as files (--documents).",
    ),
    warning(
        1597,
        "pod-not-connected",
        "A Pod has a proxy of the mesh that is not connected to the control plane. If it never was, it has no "
        "certificate yet: its log says what it waits for. Else it serves with what it knew last.",
        "Pod reviews-v1-x2x4k is in the mesh, but its proxy is not connected: it has not joined, or has gone",
        "See what the proxy says; `weft audit` has what was refused.",
        "kubectl logs --namespace {namespace} {workload} --container weft-proxy",
    ),
)
VIEW = (
    error(
        1635,
        "pod-not-captured",
        "A Pod of the mesh waits in its first container, since its connections are not led into its proxy: no Pod of "
        "the mesh runs without that. Where nodes capture Pods, the agent of its node is not there, or cannot do it; "
        "else the container has not got the rights for it.",
        "the Pod does not start: its connections cannot be captured, says weft-init; expected on its node worker-3 "
        "what that container's log asks for",
        "See what the container says, and the agent of the node (kubectl get pods -A -o wide -l "
        "app.kubernetes.io/component=cni). The Pod goes on by itself.",
        "kubectl logs --namespace {namespace} {name} --container weft-init",
    ),
    warning(
        1640,
        "namespace-left-out",
        "A document names something in a namespace that is not in the mesh's view: the control plane has discovery "
        "selectors, and none matches its labels. For the mesh there is nothing in it. It is an error where the "
        "namespace is that of the mesh-wide policies: none of them is in force.",
        "spec.rules[0].backendRefs[0].namespace: the namespace 'billing' is not in view, so nothing of it is known "
        "here; expected labels of the namespace that a discovery selector matches",
        "Label the namespace, or have another `--discovery-selector` (`discoverySelectors` of the chart).",
        "kubectl get namespace --show-labels",
    ),
    warning(
        1641,
        "sidecars-left-out",
        "A namespace asks for sidecars and is not in the mesh's view. Its pods cannot join: those that have a sidecar "
        "go on with what they know, and new ones are refused.",
        "the namespace billing asks for sidecars, and no discovery selector matches its labels: its pods cannot join "
        "the mesh, and new ones are refused; expected labels that a discovery selector matches, or none that ask for "
        "sidecars",
        "Label the namespace so that a selector matches, or take the label away that asks for sidecars.",
        "kubectl get namespace --show-labels",
    ),
)

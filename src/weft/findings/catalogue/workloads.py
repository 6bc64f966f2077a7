"""Codes of policies, of workloads, and of what stands behind services."""

from __future__ import annotations

from weft.findings.catalogue.entry import error, note, warning

SECURITY = (
    error(
        401,
        "policy-conflict",
        "Two policies are for the same workloads. The older one is in force.",
        "PeerAuthentication default/a is for the same workloads and older",
        "Keep one of them.",
        "weft delete {kind} {name} -n {namespace} --wait",
        istio="0159 0160",
    ),
    error(
        402,
        "policy-unreadable",
        "A security policy cannot be understood. What it is for is closed until it can: mutual TLS only, or, where it "
        "says who may call, nobody.",
        "it cannot be understood, so the workloads it selects accept mutual TLS only until it is mended",
        "Mend the errors told about the same document.",
    ),
    warning(
        403,
        "tls-mismatch",
        "Callers are told to use plaintext (a DestinationRule with tls mode DISABLE) towards workloads that accept "
        "mutual "
        "TLS only. Their connections are closed.",
        "callers use plaintext towards reviews-v1, which accepts mutual TLS only (peer.yaml:6)",
        "Remove tls from the DestinationRule: by default mutual TLS is used wherever it is accepted.",
        istio="0113",
    ),
    note(
        404,
        "plaintext-accepted",
        "A port of workloads accepts connections without mutual TLS: anyone who reaches its address may call it, and "
        "no "
        "identity is known.",
        "port 9080 of reviews-v1 is PERMISSIVE (peer.yaml:6)",
        "Set STRICT once every caller has a proxy.",
    ),
)

WORKLOADS = (
    warning(
        501,
        "selects-nothing",
        "A Service, a policy or a rule asks for labels that no workload has.",
        "no workload in namespace 'default' has the labels app=reviews, so nothing is behind the service",
        "Start a workload with these labels, or correct them.",
        istio="0127 0166",
    ),
    warning(
        551,
        "selectors-meet",
        "Two ProxyConfigs of a namespace have different selectors that both fit a workload. The older one is in force "
        "for it.",
        "ProxyConfig shop/edge (proxies.yaml:1) is older and selects workload shop/cart-1 too, so this one is not for "
        "it",
        "Make the selectors narrower, or join the documents.",
    ),
    warning(
        552,
        "starts-later",
        "A proxy runs with another number of worker threads than documents ask for: Envoy has them from its start on.",
        "workload shop/cart-1 runs with another number of worker threads until started again",
        "Start the workload again: `weft restart NAME`, or the same `weft run` or `weft gateway`.",
    ),
    warning(
        502,
        "not-selected",
        "A workload has ports, but no Service selects its labels: nobody can call it by name.",
        "no Service selects it (labels: app=revews), so nothing can call it by name; did you mean 'app=reviews'?",
        "Correct the labels of the workload (--labels), or apply a Service that selects them.",
    ),
    warning(
        503,
        "port-not-served",
        "A policy names a port that none of the workloads it selects has. They are workloads' ports, not those of "
        "Services.",
        "no workload that it selects has port 80",
        "Name a port of the workloads.",
    ),
    warning(
        504,
        "target-port-not-served",
        "A Service leads to a port that none of its workloads serves.",
        "none of the workloads it selects serves port 9081; expected one of 9080",
        "Correct targetPort, or start the workloads with that --port.",
        istio="0162",
    ),
    warning(
        505,
        "named-target-port",
        "A Service leads to a port by a name that none of its workloads gave a port.",
        "none of the workloads it selects has a port called 'http'",
        "Start the workloads with --port http=9080, or write the number as targetPort.",
    ),
    error(
        506,
        "unknown-use",
        "A workload says that it uses a service that does not exist. Its calls to it are refused.",
        "it uses 'ratngs', which is no service, so calls to it are refused; did you mean 'ratings'?",
        "Correct --uses (uses in weft.yaml), or apply the Service.",
    ),
    error(
        507,
        "unknown-upstream",
        "A workload has a loopback port for a service or port that does not exist, so the port is not open.",
        "upstream 'postgres:5433' has no port 5433, so its port is not open",
        "Correct --upstream (upstreams in weft.yaml), or apply the Service.",
    ),
    warning(
        508,
        "proxy-unused",
        "The application has never used its proxy, though it says what it calls, or answers with errors. A client that "
        "does not heed HTTP_PROXY does not reach the mesh.",
        "its application has never used its proxy",
        "See docs/clients.md for what each client needs; an --upstream port works for any of them.",
        istio="0103",
    ),
    warning(
        509,
        "reached-on-loopback",
        "The mesh spans hosts, and callers on others are told a loopback address for this workload.",
        "it is reached at 127.0.0.1:31001, where callers on other hosts look on their own",
        "Start it with --inbound-address (bind in weft.yaml).",
        "weft run --name {workload} --inbound-address ADDRESS -- COMMAND",
        istio="0143",
    ),
    error(
        510,
        "no-healthy-endpoint",
        "A Service has workloads, and none of them takes requests now. Callers get 503 with the flag UH.",
        "none of its 2 workloads is healthy: reviews-v1 is unhealthy, reviews-v2 is starting",
        "See what the applications say; a workload is healthy when its health check passes.",
        "weft logs {workload}",
    ),
    error(
        511,
        "endpoint-unreachable",
        "The control plane cannot open a connection to the address at which callers are told to reach a workload.",
        "reviews-v1 is not reached at 10.0.0.5:31001: Connection refused",
        "Start its agent again, or open the firewall for that port.",
        "weft logs --proxy {workload}",
    ),
    warning(
        512,
        "proxy-not-connected",
        "A workload is registered and its proxy is not connected. It serves with what it knew last, and hears of no "
        "change.",
        "reviews-v1 is registered, but its proxy is not connected",
        "See what its Envoy says.",
        "weft logs --proxy {workload}",
    ),
    warning(
        513,
        "agent-silent",
        "The agent of a workload has not been heard for longer than it said. Proxy and application keep their traffic; "
        "nobody asks for the application's health.",
        "the agent has not been heard for longer than it said",
        "Start the same `weft run`, or `weft up`, again: it takes over without a failed request.",
        "weft restart {workload}",
    ),
    warning(
        514,
        "workload-unhealthy",
        "The application of a workload does not pass its health check, so it gets no requests.",
        "reviews-v1 is unhealthy",
        "See what the application says.",
        "weft logs {workload}",
    ),
    warning(
        515,
        "unused-document",
        "A document is accepted, and nothing uses it.",
        "DestinationRule istio-system/reviews: every caller has another one that comes first",
        "Delete it, or correct what it refers to.",
        "weft delete {kind} {name} -n {namespace} --wait",
        istio="0167",
    ),
)

"""Codes of the analysis: documents that are in force and do what nobody wants, and what the traffic shows."""

from __future__ import annotations

from weft.findings.catalogue.entry import note, warning

ANALYSIS = (
    warning(
        801,
        "timeout-below-tries",
        "A route's timeout is shorter than its tries can take, so the last of them are cut off: the retries that were "
        "asked for do not happen.",
        "timeout 2s is shorter than 3 tries of 1s each",
        "Make the timeout at least tries x perTryTimeout, or lower one of them.",
    ),
    warning(
        802,
        "timeout-below-callee",
        "A caller waits less long than the service it calls waits for its own callees. It gives up while work goes on.",
        "reviews is given 1s, and waits 10s for ratings itself (routes.yaml:20)",
        "Let timeouts become shorter from the edge inwards.",
    ),
    warning(
        803,
        "retry-amplification",
        "Retries along a path multiply: a failing service at its end gets many times the load, when it can bear it "
        "least.",
        "one request at productpage may become 27 at ratings (3 x 3 x 3 tries)",
        "Retry at one place of the path, or at the edge only.",
    ),
    warning(
        804,
        "ejects-last-host",
        "Outlier detection may take out every instance of a service, so that an error of all becomes an outage.",
        "maxEjectionPercent is 100 and there are 2 endpoints",
        "Set maxEjectionPercent to 50 or less, or minHealthPercent.",
    ),
    note(
        805,
        "hash-with-one-endpoint",
        "Consistent hashing has nothing to choose from.",
        "reviews has 1 endpoint",
        "Nothing, if more will come; else remove consistentHash.",
    ),
    warning(
        806,
        "weight-to-nothing",
        "A rule sends a share of requests to a service or subset without a healthy endpoint. They fail with 503.",
        "10 of 100 go to subset v3 of reviews, which has no healthy endpoint",
        "Start its workloads, correct the subset's labels, or set the weight to 0.",
        istio="0173",
    ),
    note(
        807,
        "no-http-probe",
        "A workload with an HTTP port is taken for healthy as soon as its port accepts connections. An application "
        "that "
        "answers errors while it starts gets requests.",
        "reviews-v1 has no healthCheck",
        "Give it healthCheck: {http: /path} in weft.yaml, or --health http:/path.",
    ),
    note(
        808,
        "port-name-without-protocol",
        "Neither the name of a port nor appProtocol says what it speaks, so each caller's proxy looks at the first "
        "bytes.",
        "port 9080 is called 'web'",
        "Call it http-web, or set appProtocol: http.",
        istio="0118",
    ),
    warning(
        809,
        "port-name-against-protocol",
        "A port's name and its appProtocol, or its well-known number, say different things. appProtocol counts, then "
        "the "
        "name.",
        "port 5432 is called 'http' and is PostgreSQL's",
        "Make them say the same.",
        istio="0119 0150",
    ),
    warning(
        810,
        "ports-disagree",
        "Two Services lead to the same port of the same workloads and say that it speaks different protocols.",
        "port 9080 of reviews-v1 is http by Service a and tcp by Service b",
        "Give the port the same protocol in both.",
        istio="0116",
    ),
    note(
        811,
        "unsafe-retry",
        "A rule for requests that change something retries where the first try may have been processed already.",
        "POST is retried on 5xx, so an order may be made twice",
        "Retry on connect-failure, refused-stream and reset-before-request only, or make the request idempotent.",
    ),
    warning(
        812,
        "fault-in-force",
        "A rule delays or fails requests on purpose. It looks like a fault of the service.",
        "100% of the requests to ratings are delayed by 7s",
        "Remove it when the experiment is over.",
        "weft history {kind} {name} -n {namespace}",
    ),
    warning(
        813,
        "subset-selects-nothing",
        "A subset's labels are those of no workload of the service.",
        "subset v3 of reviews selects no workload (labels: version=v3)",
        "Correct the labels, or start the workloads.",
        istio="0173",
    ),
    note(
        814,
        "endless-timeout",
        "A route says that answers may take as long as they like. A callee that hangs holds the caller's resources.",
        "timeout 0s for reviews",
        "Set a bound, unless the route is for streams.",
    ),
)

TRAFFIC = (
    warning(
        901,
        "high-error-rate",
        "Many calls of an edge fail.",
        "12% of 300 requests of productpage to reviews failed in the last minute (503: 36)",
        "See why.",
        "weft explain --from {workload} http://{name}/",
    ),
    warning(
        902,
        "retry-storm",
        "Many calls of an edge ran out of retries: the callee gets several times the load while it fails.",
        "40 of 300 requests of productpage to reviews used up their retries (URX)",
        "Lower the attempts, and mend the callee.",
        "weft analyze",
    ),
    warning(
        903,
        "overload",
        "A circuit breaker refuses calls: more are under way than its limits allow.",
        "25 of 300 requests of productpage to reviews were refused by a limit (UO)",
        "Add instances, or raise the limits in the DestinationRule's connectionPool.",
        "weft get destinationrules -n {namespace}",
    ),
    warning(
        904,
        "no-endpoint-for-calls",
        "Calls find no healthy endpoint.",
        "300 of 300 requests of productpage to reviews found no healthy endpoint (UH)",
        "Start workloads of the service, or see why they are not healthy.",
        "weft describe service {name} -n {namespace}",
    ),
    warning(
        905,
        "connections-fail",
        "Connections to a callee cannot be made or break: it is gone, it refuses the caller's certificate, or a "
        "firewall is "
        "in between.",
        "20 of 300 requests of productpage to reviews met a failed connection (UF)",
        "See the callee and its proxy.",
        "weft logs --proxy {workload}",
    ),
    warning(
        906,
        "plaintext-traffic",
        "Calls come in without mutual TLS: the caller has no proxy, or does not use it.",
        "30 requests to reviews came without mutual TLS",
        "Run the caller with weft, and see docs/clients.md.",
        "weft describe service {name} -n {namespace}",
    ),
    warning(
        907,
        "calls-time-out",
        "Calls take longer than their timeout.",
        "80 of 300 requests of productpage to ratings took too long (UT)",
        "See why the callee is slow, or give it more time.",
        "weft explain --from {workload} http://{name}/",
    ),
    warning(
        908,
        "dns-fails",
        "A host outside the mesh cannot be found.",
        "15 requests of productpage to api.example.com failed because its name has no address (DF)",
        "Correct the name, or the DNS of the caller's host.",
        "getent hosts {name}",
    ),
    warning(
        909,
        "no-route-for-calls",
        "Calls meet no rule: the host or the path is one that nobody routes.",
        "15 requests of productpage to reviews met no rule (NR)",
        "Correct the host or path, or add a rule.",
        "weft explain --from {workload} http://{name}/",
    ),
    warning(
        910,
        "calls-slow",
        "Many calls of an edge take long: the callee is slow, waits for another one, or a rule delays them.",
        "the slowest 5% of 300 requests took longer than 7.0 s, in 60 s",
        "See at which hop the time goes, and whether a fault is in force.",
        "weft explain --from {workload} http://{name}/",
    ),
)

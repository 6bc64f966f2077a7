"""Servers of gateways: what stands beside what, where processes listen, and how TLS ends."""

from __future__ import annotations

from weft.findings.catalogue.entry import error, warning

SERVERS = (
    error(
        1470,
        "server-conflict",
        "At one gateway process a server of an Istio Gateway cannot stand beside one that is older or first by name: "
        "their protocols exclude each other on a port, or both have a host.",
        "at gateway default/edge, port 443: Gateway default/a (a.yaml:4) has the host 'shop.example' there already",
        "Give the server another port or hosts of its own, or have another process serve it.",
        istio="0104 0145",
    ),
    error(
        1471,
        "bind-not-served",
        "A server asks for an address on which the gateway's process does not listen. Documents narrow that, and never "
        "widen it.",
        "spec.servers[0].bind: the gateway's process listens on 127.0.0.1, so this server is not in force",
        "Start the process with --bind, or leave bind out.",
    ),
    error(
        1473,
        "no-client-authority",
        "Clients of a listener have to be vouched for (tls.frontend, or Istio's option MUTUAL), and nothing that it "
        "names for that is there. It is not in force: nobody gets in without being asked, nor by a wider listener of "
        "its port.",
        "spec.listeners[1]: nobody vouches for its clients, so this listener is not in force",
        "Apply the ConfigMap, or the Secret, with the authorities' certificates under ca.crt.",
    ),
    error(
        1474,
        "listeners-not-allowed",
        "A ListenerSet adds to a Gateway that does not take listeners of its namespace.",
        "spec.parentRef: Gateway infra/front takes no listeners of namespace 'shop'",
        "Have the Gateway's allowedListeners take them, or give the listeners to a Gateway of your own.",
    ),
    warning(
        1472,
        "weak-cipher",
        "A cipher suite without forward secrecy or without authenticated encryption is in force at a gateway.",
        "spec.servers[0].tls.cipherSuites[0]: AES128-SHA has no forward secrecy or no authenticated encryption",
        "Leave cipherSuites out, or name ECDHE suites with AES-GCM or ChaCha20-Poly1305.",
    ),
)

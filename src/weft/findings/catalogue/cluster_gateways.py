"""Codes of Gateways of a cluster: where clients reach them."""

from __future__ import annotations

from weft.findings.catalogue.entry import error

CLUSTER_GATEWAYS = (
    error(
        1610,
        "unsupported-address",
        "A Gateway asks for an address of a type that weft does not know. It is not accepted, and its process stays as "
        "it was; one that listens at addresses of documents listens nowhere.",
        "spec.addresses[0].type: addresses of type 'Hostname' are not supported by weft; expected IPAddress",
        "Ask for an IP address, or for none.",
    ),
    error(
        1611,
        "address-not-usable",
        "The Service of a Gateway cannot have the address that the Gateway asks for, or has not got it from its load "
        "balancer yet. A Service has one address, and a cluster's own ones never change.",
        "Gateway edge/web: asks for 203.0.113.7, and its Service has 203.0.113.9; expected an address that is free",
        "Ask for an address that the load balancer, or the cluster, can give. Where the Service has another one of the "
        "cluster's already, delete it: it is made again with the one that is asked for.",
        "kubectl get service --namespace {namespace}",
    ),
)

"""The trust epoch is in what connections are made by, once a root has been dropped, and changes nothing else."""

from __future__ import annotations

from envoy.config.cluster.v3.cluster_pb2 import Cluster
from envoy.config.listener.v3.listener_pb2 import Listener

from support.views import TRUST_DOMAIN, backend, inbound
from weft.mesh.services.service import MutualTlsMode, Plaintext
from weft.mesh.signals import STANDARD
from weft.xds.services.cluster import encode_backend
from weft.xds.sidecars.inbound import encode_inbound
from weft.xds.snapshot import Resource


def cluster(resource: Resource) -> Cluster:
    found = Cluster()
    found.ParseFromString(resource.body)
    return found


def listener(epoch: int, mode: MutualTlsMode = MutualTlsMode.PERMISSIVE) -> Listener:
    found = Listener()
    resource = encode_inbound(inbound(20001, 8080, mode=mode), TRUST_DOMAIN, STANDARD, epoch)
    found.ParseFromString(resource.body)
    return found


def test_chains_with_mutual_tls_differ_by_it_and_plaintext_ones_do_not() -> None:
    before, after = listener(1), listener(2)
    for old, new in zip(before.filter_chains, after.filter_chains, strict=True):
        assert (old == new) is (not old.HasField("transport_socket"))
        new.ClearField("metadata")
        old.ClearField("metadata")
        assert old == new
    assert not any(chain.HasField("metadata") for chain in listener(0).filter_chains), "nothing where none was dropped"


def test_clusters_with_mutual_tls_differ_by_it_and_plaintext_ones_do_not() -> None:
    mutual, plain = backend(), backend(transport=Plaintext())
    old, new = (cluster(encode_backend(mutual, TRUST_DOMAIN, epoch)) for epoch in (1, 2))
    assert old != new
    assert encode_backend(plain, TRUST_DOMAIN, 1).version == encode_backend(plain, TRUST_DOMAIN, 2).version
    assert encode_backend(mutual, TRUST_DOMAIN).version == encode_backend(mutual, TRUST_DOMAIN, 0).version

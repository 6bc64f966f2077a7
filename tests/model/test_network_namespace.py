"""Which files a registration may name as network namespaces."""

from __future__ import annotations

import pytest

from weft.admin.registrations import check_workload
from weft.admin.replies import Refused
from weft.model.network_namespace import NetworkNamespace, is_namespace_path, namespace_path
from weft.model.workload import NodeBinding, Workload


@pytest.mark.parametrize(
    ("text", "path"),
    [
        ("shop", "/run/netns/shop"),
        ("cni-5b1e-4", "/run/netns/cni-5b1e-4"),
        ("/run/netns/shop", "/run/netns/shop"),
        ("/var/run/docker/netns/1-abc", "/run/docker/netns/1-abc"),
        ("/run/netns/../../etc/shadow", ""),
        ("/run/netns/.hidden", ""),
        ("/run/netns//shop", ""),
        ("/run/netns/shop/", ""),
        ("/run", ""),
        ("/proc/1/ns/net", ""),
        ("/etc/shadow", ""),
        ("../shop", ""),
        ("a b", ""),
        ("shop\n", ""),
        ("", ""),
        ("x" * 190, ""),
        ("/run" + "/a" * 9, ""),
    ],
)
def test_a_name_or_a_path_below_run_is_one(text: str, path: str) -> None:
    assert namespace_path(text) == path
    assert is_namespace_path(text) is (text == path != "")


@pytest.mark.parametrize(
    ("where", "carrier", "told"),
    [
        (NetworkNamespace("/run/netns/a", "4-1"), "host.default", ""),
        (NetworkNamespace("/run/netns/a", "4-1"), "", "a carrier"),
        (NetworkNamespace("/etc/shadow", "4-1"), "host.default", "network_namespace.path"),
        (NetworkNamespace("/run/netns/a", "../x"), "host.default", "network_namespace.generation"),
        (NetworkNamespace("/run/netns/a", ""), "host.default", "network_namespace.generation"),
    ],
)
def test_registrations_are_checked(where: NetworkNamespace, carrier: str, told: str) -> None:
    workload = Workload("a", "default", "a", carrier=carrier, network_namespace=where)
    if not told:
        check_workload(workload)
        return
    with pytest.raises(Refused, match=told):
        check_workload(workload)


def test_those_of_nodes_are_too() -> None:
    binding = NodeBinding(("a.default",), (("a.default", NetworkNamespace("/dev/null", "4-1")),))
    with pytest.raises(Refused, match=r"node\.namespaces"):
        check_workload(Workload("host", "default", "host", node=binding))

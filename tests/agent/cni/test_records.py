"""What a runtime has noted of pods: the file of libcni as containerd 1.6 writes it, and what is none."""

from __future__ import annotations

import base64
import json
from pathlib import Path
from typing import Any

import pytest

from weft.agent.cni.records import Records, attachment_from_record

NAMESPACE = "/var/run/netns/cni-7d3464b7-97a3-c51a-8872-87864a7451c8"
ANNOTATIONS = {"kubernetes.io/config.source": "api", "weft.dev/status": "{}"}
CONFIGURATION = b'{"plugins": []}'


def record(**changed: Any) -> dict[str, Any]:
    """That of a pod, but for what is changed."""
    return {
        "kind": "cniCacheV1",
        "containerId": "e4a2f90fd4f4",
        "config": base64.b64encode(CONFIGURATION).decode(),
        "ifName": "eth0",
        "networkName": "pods",
        "cniArgs": [["IgnoreUnknown", "1"], ["K8S_POD_NAMESPACE", "shop"], ["K8S_POD_NAME", "front-1"]],
        "capabilityArgs": {"dns": {"Servers": ["10.0.0.10"]}, "io.kubernetes.cri.pod-annotations": ANNOTATIONS},
        "result": {
            "cniVersion": "1.0.0",
            "interfaces": [{"name": "pods0"}, {"name": "eth0", "sandbox": NAMESPACE}],
            "ips": [{"address": "10.1.0.5/24", "interface": 1}],
        },
        **changed,
    }


def test_a_pods_record_has_its_namespace_and_its_annotations() -> None:
    found = attachment_from_record(json.dumps(record()).encode())
    assert found is not None
    assert (found.container, found.namespace, found.pod) == ("e4a2f90fd4f4", NAMESPACE, "shop/front-1")
    assert found.annotations == ANNOTATIONS
    assert found.configuration == CONFIGURATION


def test_later_versions_say_the_namespace_themselves() -> None:
    found = attachment_from_record(json.dumps(record(netns="/run/netns/other", result=None)).encode())
    assert found is not None
    assert found.namespace == "/run/netns/other"


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"{}",
        b"[1]",
        json.dumps(record(capabilityArgs={"dns": {}})).encode(),
        json.dumps(record(result={"interfaces": [{"name": "lo"}]})).encode(),
        json.dumps(record(cniArgs=[["one"]])).encode(),
    ],
)
def test_what_is_no_record_of_a_pod_is_passed_over(content: bytes) -> None:
    assert attachment_from_record(content) is None


def test_records_come_and_go(tmp_path: Path) -> None:
    records = Records(tmp_path / "results")
    assert records.attachments() == ()
    (tmp_path / "results").mkdir()
    for name, container in (("pods-a-eth0", "a"), ("more-a-net1", "a"), ("pods-b-eth0", "b")):
        (tmp_path / "results" / name).write_text(json.dumps(record(containerId=container)))
    (tmp_path / "results" / "cni-loopback-a-lo").write_text("{}")
    assert [each.container for each in records.attachments()] == ["a", "b"]
    (tmp_path / "results" / "pods-b-eth0").unlink()
    assert [each.container for each in records.attachments()] == ["a"]

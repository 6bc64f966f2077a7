"""`weft serve`: what it is told of registries and probes, from the command line to its settings."""

from __future__ import annotations

import json
from pathlib import Path

import click
import pytest

from weft.cli.serve_outside import OutsideOptions, outside_given
from weft.controlplane.settings import ReplicaSettings

USUAL = {
    **dict.fromkeys(("imports", "imports_files", "probe_networks", "discovery_selectors"), ()),
    **dict.fromkeys(("kubeconfig", "context", "write_status")),
    **dict.fromkeys(("kubernetes_namespace", "ca_signer", "ca_issuer", "ca_roots", "replicas"), ""),
    "state": "home",
    "drain": 0.0,
}


def given(**options: tuple[str | Path, ...] | str | bool) -> OutsideOptions:
    return outside_given({**USUAL, **options})


def kubeconfig_in(directory: Path) -> str:
    cluster = {"name": "test", "cluster": {"server": "https://127.0.0.1:1"}}
    context = {"name": "test", "context": {"cluster": "test"}}
    config = {"current-context": "test", "clusters": [cluster], "contexts": [context]}
    path = directory / "kubeconfig"
    path.write_text(json.dumps(config))
    return str(path)


def test_replicas_are_looked_for_in_the_namespace_of_the_control_plane(tmp_path: Path) -> None:
    path, labels = kubeconfig_in(tmp_path), "app.kubernetes.io/part-of=weft,role=server"
    assert given(kubeconfig=path).replicas is None
    assert given(kubeconfig=path, replicas=labels).replicas == ReplicaSettings("weft-system", labels)
    assert given(kubeconfig=path, replicas=labels, kubernetes_namespace="mesh").replicas == ReplicaSettings(
        "mesh", labels
    )
    with pytest.raises(click.UsageError, match="--replicas goes with --kubeconfig"):
        given(replicas=labels)
    for wrong in ("weft", "a=b,", "a=b c", "-a=b", "a in (b)"):
        with pytest.raises(click.UsageError, match="expected NAME=VALUE, several with commas"):
            given(kubeconfig=path, replicas=wrong)


def test_a_cluster_is_written_to_from_outside_only_when_that_is_asked_for(tmp_path: Path) -> None:
    path = kubeconfig_in(tmp_path)
    assert given(kubeconfig=path).kubernetes_writes is None
    assert given(kubeconfig=path, kubernetes_namespace="mesh").kubernetes_writes is None
    assert given(kubeconfig=path, write_status=False).kubernetes_writes is None
    assert given(kubeconfig=path, write_status=True).kubernetes_writes == "weft-system"
    asked = given(kubeconfig=path, write_status=True, kubernetes_namespace="mesh")
    assert asked.kubernetes_writes == "mesh"


def test_imports_of_the_line_and_of_files_are_put_together(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "more.toml").write_text('[[import]]\nkind = "nomad"\naddress = "http://127.0.0.1:4646"\n')
    found = given(
        imports=("consul=https://consul.example:8501?token_file=t&services=web,db*", "file=a.yaml?group=vms"),
        imports_files=(Path("more.toml"),),
        probe_networks=("10.0.0.0/8", "fd00::/8"),
    )
    assert [(each.kind, each.name) for each in found.imports] == [
        ("consul", "consul"),
        ("file", "file"),
        ("nomad", "nomad"),
    ]
    assert (found.imports[0].token_file, found.imports[0].services) == (tmp_path / "t", ("web", "db*"))
    assert found.imports[1].group == "vms"
    assert [str(network) for network in found.probe_networks] == ["10.0.0.0/8", "fd00::/8"]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (
            {"imports": ("consol=http://127.0.0.1:1",)},
            "--import consol: there is no kind 'consol'; did you mean 'consul'?",
        ),
        ({"imports": ("file=a", "file=b")}, "--imports two imports are called 'file'; give one another name="),
        (
            {"imports_files": (Path("bad.toml"),)},
            "--imports bad.toml: 'imports' is not known; expected tables [[import]]",
        ),
        ({"write_status": True}, "--write-status goes with --kubeconfig"),
        ({"kubernetes_namespace": "mesh"}, "--kubernetes-namespace goes with --kubeconfig"),
        ({"probe_networks": ("10.0.0.1/8",)}, "--probe-network: 10.0.0.1/8 has host bits set; expected a network"),
    ],
)
def test_mistakes_name_their_option(
    options: dict[str, tuple[str | Path, ...] | str | bool],
    message: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "bad.toml").write_text("[[imports]]\n")
    with pytest.raises(click.UsageError) as error:
        given(**options)
    assert message in str(error.value)

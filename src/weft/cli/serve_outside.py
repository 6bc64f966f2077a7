"""What `weft serve` is told of what is outside of the mesh: an API server, registries, and whom it asks for health."""

from __future__ import annotations

import ipaddress
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from weft.cli.complete import one_of
from weft.cli.serve_authority import authority_given
from weft.cli.serve_replicas import replica_options, replicas_given
from weft.cli.serve_revisions import selectors_given

if TYPE_CHECKING:
    from weft.cli.options import CommandT
    from weft.controlplane.cluster_authority import ClusterAuthoritySettings
    from weft.controlplane.settings import Network, ReplicaSettings
    from weft.mesh.policies.selector import Selector
    from weft.sources.imports.settings import ImportSettings
    from weft.sources.kubernetes.kubeconfig import KubeconfigFile


_NAMESPACE = "weft-system"


@dataclass(frozen=True, slots=True)
class OutsideOptions:
    """The options, read."""

    imports: tuple[ImportSettings, ...] = ()
    probe_networks: tuple[Network, ...] = ()
    kubernetes: KubeconfigFile | None = None
    kubernetes_writes: str | None = None
    selectors: tuple[Selector, ...] = ()
    shared: str | None = None
    ca_cluster: ClusterAuthoritySettings | None = None
    replicas: ReplicaSettings | None = None
    drain: float = 0.0


def outside_options(function: CommandT) -> CommandT:
    """``--kubeconfig``, ``--context``, ``--state``, ``--write-status``,
    ``--kubernetes-namespace``, ``--import``, ``--imports``, ``--probe-network``."""
    for option in (
        click.option(
            "--kubernetes-namespace",
            default="",
            metavar="NAME",
            help="Namespace of the Leases by which one of several control planes writes, and of --state.  [default: in "
            "a pod its own, else weft-system]",
        ),
        click.option(
            "--state",
            type=click.Choice(["home", "kubernetes"]),
            default="home",
            show_default=True,
            help="Where the store, the authority and the keys are: in the home of one control plane, or in Secrets of "
            "--kubernetes-namespace, for several (docs/replicas.md).",
        ),
        click.option(
            "--write-status/--no-write-status",
            default=None,
            help="Write status and events to Kubernetes (docs/kubernetes.md).  [default: only in-cluster]",
        ),
        click.option("--context", default="", metavar="NAME", help="Its context.  [default: its current one]"),
        click.option(
            "--kubeconfig",
            default="",
            metavar="FILE",
            help="Take documents from the Kubernetes API server that this file names, not from the store; in-cluster: "
            "in a pod, with its service account (docs/kubernetes.md).",
        ),
    ):
        function = option(function)
    return _registry_options(function)


def _registry_options(function: CommandT) -> CommandT:
    for option in (
        click.option(
            "--probe-network",
            "probe_networks",
            multiple=True,
            metavar="CIDR",
            help="Ask instances in this network for their health that have no agent (docs/outside.md). May be given "
            "again.",
        ),
        click.option(
            "--imports",
            "imports_files",
            multiple=True,
            type=click.Path(path_type=Path, exists=True, dir_okay=False),
            metavar="FILE",
            help="The same in a TOML file, with all that can be said of each. May be given again.",
        ),
        click.option(
            "--import",
            "imports",
            multiple=True,
            metavar="KIND=ADDRESS[?OPTION=VALUE&...]",
            shell_complete=one_of("consul=", "nomad=", "dns=", "file="),
            help="Also have the services of a registry: consul, nomad, dns, file (docs/imports.md). May be given "
            "again.",
        ),
    ):
        function = option(function)
    return replica_options(function)


def outside_given(given: Mapping[str, Any]) -> OutsideOptions:
    """What was given. click.UsageError if it cannot be read."""
    from weft.sources.imports.settings import ImportSettingsError, check_names, import_from_text, imports_from_file

    found: list[ImportSettings] = []
    for text in given["imports"]:
        try:
            found.append(import_from_text(text, Path.cwd()))
        except ImportSettingsError as error:
            raise click.UsageError(f"--import {text.partition('=')[0]}: {error}") from error
    try:
        found += [each for path in given["imports_files"] for each in imports_from_file(path)]
        imports = check_names(found)
    except ImportSettingsError as error:
        raise click.UsageError(f"--imports {error}") from error
    try:
        networks = tuple(ipaddress.ip_network(text) for text in given["probe_networks"])
    except ValueError as error:
        raise click.UsageError(f"--probe-network: {error}; expected a network such as 10.0.0.0/8") from error
    kubernetes = _kubernetes(given["kubeconfig"], given["context"])
    namespace = _namespace(kubernetes, given["kubernetes_namespace"], given["write_status"], given["state"])
    writes = given["write_status"]
    if writes is None:  # who follows a cluster from outside does not begin to write there unasked
        writes = kubernetes is not None and kubernetes.in_cluster
    shared = namespace if given["state"] == "kubernetes" else None
    selectors = selectors_given(given["discovery_selectors"], followed=kubernetes is not None)
    authority = authority_given(given, kubernetes, namespace)
    found_there = (selectors, shared, authority, replicas_given(given, namespace), given["drain"])
    return OutsideOptions(imports, networks, kubernetes, namespace if writes else None, *found_there)


def _namespace(kubernetes: KubeconfigFile | None, namespace: str, wanted: bool | None, state: str) -> str:
    """The namespace of the control planes. click.UsageError."""
    from weft.model.identity import is_dns_label
    from weft.sources.kubernetes.kubeconfig import in_cluster_namespace

    if kubernetes is None:
        given = {"--write-status": wanted, "--kubernetes-namespace": namespace or None}
        given["--state kubernetes"] = True if state == "kubernetes" else None
        for name, option in given.items():
            if option is not None:
                raise click.UsageError(f"{name} goes with --kubeconfig")
        return ""
    if namespace and not is_dns_label(namespace):
        raise click.UsageError(f"--kubernetes-namespace: '{namespace}' is no name of a namespace")
    return namespace or (in_cluster_namespace() if kubernetes.in_cluster else "") or _NAMESPACE


def _kubernetes(path: str, context: str) -> KubeconfigFile | None:
    """The API server, tried as far as its file can be. click.UsageError."""
    from weft.sources.kubernetes.access import AccessError, Credentials
    from weft.sources.kubernetes.kubeconfig import IN_CLUSTER, KubeconfigFile

    if not path:
        if context:
            raise click.UsageError("--context goes with --kubeconfig")
        return None
    file = KubeconfigFile(path if path == IN_CLUSTER else str(Path(path).absolute()), context)
    try:
        Credentials(file.access).current()
    except AccessError as error:
        raise click.UsageError(f"--kubeconfig: {error}") from error
    return file

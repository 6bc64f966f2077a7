"""What the shell may complete: kinds, ways of capture, and the names of documents, workloads, proxies and tokens of a
running control plane."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

import click

from weft.settings.home import Home, default_home

_PATIENCE = 2.0
"""Seconds that a person who pressed Tab waits at most."""


def complete_kind(ctx: click.Context, parameter: click.Parameter, incomplete: str) -> list[str]:  # noqa: ARG001
    """Kinds by their plurals; `get` knows workloads and all, too."""
    from weft.cli.kinds import ALL
    from weft.schema.registry import KINDS

    plurals = [kind.plural_word for kind in KINDS]
    return _beginning(incomplete, (*plurals, "workloads", ALL) if ctx.info_name == "get" else plurals)


def complete_name(ctx: click.Context, parameter: click.Parameter, incomplete: str) -> list[str]:  # noqa: ARG001
    """Names of what the KIND on the line stands for."""
    from weft.cli.kinds import is_workloads
    from weft.schema.registry import UnknownKindError, find_kind

    word = str(ctx.params.get("kind") or "")
    namespace = None if ctx.params.get("all_namespaces") else str(ctx.params.get("namespace") or "default")
    if is_workloads(word):
        found = _ask(ctx, "workloads", "workloads")
        return _beginning(incomplete, (one["name"] for one in found if namespace in (None, one["namespace"])))
    try:
        kind = find_kind(word)
    except UnknownKindError:
        return []
    found = _ask(ctx, "documents", "documents", kind=kind.word, namespace=namespace if kind.namespaced else None)
    return _beginning(incomplete, (one.get("document", one)["metadata"]["name"] for one in found))


def complete_proxy(ctx: click.Context, parameter: click.Parameter, incomplete: str) -> list[str]:  # noqa: ARG001
    """Names of connected proxies."""
    return _beginning(incomplete, (one["name"] for one in _ask(ctx, "proxies", "proxies")))


def complete_token(ctx: click.Context, parameter: click.Parameter, incomplete: str) -> list[str]:  # noqa: ARG001
    """Ids of join tokens and names of principals that are valid."""
    found = [*_ask(ctx, "tokens", "tokens"), *_ask(ctx, "principals", "principals")]
    return _beginning(incomplete, (one.get("id") or one["name"] for one in found if one["state"] == "valid"))


def complete_process(ctx: click.Context, parameter: click.Parameter, incomplete: str) -> list[str]:  # noqa: ARG001
    """Names of the processes of the mesh that is up in this home."""
    from weft.local.ps import unit_names

    return _beginning(incomplete, unit_names(_home(ctx)))


def complete_log(ctx: click.Context, parameter: click.Parameter, incomplete: str) -> list[str]:  # noqa: ARG001
    """Names of the processes that have a log in this home."""
    from weft.local.logs import log_names

    return _beginning(incomplete, log_names(_home(ctx)))


def complete_own(ctx: click.Context, parameter: click.Parameter, incomplete: str) -> list[str]:  # noqa: ARG001
    """Names of workloads that have run in this home, in the namespace on the line."""
    namespace = str(ctx.params.get("namespace") or "default")
    return _beginning(incomplete, (name for where, name in _own(ctx) if where == namespace))


def complete_own_proxy(ctx: click.Context, parameter: click.Parameter, incomplete: str) -> list[str]:  # noqa: ARG001
    """Workloads and gateways that have run in this home: their names, outside of `default` with the namespace."""
    return _beginning(incomplete, (name if where == "default" else f"{name}.{where}" for where, name in _own(ctx)))


def complete_context(ctx: click.Context, parameter: click.Parameter, incomplete: str) -> list[str]:  # noqa: ARG001
    """Contexts of the kubeconfig file on the line, else of kubectl's."""
    from weft.local.cluster import ClusterError, wanted_cluster

    try:
        return _beginning(incomplete, wanted_cluster().contexts())
    except ClusterError:
        return []


def one_of(*words: str) -> Callable[[click.Context, click.Parameter, str], list[str]]:
    """One of these, where something else may be written as well."""
    return lambda _ctx, _parameter, incomplete: _beginning(incomplete, words)


def _own(ctx: click.Context) -> list[tuple[str, str]]:
    """Namespace and name of each."""
    from weft.agent.state import workload_directories

    return [(directory.parent.name, directory.name) for directory in workload_directories(_home(ctx))]


def _home(ctx: click.Context) -> Home:
    home = ctx.params.get("home")
    return home if isinstance(home, Home) else Home(default_home())


def _ask(ctx: click.Context, path: str, field: str, **query: str | None) -> list[dict[str, Any]]:
    """A list of the admin API; empty when nobody answers, for there is nowhere to complain."""
    from weft.local.client import AdminClient, RefusedError, UnreachableError

    client = AdminClient(_home(ctx), timeout=_PATIENCE)
    try:
        return list(client.get(path, **query)[field])
    except (UnreachableError, RefusedError, KeyError):
        return []


def _beginning(incomplete: str, words: Iterable[object]) -> list[str]:
    return sorted({text for word in words if (text := str(word)).startswith(incomplete)})

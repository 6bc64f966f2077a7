"""Options of `weft install` and `weft upgrade`: the settings of an installation, and how it is done."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click

from weft.cli.cluster_options import revision_option
from weft.cli.options import CommandT

if TYPE_CHECKING:
    from collections.abc import Sequence

    from weft.cluster.manifests import Settings
    from weft.cluster.revisions import Neighbour

_WITH_HELM = (
    "is for what Helm renders: helm install weft charts/weft -n weft-system {words}; what most people set is an option "
    "here"
)


class _ForHelm:
    """An option of Helm's, which is refused with what to do instead."""

    def __init__(self, name: str) -> None:
        self._name = name

    def __call__(self, ctx: click.Context, parameter: click.Parameter, value: tuple[str, ...]) -> None:  # noqa: ARG002
        if value:
            words = " ".join(f"{self._name} {each}" for each in value)
            raise click.UsageError(f"{self._name} {_WITH_HELM.format(words=words)} (weft install --help)")


_SERVICE_TYPES = click.Choice(["LoadBalancer", "ClusterIP", "NodePort"])
_PULL_POLICIES = click.Choice(["Always", "IfNotPresent", "Never"])
_SETTINGS = (
    click.option("--image", metavar="REPOSITORY[:TAG]", help="Image of weft.  [default of the tag: this version]"),
    click.option(
        "--sidecar-image", metavar="REPOSITORY[:TAG]", help="Image of sidecars.  [default: that of weft and '-proxy']"
    ),
    click.option(
        "--cni-image", metavar="REPOSITORY[:TAG]", help="Image of the nodes' agent.  [default: that of weft and '-cni']"
    ),
    click.option("--pull-policy", type=_PULL_POLICIES, help="When nodes fetch them.  [default: IfNotPresent]"),
    click.option("--trust-domain", help="Of the mesh's identities; not to be changed later.  [default: cluster.local]"),
    click.option("--injection/--no-injection", default=None, help="Whether pods get sidecars.  [default: yes]"),
    click.option(
        "--gateways/--no-gateways",
        default=None,
        help="Whether Gateways get processes, and weft the rights to make them.  [default: yes]",
    ),
    click.option(
        "--validation/--no-validation",
        default=None,
        help="Whether documents are checked before they are written.  [default: yes]",
    ),
    click.option(
        "--cni/--no-cni", default=None, help="Whether nodes capture pods, which then need no right.  [default: no]"
    ),
    click.option("--replicas", type=click.IntRange(1, 20), help="How many control planes.  [default: 1]"),
    click.option(
        "--gateway-service", type=_SERVICE_TYPES, help="Type of the Services of Gateways.  [default: LoadBalancer]"
    ),
    click.option("--gateway-replicas", metavar="MIN-MAX", help="How many pods Gateways have.  [default: 1-5]"),
    revision_option("Beside the default, with another name: istio.io/rev=NAME leads to it.  [default: default]"),
    click.option(
        "--revision-tag",
        "revision_tags",
        multiple=True,
        metavar="NAME",
        help="Another name by which labels may call it; default are those that name none. May be given again; those "
        "that were given before are not its names any more.",
    ),
    click.option("--no-revision-tags", is_flag=True, help="It has no other names any more."),
    click.option("--set", "sets", multiple=True, hidden=True, expose_value=False, callback=_ForHelm("--set")),
    click.option("--values", "-f", multiple=True, hidden=True, expose_value=False, callback=_ForHelm("--values")),
)
_WAYS = (
    click.option("--dry-run", is_flag=True, help="Show what would change, and change nothing."),
    click.option("--wait/--no-wait", default=True, show_default=True, help="Return when it works."),
    click.option(
        "--timeout", type=click.FloatRange(1, 3600), default=300.0, show_default=True, help="Seconds to wait at most."
    ),
    click.option("--skip-check", is_flag=True, help="Go on although the cluster does not seem fit."),
    click.option("--force-conflicts", is_flag=True, help="Take fields from who else has written them."),
    click.option("--take-over", is_flag=True, help="Take over what Helm or kubectl has installed; they end there."),
    click.option("--force-version", is_flag=True, help="Skip releases."),
)


def settings_options(function: CommandT) -> CommandT:
    """The settings of an installation."""
    for option in reversed(_SETTINGS):
        function = option(function)
    return function


def way_options(function: CommandT) -> CommandT:
    """How it is done."""
    for option in reversed(_WAYS):
        function = option(function)
    return function


def settings_from(
    given: dict[str, Any], namespace: str, before: Settings | None, others: Sequence[Neighbour] = ()
) -> Settings:
    """The settings that are given, and for the others those of the installation `before`; the trust domain is that of
    the `others` beside it. UsageError."""
    from dataclasses import replace

    from weft.cluster.manifests import ManifestError, Settings, checked, following
    from weft.model.revisions import DEFAULT

    shared = next((each for each in others if each.trust_domain), None)
    base = before or Settings(
        namespace=namespace,
        revision=given["revision"] or DEFAULT,
        trust_domain=shared.trust_domain if shared is not None else "cluster.local",
    )
    values = (
        "image",
        "sidecar_image",
        "cni_image",
        "pull_policy",
        "trust_domain",
        "replicas",
        "gateway_service",
        "gateway_replicas",
    )
    switches = ("injection", "gateways", "validation", "cni")
    said = {name: given[name] for name in values if given[name] is not None}
    if "image" in said:  # the others go with it, unless they are called otherwise
        said = dict.fromkeys(following(base), "") | said
    if given["revision_tags"] and given["no_revision_tags"]:
        raise click.UsageError("--revision-tag and --no-revision-tags: say one of them")
    if given["revision_tags"] or given["no_revision_tags"]:
        said["revision_tags"] = tuple(dict.fromkeys(given["revision_tags"]))
    turned = {name: given[name] for name in switches if given[name] is not None}
    if before is not None and said.get("trust_domain", before.trust_domain) != before.trust_domain:
        raise click.UsageError(
            f"--trust-domain: it is {before.trust_domain} and cannot be changed: every certificate has it"
        )
    if before is None and shared is not None and said.get("trust_domain", base.trust_domain) != base.trust_domain:
        raise click.UsageError(
            f"--trust-domain: it is {shared.trust_domain} of {shared}, with which it shares the mesh's authority"
        )
    try:
        return checked(replace(base, features=replace(base.features, **turned), **said))
    except ManifestError as error:
        raise click.UsageError(str(error)) from error

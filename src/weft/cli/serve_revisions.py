"""What `weft serve` is told of what it is among others of a cluster: its revision, and the namespaces that it sees."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

if TYPE_CHECKING:
    from weft.cli.options import CommandT
    from weft.mesh.policies.selector import Selector
    from weft.model.revisions import Revision


def revision_options(function: CommandT) -> CommandT:
    """``--revision``, ``--revision-tag``, ``--discovery-selector``."""
    for option in (
        click.option(
            "--discovery-selector",
            "discovery_selectors",
            multiple=True,
            metavar="LABELS",
            help="Only namespaces with these labels are in view, such as 'team in (shop, pay),!legacy'; of several one "
            "has to match. May be given again.  [default: all]",
        ),
        click.option(
            "--revision-tag",
            "revision_tags",
            multiple=True,
            metavar="NAME",
            help="Another name by which labels may call it; default are those that name none. May be given again.",
        ),
        click.option(
            "--revision",
            default="default",
            show_default=True,
            metavar="NAME",
            help="What istio.io/rev and weft.dev/rev call this control plane; with another than default its webhook "
            "configurations are weft-injector-NAME and weft-validator-NAME.",
        ),
    ):
        function = option(function)
    return function


def revision_given(name: str, tags: tuple[str, ...]) -> Revision:
    """The revision that was given. click.UsageError."""
    from weft.model.revisions import Revision, is_revision

    for option, text in (("--revision", name), *(("--revision-tag", tag) for tag in tags)):
        if not is_revision(text):
            raise click.UsageError(
                f"{option}: found '{text[:100]}', expected lower-case letters, digits and '-', at most 40"
            )
    return Revision(name, tuple(dict.fromkeys(tags)))


def selectors_given(texts: tuple[str, ...], *, followed: bool) -> tuple[Selector, ...]:
    """The selectors that were given; a cluster is `followed`, or not. click.UsageError."""
    from weft.sources.kubernetes.selectors import SelectorError, selector_from_text

    if texts and not followed:
        raise click.UsageError("--discovery-selector goes with --kubeconfig")
    try:
        return tuple(selector_from_text(text) for text in texts)
    except SelectorError as error:
        raise click.UsageError(f"--discovery-selector: {error}") from error

"""Options of `weft` itself that name a control plane on another host. Each is the variable for this command, and for
what it starts."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence

import click

from weft.cli.options import CommandT

Completes = Callable[[click.Context, click.Parameter, str], list[str]] | None
_OPTIONS = (
    ("--server", "WEFT_SERVER", "URL", "A control plane on another host: https://NAME:PORT."),
    ("--token-file", "WEFT_TOKEN_FILE", "FILE", "Your token there, in a file of mode 0600."),
    ("--ca-file", "WEFT_CA_FILE", "FILE", "The roots by which it proves itself.  [default: this host's]"),
    ("--ca-fingerprint", "WEFT_CA_FINGERPRINT", "SHA256", "Instead: the fingerprint of the mesh's CA."),
    ("--cert-file", "WEFT_CERT_FILE", "FILE", "Your client certificate, instead of a token."),
    ("--key-file", "WEFT_KEY_FILE", "FILE", "Its key, mode 0600.  [default: in the same file]"),
)


def remote_options(function: CommandT) -> CommandT:
    """``--server`` and what goes with it."""
    return setting_options(function, _OPTIONS)


def setting_options(
    function: CommandT, options: Sequence[tuple[str, str, str, str]], completes: Completes = None
) -> CommandT:
    """Options that set variables: each with its name, the variable, what it is given, and its help. `completes` tells
    the shell their values."""
    for name, variable, what, text in reversed(options):
        function = click.option(
            name,
            metavar=what,
            help=f"{text}  [env: {variable}]",
            expose_value=False,
            callback=_Setting(variable),
            shell_complete=completes,
        )(function)
    return function


class _Setting:
    def __init__(self, variable: str) -> None:
        self._variable = variable

    def __call__(self, ctx: click.Context, parameter: click.Parameter, value: str | None) -> None:  # noqa: ARG002
        if value is not None:
            os.environ[self._variable] = value

"""`weft completion`: completion scripts for shells."""

from __future__ import annotations

import click

from weft.cli.options import command


@command("completion", 'eval "$(weft completion bash)"', "weft completion fish > ~/.config/fish/completions/weft.fish")
@click.argument("shell", type=click.Choice(["bash", "zsh", "fish"]))
def completion(shell: str) -> int:
    """Print the completion script of a shell.

    Put the first example into ~/.bashrc (or ~/.zshrc, with zsh), or save the script where fish looks for it.
    """
    from click.shell_completion import get_completion_class

    from weft.cli.main import weft

    made = get_completion_class(shell)
    if made is None:
        raise click.UsageError(f"there is no completion for {shell}")
    click.echo(made(weft, {}, "weft", "_WEFT_COMPLETE").source())
    return 0

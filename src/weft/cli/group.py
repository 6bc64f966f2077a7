"""Group: commands under one name, of which an unknown one is answered with the nearest."""

from __future__ import annotations

from typing import Any

import click

from weft.cli.examples import joined, write_examples

_EXAMPLES = 4
_FEW = 12


class Group(click.Group):
    """As click has it, but an unknown word gets the nearest command, and the help ends with examples."""

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        """The command that `args` begin with; ends with a usage error if there is none."""
        known = self.list_commands(ctx)
        if args and args[0] not in known and not args[0].startswith("-"):
            import difflib

            near = difflib.get_close_matches(args[0], known, 1)
            told = f"there is no command '{args[0]}'."
            if near:
                told += f" Did you mean '{near[0]}'?"
            elif len(known) <= _FEW:
                told += f" There are: {', '.join(known)}."
            ctx.fail(told)
        return super().resolve_command(ctx, args)

    def first_examples(self) -> tuple[str, ...]:
        """The first example of each of its first commands."""
        every = (joined(getattr(each, "examples", ())) for each in self.commands.values() if not each.hidden)
        return tuple(one for examples in every if (one := next(examples, "")))[:_EXAMPLES]

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:  # noqa: ARG002
        """The list of commands, with the whole first line of their help."""
        found = [(name, (one.help or "").partition("\n\n")[0]) for name, one in sorted(self.commands.items())]
        with formatter.section("Commands"):
            formatter.write_dl([(name, " ".join(text.split())) for name, text in found])

    def format_epilog(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Examples as they are typed."""
        super().format_epilog(ctx, formatter)
        write_examples(formatter, self.first_examples())


class DefaultGroup(Group):
    """A group that runs the command `default` where the line names none: `weft history` is `weft history list`."""

    def __init__(self, *args: Any, default: str = "", **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._default = default

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        """The line, with the default where no command is named. Help is that of the group."""
        if not set(args[:1]) & {*self.commands, "-h", "--help"}:
            args = [self._default, *args]
        return super().parse_args(ctx, args)

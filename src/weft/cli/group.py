"""Group: commands under one name, of which an unknown one is answered with the nearest."""

from __future__ import annotations

from typing import Any

import click


class Group(click.Group):
    """As click has it, but an unknown word gets the nearest command."""

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        """The command that `args` begin with; ends with a usage error if there is none."""
        known = self.list_commands(ctx)
        if args and args[0] not in known and not args[0].startswith("-"):
            import difflib

            near = difflib.get_close_matches(args[0], known, 1)
            hint = f" Did you mean '{near[0]}'?" if near else ""
            ctx.fail(f"there is no command '{args[0]}'.{hint}")
        return super().resolve_command(ctx, args)


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

"""Looking at traffic: where the figures come from, and what `weft stat`, `weft edges` and `weft top` have in common."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import click

from weft.cli.failure import ExitCode, FailedError
from weft.cli.output import styled
from weft.settings.home import Home

_UNITS = {"": 1.0, "s": 1.0, "m": 60.0, "h": 3600.0, "d": 86400.0}
_DAY = 86400.0
_NOTHING = "-"
_PATIENCE = 180.0
"""Seconds: an hour of 20,000 edges is worked out beside everything else that a control plane does."""
Row = Mapping[str, Any]


class WindowParameter(click.ParamType[float]):
    """A time to look back: ``90``, ``90s``, ``5m``, ``1h``, ``1d``; in seconds."""

    name = "time"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> float:
        """See click."""
        found = re.fullmatch(r"(\d+(?:\.\d+)?)([smhd]?)", str(value))
        seconds = float(found[1]) * _UNITS[found[2]] if found else 0.0
        if not 10 <= seconds <= _DAY:
            self.fail(f"'{value}': expected 10s to 1d, as 90s, 5m or 1h", param, ctx)
        return seconds


def looking_options(function: Callable[..., Any]) -> Callable[..., Any]:
    """``--window``, ``--namespace``, ``--prometheus``."""
    function = click.option(
        "--prometheus",
        metavar="URL",
        envvar="WEFT_PROMETHEUS",
        help="Ask this Prometheus, not the control plane.  [env: WEFT_PROMETHEUS]",
    )(function)
    function = click.option(
        "-n", "--namespace", multiple=True, help="Only calls from or to it; may be given again.  [default: all]"
    )(function)
    return click.option(
        "--window", type=WindowParameter(), default="1m", show_default=True, help="How far to look back, at most 1d."
    )(function)


@dataclass(frozen=True, slots=True)
class Looking:
    """What is asked, again and again: by whom the figures are kept, how far back, about what."""

    home: Home
    window: float
    namespaces: tuple[str, ...] = ()
    names: tuple[str, ...] = ()
    prometheus: str | None = None

    def look(self, by: str) -> dict[str, Any]:
        """The window now, with a row for each of `by`, in the admin API's form."""
        if self.prometheus:
            return self._ask_prometheus(by)
        from weft.local.client import AdminClient

        query = {"window": f"{self.window:g}", "by": by, "name": self.names, "namespace": self.namespaces}
        found: dict[str, Any] = AdminClient(self.home, timeout=_PATIENCE).call("GET", "traffic", query)
        return found

    def _ask_prometheus(self, by: str) -> dict[str, Any]:
        import asyncio
        import dataclasses

        from weft.traffic.edges import Asked, UnknownTrafficError
        from weft.traffic.groups import BY, chosen, grouped
        from weft.traffic.prometheus_client import PrometheusTraffic
        from weft.traffic.rows import window_row

        chosen_by = next(one for one in BY if one == by)
        asked = Asked(by_route=by == "route" or bool(self.names))
        try:
            window = asyncio.run(PrometheusTraffic(self.prometheus or "").window(self.window, asked))
        except UnknownTrafficError as error:
            raise FailedError(str(error), ExitCode.UNREACHABLE) from error
        edges = grouped(chosen(window.edges, self.names, self.namespaces), chosen_by)
        return window_row(dataclasses.replace(window, edges=edges))

    def nothing(self) -> str:
        """What to say where there is no traffic, and what to do."""
        about = f" about {', '.join(self.names)}" if self.names else ""
        where = f" in namespace {', '.join(self.namespaces)}" if self.namespaces else ""
        lines = [f"no traffic{about}{where} seen in the last {span(self.window)}"]
        if self.names and (known := self._known()):
            from weft.schema.wording import nearest_name

            near = [name for name in (nearest_name(one, list(known)) for one in self.names) if name]
            lines.append(f"  did you mean {near[0]}?" if near else f"  there is traffic about: {', '.join(known[:12])}")
        if self.window < _DAY:
            lines.append("  look further back:           --window 1h")
        lines.append("  who is there to be called:   weft get services     weft get workloads")
        lines.append("  a client that is not seen may not use its proxy: docs/clients.md")
        return "\n".join(lines)

    def _known(self) -> tuple[str, ...]:
        rows = Looking(self.home, self.window, self.namespaces, (), self.prometheus).look("pair")["edges"]
        return tuple(sorted({name for row in rows for name in (row["source"], row["destination"]) if name}))


def span(seconds: float) -> str:
    """A length of time, in words."""
    for unit, length in (("day", 86400), ("hour", 3600), ("minute", 60)):
        if seconds >= length and seconds % length == 0:
            count = int(seconds // length)
            return unit if count == 1 else f"{count} {unit}s"
    return f"{seconds:g} s"


def rate(row: Row) -> str:
    """Requests per second; nothing where there are only connections."""
    found = row["requests_per_second"]
    if not row["requests"]:
        return _NOTHING
    return f"{found:.1f}" if found >= 10 else f"{found:.2f}"


def success(row: Row) -> str:
    """The success rate, never rounded up to all."""
    found = row["success_rate"]
    if found is None:
        return _NOTHING
    if found == 1:
        return "100%"
    return f"{min(99.99, found * 100):.2f}%" if found > 0.99 else f"{found * 100:.1f}%"


def milliseconds(value: float | None) -> str:
    """A latency; no data is no zero."""
    if value is None:
        return _NOTHING
    if value < 1:
        return "<1 ms"
    if value >= 10_000:
        return f"{value / 1000:.1f} s"
    return f"{value:.0f} ms" if value >= 10 else f"{value:.1f} ms"


def size(number: float) -> str:
    """Bytes per second, or bytes."""
    for unit, length in (("GB", 1e9), ("MB", 1e6), ("kB", 1e3)):
        if number >= length:
            return f"{number / length:.1f} {unit}"
    return f"{number:.0f} B"


def protection(row: Row) -> str:
    """Whether it was under mutual TLS."""
    return {True: "yes", False: "no", None: _NOTHING}[row["mtls"]]


def name_of(text: str) -> str:
    """A name without the namespace that most are in; what nobody knows has a word."""
    from weft.model.printable import printable

    return printable(text.removeprefix("default/").replace(" default/", " "), 80) or "(unknown)"


def coloured(text: str, row: Row) -> str:
    """`text` in the colour of how well the row does."""
    found = row["success_rate"]
    if found is None or found == 1:
        return text
    return styled(text, "warning" if found >= 0.95 else "error")


def foot(answer: Mapping[str, Any]) -> Sequence[str]:
    """What must be said below a table: that it may lack something."""
    lines = []
    if not answer["complete"]:
        known = answer.get("known_since")
        since = f"since {known[11:19]} UTC only" if known else "in part"
        lines.append(f"this time is known {since}: docs/seeing.md#how-long-and-how-exact")
    if answer["dropped"]:
        lines.append(f"{answer['dropped']} more requests were seen and are not shown, for want of room: docs/seeing.md")
    return lines

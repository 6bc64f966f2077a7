"""What an agent tells the control plane of its proxy's traffic: sums of 10 seconds, since the last that was told.

``POST /v1/workloads/{namespace}/{name}/report``. Latencies are counts in the bins of `weft.model.bins`. On the wire an
edge is an array, in the order of its fields.
"""

from __future__ import annotations

from typing import Annotated, Literal

import msgspec

from weft.model.bins import BINS

CELL_SECONDS = 10
"""How long a sum is. The agent cuts by its own monotonic clock, the control plane files by arrival and age."""
KEPT_SECONDS = 3600
"""How long an agent keeps what it has told, for a control plane that has lost it."""
MAX_EDGES = 500
"""Of one workload in one sum; of what exceeds them the agent tells only how many requests it was."""
MAX_CELLS = KEPT_SECONDS // CELL_SECONDS + 2
MAX_OUTCOMES = 64
MAX_BYTES = 192 * 1024
"""Of one report on the wire."""

# Patterns end with \Z: a $ also fits before a newline at the end.
Count = Annotated[int, msgspec.Meta(ge=0, le=1 << 48)]
_Status = Annotated[int, msgspec.Meta(ge=0, le=999)]
_Flags = Annotated[str, msgspec.Meta(pattern=r"^(-|[A-Z,]{1,64})\Z")]
_Grpc = Annotated[str, msgspec.Meta(pattern=r"^[0-9]{0,2}\Z")]
_Host = Annotated[str, msgspec.Meta(pattern=r"^[-A-Za-z0-9_.*:\[\]]{0,253}\Z")]
_Named = Annotated[str, msgspec.Meta(pattern=r"^([-a-z0-9]{1,63}/[-A-Za-z0-9_.]{1,63})?\Z")]
_Object = Annotated[str, msgspec.Meta(pattern=r"^([A-Za-z0-9]{1,63} [-a-z0-9.]{1,253}(/[-a-z0-9.]{1,253})?)?\Z")]
_Name = Annotated[str, msgspec.Meta(pattern=r"^[-A-Za-z0-9_.:]{0,64}\Z")]
_Bin = Annotated[int, msgspec.Meta(ge=0, lt=BINS)]

Outcome = tuple[_Status, _Flags, _Grpc, Count]
"""Status (0: none was sent; of a connection always 0), response flags or ``-``, gRPC status or nothing, how many."""


class EdgeSum(msgspec.Struct, frozen=True, array_like=True):
    """What happened on one edge. `service` is a host (empty: not known), `peer` the other side as
    ``NAMESPACE/WORKLOAD`` and `peer_service` as ``NAMESPACE/SERVICE``, both empty where no certificate says it; `route`
    is the object whose rule led there. `received` are bytes from the caller, `sent` bytes to it."""

    reporter: Literal["source", "destination"]
    protocol: Literal["http", "grpc", "tcp"]
    service: _Host
    port: Annotated[int, msgspec.Meta(ge=0, le=65535)]
    peer: _Named
    peer_service: _Named
    mtls: bool | None
    route: _Object
    outcomes: Annotated[tuple[Outcome, ...], msgspec.Meta(max_length=MAX_OUTCOMES)] = ()
    bins: Annotated[tuple[tuple[_Bin, Count], ...], msgspec.Meta(max_length=BINS)] = ()
    sent: Count = 0
    received: Count = 0
    opened: Count = 0
    closed: Count = 0


class Cell(msgspec.Struct, frozen=True):
    """The sums of a span of 10 seconds, or of the part of it that was not told yet. `age` is how many seconds before
    the report its middle was."""

    age: Annotated[float, msgspec.Meta(ge=0, le=2 * KEPT_SECONDS)]
    edges: Annotated[tuple[EdgeSum, ...], msgspec.Meta(max_length=MAX_EDGES)]


class Report(msgspec.Struct, frozen=True):
    """`agent` names the agent's process and `sequence` counts its reports: one that comes twice counts once. `left_out`
    counts requests that no cell has, since the last report. `proxy` names the process of Envoy, `begun` how many
    requests that had counted when this agent began to look, and `total` how many by now, of those of which no other
    proxy can tell: so it is known how many requests an earlier agent has not told of."""

    agent: _Name
    sequence: Count
    cells: Annotated[tuple[Cell, ...], msgspec.Meta(max_length=MAX_CELLS)] = ()
    left_out: Count = 0
    proxy: _Name = ""
    begun: Count = 0
    total: Count = 0


class ReportAnswer(msgspec.Struct, frozen=True):
    """`instance` names the control plane's process: another one than before has lost what it was told, and is told the
    last hour again. `interval` is how many seconds to wait until the next report. `again`: there is no room now, the
    report was not taken, and is to be sent again then."""

    instance: str
    interval: float
    again: bool = False

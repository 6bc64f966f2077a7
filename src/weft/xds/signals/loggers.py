"""The access loggers of a listener: one for each signal that is asked for."""

from __future__ import annotations

import functools
from collections.abc import Iterator

from envoy.config.accesslog.v3.accesslog_pb2 import AccessLog

from weft.mesh.signals import Signals
from weft.xds.filters.place import Place
from weft.xds.limits import CONNECTION_REPORT_SECONDS
from weft.xds.signals.access_logs import http_access_log, tcp_access_log
from weft.xds.signals.journal import http_journal, http_tap, tcp_journal
from weft.xds.signals.metrics import http_metrics, tcp_metrics


def http_loggers(signals: Signals, place: Place) -> Iterator[AccessLog]:
    """Those of an HTTP connection manager: each sees every request when it has ended."""
    if signals.metrics is not None:
        yield from http_defaults(place, signals.metrics.bounded)
    for log in signals.logs:
        logger = http_access_log(log, signals.reporter)
        if logger is not None:
            yield logger


def tcp_loggers(signals: Signals, place: Place) -> Iterator[AccessLog]:
    """Those of a TCP proxy, which speaks to them when a connection is made, while it lives, and when it has ended: each
    says by a filter what it wants to see."""
    if signals.metrics is not None:
        yield from tcp_defaults(place, connection_report(signals), signals.metrics.bounded)
    for log in signals.logs:
        logger = tcp_access_log(log, signals.reporter)
        if logger is not None:
            yield logger


def connection_report(signals: Signals) -> float:
    """How often a TCP proxy tells its loggers what a living connection carries, in seconds."""
    metrics = signals.metrics
    return CONNECTION_REPORT_SECONDS if metrics is None or metrics.interval is None else metrics.interval


@functools.cache
def http_defaults(place: Place, bounded: bool = True) -> tuple[AccessLog, ...]:
    """Those of every proxy that has metrics. They are made once: to make them costs more than the rest of a listener,
    which takes copies."""
    return http_metrics(place, bounded), http_journal(place), http_tap(place)


@functools.lru_cache(maxsize=64)
def tcp_defaults(place: Place, report: float, bounded: bool = True) -> tuple[AccessLog, ...]:
    """The same for a TCP proxy."""
    return (*tcp_metrics(place, report, bounded), tcp_journal(place))

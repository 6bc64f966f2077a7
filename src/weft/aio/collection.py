"""Garbage collection in a process that holds many values for long and makes few cycles."""

from __future__ import annotations

import gc

_YOUNG = 50_000
"""Containers made, less those given back, before the collector looks for cycles among them; Python's default is 700."""


def collect_seldom() -> None:
    """Leave what is imported out of every collection, and collect less often.

    A control plane holds hundreds of thousands of frozen nodes that form no cycles. With the default a thousand proxies
    that connect cost forty whole collections of up to half a second each, which found nothing (ADR 0017).
    """
    gc.freeze()
    gc.set_threshold(_YOUNG)

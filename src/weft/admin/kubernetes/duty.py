"""The duty of a control plane among several: whether it writes now, and about which objects."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from weft.model.document import ObjectKey


def _every(_: ObjectKey) -> bool:
    return True


@dataclass(frozen=True, slots=True)
class Duty:
    """`leads`: it writes about some objects; `owns`: about this one. Both change at any moment, so they are asked
    before each write."""

    leads: Callable[[], bool]
    owns: Callable[[ObjectKey], bool] = _every

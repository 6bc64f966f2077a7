"""Garbage collection: what there is at the start is left alone, cycles made later are still found."""

from __future__ import annotations

import subprocess
import sys

_SCRIPT = """
import gc, weakref
from weft.aio.collection import collect_seldom
collect_seldom()
class Node: pass
node = Node(); node.self = node
gone = weakref.ref(node)
del node
kept = [[] for _ in range(2 * gc.get_threshold()[0])]
print(gc.get_freeze_count() > 1000, gone() is None)
"""


def test_little_is_collected_but_cycles_are() -> None:
    done = subprocess.run([sys.executable, "-c", _SCRIPT], capture_output=True, text=True, check=True, timeout=30)
    assert done.stdout.split() == ["True", "True"]

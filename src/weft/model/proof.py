"""By which address rules of capture prove themselves to somebody who may not read them."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable


def proof_address(words: Iterable[str]) -> str:
    """An address of loopback, where nobody listens, that stands for the rules that these words (options of ``weft pod
    init``, as they were given) ask for: only where they are in force, a connection to it is answered."""
    digest = hashlib.sha256("\0".join(words).encode()).digest()
    return f"127.{1 + digest[0] % 254}.{digest[1]}.{2 + digest[2] % 253}"

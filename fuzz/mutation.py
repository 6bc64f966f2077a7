"""Mutation: a well-formed input, a little broken."""

from __future__ import annotations

import random

_WORDS = (
    *rb"""null true -1 0 1e999 18446744073709551616 "" [] {} * .. / %2e % &a *a | (?i) ((( a{1000} 1h spiffe:// @ : ; ,
    $ \ ' 9999999999999999999s""".split(),
    *(b"\0", b"\r\n", b"\x1b[2J", b"\xf0\x9f\x92\xa5", b"\xed\xa0\x80", b"<<: ", b" "),
)
_MOST = 6


def mutated(seed: bytes, choose: random.Random) -> bytes:
    """`seed` with up to a handful of changes: bytes flipped, pieces cut, doubled or swapped, words put in."""
    data = bytearray(seed)
    for _ in range(choose.randint(1, _MOST)):
        _change(data, choose)
    return bytes(data)


def _change(data: bytearray, choose: random.Random) -> None:
    here = choose.randint(0, len(data))
    length = min(choose.randint(1, 16), len(data) - here)
    match choose.randrange(5):
        case 0:
            data[here:here] = choose.choice(_WORDS)
        case 1:
            data[here : here + length] = b""
        case 2:
            data[here:here] = data[here : here + length] * choose.randint(1, 30)
        case 3:
            data[here : here + length] = choose.choice(_WORDS)
        case _:
            if here < len(data):
                data[here] = choose.randrange(256)

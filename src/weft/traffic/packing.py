"""Packing: whole numbers, none negative, in few bytes: single ones in LEB128; columns of them in as many bits as the
widest needs, or in exponential Golomb codes where a few are much wider than the others.

https://en.wikipedia.org/wiki/Exponential-Golomb_coding
"""

from __future__ import annotations

from collections.abc import Sequence


class Packer:
    """Bytes that grow."""

    __slots__ = ("data",)

    def __init__(self) -> None:
        self.data = bytearray()

    def add(self, number: int) -> None:
        """One number."""
        while number >= 0x80:
            self.data.append(number & 0x7F | 0x80)
            number >>= 7
        self.data.append(number)

    def add_column(self, numbers: Sequence[int]) -> None:
        """Some numbers; how many, the reader must know."""
        if not numbers:
            return
        least = min(numbers)
        rest = [number - least for number in numbers]
        width, order = max(rest).bit_length(), (sum(rest) // len(rest)).bit_length()
        order = max(0, order - 1)
        golomb = sum(((number >> order) + 1).bit_length() for number in rest) * 2 + (order - 1) * len(rest)
        self.add(least)
        if width * len(rest) <= golomb:
            self.add(width << 1)
            bits = 0
            for number in reversed(rest):
                bits = bits << width | number
            self.data += bits.to_bytes((width * len(rest) + 7) // 8, "little")
        else:
            self.add(order << 1 | 1)
            self.add((golomb + 7) // 8)
            self.data += _golomb(rest, order).to_bytes((golomb + 7) // 8, "little")


def _golomb(numbers: Sequence[int], order: int) -> int:
    """Each number as zeros, a one, and the digits that so many zeros announce; the first in the lowest bits."""
    bits = 0
    for number in reversed(numbers):
        high = (number >> order) + 1
        digits = high.bit_length() - 1
        bits = bits << order | number & (1 << order) - 1
        bits = (bits << digits | high & (1 << digits) - 1) << 1 | 1
        bits <<= digits
    return bits


class Unpacker:
    """Reads what a Packer made, in the same order."""

    __slots__ = ("_data", "at")

    def __init__(self, data: bytes | bytearray, at: int = 0) -> None:
        self._data = data
        self.at = at

    def next(self) -> int:
        """One number."""
        number = self._data[self.at]
        self.at += 1
        if number < 0x80:
            return number
        number, shift = number & 0x7F, 7
        while True:
            byte = self._data[self.at]
            self.at += 1
            number |= (byte & 0x7F) << shift
            if byte < 0x80:
                return number
            shift += 7

    def column(self, count: int) -> list[int]:
        """`count` numbers."""
        if not count:
            return []
        least, kind = self.next(), self.next()
        width = kind >> 1
        length = self.next() if kind & 1 else (width * count + 7) // 8
        bits = int.from_bytes(self._data[self.at : self.at + length], "little")
        self.at += length
        if kind & 1:
            return [number + least for number in _from_golomb(bits, count, width)]
        mask = (1 << width) - 1
        return (
            [(bits >> shift & mask) + least for shift in range(0, width * count, width)] if width else [least] * count
        )

    @property
    def more(self) -> bool:
        """Whether anything is left."""
        return self.at < len(self._data)


def _from_golomb(bits: int, count: int, order: int) -> list[int]:
    found, low = [], (1 << order) - 1
    for _ in range(count):
        digits = (bits & -bits).bit_length() - 1
        bits >>= digits + 1
        high = 1 << digits | bits & (1 << digits) - 1
        bits >>= digits
        found.append((high - 1) << order | bits & low)
        bits >>= order
    return found

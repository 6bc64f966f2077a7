"""Base64url without padding, as JSON Web Keys write bytes and numbers: RFC 7515, section 2; RFC 7518, section 2."""

from __future__ import annotations

import base64


def encode_bytes(data: bytes) -> str:
    """`data` as text."""
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()


def decode_bytes(text: str) -> bytes:
    """The bytes of a text, with or without padding. ValueError if it has any other character."""
    if "+" in text or "/" in text:  # the other base64, which Python takes here too
        raise ValueError("'+' and '/' are no base64url")
    bare = text.rstrip("=")
    return base64.b64decode(bare + "=" * (-len(bare) % 4), altchars=b"-_", validate=True)


def encode_number(number: int, size: int = 0) -> str:
    """A number in `size` bytes, or in as few as it takes."""
    return encode_bytes(number.to_bytes(size or (number.bit_length() + 7) // 8, "big"))


def decode_number(text: str) -> int:
    """The number of a text; ValueError as `decode_bytes`."""
    return int.from_bytes(decode_bytes(text), "big")

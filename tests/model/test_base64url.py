"""Base64url, strictly."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from weft.model.base64url import decode_bytes, decode_number, encode_bytes, encode_number


@given(st.binary(max_size=40))
def test_bytes_come_back(data: bytes) -> None:
    text = encode_bytes(data)
    assert "=" not in text
    assert decode_bytes(text) == data


@given(st.integers(0, 2**300))
def test_numbers_come_back_in_any_size(number: int) -> None:
    assert decode_number(encode_number(number, 40)) == number
    assert decode_number(encode_number(number) or "AA") == number


@pytest.mark.parametrize("text", ["a b", "a+b", "a/b", "a", "\u00e9\u00e9", "ab\n", "ab=c"])
def test_other_texts_are_refused(text: str) -> None:
    with pytest.raises(ValueError, match=r"."):
        decode_bytes(text)

"""Whose certificates are refused, by the numbers in them."""

from __future__ import annotations

import pytest

from weft.model.distrust import Distrust, Ended, Trust, Whose, distrusted_from, trust_after, trust_from_text


def ended(whose: Whose, name: str, how: Ended, number: int) -> Distrust:
    return Distrust(whose, "default", name, how, number)


def test_a_revoked_one_is_refused_whatever_its_certificate_says() -> None:
    found = distrusted_from([ended("workload", "cart-1", Ended.REVOKED, 5)])
    for trust in (Trust(), Trust(5, 0), Trust(4, 9)):
        assert found.refusal("cart-1.default", "default", "cart", trust) is not None
    assert found.refusal("cart-2.default", "default", "cart", Trust()) is None
    assert found.refusal("cart-1.shop", "shop", "cart", Trust()) is None


@pytest.mark.parametrize("how", [Ended.REMOVED, Ended.RESTORED])
def test_certificates_from_before_are_refused_and_later_ones_are_not(how: Ended) -> None:
    found = distrusted_from([ended("workload", "cart-1", how, 5), ended("service-account", "cart", how, 7)])
    refused = {trust for trust in (Trust(), Trust(5, 0), Trust(0, 7), Trust(7, 5), Trust(5, 7))
               if found.refusal("cart-1.default", "default", "cart", trust)}  # fmt: skip
    assert refused == {Trust(), Trust(5, 0), Trust(0, 7), Trust(7, 5)}
    assert trust_after(found.about("default", "cart-1", "cart")) == Trust(5, 7)
    assert trust_after(found.about("default", "cart-2", "cart")) == Trust(0, 7)


@pytest.mark.parametrize("text", ["", "5", "5.", ".7", "5.7.9", "-5.7", "\uff15.7", "5.7x", "9" * 39 + ".1"])
def test_a_text_that_is_no_trust_is_one_from_before_any_end_of_it(text: str) -> None:
    assert trust_from_text(text) == Trust()


def test_trust_is_read_as_it_is_written() -> None:
    for trust in (Trust(), Trust(5, 0), Trust(0, 7), Trust(1764000000, 1764000001)):
        assert trust_from_text(str(trust)) == trust

"""Revocation lists: of whom, by whom, and when there is none."""

from __future__ import annotations

from pathlib import Path

from cryptography import x509

from weft.agent.keys import make_key
from weft.ca.authority import DEFAULT_TTL, Authority, open_authority
from weft.ca.rotation import Phase
from weft.model.distrust import Trust
from weft.model.identity import SpiffeId

CART = SpiffeId("cluster.local", "shop", "cart")
DAY = DEFAULT_TTL


def authority_at(directory: Path, now: list[float]) -> Authority:
    return open_authority(directory / "ca", clock=lambda: now[0])


def test_a_list_names_serial_numbers_and_lasts_as_long_as_its_signer(tmp_path: Path) -> None:
    now = [1_800_000_000.0]
    authority = authority_at(tmp_path, now)
    assert authority.revocation_list([]) == ""
    found = x509.load_pem_x509_crl(authority.revocation_list([7, 5, 7]).encode())
    issuer = x509.load_pem_x509_certificates(authority.issue(make_key().csr, CART, "cart-1.shop").chain.encode())[1]
    assert [one.serial_number for one in found] == [5, 7]
    assert found.is_signature_valid(issuer.public_key())  # type: ignore[arg-type]
    assert found.next_update_utc == issuer.not_valid_after_utc
    assert found.last_update_utc.timestamp() <= now[0] - DAY, "also good where clocks are behind"


def test_there_is_none_while_leaves_of_another_intermediate_may_be_in_use(tmp_path: Path) -> None:
    now = [1_800_000_000.0]
    authority = authority_at(tmp_path, now)
    now[0] += 200 * DAY
    assert authority.rotate()
    assert authority.revocation_list([5]) == ""
    now[0] += DAY
    assert authority.revocation_list([5]) != ""
    authority.begin_rotation()
    assert authority.rotation.phase is Phase.TRUSTING
    assert authority.revocation_list([5]) == ""


def test_the_numbers_of_trust_stand_in_the_subject(tmp_path: Path) -> None:
    authority = authority_at(tmp_path, [1_800_000_000.0])

    def subject(trust: Trust) -> str:
        chain = authority.issue(make_key().csr, CART, "cart-1.shop", service="cart", trust=trust).chain
        return x509.load_pem_x509_certificates(chain.encode())[0].subject.rfc4514_string()

    assert subject(Trust()) == "O=cart,CN=cart-1.shop"
    assert subject(Trust(7, 0)) == "2.5.4.5=7.0,O=cart,CN=cart-1.shop"

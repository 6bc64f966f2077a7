"""Where an authority stands by its files: the same as the one that runs says of itself."""

from __future__ import annotations

from pathlib import Path

import pytest

from conformance.test_authority import Outside, key_pem, new_key, pem
from weft.ca.authority import open_authority
from weft.ca.install import install_first, request_for_intermediate
from weft.ca.protocol import AuthorityError
from weft.ca.rotation import advance
from weft.ca.slots import Slots
from weft.ca.status import state_of_files, told


def files(directory: Path) -> dict[Path, bytes]:
    return {path: path.read_bytes() for path in sorted(directory.glob("*"))}


def test_the_files_say_what_the_authority_says(tmp_path: Path) -> None:
    authority = open_authority(tmp_path / "ca", "shop.example")
    for _ in range(4):
        before = files(tmp_path / "ca")
        state = state_of_files(Slots(tmp_path / "ca"))
        assert files(tmp_path / "ca") == before
        assert state.rotation == authority.rotation
        assert (state.fingerprint, state.trust_domain) == (authority.fingerprint, "shop.example")
        assert set(state.roots) == set(authority.generations)
        assert state.issuer == authority.generations[authority.rotation.signs].issuer.certificate
        if authority.rotation.phase == "steady":
            authority.begin_rotation()
        else:
            authority.move(advance(authority.rotation, authority.rotation.gives_up, confirmed=True))
    found = told(state)
    assert found["control_plane"] == {"not_after": None}
    assert found["awaited"] == []


def test_a_root_that_was_brought(tmp_path: Path) -> None:
    outside, key = Outside(1, new_key()), new_key()
    issuer = outside.certify(outside.name, key)
    install_first(tmp_path / "ca", pem("i", issuer), outside.root, key_pem(key), "shop.example")
    state = state_of_files(Slots(tmp_path / "ca"))
    assert [one.made_by_weft for one in state.roots.values()] == [False]
    assert (state.issuer, state.trust_domain) == (issuer, "shop.example")


def test_what_is_not_there_or_damaged_is_told(tmp_path: Path) -> None:
    slots = Slots(tmp_path / "ca")
    with pytest.raises(AuthorityError, match="it is made at the first start"):
        state_of_files(slots)
    assert not slots.directory.exists()
    slots.prepare()
    request_for_intermediate(slots, "cluster.local")
    with pytest.raises(AuthorityError, match="waits for the answer to its request"):
        state_of_files(slots)
    (tmp_path / "more").mkdir(mode=0o700)
    damaged = Slots(tmp_path / "more")
    (tmp_path / "more/root.pem").write_text("x")
    (tmp_path / "more/root.pem").chmod(0o600)
    with pytest.raises(AuthorityError, match="damaged"):
        state_of_files(damaged)
    (tmp_path / "more/root.pem").chmod(0o644)
    with pytest.raises(AuthorityError, match="cannot use the CA"):
        state_of_files(damaged)

"""Join tokens of a host: whose a file is, and what is said of one that cannot be used."""

from __future__ import annotations

from pathlib import Path

import pytest

from weft.local.host_tokens import TokenFileError, Tokens

OWNERS = [("vm-7", "default"), ("reviews", "default"), ("cart", "shop")]


@pytest.fixture
def directory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.delenv("WEFT_TOKEN", raising=False)
    monkeypatch.delenv("CREDENTIALS_DIRECTORY", raising=False)
    return tmp_path


def test_each_has_its_own(directory: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (directory / "reviews").write_text("one\n")
    (directory / "cart.shop").write_text("two")
    tokens = Tokens(directory)
    assert (tokens.of("reviews", "default"), tokens.of("cart", "shop"), tokens.of("vm-7", "default")) == (
        "one",
        "two",
        "",
    )
    (directory / "reviews").unlink()
    assert tokens.of("reviews", "default") == "one", "it is for the first start"
    monkeypatch.setenv("WEFT_TOKEN", "of all")
    assert tokens.of("vm-7", "default") == "of all"
    assert tokens.strangers(OWNERS) == ()


def test_a_file_of_nobody_is_told_with_who_may_be_meant(directory: Path) -> None:
    for name in ("reviws", "cart", "unlike-any", ".hidden"):
        (directory / name).write_text("x")
    assert Tokens(directory).strangers(OWNERS) == (
        f"{directory}/cart is nobody's token; did you mean 'cart.shop'?",
        f"{directory}/reviws is nobody's token; did you mean 'reviews'?",
        f"{directory}/unlike-any is nobody's token",
    )
    assert Tokens(None).strangers(OWNERS) == ()


def test_a_file_that_cannot_be_used_is_told(directory: Path) -> None:
    (directory / "reviews").mkdir()
    (directory / "vm-7").write_text(" \n")
    (directory / "cart.shop").write_bytes(b"\xff")
    for owner, told in (("reviews", "Is a directory"), ("vm-7", "is empty; expected a token"), ("cart", "is no text")):
        with pytest.raises(TokenFileError, match=told):
            Tokens(directory).of(owner, "shop" if owner == "cart" else "default")
    with pytest.raises(TokenFileError, match=r"gone: No such file or directory"):
        Tokens(directory / "gone").strangers(OWNERS)

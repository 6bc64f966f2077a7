"""What every key wrapper must do; each is one parameter. The command is a small program with its key in a file."""

from __future__ import annotations

import base64
import os
import secrets
import stat
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from weft.settings.private import PermissionsError
from weft.store.sealing.wrappers import (
    CommandWrapper,
    EnvironmentWrapper,
    FileWrapper,
    KeyWrapError,
    KeyWrapper,
    WrapperSettingsError,
    wrapper_from_setting,
)

PROGRAM = """\
import base64, sys
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
key = AESGCM(open(sys.argv[1], "rb").read())
value = base64.b64decode(sys.stdin.read())
word = sys.argv[2]
nonce = b"0" * 12 if word == "wrap" else value[:12]
found = nonce + key.encrypt(nonce, value, None) if word == "wrap" else key.decrypt(nonce, value[12:], None)
print(base64.b64encode(found).decode())
"""


def of_python() -> KeyWrapper:
    """A factory, as a setting names it."""
    return EnvironmentWrapper("KEY", {"KEY": base64.b64encode(b"p" * 32).decode()})


Make = Callable[[int], KeyWrapper]
"""A wrapper with the key of this number; the same number means the same key, as after a restart."""


@pytest.fixture(params=["file", "env", "command", "python"])
def make(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Make:
    program = tmp_path / "kms.py"
    program.write_text(PROGRAM)

    def made(number: int) -> KeyWrapper:
        key = bytes([number]) * 32
        place = tmp_path / f"{number}.key"
        if request.param == "file":
            return wrapper_from_setting(f"file:{place}", tmp_path)
        if request.param == "env":
            return wrapper_from_setting("env:KEY", tmp_path, {"KEY": key.hex()})
        if request.param == "command":
            place.write_bytes(key)
            return wrapper_from_setting(f"command:{sys.executable} {program} {place}", tmp_path)
        if number == 1:
            return wrapper_from_setting(f"python:{__name__}:of_python", tmp_path)
        return EnvironmentWrapper("KEY", {"KEY": base64.b64encode(key).decode()})

    monkeypatch.setitem(sys.modules, __name__, sys.modules[__name__])
    return made


async def test_what_was_wrapped_is_unwrapped_also_after_a_restart(make: Make) -> None:
    key = secrets.token_bytes(32)
    wrapped = await make(1).wrap(key)
    assert key not in wrapped
    again = make(1)
    assert await again.unwrap(wrapped) == key
    assert again.is_current(wrapped)
    assert again.name
    assert key.hex() not in again.name


async def test_another_key_does_not_unwrap_it(make: Make) -> None:
    wrapped = await make(1).wrap(secrets.token_bytes(32))
    other = make(2)
    await other.wrap(b"x")
    with pytest.raises(KeyWrapError):
        await other.unwrap(wrapped)
    with pytest.raises(KeyWrapError):
        await make(1).unwrap(wrapped[:-1] + bytes([wrapped[-1] ^ 1]))
    with pytest.raises(KeyWrapError):
        await make(1).unwrap(b"\x00")


async def test_a_renewed_key_wraps_and_the_former_one_unwraps_until_it_is_retired(make: Make) -> None:
    wrapper = make(1)
    old = await wrapper.wrap(b"a" * 32)
    if not await wrapper.renew():
        assert wrapper.is_current(old)
        return
    assert not wrapper.is_current(old)
    new = await wrapper.wrap(b"b" * 32)
    for one in (wrapper, make(1)):
        assert await one.unwrap(old) == b"a" * 32
        assert await one.unwrap(new) == b"b" * 32
    await wrapper.retire()
    for one in (wrapper, make(1)):
        assert await one.unwrap(new) == b"b" * 32
        with pytest.raises(KeyWrapError, match="another key"):
            await one.unwrap(old)


async def test_a_key_file_is_private_and_a_missing_one_is_not_made_anew(tmp_path: Path) -> None:
    path = tmp_path / "store.key"
    wrapped = await FileWrapper(path).wrap(b"a" * 32)
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    path.rename(tmp_path / "elsewhere")
    waiting = FileWrapper(path)
    with pytest.raises(KeyWrapError, match="is not there"):
        await waiting.unwrap(wrapped)
    assert not path.exists()
    (tmp_path / "elsewhere").rename(path)
    assert await waiting.unwrap(wrapped) == b"a" * 32, "the file is back"
    path.chmod(0o640)
    with pytest.raises(PermissionsError, match="chmod 600"):
        FileWrapper(path)
    path.chmod(0o600)
    path.write_text("weft-store-key-1 nonsense\n")
    with pytest.raises(KeyWrapError, match="holds no key: expected 32 random bytes"):
        await FileWrapper(path).unwrap(wrapped)
    with pytest.raises(KeyWrapError):
        await FileWrapper(path).wrap(b"a" * 32)
    assert path.read_text() == "weft-store-key-1 nonsense\n", "what cannot be read is not overwritten"


async def test_a_variable_is_taken_out_of_the_environment_and_may_have_two_keys(tmp_path: Path) -> None:
    first, second = (os.urandom(32).hex() for _ in range(2))
    environment = {"KEY": first, "OTHER": "stays"}
    wrapped = await wrapper_from_setting("env:KEY", tmp_path, environment).wrap(b"a" * 32)
    assert environment == {"OTHER": "stays"}
    both = EnvironmentWrapper("KEY", {"KEY": f"{second}, {first}"})
    assert await both.unwrap(wrapped) == b"a" * 32
    assert not both.is_current(wrapped)
    with pytest.raises(KeyWrapError, match="KEY is not set"):
        await EnvironmentWrapper("KEY", {}).wrap(b"a" * 32)


@pytest.mark.parametrize(
    ("command", "said"),
    [
        ("/nowhere/kms", "cannot be run"),
        ("false", "exit code 1"),
        ("echo %%%", "no base64"),
        ("true", "printed nothing"),
        ("sleep 60;", "does not answer within 0.2 s"),
    ],
)
async def test_a_command_that_does_not_do_its_part(command: str, said: str) -> None:
    words = ["sh", "-c", command] if ";" in command or "%" in command else command.split()
    with pytest.raises(KeyWrapError, match=said):
        await CommandWrapper(words, seconds=0.2).wrap(b"a" * 32)


@pytest.mark.parametrize("setting", ["file", "vault:x", "python:nowhere:x", "python:os:nothing", "command:"])
def test_wrong_settings(setting: str, tmp_path: Path) -> None:
    with pytest.raises(WrapperSettingsError):
        wrapper_from_setting(setting, tmp_path)

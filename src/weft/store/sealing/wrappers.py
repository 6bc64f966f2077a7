"""Key wrappers: what encrypts data keys. A file, an environment variable, a command, or a Python entry point.

Each passes `tests/conformance/test_key_wrappers.py`.
"""

from __future__ import annotations

import asyncio
import base64
import binascii
import contextlib
import hashlib
import importlib
import os
import secrets
import shlex
from collections.abc import Callable, MutableMapping, Sequence
from pathlib import Path
from typing import Protocol, cast

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from weft.settings.private import PermissionsError, check_private, write_atomically
from weft.settings.shared import SharedDirectory

KEY_BYTES = 32
KEY_FILE = "store.key"
_ID = 4
_NONCE = 12
_LINE = "weft-store-key-1"
_SECONDS = 10.0
_MOST_BYTES = 64 * 1024
_BOUND = b"weft data key"
FORMS = "file:PATH, env:NAME, command:PROGRAM ARGUMENTS, or python:MODULE:FACTORY"


class KeyWrapError(Exception):
    """A data key cannot be wrapped or unwrapped; the message says why, and what is expected, and holds no key."""


class WrapperSettingsError(ValueError):
    """The setting that names a wrapper is not what is expected."""


class KeyWrapper(Protocol):
    """Encrypts small keys with a key that never comes here, or only into memory."""

    @property
    def name(self) -> str:
        """What it is, for people: no secret."""

    async def wrap(self, key: bytes) -> bytes:
        """`key`, encrypted. KeyWrapError."""

    async def unwrap(self, wrapped: bytes) -> bytes:
        """What `wrap` was given. KeyWrapError: it was wrapped by another key, or was damaged, or there is no answer."""

    def is_current(self, wrapped: bytes) -> bool:
        """Whether the newest key has wrapped it, as far as can be told here."""

    async def renew(self) -> bool:
        """Wrap with a new key from now on, and still unwrap what former ones have wrapped. False: whoever has the key
        renews it elsewhere."""

    async def retire(self) -> None:
        """Forget every key but the newest: nothing is wrapped by them any more."""


class _Keys:
    """Keys in memory, the newest first."""

    def __init__(self, keys: Sequence[bytes]) -> None:
        self.keys = tuple(keys)

    def wrap(self, key: bytes) -> bytes:
        if not self.keys:
            raise KeyWrapError("there is no key")
        nonce = secrets.token_bytes(_NONCE)
        return _id(self.keys[0]) + nonce + AESGCM(self.keys[0]).encrypt(nonce, key, _BOUND)

    def is_newest(self, wrapped: bytes) -> bool:
        return bool(self.keys) and wrapped[:_ID] == _id(self.keys[0])

    def opens(self, wrapped: bytes) -> bool:
        return any(wrapped[:_ID] == _id(one) for one in self.keys)

    def unwrap(self, wrapped: bytes) -> bytes:
        for one in self.keys:
            if wrapped[:_ID] == _id(one):
                with contextlib.suppress(InvalidTag, ValueError):
                    return AESGCM(one).decrypt(wrapped[_ID : _ID + _NONCE], wrapped[_ID + _NONCE :], _BOUND)
        raise KeyWrapError("it is another key than the one that this store was sealed with")


def _id(key: bytes) -> bytes:
    return hashlib.sha256(b"weft key id" + key).digest()[:_ID]


class FileWrapper:
    """Keys in a file of mode 0600, a line each, the newest first. It is made when `wrap` is first asked for. Raises
    PermissionsError where others could read it. With `shared` other control planes have the file, too."""

    def __init__(self, path: Path, shared: SharedDirectory | None = None) -> None:
        self._path = path
        self._shared = shared
        self._keys = _Keys(())
        if path.exists():
            check_private(path)

    @property
    def name(self) -> str:
        """See the protocol."""
        return f"file {self._path}"

    async def wrap(self, key: bytes) -> bytes:
        """See the protocol."""
        await self._fetch()
        if (self._shared is not None or not self._keys.keys) and self._path.exists():
            self._read()
        if not self._keys.keys:
            await self.renew()
        return self._keys.wrap(key)

    async def unwrap(self, wrapped: bytes) -> bytes:
        """See the protocol."""
        if not self._keys.opens(wrapped):
            await self._fetch()
            self._read()
        try:
            return self._keys.unwrap(wrapped)
        except KeyWrapError as error:
            raise KeyWrapError(f"{self._path}: {error}") from error

    def is_current(self, wrapped: bytes) -> bool:
        """See the protocol."""
        return self._keys.is_newest(wrapped)

    async def renew(self) -> bool:
        """See the protocol."""
        fresh = secrets.token_bytes(KEY_BYTES)
        await self._change(lambda keys: (fresh, *keys))
        return True

    async def retire(self) -> None:
        """See the protocol. Keys that other control planes have made since are newer."""
        if len(self._keys.keys) > 1:
            newest = self._keys.keys[0]
            await self._change(lambda keys: keys[: keys.index(newest) + 1] if newest in keys else keys)

    async def _fetch(self) -> None:
        """Have the file as all have it, if that can be known now."""
        if self._shared is not None:
            with contextlib.suppress(OSError):
                await self._shared.fetch()

    def _read(self) -> None:
        self._keys = _Keys(_keys_in(self._path))

    async def _change(self, work: Callable[[tuple[bytes, ...]], tuple[bytes, ...]]) -> None:
        """Replace the keys, the newest first: of what other control planes have, if they have the file."""

        def rewrite(copy: Path) -> tuple[bytes, ...]:
            path = copy / self._path.name
            keys = work(_keys_in(path) if path.exists() else ())
            write_atomically(path, _text_of(keys))
            return keys

        try:
            if self._shared is not None:
                self._keys = _Keys(await self._shared.change(rewrite))
                return
            keys = work(self._keys.keys)
            write_atomically(self._path, _text_of(keys))
        except OSError as error:
            raise KeyWrapError(f"{self._path} cannot be written: {error.strerror or error}") from error
        self._keys = _Keys(keys)


def _text_of(keys: Sequence[bytes]) -> str:
    return "".join(f"{_LINE} {base64.b64encode(key).decode()}\n" for key in keys)


def _keys_in(path: Path) -> tuple[bytes, ...]:
    """The keys of a file. KeyWrapError."""
    try:
        check_private(path)
        lines = path.read_text("ascii").split("\n")
    except FileNotFoundError as error:
        text = f"{path} is not there: put back the file that this store was sealed with"
        raise KeyWrapError(text) from error
    except (OSError, UnicodeDecodeError, PermissionsError) as error:
        raise KeyWrapError(f"{path} cannot be read: {error}") from error
    return tuple(_key(line.removeprefix(_LINE).strip(), str(path)) for line in lines if line.strip())


def _key(text: str, where: str) -> bytes:
    """A key in base64 or hex."""
    try:
        found = bytes.fromhex(text) if len(text) == 2 * KEY_BYTES else base64.b64decode(text, validate=True)
    except (ValueError, binascii.Error):
        found = b""
    if len(found) != KEY_BYTES:
        raise KeyWrapError(
            f"{where} holds no key: expected {KEY_BYTES} random bytes in base64 (openssl rand -base64 32)"
        )
    return found


class EnvironmentWrapper:
    """Keys in an environment variable, the newest first, with commas between. It is taken out of the environment, so
    that no child inherits it."""

    def __init__(self, variable: str, environment: MutableMapping[str, str]) -> None:
        self._text = environment.pop(variable, "")
        self._variable = variable
        self._keys = _Keys(())

    @property
    def name(self) -> str:
        """See the protocol."""
        return f"variable {self._variable}"

    async def wrap(self, key: bytes) -> bytes:
        """See the protocol."""
        self._read()
        return self._keys.wrap(key)

    async def unwrap(self, wrapped: bytes) -> bytes:
        """See the protocol."""
        self._read()
        try:
            return self._keys.unwrap(wrapped)
        except KeyWrapError as error:
            raise KeyWrapError(f"the variable {self._variable}: {error}") from error

    def is_current(self, wrapped: bytes) -> bool:
        """See the protocol."""
        return self._keys.is_newest(wrapped)

    async def renew(self) -> bool:
        """See the protocol."""
        return False

    async def retire(self) -> None:
        """See the protocol."""

    def _read(self) -> None:
        if not self._keys.keys:
            where = f"the variable {self._variable}"
            self._keys = _Keys([_key(one.strip(), where) for one in self._text.split(",") if one.strip()])
        if not self._keys.keys:
            raise KeyWrapError(f"the variable {self._variable} is not set: expected a key in base64")


class CommandWrapper:
    """A program that is run as ``PROGRAM ARGUMENTS wrap`` or ``… unwrap``: base64 comes on its standard input, and is
    expected on its standard output. The way to a key management service."""

    def __init__(self, command: Sequence[str], seconds: float = _SECONDS) -> None:
        self._command = tuple(command)
        self._seconds = seconds

    @property
    def name(self) -> str:
        """See the protocol."""
        return f"command {self._command[0]}"

    async def wrap(self, key: bytes) -> bytes:
        """See the protocol."""
        return await self._run("wrap", key)

    async def unwrap(self, wrapped: bytes) -> bytes:
        """See the protocol."""
        return await self._run("unwrap", wrapped)

    def is_current(self, wrapped: bytes) -> bool:  # noqa: ARG002 - whoever has the key knows
        """See the protocol."""
        return True

    async def renew(self) -> bool:
        """See the protocol."""
        return False

    async def retire(self) -> None:
        """See the protocol."""

    async def _run(self, word: str, value: bytes) -> bytes:
        try:
            process = await asyncio.create_subprocess_exec(
                *self._command,
                word,
                stdin=asyncio.subprocess.PIPE,
                stdout=asyncio.subprocess.PIPE,
                stderr=asyncio.subprocess.DEVNULL,  # what it says there might hold what it was given
            )
        except OSError as error:
            raise KeyWrapError(f"{self.name} cannot be run: {error.strerror}") from error
        try:
            async with asyncio.timeout(self._seconds):
                output, _ = await process.communicate(base64.b64encode(value) + b"\n")
        except TimeoutError as error:
            raise KeyWrapError(f"{self.name} {word} does not answer within {self._seconds:g} s") from error
        finally:
            if process.returncode is None:
                process.kill()
                await process.wait()
        if process.returncode:
            raise KeyWrapError(f"{self.name} {word} ended with exit code {process.returncode}")
        try:
            found = base64.b64decode(b"".join(output[:_MOST_BYTES].split()), validate=True)
        except (ValueError, binascii.Error) as error:
            raise KeyWrapError(f"{self.name} {word} printed what is no base64") from error
        if not found:
            raise KeyWrapError(f"{self.name} {word} printed nothing")
        return found


class Succession:
    """A wrapper, and the one before it, which still unwraps: to change from one to another."""

    def __init__(self, newest: KeyWrapper, former: KeyWrapper) -> None:
        self._newest = newest
        self._former = former

    @property
    def name(self) -> str:
        """That of the newest."""
        return self._newest.name

    async def wrap(self, key: bytes) -> bytes:
        """See the protocol."""
        return await self._newest.wrap(key)

    async def unwrap(self, wrapped: bytes) -> bytes:
        """See the protocol."""
        try:
            return await self._former.unwrap(wrapped)
        except KeyWrapError:
            return await self._newest.unwrap(wrapped)

    def is_current(self, wrapped: bytes) -> bool:
        """See the protocol."""
        return self._newest.is_current(wrapped)

    async def renew(self) -> bool:
        """See the protocol."""
        return await self._newest.renew()

    async def retire(self) -> None:
        """See the protocol."""
        await self._newest.retire()


def wrapper_from_settings(
    setting: str,
    former: str,
    directory: Path,
    environment: MutableMapping[str, str] = os.environ,
    shared: SharedDirectory | None = None,
) -> KeyWrapper:
    """As `wrapper_from_setting`; `former` (empty: none) names the one that it takes over from. The file in `directory`
    is also that of other control planes with `shared`."""
    if not setting and shared is not None:
        newest: KeyWrapper = FileWrapper(directory / KEY_FILE, shared)
    else:
        newest = wrapper_from_setting(setting, directory, environment)
    return Succession(newest, wrapper_from_setting(former, directory, environment)) if former else newest


def wrapper_from_setting(
    setting: str, directory: Path, environment: MutableMapping[str, str] = os.environ
) -> KeyWrapper:
    """The wrapper that a setting names (empty: a file in `directory`). WrapperSettingsError, PermissionsError."""
    form, _, rest = (setting or f"file:{directory / KEY_FILE}").partition(":")
    if not rest:
        raise WrapperSettingsError(f"'{form}': expected {FORMS}")
    match form:
        case "file":
            return FileWrapper(Path(rest).expanduser().absolute())
        case "env":
            return EnvironmentWrapper(rest, environment)
        case "command":
            return CommandWrapper(shlex.split(rest))
        case "python":
            return _from_python(rest)
    raise WrapperSettingsError(f"'{form}:…': expected {FORMS}")


def _from_python(place: str) -> KeyWrapper:
    module, _, name = place.partition(":")
    try:
        factory: Callable[[], object] = getattr(importlib.import_module(module), name)
        return cast("KeyWrapper", factory())
    except (ImportError, AttributeError, ValueError, TypeError) as error:
        raise WrapperSettingsError(f"python:{place} is no factory of a key wrapper: {type(error).__name__}") from error

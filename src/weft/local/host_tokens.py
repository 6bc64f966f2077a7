"""Join tokens of the workloads of a host, each in a file of its own or among systemd's credentials."""

from __future__ import annotations

import os
from collections.abc import Iterable
from pathlib import Path

from weft.local.services import CREDENTIAL
from weft.schema.wording import nearest_name


class TokenFileError(Exception):
    """A file that should hold a token cannot be used; the message names it."""


class Tokens:
    """Those in `directory` (None: of the service's credentials). What was read once is remembered: a token is for the
    first start, and its file may go after that without the workload being another."""

    def __init__(self, directory: Path | None) -> None:
        self._directory = directory
        self._known: dict[str, str] = {}

    def of(self, name: str, namespace: str) -> str:
        """The token of one of them; WEFT_TOKEN where it has no file, or nothing. TokenFileError for a file that cannot
        be read, or holds nothing."""
        stem = _stem(name, namespace)
        found = self._known.get(stem, "")
        if not found:
            self._known[stem] = found = self._read(stem) or os.environ.get("WEFT_TOKEN", "")
        return found

    def strangers(self, owners: Iterable[tuple[str, str]]) -> tuple[str, ...]:
        """What is to be said of files of the directory that belong to none of the `owners` (name, namespace)."""
        if self._directory is None:
            return ()
        stems = [_stem(*each) for each in owners]
        try:
            names = sorted(path.name for path in self._directory.iterdir() if not path.name.startswith("."))
        except OSError as error:
            raise TokenFileError(f"{self._directory}: {error.strerror}") from error
        told = []
        for name in names:
            if name not in stems:
                near = nearest_name(name, stems)
                told.append(
                    f"{self._directory / name} is nobody's token" + (f"; did you mean '{near}'?" if near else "")
                )
        return tuple(told)

    def _read(self, stem: str) -> str:
        credentials = os.environ.get("CREDENTIALS_DIRECTORY", "")
        path = Path(credentials) / f"{CREDENTIAL}_{stem}"
        if self._directory is not None:
            path = self._directory / stem
        elif not credentials:
            return ""
        try:
            found = path.read_text().strip()
        except FileNotFoundError:
            return ""
        except UnicodeDecodeError as error:
            raise TokenFileError(f"{path} is no text, and holds no token") from error
        except OSError as error:
            raise TokenFileError(f"{path}: {error.strerror}") from error
        if not found:
            raise TokenFileError(f"{path} is empty; expected a token, as `weft token create` prints it")
        return found


def _stem(name: str, namespace: str) -> str:
    return name if namespace == "default" else f"{name}.{namespace}"

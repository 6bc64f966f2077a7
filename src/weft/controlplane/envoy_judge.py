"""A real Envoy as the judge of configurations: asked in a directory of its own, with a key of nobody's."""

from __future__ import annotations

import asyncio
import contextlib
import datetime
import re
import shutil
import tempfile
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from weft import __version__
from weft.agent.binary import envoy_version, find_envoy
from weft.agent.errors import AgentError
from weft.model.printable import printable
from weft.model.workload import PROXY_USERS_FILE
from weft.xds.bootstrap import build_secret_files

_SECONDS = 30.0
_LONGEST = 400
_LINE = re.compile(r"\]\[(?:critical|error)\].*?\] (?P<text>.*)")
_NOBODY = "nobody:{SHA}2jmj7l5rSw0yVb/vlWAYkK/YBwk=\n"
"""A user of an outbound proxy that asks for its secret. Nobody calls the one that is tried."""
_NO_ENVOY = "there is no Envoy beside the control plane to try it on"


class EnvoyJudge:
    """See `weft.sources.trials.Judge`. `directory` holds what Envoy reads while it is asked."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        self._stand_in = _self_signed()
        self._version: str | None = None

    @property
    def version(self) -> str:
        """Envoy's version, and our own: what was refused for our sake is asked anew after an upgrade."""
        if self._version is None:
            try:
                self._version = f"{envoy_version(find_envoy())} {__version__}"
            except AgentError:
                self._version = ""
        return self._version

    @property
    def stand_in(self) -> tuple[str, str]:
        """A self-signed certificate and its key."""
        return self._stand_in

    async def refusal(self, bootstrap: str) -> str:
        """What Envoy says against a bootstrap; empty if it takes it."""
        try:
            binary = find_envoy()
        except AgentError:
            return _NO_ENVOY
        directory = Path(await asyncio.to_thread(tempfile.mkdtemp, prefix="trial-", dir=self._directory))
        try:
            await asyncio.to_thread(self._lay_out, directory, bootstrap)
            # One worker, as proxies have: with more, Envoy takes no listener for UDP that has its port alone.
            words = ("--mode", "validate", "--concurrency", "1", "--config-path", "bootstrap.json")
            process = await asyncio.create_subprocess_exec(
                binary,
                *words,
                *("--disable-hot-restart", "-l", "error"),
                cwd=directory,
                stdin=asyncio.subprocess.DEVNULL,
                stdout=asyncio.subprocess.PIPE,
                stderr=asyncio.subprocess.STDOUT,
            )
            try:
                async with asyncio.timeout(_SECONDS):
                    said, _ = await process.communicate()
            except BaseException as error:
                with contextlib.suppress(ProcessLookupError):
                    process.kill()
                await process.wait()
                if isinstance(error, TimeoutError):
                    return f"it did not answer within {_SECONDS:g} s"
                raise
            return "" if process.returncode == 0 else _last_words(said.decode(errors="replace"))
        finally:
            await asyncio.to_thread(shutil.rmtree, directory, ignore_errors=True)

    def _lay_out(self, directory: Path, bootstrap: str) -> None:
        chain, key = self._stand_in
        files = {
            "bootstrap.json": bootstrap,
            "certs/chain.pem": chain,
            "certs/key.pem": key,
            "certs/bundle.pem": chain,
            "certs/revoked.pem": "",
            PROXY_USERS_FILE: _NOBODY,
            **build_secret_files(),
        }
        for name, text in files.items():
            path = directory / name
            path.parent.mkdir(exist_ok=True)
            path.write_text(text)
        (directory / "logs").mkdir(exist_ok=True)


def _last_words(said: str) -> str:
    """The line that says why, without time and place."""
    found = [match["text"] for match in map(_LINE.search, said.splitlines()) if match]
    text = found[-1] if found else (said.strip().splitlines() or ["it ended without a word"])[-1]
    return printable(text.partition("'bootstrap.json': ")[2][:_LONGEST] or text[:_LONGEST])


def _self_signed() -> tuple[str, str]:
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "nobody")])
    now = datetime.datetime.now(datetime.UTC)
    certificate = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - datetime.timedelta(days=1))
        .not_valid_after(now + datetime.timedelta(days=3650))
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .sign(key, hashes.SHA256())
    )
    chain = certificate.public_bytes(serialization.Encoding.PEM).decode()
    form = (serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    return chain, key.private_bytes(*form).decode()

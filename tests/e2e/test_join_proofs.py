"""A workload joins with a token that demands a key, through the commands that people use."""

from __future__ import annotations

import json
from pathlib import Path

from cryptography.hazmat.primitives.asymmetric import ec

from ca.test_attestation import private_file, public_pem
from support.mesh import Mesh, until


def test_a_token_with_a_key_lets_in_who_has_it(tmp_path: Path) -> None:
    mesh = Mesh(tmp_path / "home", tmp_path / "logs")
    key = ec.generate_private_key(ec.SECP256R1())
    (tmp_path / "public.pem").write_text(public_pem(key))
    try:
        mesh.serve("--xds-port", "0", "--agent-port", "0", "--admin-port", "0")
        demands = ("--from", "127.0.0.0/8", "--key", str(tmp_path / "public.pem"))
        made = json.loads(mesh.weft("token", "create", "--service-account", "cart", *demands, "-o", "json").stdout)
        assert "from 127.0.0.0/8; key sha256:" in mesh.weft("token", "list").stdout
        remote = ["--control-plane", made["agent_api"], "--ca-fingerprint", made["fingerprint"]]
        words = ("run", "--name", "thief", "--service-account", "cart", *remote, "--", "sleep", "600")
        without = mesh.spawn("thief", *words, env={"WEFT_TOKEN": made["token"]})
        assert until("it is refused", lambda: without.process.poll() is not None)
        assert "the token wants a signature by the key" in without.output()
        proof = ["--join-proof", f"key={private_file(key, tmp_path)}"]
        mesh.run("cart", ["sleep", "600"], port="", more=[*remote, *proof], env={"WEFT_TOKEN": made["token"]})
        assert mesh.workload("cart")["service_account"] == "cart"
    finally:
        mesh.stop()

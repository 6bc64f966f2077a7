"""The page about tokens: its script signs a token that its example accepts, and its documents are good."""

from __future__ import annotations

import contextlib
import io
import json
import re
from pathlib import Path

import jwt
import yaml

from weft.schema.decode import decode_documents

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs" / "jwt.md").read_text()


def blocks(language: str) -> list[str]:
    return re.findall(rf"```{language}\n(.*?)```", PAGE, re.DOTALL)


def test_the_script_signs_what_the_example_accepts() -> None:
    (script,) = blocks("python")
    out = io.StringIO()
    with contextlib.redirect_stdout(out):
        exec(script, {})
    token = out.getvalue().strip()
    policy = next(yaml.safe_load_all((ROOT / "examples" / "jwt.yaml").read_text()))
    (rule,) = policy["spec"]["jwtRules"]
    (key,) = json.loads(rule["jwks"])["keys"]
    found = jwt.decode(token, jwt.PyJWK(key, "EdDSA"), ["EdDSA"], audience=rule["audiences"], issuer=rule["issuer"])
    assert found["sub"] == "alice"
    assert jwt.get_unverified_header(token)["kid"] == key["kid"]


def test_its_documents_are_good() -> None:
    for text in blocks("yaml"):
        if text.startswith("apiVersion"):
            decoded = decode_documents(text, "jwt.md")
            assert decoded.documents
            assert decoded.problems == ()

"""What is read of a security document that cannot be understood: its name and whom it is about."""

from __future__ import annotations

import json

import pytest

from weft.model.unreadable import TargetName, Unreadable
from weft.schema.decode import decode_documents
from weft.schema.unreadable import unreadable_spec
from weft.schema.yaml_nodes import parse_documents

KIND = "apiVersion: security.istio.io/v1\nkind: PeerAuthentication\n"


@pytest.mark.parametrize(
    "text",
    [
        KIND + "metadata: {name: a}\nspec: {mtls: {mode: STRIKT}}\n",
        KIND + "metadata: {name: a}\nspec: {mtls: {mode: STRICT}, more: 1}\n",
        KIND + "metadata: {name: a}\nspecs: {}\n",
        KIND + "metadata: {name: a}\nspec: [a]\n",
        KIND + "metadata: {name: a}\nspec: {number: .inf}\n",
        KIND + "metadata: {name: a, labels: {x: 1}}\nspec: {}\n",
        KIND + "metadata: {name: a}\nspec: {mtls: {mode: STRICT}}\nspec: {}\n",
        KIND + "metadata: {name: a}\nspec: {portLevelMtls: {80: {mode: DISABLE}}}\n",
        KIND.replace("/v1", "/v2") + "metadata: {name: a}\nspec: {}\n",
    ],
)
def test_it_is_a_document_and_told(text: str) -> None:
    decoded = decode_documents(text, "f.yaml")
    (document,) = decoded.documents
    assert isinstance(document.spec, Unreadable)
    assert str(document.key) == "PeerAuthentication default/a"
    assert decoded.failed
    assert json.loads(document.text)["kind"] == "PeerAuthentication"


@pytest.mark.parametrize(
    "text",
    [
        KIND + "spec: {}\n",
        KIND + "metadata: {}\nspec: {mtls: {mode: STRIKT}}\n",
        KIND.replace("PeerAuthentication", "PeerAuthentcation") + "metadata: {name: a}\nspec: {}\n",
        "apiVersion: v1\nkind: ServiceAccount\nmetadata: {name: a}\nmore: 1\n",
    ],
)
def test_without_a_name_or_of_another_kind_it_is_none(text: str) -> None:
    decoded = decode_documents(text, "f.yaml")
    assert decoded.documents == ()
    assert decoded.failed


@pytest.mark.parametrize(
    ("spec", "expected"),
    [
        ("{}", Unreadable("K")),
        ("{selector: {}}", Unreadable("K")),
        ("{selector: null}", Unreadable("K")),
        ("{selector: {matchLabels: {b: c, a: b}}}", Unreadable("K", (("a", "b"), ("b", "c")))),
        # A part that cannot be read makes it wider, never narrower.
        ("{selector: {matchLabels: {a: b, c: 1}, matchExpressions: []}}", Unreadable("K", (("a", "b"),))),
        ("{selector: {matchLabels: {c: 1}}}", Unreadable("K", scoped=False)),
        ("{selector: {matchLabel: {a: b}}}", Unreadable("K", scoped=False)),
        ("{selector: a}", Unreadable("K", scoped=False)),
        ("{selecter: {matchLabels: {a: b}}}", Unreadable("K", scoped=False)),
        ("{matchLabels: {a: b}}", Unreadable("K", scoped=False)),
        ("[]", Unreadable("K", scoped=False)),
        ("{targetRefs: [{kind: Service, name: a}]}", Unreadable("K", targets=(TargetName("", "Service", "a"),))),
        ("{targetRef: {group: g, kind: K, name: a}}", Unreadable("K", targets=(TargetName("g", "K", "a"),))),
        ("{targetRefs: [{kind: Service}]}", Unreadable("K", scoped=False)),
        ("{targetRefs: a}", Unreadable("K", scoped=False)),
    ],
)
def test_whom_it_is_about(spec: str, expected: Unreadable) -> None:
    (parsed,) = parse_documents(f"spec: {spec}", "f")
    assert parsed.root is not None
    assert isinstance(parsed.root.value, dict)
    assert unreadable_spec("K", parsed.root.value) == expected

"""Whatever the text, the decoder answers with documents or problems."""

from __future__ import annotations

import json
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from support.examples import examples
from weft.mesh.build import build_mesh
from weft.mesh.memo import Memo
from weft.model.snapshot import ConfigSnapshot
from weft.schema.decode import decode_documents
from weft.schema.plans import fields_of, names_of
from weft.schema.registry import KINDS, Kind

SCALARS = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(),
    st.floats(),
    st.text(max_size=12),
    st.sampled_from(["a", "1s", "Exact", "/", "80", "*", "HTTP", "Gateway", "Service", "URLRewrite", "STRICT"]),
)
ALL_FIELDS = sorted(
    {name for kind in KINDS for name in names_of(kind.spec)} | {"name", "port", "host", "type", "value"}
)
JSON = st.recursive(
    SCALARS,
    lambda inner: st.one_of(
        st.lists(inner, max_size=3),
        st.dictionaries(st.one_of(st.sampled_from(ALL_FIELDS), st.text(max_size=8)), inner, max_size=4),
    ),
    max_leaves=20,
)


@st.composite
def resources(draw: st.DrawFn) -> dict[str, Any]:
    """Something that looks like a document of a known kind."""
    kind: Kind = draw(st.sampled_from(KINDS))
    names = [plan.json for plan in fields_of(kind.spec)]
    fields = draw(st.dictionaries(st.sampled_from(names), JSON)) if names else {}
    resource: dict[str, Any] = {"apiVersion": kind.api_versions[0], "kind": kind.name, "metadata": {"name": "a"}}
    return {**resource, **fields} if kind.flat else {**resource, "spec": fields}


@settings(max_examples=examples(150), deadline=None)
@given(
    st.one_of(JSON, resources(), st.lists(resources(), max_size=3).map(lambda items: {"kind": "List", "items": items}))
)
def test_any_json_gives_documents_or_problems(value: object) -> None:
    decoded = decode_documents(json.dumps(value), "f")
    empty = value is None
    assert empty or decoded.documents or decoded.problems or value == {"kind": "List", "items": []}
    for problem in decoded.problems:
        assert problem.origin.source == "f"
        assert str(problem).isprintable()
    build_mesh(ConfigSnapshot(1, decoded.documents), Memo())


@settings(max_examples=examples(150), deadline=None)
@given(st.text(alphabet=st.sampled_from("ab:-[]{}&*!|>'\"#%@`\n\t ?,.0\r\ud800\u2028\x00"), max_size=60))
def test_any_text_gives_documents_or_problems(text: str) -> None:
    decoded = decode_documents(text, "f")
    assert decoded.documents == ()


@settings(max_examples=examples(100), deadline=None)
@given(resources())
def test_accepted_documents_come_back_the_same_from_their_text(value: object) -> None:
    for document in decode_documents(json.dumps(value), "f").documents:
        (again,) = decode_documents(document.text, "g").documents
        assert (again.text, again.spec, again.key) == (document.text, document.spec, document.key)

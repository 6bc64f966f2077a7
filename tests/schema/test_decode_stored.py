"""Stored documents are decoded from their canonical JSON as from the text they came from."""

from pathlib import Path

import pytest

from weft.model.document import Document
from weft.schema.decode import decode_documents, decode_stored

EXAMPLES = sorted((Path(__file__).parents[2] / "examples").rglob("*.yaml"))
SECRET = "apiVersion: v1\nkind: Secret\nmetadata: {name: s}\nstringData: {a: '\U0001f600', b: ''}\n"
NUMBERS = """
apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {name: v, labels: {yes: "true", number: "1"}, annotations: {a: "\\"quoted\\"\\n\\ttab"}}
spec:
  hosts: [reviews]
  http:
  - fault: {abort: {percentage: {value: 0.001}, httpStatus: 500}, delay: {percentage: {value: 1.0e+1}, fixedDelay: 7s}}
    route: [{destination: {host: reviews, port: {number: 80}}, weight: 0x64}]
"""


def same(first: Document[object], second: Document[object]) -> bool:
    names = ("key", "api_version", "spec", "text", "lines", "labels", "annotations", "created")
    return all(getattr(first, name) == getattr(second, name) for name in names)


@pytest.mark.parametrize("text", [path.read_text() for path in EXAMPLES] + [SECRET, NUMBERS])
def test_the_same_document_comes_back(text: str) -> None:
    first = decode_documents(text, "a.yaml", created=5.0)
    for document in first.documents:
        again = decode_stored(document.text, document.lines, created=5.0)
        assert again.problems == tuple(one for one in first.problems if one.object == document.key)
        assert same(document, again.documents[0])


def test_the_examples_are_found() -> None:
    assert len(EXAMPLES) > 5
    assert decode_documents(NUMBERS, "a").problems == ()


def test_a_document_this_version_does_not_know_is_a_problem_at_its_line() -> None:
    (document,) = decode_documents(NUMBERS, "a.yaml").documents
    decoded = decode_stored(document.text.replace("fixedDelay", "fixedDelai"), document.lines)
    assert decoded.failed
    assert decoded.documents == ()
    assert str(decoded.problems[0].origin).startswith("a.yaml:8")
    with pytest.raises(ValueError, match="line 1"):
        decode_stored("{", document.lines)

"""ProxyConfig: what has a meaning here, and what is refused by name."""

from __future__ import annotations

import pytest

from weft.model.origin import path_text
from weft.model.problem import Problem
from weft.schema.decode import decode_documents
from weft.schema.kinds.proxyconfig import ProxyConfigSpec

HEAD = "apiVersion: networking.istio.io/v1beta1\nkind: ProxyConfig\nmetadata: {name: p}\nspec:\n"


def problem(spec: str) -> Problem:
    decoded = decode_documents(HEAD + spec, "f")
    assert decoded.documents == ()
    (found,) = decoded.problems
    return found


def test_the_fields_of_the_kind() -> None:
    text = HEAD + "  selector: {matchLabels: {app: a}}\n  concurrency: 0\n"
    (document,) = decode_documents(text + "  environmentVariables: {ISTIO_META_HTTP10: '1'}\n", "f").documents
    assert isinstance(document.spec, ProxyConfigSpec)
    assert document.spec.selector is not None
    assert (document.spec.selector.match_labels, document.spec.concurrency) == ({"app": "a"}, 0)
    assert document.spec.environment_variables == {"ISTIO_META_HTTP10": "1"}


@pytest.mark.parametrize(
    ("spec", "line", "code", "path", "said"),
    [
        ("  concurrency: -1\n", 5, "out-of-range", "spec.concurrency", "0 to 256"),
        ("  concurrency: 257\n", 5, "out-of-range", "spec.concurrency", "0 to 256"),
        ("  image:\n    imageType: distroless\n", 5, "unsupported-field", "spec.image", "WEFT_ENVOY"),
        (
            "  environmentVariables:\n    PROXY_XDS_DEBUG: a\n",
            6,
            "unsupported-field",
            "spec.environmentVariables.PROXY_XDS_DEBUG",
            "Envoy reads no variables",
        ),
        (
            "  environmentVariables:\n    ISTIO_META_HTTP1O: '1'\n",
            6,
            "unsupported-field",
            "spec.environmentVariables.ISTIO_META_HTTP1O",
            "did you mean 'ISTIO_META_HTTP10'?",
        ),
        (
            "  environmentVariables:\n    ISTIO_META_HTTP10: 'yes'\n",
            6,
            "bad-value",
            "spec.environmentVariables.ISTIO_META_HTTP10",
            "found 'yes'",
        ),
        ("  concurency: 1\n", 5, "unknown-field", "spec.concurency", "did you mean 'concurrency'?"),
    ],
)
def test_what_has_no_meaning_is_refused(spec: str, line: int, code: str, path: str, said: str) -> None:
    found = problem(spec)
    assert (found.origin.line, found.code, path_text(found.path)) == (line, code, path)
    assert said in str(found)


def test_mesh_wide_variables_are_judged_alike() -> None:
    head = "apiVersion: weft.dev/v1alpha1\nkind: MeshConfig\nmetadata: {name: default}\nspec:\n"
    good = "  defaultConfig: {concurrency: 2, proxyMetadata: {ISTIO_META_HTTP10: '1'}}\n"
    assert decode_documents(head + good, "f").problems == ()
    (found,) = decode_documents(head + "  defaultConfig: {proxyMetadata: {ISTIO_META_DNS: 'x'}}\n", "f").problems
    assert path_text(found.path) == "spec.defaultConfig.proxyMetadata.ISTIO_META_DNS"

"""Whether what was written to the API server is in force: by uid, generation and version."""

from __future__ import annotations

from dataclasses import replace

import pytest

from support.meshdocs import documents
from weft.admin.written import Written

TEXT = """
apiVersion: gateway.networking.k8s.io/v1
kind: HTTPRoute
metadata: {name: web, namespace: shop}
spec: {parentRefs: [{name: edge}]}
"""
GROUP = "gateway.networking.k8s.io"


@pytest.mark.parametrize(
    ("about", "is_in", "may_be"),
    [
        ({"uid": "u1", "generation": 2}, True, True),
        ({"uid": "u1", "generation": 1}, True, True),
        ({"uid": "u1", "generation": 3}, False, False),
        ({"uid": "u2", "generation": 1}, False, False),
        ({"uid": "u1", "generation": 2, "version": "40"}, True, True),
        ({"uid": "u1", "generation": 2, "version": "41"}, False, True),
        ({"uid": "u1", "version": "40"}, True, True),
        ({"uid": "u1", "version": "41"}, False, True),
        ({"uid": "u1", "version": "9" * 5000}, False, True),
        ({"uid": "u1", "version": "new"}, False, True),
        ({"uid": "u1", "gone": True}, False, False),
        ({"uid": "u0", "gone": True}, True, False),
    ],
)
def test_what_is_read_of_it(about: dict[str, object], is_in: bool, may_be: bool) -> None:
    """Metadata alone raise no generation: then the version says it, if they mean something to the mesh."""
    [document] = documents(TEXT, "kubernetes:HTTPRoute/shop/web/u1@40")
    found = replace(document, generation=2)
    written = Written(GROUP, "HTTPRoute", "shop", "web", **about)  # type: ignore[arg-type]
    assert (written.is_in(found), written.may_be_in(found)) == (is_in, may_be)


def test_what_is_not_there() -> None:
    assert Written("", "Service", "shop", "web", gone=True).is_in(None)
    assert not Written(GROUP, "HTTPRoute", "shop", "web", "u1", 1).may_be_in(None)
    assert not Written("", "Service", "shop", "web", "u1").may_be_in(None)

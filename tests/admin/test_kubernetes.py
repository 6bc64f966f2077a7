"""The admin API where documents come from Kubernetes: it shows them, and changes none."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from support.control import running_control
from weft.admin.owners import owner_of
from weft.model.document import Document, ObjectKey
from weft.model.origin import FieldLines
from weft.testing.polling import eventually

SERVICE = "{apiVersion: v1, kind: Service, metadata: {name: web}, spec: {ports: [{port: 80}]}}"
CHANGES = [
    ("POST", "/v1/documents", SERVICE),
    ("POST", "/v1/documents?dry_run=1", SERVICE),
    ("DELETE", "/v1/documents/service/default/web", ""),
    ("POST", "/v1/history/1/undo", ""),
]


async def test_it_changes_no_document(tmp_path: Path) -> None:
    async with running_control(tmp_path, kubernetes=True) as rig, rig.session() as session:
        (rig.files / "web.yaml").write_text(SERVICE)

        async def recorded() -> bool:
            async with session.get("/v1/history/1") as answer:
                return answer.status == 200

        await eventually("there is something to undo", recorded)
        for method, path, text in CHANGES:
            async with session.request(method, path, data=text) as answer:
                body: dict[str, Any] = await answer.json()
                assert (answer.status, body["code"]) == (409, "owned-by-kubernetes"), (path, body)
                assert (
                    body["error"]
                    == "nothing was changed: documents come from Kubernetes: use kubectl, or weft --context"
                )
        async with session.post("/v1/validation", data=SERVICE) as answer:
            assert answer.status == 200


@pytest.mark.parametrize(
    ("source", "owner"), [("kubernetes:Service/default/web/1-2@3", "kubernetes"), ("mesh/web.yaml", "api")]
)
def test_owners(source: str, owner: str) -> None:
    key = ObjectKey("", "Service", "default", "web")
    document: Document[object] = Document(key, "v1", None, "{}", FieldLines(source))
    assert owner_of(document, ()) == owner
    assert owner_of(document, {key}) == "file"

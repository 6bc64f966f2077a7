"""What is kept of a Secret or ConfigMap: the entries that are looked at, and nothing that others keep beside them."""

from __future__ import annotations

import base64
import json
from typing import Any

from support.certificates import TestAuthority
from weft.mesh.uses import OVERLAYS
from weft.model.document import ObjectKey
from weft.model.unreadable import Unreadable
from weft.schema.kinds.core import SecretSpec
from weft.schema.kinds.meshconfig import ConfigMapSpec
from weft.schema.registry import find_kind
from weft.sources.kubernetes.documents import Reading
from weft.sources.kubernetes.entries import entries_of, kept_text, unreadable_document
from weft.sources.kubernetes.reflection import Told

SECRET, CONFIG_MAP = find_kind("secrets"), find_kind("configmaps")
AUTHORITY = TestAuthority()
LEAF = AUTHORITY.issue(dns=("x.example",))
APPLIED = "kubectl.kubernetes.io/last-applied-configuration"


def secret(version: str = "7", type_: str = "Opaque", **data: bytes) -> Told:
    values = {name.replace("_", "."): base64.b64encode(value).decode() for name, value in data.items()}
    return told("Secret", version, data=values, type=type_, immutable=True)


def config_map(version: str = "7", **data: str) -> Told:
    return told("ConfigMap", version, data={name.replace("_", "."): value for name, value in data.items()})


def told(kind: str, version: str, **rest: Any) -> Told:
    about = {
        "name": "one",
        "namespace": "shop",
        "uid": "u",
        "resourceVersion": version,
        "annotations": {APPLIED: json.dumps(rest["data"])},
        "managedFields": [{"manager": "kubectl"}],
    }
    text = json.dumps({"apiVersion": "v1", "kind": kind, "metadata": about, **rest})
    return Told("shop", "one", "u", version, text)


def test_other_entries_are_nowhere_in_what_is_kept() -> None:
    reading = entries_of(SECRET, {"ca.crt"})(secret(ca_crt=AUTHORITY.bundle, password=b"hunter2"), None)
    assert reading.document is not None
    assert isinstance(reading.document.spec, SecretSpec)
    assert reading.document.spec.data == {"ca.crt": AUTHORITY.bundle}
    assert reading.problems == ()
    assert base64.b64encode(b"hunter2").decode() not in reading.document.text
    assert reading.document.annotations == ()
    assert reading.document.origin.source == "kubernetes:Secret/shop/one/u@7"


def test_all_entries_where_all_are_looked_at() -> None:
    reading = entries_of(SECRET, None)(secret(a=b"1", b=b"2"), None)
    assert reading.document is not None
    assert isinstance(reading.document.spec, SecretSpec)
    assert reading.document.spec.data == {"a": b"1", "b": b"2"}


def test_a_tls_secret_of_which_only_the_authority_is_looked_at() -> None:
    given = secret(type_="kubernetes.io/tls", tls_crt=LEAF.chain, tls_key=LEAF.key, ca_crt=AUTHORITY.bundle)
    assert "type" not in json.loads(kept_text(given.text, {"ca.crt"}))
    assert json.loads(kept_text(given.text, {"tls.crt", "tls.key"}))["type"] == "kubernetes.io/tls"
    assert entries_of(SECRET, {"ca.crt"})(given, None).problems == ()


def test_the_last_good_pair_stays_and_no_value_is_told() -> None:
    read = entries_of(SECRET, {"tls.crt", "tls.key"})
    good = read(secret(type_="kubernetes.io/tls", tls_crt=LEAF.chain, tls_key=LEAF.key), None)
    bad = read(secret("8", type_="kubernetes.io/tls", tls_crt=LEAF.chain, tls_key=b"hunter2"), good)
    assert bad.document is good.document
    assert bad.problems
    assert "hunter2" not in "".join(map(str, bad.problems))


def test_what_nobody_looks_at_makes_nothing_new() -> None:
    read = entries_of(SECRET, {"a"})
    first = read(secret(a=b"1"), None)
    assert read(secret("8", a=b"1", b=b"2"), first) is first
    later = read(secret("9", a=b"3"), first)
    assert later.document is not first.document


def test_a_config_map_without_what_is_looked_at_is_none() -> None:
    read = entries_of(CONFIG_MAP, {"ca.crt"})
    first = read(config_map(ca_crt="-----BEGIN", other="x"), None)
    assert first.document is not None
    assert isinstance(first.document.spec, ConfigMapSpec)
    assert "other" not in first.document.text
    assert read(config_map("8", other="x"), first) == Reading(first.key)


def test_what_stands_for_a_secret_that_cannot_be_read() -> None:
    document = unreadable_document(ObjectKey("", "Secret", "shop", "one"))
    assert document.spec == Unreadable("Secret")
    assert document.origin.source == "kubernetes:Secret/shop/one"


def test_beside_parameters_names_are_kept_and_no_settings_of_the_mesh() -> None:
    given = config_map(deployment="spec: {replicas: 2}", deploymnt="spec: {}", password="hunter2", meshConfig="a: b")
    text = kept_text(given.text, OVERLAYS)
    assert json.loads(text)["data"] == {"deployment": "spec: {replicas: 2}", "deploymnt": "", "password": ""}
    reading = entries_of(CONFIG_MAP, OVERLAYS)(given, None)
    assert reading.document is not None
    assert isinstance(reading.document.spec, ConfigMapSpec)
    assert reading.document.spec.data.mesh_config is None
    assert reading.document.spec.data.deployment == "spec: {replicas: 2}"


def test_a_config_map_whose_parameters_are_gone_is_not_there() -> None:
    decode = entries_of(CONFIG_MAP, OVERLAYS)
    before = decode(config_map(service="spec: {type: NodePort}"), None)
    assert before.document is not None
    assert decode(config_map("8", other="1"), before).document is None
    again = decode(config_map("9", service="spec: {type: NodePort}", more="1"), before)
    assert again.document is not before.document, "an unknown entry is a change"

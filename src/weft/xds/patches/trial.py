"""A trial: what patches come to for one proxy, as a bootstrap that a real Envoy judges, without anybody's keys."""

from __future__ import annotations

from dataclasses import dataclass, replace

from weft.mesh.memo import Memo
from weft.mesh.patches import NO_PATCHES, Patch
from weft.mesh.views import GatewayView, ProxyView
from weft.xds.build import build_xds
from weft.xds.patches.apply import apply_patches
from weft.xds.snapshot import XdsSnapshot
from weft.xds.static import static_bootstrap


@dataclass(frozen=True, slots=True)
class Question:
    """A `bootstrap` (JSON) to ask Envoy about, empty if `wrong` says enough; `by` are the patches that changed it."""

    bootstrap: str
    by: tuple[Patch, ...]
    wrong: str = ""


def question_about(view: ProxyView, memo: Memo, *, chain: str, key: str) -> Question:
    """What a view comes to with its patches. In place of certificates with keys stand `chain` and `key` (PEM)."""
    gateway = view.gateway if isinstance(view, GatewayView) else ""
    plain = build_xds(replace(view, patches=NO_PATCHES), 1, memo)
    patched = apply_patches(memo, plain.layers, view.patches, gateway)
    if patched.wrong:
        patch, text = patched.wrong[0]
        return Question("", patched.by, f"{patch.origin}: {text}")
    snapshot = XdsSnapshot(1, patched.layers)
    return Question(static_bootstrap(snapshot, edge=bool(gateway), stand_in=(chain, key)), patched.by)

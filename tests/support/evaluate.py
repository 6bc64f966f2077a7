"""The oracle, which is the product's (`weft.explain.verdict`): tests check real Envoys against it."""

from __future__ import annotations

from weft.explain.verdict import Verdict, apply_changes, evaluate

__all__ = ["Verdict", "apply_changes", "evaluate"]

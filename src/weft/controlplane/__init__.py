"""The composition root of ``weft serve``: builds every object of the control plane and runs them in one TaskGroup."""

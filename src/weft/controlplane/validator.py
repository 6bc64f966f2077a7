"""The validator: what an API server asks before it writes documents, answered in the words of `weft validate`."""

from __future__ import annotations

from weft.admin.kubernetes.admission import Admission
from weft.inject.review import ALLOWED, ReviewRequest, Verdict

PATH = "/validate"


class Validator:
    """A webhook's reviewer (`weft.controlplane.webhooks.Reviewer`)."""

    def __init__(self, admission: Admission) -> None:
        self._admission = admission

    async def __aenter__(self) -> Validator:
        return self

    async def __aexit__(self, *error: object) -> None:
        pass

    async def review(self, request: ReviewRequest) -> Verdict:
        """A refusal says what is wrong with the object by itself; warnings are for whoever writes it."""
        if request.sub_resource:
            return ALLOWED
        judged = await self._admission.judge(request.operation, request.object, request.old_object)
        return Verdict(judged.allowed, judged.message, warnings=judged.warnings)

"""WorkloadGroups through the agent API: what a workload takes from its group, for those who may be in its namespace."""

from __future__ import annotations

from collections.abc import Iterable

from aiohttp import web

from weft.admin.callers import Caller, LocalCaller, RemoteCaller
from weft.admin.context import ApiContext
from weft.admin.replies import Refused, reply
from weft.admin.standing import read_standing_of
from weft.ca.tokens import TokenRefusedError, read_token
from weft.mesh.services.workloadgroup import build_group
from weft.model.document import Document
from weft.model.workload import Workload
from weft.schema.kinds.workloadgroup import WorkloadGroupSpec
from weft.schema.wording import nearest_name


class Groups:
    """The handler. What a group says is no secret in its namespace; who is elsewhere is not told."""

    def __init__(self, context: ApiContext) -> None:
        self._collector = context.collector
        self._store = context.store
        self._clock = context.clock
        self._domain = context.authority

    async def group(self, request: web.Request, caller: Caller) -> web.Response:
        """``GET /v1/groups/{namespace}/{name}``."""
        namespace, name = request.match_info["namespace"], request.match_info["name"]
        key = f"{namespace}/{name}"
        if isinstance(caller, LocalCaller):
            if caller.identities is not None and namespace not in {place for place, _ in caller.identities}:
                raise Refused(403, "not-your-namespace", f"user {caller.uid} may be nobody in {namespace}", about=key)
        else:
            await self._check(caller, namespace, key)
        documents = self._collector.snapshot.documents
        groups = {
            one.key.name: one.spec
            for one in documents
            if isinstance(one.spec, WorkloadGroupSpec) and one.key.namespace == namespace
        }
        if name in groups:
            return reply(build_group(groups[name]))
        near = nearest_name(name, groups)
        hint = f"; did you mean '{near}'?" if near else ""
        text = f"there is no WorkloadGroup '{name}' in namespace {namespace}{hint}"
        raise Refused(404, "unknown-group", text, about=key)

    async def _check(self, caller: RemoteCaller, namespace: str, key: str) -> None:
        """Refused unless a workload of the namespace, or who may become one, asks."""
        identity = caller.identity
        if identity is not None and not caller.token:
            if (identity.trust_domain, identity.namespace) != (self._domain.trust_domain, namespace):
                raise Refused(403, "not-your-namespace", f"this certificate is that of {identity}", about=key)
            name = caller.proxy.removesuffix(f".{namespace}")
            standing = await read_standing_of(self._store, namespace, name, identity.service_account)
            standing.check_certificate(caller.trust, key)
            return
        if not caller.token:
            raise Refused(401, "token-required", "show a join token: weft token create", about=key)
        try:
            grant = await read_token(self._store, caller.token, self._clock)
        except TokenRefusedError as error:
            raise Refused(
                401, "token-refused", str(error), record=f"{error.code}: {error.detail}", about=key
            ) from error
        if grant.group and f"{grant.namespace}/{grant.group}" != key:
            text = f"the join token is for instances of WorkloadGroup {grant.namespace}/{grant.group}"
            raise Refused(403, "token-for-another", text, about=key)
        if grant.namespace != namespace:
            text = f"the join token is for {grant.namespace}/{grant.service_account}"
            raise Refused(403, "token-for-another", text, about=key)


def check_member(documents: Iterable[Document[object]], name: str, workload: Workload, key: str) -> None:
    """Refused unless the workload is what the WorkloadGroup `name`, for which its join token is, makes of it."""
    place = (workload.namespace, name)
    specs = (each.spec for each in documents if (each.key.namespace, each.key.name) == place)
    group = next((build_group(spec) for spec in specs if isinstance(spec, WorkloadGroupSpec)), None)
    if workload.group != name or group is None:
        text = f"the join token is for instances of WorkloadGroup '{name}': weft run --group {name}"
        raise Refused(403, "token-for-another", text, about=key)
    missing = ", ".join(f"{one}={value}" for one, value in group.labels if (one, value) not in workload.labels)
    if missing:
        text = f"an instance of WorkloadGroup '{name}' has the labels {missing}"
        raise Refused(403, "not-as-its-group", text, about=key)

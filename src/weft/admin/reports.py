"""Reports of agents: what their proxies saw. Each may tell of its own workload only, and is bounded."""

from __future__ import annotations

from aiohttp import web

from weft.admin.callers import Caller, LocalCaller
from weft.admin.context import ApiContext
from weft.admin.replies import Refused, body_of, json_body, reply
from weft.admin.server import keep_connection
from weft.model.canonical import canonical_service
from weft.model.identity import SpiffeId, proxy_name
from weft.model.report import Report
from weft.model.workload import Workload
from weft.traffic.names import Teller


class Reports:
    """Handler of ``POST /v1/workloads/{namespace}/{name}/report``. Nothing is asked of the store: a report every two
    seconds of each workload must cost little."""

    def __init__(self, context: ApiContext) -> None:
        self._context = context

    async def report(self, request: web.Request, caller: Caller) -> web.Response:
        """Take a report; the connection may be used for the next one."""
        workload = self._own(request, caller)
        keeper = self._context.reports
        if keeper is None:
            raise Refused(404, "not-wanted", "this control plane keeps no window of traffic")
        teller = Teller(f"{workload.namespace}/{workload.name}", f"{workload.namespace}/{canonical_service(workload)}")
        if early := keeper.turn_away(teller):
            await body_of(request)
            return reply(early)
        body: Report = await json_body(request, Report)
        keep_connection(request)
        return reply(keeper.submit(teller, body))

    def _own(self, request: web.Request, caller: Caller) -> Workload:
        """The registered workload named in the path, if the caller is it. A connection can outlive the certificate that
        it was made with, so that is asked each time."""
        namespace, name = request.match_info["namespace"], request.match_info["name"]
        proxy, key = proxy_name(name, namespace), f"{namespace}/{name}"
        workload = self._context.collector.workload(proxy)
        if not isinstance(caller, LocalCaller):
            if caller.identity is None:
                raise Refused(401, "certificate-required", "show the workload's certificate", about=key)
            if caller.until <= self._context.clock():
                raise Refused(401, "certificate-expired", "connect anew with the certificate of now", about=key)
            if caller.proxy != proxy or caller.identity.namespace != namespace:
                raise Refused(403, "not-your-workload", f"this certificate is that of {caller.proxy}", about=key)
            domain = self._context.authority.trust_domain
            is_it = workload is None or (caller.identity, caller.pod) == (
                SpiffeId(domain, namespace, workload.service_account),
                workload.pod,
            )
            if not is_it:
                raise Refused(403, "not-your-workload", "this name is registered by another identity", about=key)
        if workload is None:
            raise Refused(404, "not-registered", f"{key} is not registered (any more): register it again")
        return workload

"""`weft up --detach`: the `weft up` of a mesh in the background, waited for until all is ready."""

from __future__ import annotations

import subprocess
import time

from weft.local.command_line import interpreter
from weft.local.names import UP_LOG
from weft.local.orders import NobodyUp, Order, give_order
from weft.local.record import owner_of
from weft.local.supervisor import Plan
from weft.local.unit import Report
from weft.processes.log import end_of_log
from weft.settings.private import make_private_directory

_POLL = 0.05


def up_detached(plan: Plan, report: Report) -> int:
    """Start the `weft up` of `plan` in a session of its own, or ask the one that runs; the exit code. What it says goes
    to ``_up.log`` among the logs. Blocks until the mesh is up."""
    log = plan.home.logs / UP_LOG
    order = Order("up", mesh=plan.name)
    if owner_of(plan.home) is None:
        make_private_directory(plan.home.logs)
        words = ("up", "--home", str(plan.home.root), "-f", str(plan.file), "--timeout", f"{plan.timeout:g}")
        with log.open("wb") as output:
            started = subprocess.Popen(
                [*interpreter(), *words],
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                start_new_session=True,
            )
        while owner_of(plan.home) is None and started.poll() is None:
            time.sleep(_POLL)
        started.returncode = 0  # it outlives us on purpose
        order = Order("wait")
    try:
        if order.do == "up":
            return give_order(plan.home, order, report)
        code = give_order(plan.home, order, lambda _text: None)
        report(log.read_text(errors="replace").rstrip())  # which holds that, too
        return code
    except NobodyUp:
        report(f"error: the mesh is not up; the end of {log}:\n{end_of_log(log)}")
        return 1

"""One attempt at a verb, in this process: the very function that the action plugin and the module run, against the real server."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from ansible_collections.paas.hardening.plugins.module_utils._core.run import run
from tests.contract.catalogue import parameters, verb_of
from tests.contract.installed import Installed

Result = Mapping[str, Any]

REGISTRATION = "workflow_registration"
ROUTER = "workflow_router_scale"
INFO = "workflow_info"


def attempt(platform: Installed, module: str, *, check: bool = False, **options: Any) -> Result:
    """Run a verb once and return its result, a failure included."""
    return run(verb_of(module).begin, parameters(module, platform.options(**options)), check=check, diff=False)


def succeeded(result: Result) -> Result:
    """The result itself. Raises AssertionError when it is a failure."""
    assert not result.get("failed"), result["msg"]
    return result


def failure(result: Result, reason: str) -> str:
    """The message of a failure of this class, which says what happened and what to do. Raises AssertionError when it is something else."""
    assert result.get("failed"), f"no failure, but {result}"
    assert result["failure"]["reason"] == reason, result["msg"]
    assert result["failure"]["hint"], f"no hint: {result['msg']}"
    assert "Unexpected" not in result["msg"]
    return str(result["msg"])


def finding(result: Result, control: str = "") -> Mapping[str, Any]:
    """The finding of a control, or the first one: that of the recommendation itself."""
    found: list[Mapping[str, Any]] = [entry for entry in succeeded(result)["findings"] if control in ("", entry["control"])]
    assert found, f"no finding {control} in {[entry['control'] for entry in result['findings']]}"
    return found[0]


@contextmanager
def over_and_over(call: Callable[[], object]) -> Iterator[None]:
    """Call all the time in a thread of its own until the block ends. What it raises is raised when the block ends."""
    over, troubles = threading.Event(), []

    def loop() -> None:
        while not over.is_set():
            try:
                call()
            except Exception as error:
                troubles.append(error)
                return

    thread = threading.Thread(target=loop, daemon=True)
    thread.start()
    try:
        yield
    finally:
        over.set()
        thread.join()
    if troubles:
        raise troubles[0]

"""Runs one module in a process of its own, which a test can kill. Module and options come as JSON on standard input, since options hold passwords."""

from __future__ import annotations

import json
import signal
import sys
from typing import Any

from ansible_collections.paas.hardening.plugins.module_utils._core.run import run
from tests.contract.catalogue import parameters, verb_of


def main(given: dict[str, Any]) -> None:
    # Whoever starts a test in the background lets it ignore Ctrl-C.
    signal.signal(signal.SIGINT, signal.default_int_handler)
    result = run(verb_of(given["module"]).begin, parameters(given["module"], given["options"]), check=False, diff=False)
    print(json.dumps({name: result.get(name) for name in ("failed", "changed", "msg", "exception", "plan", "findings")}))


if __name__ == "__main__":
    main(json.load(sys.stdin))

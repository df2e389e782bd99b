"""Writes every task result, as any third-party callback gets it, to a file: one JSON object a line."""

from __future__ import annotations

import json
import os
from typing import Any

from ansible.plugins.callback import CallbackBase

DOCUMENTATION = r"""
name: record
type: notification
short_description: Write every task result to the file that PAAS_RECORD names
description: For the tests of paas.hardening.
requirements:
  - enabled in configuration
"""


class CallbackModule(CallbackBase):
    """Appends to the file as results come in, so that a run that breaks off leaves what it had."""

    CALLBACK_VERSION = 2.0
    CALLBACK_TYPE = "notification"
    CALLBACK_NAME = "record"
    CALLBACK_NEEDS_ENABLED = True

    def _write(self, status: str, result: Any) -> None:
        # The same view of the result that the JSON output of a play shows, with everything that Ansible would leave out of it.
        shown = json.loads(self._dump_results(result._result, keep_invocation=True))
        if status == "failed":
            shown["failed"] = True
        if "diff" in result._result:
            shown["diff"] = result._result["diff"]
        kept = {key: str(result._result[key]) for key in ("exception", "warnings") if result._result.get(key)}
        with open(os.environ["PAAS_RECORD"], "a", encoding="utf-8") as record:
            record.write(json.dumps({"task": result.task_name, "host": result._host.get_name(), "status": status, "result": shown, **kept}) + "\n")

    def v2_runner_on_ok(self, result: Any) -> None:
        self._write("ok", result)

    def v2_runner_on_failed(self, result: Any, ignore_errors: bool = False) -> None:
        self._write("failed", result)

    def v2_runner_on_unreachable(self, result: Any) -> None:
        self._write("unreachable", result)

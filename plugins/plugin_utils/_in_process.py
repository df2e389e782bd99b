# Copyright: the paas.hardening contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Runs a verb inside the Ansible worker instead of a process of its own.

Ansible imports an action plugin in its parent process and forks workers from it: what is imported at the top of the plugin is paid for once a
playbook instead of once a task. Nothing here opens a socket or a thread at import.
"""

from __future__ import annotations

import os
import sys
from typing import Any, ClassVar, Dict, Mapping, Optional, Tuple

from ansible.module_utils.common.parameters import remove_values
from ansible.plugins.action import ActionBase

from ansible_collections.paas.hardening.plugins.module_utils._cluster.login import foresee
from ansible_collections.paas.hardening.plugins.module_utils._core.run import Verb, run

# In the parent, once a playbook.
foresee()


class InProcessAction(ActionBase):  # type: ignore[misc]
    """An action plugin that runs a verb itself where it can, and the module of the same name where it cannot."""

    verb: ClassVar[Verb]
    _supports_check_mode = True
    _supports_async = True
    _supports_diff = True

    def run(self, tmp: Optional[str] = None, task_vars: Optional[Dict[str, Any]] = None) -> Dict[str, Any]:
        super().run(tmp, task_vars)
        variables = task_vars or {}
        if not self._local(variables):
            return dict(self._execute_module(task_vars=variables, wrap_async=self._task.async_val))
        validation, params = self.validate_argument_spec(argument_spec=self.verb.arguments)
        secrets = validation._no_log_values | set(self.verb.secrets(params))

        def tell(line: str) -> None:
            # Standard output may be of a callback that nobody else may write to.
            self._display.display(f"{self._task.action.rpartition('.')[2]}: {remove_values(line, secrets)}", stderr=True)

        result = run(self.verb.begin, params, check=self._task.check_mode, diff=self._task.diff, say=None if self._task.no_log else tell)
        for warning in result.pop("warnings", ()):
            self._display.warning(warning)
        return dict(remove_values(result, secrets))

    def _local(self, variables: Mapping[str, Any]) -> bool:
        """Tell whether the module would run on this machine, as this user, with this interpreter and environment: then so may we."""
        interpreter = self._templar.template(variables.get("ansible_python_interpreter"))
        return (
            self._connection.transport == "local"
            and not self._task.async_val
            and not self._play_context.become
            and not any(self._task.environment or ())
            and (not interpreter or _place_of(str(interpreter)) == _place_of(sys.executable))
        )


def _place_of(interpreter: str) -> Tuple[str, str]:
    """Return the folder and the program: two virtual environments link to one program, but are not the same interpreter."""
    return os.path.realpath(os.path.dirname(interpreter)), os.path.realpath(interpreter)

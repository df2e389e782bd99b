# Copyright: the paas.hardening contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Brings the program of a server to its host when it is not there yet; everything else is for the module."""

from __future__ import annotations

from typing import Any, Dict, Mapping, Optional

from ansible.errors import AnsibleError
from ansible.module_utils.parsing.convert_bool import boolean
from ansible.plugins.action import ActionBase

from ansible_collections.paas.hardening.plugins.module_utils._core.errors import Failure, NotFound, Refused
from ansible_collections.paas.hardening.plugins.module_utils._host.program import ProgramNeeded, digest_of


class BringsProgram(ActionBase):
    """Runs the module ``module``; when that lacks the program, brings it there, and runs the module again."""

    module: str

    _supports_check_mode = True
    _supports_diff = True

    def run(self, tmp: Optional[str] = None, task_vars: Optional[Dict[str, Any]] = None) -> Dict[str, Any]:
        super().run(tmp, task_vars)
        variables, given = task_vars or {}, dict(self._task.args)
        result = self._module(given, variables)
        # Without a checksum it is a program of the distribution, and a mistake is for the module to tell.
        if not given.get("binary_sha256") or not given.get("binary") or boolean(given.get("remote_src") or False) or not _lacking(result):
            return result
        try:
            program = self._program(str(given["binary"]), str(given["binary_sha256"]).strip().lower())
        except Failure as failure:
            return {"failed": True, "changed": False, "msg": str(failure), "failure": failure.as_data()}
        if not result.get("failed"):
            # It was only to be told what would change.
            return result
        folder = self._make_tmp_path()
        try:
            brought = self._connection._shell.join_path(folder, "program")
            self._transfer_file(program, brought)
            self._fixup_perms2((folder, brought))
            return self._module({**given, "binary": brought, "remote_src": True}, variables)
        finally:
            self._remove_tmp_path(folder)

    def _module(self, options: Mapping[str, Any], variables: Dict[str, Any]) -> Dict[str, Any]:
        return dict(self._execute_module(module_name=self.module, module_args=dict(options), task_vars=variables))

    def _program(self, path: str, wanted: str) -> str:
        """Return where the program is on this machine. Raises NotFound, and Refused when it is not the one that was named."""
        try:
            found = str(self._find_needle("files", path))
        except AnsibleError:
            raise NotFound(f"binary is {path}, and there is no such file where Ansible runs.", "Give the file of the program.", "binary") from None
        digest = digest_of(found)
        if digest != wanted:
            raise Refused(f"The SHA-256 of {path} is {digest}, not {wanted}.", "It is not the program that you trust: get it anew.", "binary_sha256")
        return found


def _lacking(result: Mapping[str, Any]) -> bool:
    """Tell whether the host needs the program."""
    failure = result.get("failure") or {}
    planned = any(str(change["object"]).startswith("Program ") and change["field"] == "sha256" for change in result.get("plan") or ())
    return planned if not result.get("failed") else failure.get("reason") == ProgramNeeded.reason

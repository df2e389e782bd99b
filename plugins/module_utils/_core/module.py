# Copyright: the paas.hardening contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Runs a verb as an ordinary module, in a process of its own."""

from __future__ import annotations

from ansible.module_utils.basic import AnsibleModule

from ansible_collections.paas.hardening.plugins.module_utils._core.run import Verb, run


def run_module(verb: Verb) -> None:
    """Parse the arguments, run the verb, and end the process with its result."""
    module = AnsibleModule(argument_spec=verb.arguments, supports_check_mode=True)
    module.no_log_values.update(verb.secrets(module.params))
    result = run(verb.begin, module.params, check=module.check_mode, diff=module._diff, say=None if module.no_log else module.log)
    for warning in result.pop("warnings", ()):
        module.warn(warning)
    if result.pop("failed", False):
        module.fail_json(**result)
    module.exit_json(**result)

# Copyright: the paas.hardening contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Runs workflow_backup_copy inside the Ansible worker."""

from __future__ import annotations

from ansible_collections.paas.hardening.plugins.module_utils._backup.offsite.verb import VERB
from ansible_collections.paas.hardening.plugins.plugin_utils._in_process import InProcessAction


class ActionModule(InProcessAction):
    """Everything but the verb is the same for all verbs."""

    verb = VERB

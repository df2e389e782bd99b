# Copyright: the paas.hardening contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Brings the program of etcd to its host when it is not there yet; everything else is for the module."""

from __future__ import annotations

from ansible_collections.paas.hardening.plugins.plugin_utils._brings_program import BringsProgram


class ActionModule(BringsProgram):
    """Runs the module, with its program."""

    module = "paas.hardening.host_etcd"

# Copyright: the paas.hardening contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What controls ask of workloads and their pods. Backups ask the same, so it lies below both."""

from __future__ import annotations

from ansible_collections.paas.hardening.plugins.module_utils._cluster.pods import (
    container_is_ready,
    container_of,
    is_leaving,
    is_ready,
    patiently,
    pods_of,
    ready_pods,
    selector_text,
    variable_of,
)

__all__ = [
    "container_is_ready",
    "container_of",
    "is_leaving",
    "is_ready",
    "patiently",
    "pods_of",
    "ready_pods",
    "selector_text",
    "variable_of",
]

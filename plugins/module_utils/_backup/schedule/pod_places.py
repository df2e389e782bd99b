# Copyright: the paas.hardening contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Where things are in the pod of a schedule: what the manifests mount, and what the program that runs there expects."""

from __future__ import annotations

PROGRAM, OPTIONS, KUBECONFIG, ACCOUNT_FILE, SIGNING_KEY = "program", "options.json", "kubeconfig", "passwd", "signing-key"
# What the Secret holds, as it is mounted.
GIVEN = "/paas/given"
# The same in memory, readable by the program alone, as long as the pod lives.
KEPT = "/paas/kept"
IDENTITY = "/paas/identity"
TOKEN, AUTHORITY = "token", "ca.crt"
TEMPORARY = "/tmp"
# Where the kubelet looks for what a container has to say when it ends, and how many bytes of it are taken.
LAST_WORDS, LONGEST_LAST_WORDS = "/dev/termination-log", 4096
READY = "ready"


def older_key(number: int) -> str:
    """Return what the older key of this number is called, from 0 on."""
    return f"older-key-{number}"

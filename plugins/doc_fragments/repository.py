# Copyright: the paas.hardening contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""How a repository of recovery points is named, and by which keys it is believed."""

from __future__ import annotations


class ModuleDocFragment:
    DOCUMENTATION = r"""
options:
  repository:
    description:
      - Folder of the recovery points, on the host where the task runs. It and its files are readable by their owner only, since a point of etcd holds
        every Secret of the cluster. Its parent has to be there.
      - Copy it to another site as it is; a point is never changed once it is there.
    type: path
    required: true
  signing_key_file:
    description:
      - File with the key that signs what the catalogue says, 32 bytes or more; readable by its owner only, and not in O(repository).
      - Make one with C(umask 077; openssl rand -hex 32 > FILE), and keep a copy of it outside of the machine.
    type: path
    required: true
  older_key_files:
    description: Files of keys that signed points in the past and are still believed.
    type: list
    elements: path
    default: []
"""

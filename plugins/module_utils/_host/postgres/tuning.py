# Copyright: the paas.hardening contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What a server of this size is set to: pure functions of its memory, its cores and its disk."""

from __future__ import annotations

import os
from typing import Dict, NamedTuple

_MB = 1 << 20
_GB = 1 << 30


class Size(NamedTuple):
    """Memory in bytes, cores, and the bytes of the file system that the data lies on."""

    memory: int
    cores: int
    disk: int


def measured(disk: int) -> Size:
    """Return the size of the host that we are on, with this many bytes of disk."""
    memory = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    return Size(memory, os.cpu_count() or 1, disk)


def derived(size: Size, connections: int) -> Dict[str, str]:
    """Return the settings for a server that has the host for itself, and may have so many connections."""
    shared = _between(size.memory // 4, 128 * _MB, 16 * _GB)
    # Sorts and hashes of one statement take several of these, and not every connection works at once.
    work = _between((size.memory - shared) // (4 * max(connections, 1)), 4 * _MB, 256 * _MB)
    # A checkpoint may write twice that before the next one begins; on a small disk the log must leave room for data.
    log = _between(size.disk // 8, 64 * _MB, 16 * _GB)
    kept = _megabytes(max(log // 4, 32 * _MB))
    workers = max(8, size.cores)
    return {
        "shared_buffers": _megabytes(shared),
        "effective_cache_size": _megabytes(max(size.memory * 3 // 4, shared)),
        "maintenance_work_mem": _megabytes(_between(size.memory // 16, 64 * _MB, 2 * _GB)),
        "work_mem": _megabytes(work),
        "max_worker_processes": str(workers),
        "max_parallel_workers": str(workers),
        "max_parallel_workers_per_gather": str(_between(size.cores // 2, 1, 4)),
        "max_parallel_maintenance_workers": str(_between(size.cores // 2, 1, 4)),
        "max_wal_size": _megabytes(log),
        "min_wal_size": kept,
        # A primary that was stopped after another had taken its place is rewound by the log from before its last checkpoint.
        "wal_keep_size": kept,
        # What a standby that is gone may keep back: then it has to be made anew, and the disk does not fill.
        "max_slot_wal_keep_size": _megabytes(_between(size.disk // 4, 128 * _MB, 64 * _GB)),
    }


def _between(value: int, least: int, most: int) -> int:
    return min(max(value, least), most)


def _megabytes(amount: int) -> str:
    """Round down to three binary digits, so that a few pages more or less, as after an update of the kernel, change nothing."""
    whole = amount // _MB
    step = 1 << max(whole.bit_length() - 3, 0)
    return f"{whole // step * step}MB"

# Copyright: the paas.hardening contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The keys of a store, in a file that nobody else can read."""

from __future__ import annotations

import os
from typing import Tuple

from ansible_collections.paas.hardening.plugins.module_utils._core.errors import Invalid

_LONGEST = 4096
_HINT = "Give a file of yours, with the access key in its first line and the secret key in the second; chmod 600."


def read_store_keys(path: str, option: str) -> Tuple[str, str]:
    """Read access key and secret key, one a line. Raises Invalid, naming the option and never the keys."""
    try:
        with open(path, encoding="utf-8") as file:
            lines = file.read(_LONGEST).splitlines()
            open_to_others = os.fstat(file.fileno()).st_mode & 0o077
    except (OSError, UnicodeDecodeError):
        raise Invalid(f"{option} {path or 'is missing'} cannot be read.", _HINT, option) from None
    if open_to_others or len(lines) < 2:
        what = "is open to other users" if open_to_others else "does not have two lines"
        raise Invalid(f"{option} {path} {what}.", _HINT, option)
    return lines[0].strip(), lines[1].strip()

# Copyright: the paas.hardening contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A credential of an option, or of the file that the option's twin names."""

from __future__ import annotations

from typing import Any, Mapping

from ansible_collections.paas.hardening.plugins.module_utils._core.errors import Invalid


def read_file(params: Mapping[str, Any], name: str) -> str:
    """Return the credential of the option ``name`` or the file in ``name_file``, or nothing. Raises Invalid for both, and for a file without text."""
    path = params.get(f"{name}_file")
    if path and params.get(name):
        raise Invalid(f"{name} and {name}_file are both given.", "Give one of them.", subject=name)
    return _read(path, f"{name}_file") if path else params.get(name) or ""


def _read(path: str, option: str) -> str:
    try:
        with open(path, encoding="utf-8") as file:
            text = file.read()
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "it is no text"
        raise Invalid(f"{option} {path} cannot be read: {reason}.", "Name a file that holds the credential and nothing else.", subject=option) from None
    # An editor's last line end is not part of a credential; components take a Secret's content verbatim.
    text = text[:-1] if text.endswith("\n") else text
    if not text:
        raise Invalid(f"{option} {path} is empty.", "Name a file that holds the credential and nothing else.", subject=option)
    return text

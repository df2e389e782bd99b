# Copyright: the paas.hardening contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What an option holds, or the file that the option's twin names: credentials, and the certificates of authorities."""

from __future__ import annotations

import hashlib
import os
import ssl
from typing import Any, Mapping

from ansible_collections.paas.hardening.plugins.module_utils._core.errors import Invalid
from ansible_collections.paas.hardening.plugins.module_utils._host.files import replace


def read_file(params: Mapping[str, Any], name: str) -> str:
    """Return the credential of the option ``name`` or the file in ``name_file``, or nothing. Raises Invalid for both, and for a file without text."""
    path = params.get(f"{name}_file")
    if path and params.get(name):
        raise Invalid(f"{name} and {name}_file are both given.", "Give one of them.", subject=name)
    return _read(path, f"{name}_file") if path else params.get(name) or ""


def authority_file(params: Mapping[str, Any]) -> str:
    """Return the path of the certificates that vouch for a server, nothing without any; given as text they are kept in the work folder.

    Raises Invalid when they are given both ways, and when the text is no certificate.
    """
    path, text = params.get("ca_file") or "", params.get("ca_certificates") or ""
    if not text:
        return path
    if path:
        raise Invalid("ca_file and ca_certificates are both given.", "Give one of them.", subject="ca_certificates")
    try:
        ssl.create_default_context(cadata=text)
    except (ssl.SSLError, ValueError):
        hint = "Give what stands between the lines BEGIN CERTIFICATE and END CERTIFICATE, with those lines."
        raise Invalid("ca_certificates holds no certificate in PEM.", hint, subject="ca_certificates") from None
    folder = os.path.expanduser(params["work_folder"])
    os.makedirs(folder, mode=0o700, exist_ok=True)
    path = os.path.join(folder, f"authority-{hashlib.sha256(text.encode()).hexdigest()[:16]}.pem")
    if not os.path.exists(path):
        replace(path, text, 0o600)
    return path


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

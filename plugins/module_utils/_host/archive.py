# Copyright: the paas.hardening contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The program that a timer runs: the very code that a run of Ansible uses, in one file that needs Python and no Ansible."""

from __future__ import annotations

import ast
import hashlib
import importlib.util
import io
import zipfile
import zlib
from typing import Dict, Iterator, List, Set, Tuple

from ansible_collections.paas.hardening.plugins.module_utils._core.errors import Failure

_OURS = "ansible_collections.paas.hardening.plugins.module_utils"
_MAIN = """import sys

from {module} import main

sys.exit(main(sys.argv[1:]))
"""
# The same code has to make the same bytes, or every run would write the file anew.
_EPOCH = (1980, 1, 1, 0, 0, 0)


def archive(module: str) -> bytes:
    """Return the program: a module with a ``main``, and what it imports of this collection, found by its import statements, wherever it is loaded from now."""
    files: Dict[str, bytes] = {"__main__.py": _MAIN.format(module=module).encode("ascii")}
    seen: Set[str] = set()
    left: List[str] = [module]
    while left:
        name = left.pop()
        if name in seen:
            continue
        seen.add(name)
        source, is_package = _read(name)
        for folder in _above(name):
            files.setdefault(f"{folder}/__init__.py", b"")
        files[f"{name.replace('.', '/')}{'/__init__' if is_package else ''}.py"] = source.encode("utf-8")
        left += _imported(source)
    content = io.BytesIO()
    with zipfile.ZipFile(content, "w", zipfile.ZIP_STORED) as packed:
        for path in sorted(files):
            entry = zipfile.ZipInfo(path, _EPOCH)
            entry.create_system = 3
            packed.writestr(entry, files[path])
    return content.getvalue()


def compressed(program: bytes) -> bytes:
    """Return the same program in fewer bytes: for a place that holds few."""
    content = io.BytesIO()
    with zipfile.ZipFile(content, "w", zipfile.ZIP_DEFLATED) as packed:
        for path, data in _files_in(program):
            entry = zipfile.ZipInfo(path, _EPOCH)
            entry.create_system, entry.compress_type = 3, zipfile.ZIP_DEFLATED
            packed.writestr(entry, data)
    return content.getvalue()


def digest_of(program: bytes) -> str:
    """Return what tells programs apart, however they are compressed: no two releases of zlib make the same bytes. Empty for what is no program."""
    try:
        files = _files_in(program)
    except (zipfile.BadZipFile, zlib.error, EOFError, NotImplementedError, RuntimeError):
        return ""
    digest = hashlib.sha256()
    for path, data in files:
        digest.update(f"{len(path)} {path} {len(data)} ".encode() + data)
    return digest.hexdigest()


def _files_in(program: bytes) -> List[Tuple[str, bytes]]:
    with zipfile.ZipFile(io.BytesIO(program)) as packed:
        return [(path, packed.read(path)) for path in packed.namelist()]


def _read(name: str) -> Tuple[str, bool]:
    """Return the source of a module, and whether it is a package: from a folder, from Ansible's loader, or from the zip that Ansible sends to a host."""
    spec = importlib.util.find_spec(name)
    read = getattr(spec.loader, "get_source", None) if spec is not None else None
    source = read(name) if read else None
    if spec is None or source is None:
        raise Failure(f"The source of {name} cannot be read.", "Install the collection from its artifact.", name)
    # Ansible's own loader gives bytes.
    text = source.decode("utf-8") if isinstance(source, bytes) else str(source)
    return text, spec.submodule_search_locations is not None


def _above(name: str) -> Iterator[str]:
    parts = name.split(".")[:-1]
    for number in range(1, len(parts) + 1):
        yield "/".join(parts[:number])


def _imported(source: str) -> List[str]:
    """Return the modules of this collection that a source imports, inside of functions, too."""
    found: List[str] = []
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.ImportFrom) and (node.module or "").startswith(f"{_OURS}."):
            module = str(node.module)
            found.append(module)
            if _is_package(module):
                found += [f"{module}.{alias.name}" for alias in node.names]
    return found


def _is_package(name: str) -> bool:
    spec = importlib.util.find_spec(name)
    return spec is not None and spec.submodule_search_locations is not None

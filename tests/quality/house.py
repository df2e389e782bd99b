"""The rules of ARCHITECTURE.md that a program can see. Every rule takes files and returns defects, one sentence each, so that it can be shown to fail."""

from __future__ import annotations

import ast
import pathlib
import re
from collections.abc import Callable, Iterator, Mapping

LONGEST_FILE = 500
LONGEST_LINE = 160

# Lower rooms know nothing of higher ones. Rooms of one floor do not import each other.
FLOORS = (
    ("_core",),
    ("_cluster", "_host"),
    ("_platforms",),
    ("_controls", "_backup", "_report"),
    ("plugin_utils",),
    ("modules", "action", "filter", "lookup", "callback", "inventory"),
)
FLOOR = {room: floor for floor, rooms in enumerate(FLOORS) for room in rooms}
# Documentation fragments are read by name and import nothing.
OUTSIDE = ("doc_fragments",)

PLATFORMS = ("deis", "hephy", "drycc", "openg2p")
VAGUE = re.compile(r"(^|_)(common|base|utils?|helpers?|misc|manager|stuff)(_|\.|$)")
HEADER = (
    "# Copyright: the paas.hardening contributors",
    "# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)",
    "# SPDX-License-Identifier: GPL-3.0-or-later",
)
# Written in pieces, or this file would break its own rule.
FOREIGN = re.compile(
    "|".join(
        ["/wo" + "rk/", "/ro" + "ot/", r"pypi\." + "org", "pythonhosted" + r"\.org", r"npmjs\." + "org", r"proxy\.golang" + r"\.org", r"deb\.debian" + r"\.org"]
    )
)
SILENCED = re.compile(r"#\s*(no" + r"qa|type:\s*ignore\s*$|pylint:\s*dis" + r"able)|\bTO" + r"DO\b|\bFIX" + r"ME\b")
SKIPPED = re.compile(r"\bmark\.(?:skip|xfail)|\bpytest\.(?:skip|xfail|importorskip)\(")
PRETENDED = re.compile(r"\bunittest\.mo" + r"ck\b|\bmonkey" + r"patch\b|\bMagic" + r"Mock\b")

Files = Mapping[pathlib.PurePosixPath, str]
Rule = Callable[[Files], Iterator[str]]


def room_of(name: pathlib.PurePosixPath) -> str | None:
    """The room of a file under plugins/, or None for an empty package file between the rooms."""
    parts = name.parts
    if parts[1] == "module_utils":
        return parts[2] if len(parts) > 3 else None
    return parts[1]


def imported_rooms(tree: ast.AST, name: pathlib.PurePosixPath) -> Iterator[tuple[int, str]]:
    """Yield (line, room) for every import of a file of this collection, absolute or relative, at the top or inside a function."""
    package = ("ansible_collections", "paas", "hardening", *name.parent.parts)
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom):
            above = package[: len(package) - node.level + 1] if node.level else ()
            module = (*above, *(node.module or "").split(".")) if node.module else above
            targets = [(*module, alias.name) for alias in node.names]
        elif isinstance(node, ast.Import):
            targets = [tuple(alias.name.split(".")) for alias in node.names]
        else:
            continue
        for target in targets:
            if target[:4] == ("ansible_collections", "paas", "hardening", "plugins") and len(target) > 5:
                yield node.lineno, target[5] if target[4] == "module_utils" else target[4]


def python(files: Files, under: str = "") -> Iterator[tuple[pathlib.PurePosixPath, ast.Module, str]]:
    """Yield (name, syntax tree, text) of every Python file under a folder."""
    for name, text in files.items():
        if name.suffix == ".py" and name.as_posix().startswith(under):
            yield name, ast.parse(text, filename=str(name)), text


def word(node: ast.AST) -> str | None:
    """The name or the text that a node of the syntax tree spells, if it spells one."""
    if isinstance(node, ast.Name):
        return node.id
    if isinstance(node, ast.Attribute):
        return node.attr
    return node.value if isinstance(node, ast.Constant) and isinstance(node.value, str) else None


def documentation(tree: ast.AST) -> set[ast.AST]:
    """The string constants that are documentation: docstrings, and DOCUMENTATION, EXAMPLES and RETURN of a module."""
    found: set[ast.AST] = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef) and node.body:
            first = node.body[0]
            if isinstance(first, ast.Expr) and isinstance(first.value, ast.Constant):
                found.add(first.value)
        elif isinstance(node, ast.Assign) and any(
            isinstance(target, ast.Name) and target.id in ("DOCUMENTATION", "EXAMPLES", "RETURN") for target in node.targets
        ):
            found.add(node.value)
    return found


def arrows(files: Files) -> Iterator[str]:
    """Imports point downward only."""
    for name, tree, text in python(files, "plugins/"):
        room = room_of(name)
        if room in OUTSIDE or (room is None and not text.strip()):
            continue
        if room not in FLOOR:
            yield f"{name}: lies in no room of the house"
            continue
        for line, other in imported_rooms(tree, name):
            if other not in FLOOR:
                yield f"{name}:{line}: imports {other}, which is no room of the house"
            elif FLOOR[other] > FLOOR[room]:
                yield f"{name}:{line}: {room} imports {other}: an arrow that runs upwards"
            elif FLOOR[other] == FLOOR[room] and other != room:
                yield f"{name}:{line}: {room} imports {other}: rooms of one floor do not know each other"


def check_mode_branches(files: Files) -> Iterator[str]:
    """Check mode is decided in one place, _core/run.py: it stops after the plan. Nobody else asks for it."""
    for name, tree, _text in python(files, "plugins/"):
        if name == pathlib.PurePosixPath("plugins/module_utils/_core/run.py"):
            continue
        handed = any(isinstance(node, ast.arg) and node.arg == "check" for node in ast.walk(tree))
        conditions: list[ast.expr] = [node for node in ast.walk(tree) if isinstance(node, ast.BoolOp)]
        conditions += [node.test for node in ast.walk(tree) if isinstance(node, ast.If | ast.IfExp | ast.While | ast.Assert)]
        for condition in conditions:
            for inner in ast.walk(condition):
                if word(inner) in ("check_mode", "_ansible_check_mode") or (handed and isinstance(inner, ast.Name) and inner.id == "check"):
                    yield f"{name}:{condition.lineno}: decides by check mode"


def platform_names(files: Files) -> Iterator[str]:
    """A control never spells a platform's name: what a platform calls things is a table in _platforms."""
    for name, tree, _text in python(files, "plugins/module_utils/_controls/"):
        documented = documentation(tree)
        for node in ast.walk(tree):
            spelt = word(node)
            # A sentence may quote its source; a text of one word is what code would act upon.
            if spelt and node not in documented and not re.search(r"\s", spelt) and any(platform in spelt.lower() for platform in PLATFORMS):
                yield f"{name}:{node.lineno}: spells a platform: {spelt!r}"


def sizes_and_names(files: Files) -> Iterator[str]:
    """A file is one thing with a name that says what it is."""
    for name, text in files.items():
        if name.suffix == ".py" and text.count("\n") > LONGEST_FILE:
            yield f"{name}: {text.count(chr(10))} lines, more than {LONGEST_FILE}"
        if any(VAGUE.search(part) for part in name.parts if part not in ("module_utils", "plugin_utils")) and name.suffix in (".py", ".sh", ".yml"):
            yield f"{name}: a name that says nothing"


def headers(files: Files) -> Iterator[str]:
    """Every plugin file that holds code names its licence, and runs on old Pythons by deferring its annotations."""
    for name, text in files.items():
        if name.parts[0] == "plugins" and name.suffix == ".py" and text.strip():
            head = [line for line in text.split("\n")[:6] if not line.startswith(("#!", "# -*-"))]
            if tuple(head[:3]) != HEADER:
                yield f"{name}: does not begin with the licence header"
            if "\nfrom __future__ import annotations\n" not in text:
                yield f"{name}: lacks `from __future__ import annotations`"


def silenced(files: Files) -> Iterator[str]:
    """Nothing is put off, skipped, pretended or told to a checker to overlook."""
    for name, text in files.items():
        for number, line in enumerate(text.split("\n"), start=1):
            if name.suffix == ".py" and SILENCED.search(line):
                yield f"{name}:{number}: a silenced check or a note to self"
            if name.parts[0] == "tests" and name.suffix == ".py" and (SKIPPED.search(line) or PRETENDED.search(line)):
                yield f"{name}:{number}: a skipped test or a pretended part"
            if name.suffix in (".yml", ".yaml") and re.match(r"\s*ignore_errors:", line):
                yield f"{name}:{number}: ignore_errors"


def foreign_names(files: Files) -> Iterator[str]:
    """No path of one machine and no package registry's host is written down: both come from the machine that runs it."""
    for name, text in files.items():
        for number, line in enumerate(text.split("\n"), start=1):
            if FOREIGN.search(line):
                yield f"{name}:{number}: names a path or a registry of one machine: {FOREIGN.search(line)[0]}"


RULES: tuple[Rule, ...] = (arrows, check_mode_branches, platform_names, sizes_and_names, headers, silenced, foreign_names)

"""The checkout as the quality gates see it: its files, copies of it that may be broken on purpose, and how a tool is run in one of them."""

from __future__ import annotations

import os
import pathlib
import shutil
import subprocess
import sys
from collections.abc import Iterable, Mapping, Sequence

ROOT = pathlib.Path(__file__).resolve().parents[2]
COLLECTION = ("ansible_collections", "paas", "hardening")


def listed(root: pathlib.Path = ROOT) -> list[pathlib.PurePosixPath]:
    """Name every file that belongs to the project, tracked or not yet, relative to the root and sorted."""
    answer = subprocess.run(["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"], cwd=root, check=True, capture_output=True, timeout=60)
    names = sorted({name for name in answer.stdout.decode().split("\0") if name})
    return [pathlib.PurePosixPath(name) for name in names if (root / name).is_file()]


def copy(files: Iterable[pathlib.PurePosixPath], target: pathlib.Path, source: pathlib.Path = ROOT) -> pathlib.Path:
    """Copy the files into the target folder, with their modes. Returns the target."""
    for name in files:
        place = target / name
        place.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(source / name, place)
    return target


def working_copy(folder: pathlib.Path) -> pathlib.Path:
    """Make a copy of the whole checkout with the link that its tools import the collection through, and with a git index of its own."""
    root = copy(listed(), folder / "checkout")
    subprocess.run(["git", "init", "--quiet", "."], cwd=root, check=True, capture_output=True, timeout=60)
    link(root)
    return root


def link(root: pathlib.Path) -> None:
    """Let the checkout be found as ansible_collections.paas.hardening wherever it lies."""
    place = root.joinpath(".cache", *COLLECTION)
    place.parent.mkdir(parents=True, exist_ok=True)
    if not place.is_symlink():
        place.symlink_to(os.path.join("..", "..", ".."))


def environment(root: pathlib.Path, more: Mapping[str, str] | None = None) -> dict[str, str]:
    """The environment of a tool: this interpreter's own programs first, UTF-8, the collection of that checkout and nobody's Ansible settings."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("ANSIBLE_", "PYTEST_", "VIRTUAL_ENV", "PYTHONPATH", "GIT_"))}
    kept["PATH"] = os.pathsep.join([str(pathlib.Path(sys.executable).parent), kept.get("PATH", os.defpath)])
    kept |= {"LC_ALL": "C.UTF-8", "NO_COLOR": "1", "ANSIBLE_COLLECTIONS_PATH": str(root / ".cache"), "ANSIBLE_HOME": str(root / ".cache" / "ansible-home")}
    return kept | dict(more or {})


def run(
    argv: Sequence[str], root: pathlib.Path = ROOT, more: Mapping[str, str] | None = None, timeout: float = 900, env: Mapping[str, str] | None = None
) -> tuple[int, str]:
    """Run a program in the root. Returns its exit status and everything it printed. ``env`` replaces the whole environment, ``more`` adds to it."""
    answer = subprocess.run(
        argv,
        cwd=root,
        env=dict(env) if env is not None else environment(root, more),
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        errors="replace",
        timeout=timeout,
        check=False,
    )
    return answer.returncode, answer.stdout


def passes(argv: Sequence[str], root: pathlib.Path = ROOT, timeout: float = 900) -> None:
    """Raise AssertionError with the whole output unless the program ends with 0."""
    status, output = run(argv, root, timeout=timeout)
    assert status == 0, f"`{' '.join(argv)}` ended with {status}:\n{output}"


def change(root: pathlib.Path, name: str, before: str, after: str) -> None:
    """Replace the first ``before`` in a file of a copy. Raises AssertionError when it is not there: then the sample proves nothing."""
    assert root != ROOT, "only a copy may be broken on purpose"
    text = (root / name).read_text()
    assert before in text, f"{name} has no {before!r}"
    (root / name).write_text(text.replace(before, after, 1))

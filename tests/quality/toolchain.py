"""The machine's Pythons, the cache that outlives a checkout, and a HOME for ansible-test that needs neither a container engine nor get-pip's host."""

from __future__ import annotations

import ast
import contextlib
import fcntl
import functools
import glob
import importlib.util
import os
import pathlib
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator

# ansible-test fetches get-pip.py to put pip into its own virtual environments. Every Python brings a pip of its own, so this does the same offline.
GET_PIP = """\
import subprocess
import sys

subprocess.check_call([sys.executable, "-m", "ensurepip", "--default-pip"])
wanted = [argument for argument in sys.argv[1:] if argument not in ("--no-setuptools", "--no-wheel")]
subprocess.check_call([sys.executable, "-m", "pip", "install", *wanted])
"""


def cache() -> pathlib.Path:
    """The folder for what is slow to make and depends on its content only."""
    place = os.environ.get("PAAS_HARDENING_CACHE")
    home = os.environ.get("XDG_CACHE_HOME") or os.path.expanduser("~/.cache")
    return pathlib.Path(place or os.path.join(home, "paas-hardening"))


@functools.cache
def pythons() -> dict[str, pathlib.Path]:
    """Map each minor version from 3.9 on to a real CPython of this machine that can make virtual environments: ``{"3.11": /usr/bin/python3.11}``.

    Shims of pyenv are no Pythons: they exist for versions that do not run, so its version folders are looked into instead.
    """
    pyenv = os.environ.get("PYENV_ROOT") or os.path.expanduser("~/.pyenv")
    places = [str(pathlib.Path(sys._base_executable).resolve())]  # type: ignore[attr-defined]
    for folder in (f"{pyenv}/versions/3.*/bin", "/usr/local/bin", "/usr/bin"):
        places += sorted(glob.glob(f"{folder}/python3.?*"))
    found: dict[str, pathlib.Path] = {}
    for place in places:
        version = pathlib.Path(place).name.removeprefix("python")
        if not re.fullmatch(r"3\.\d+", version) or version in found:
            continue
        probe = "import ensurepip, sys, venv; ensurepip.version(); assert sys.version_info >= (3, 9); print('%d.%d' % sys.version_info[:2])"
        answer = subprocess.run([place, "-c", probe], capture_output=True, text=True, timeout=60, check=False)
        if answer.stdout.strip() == version:
            found[version] = pathlib.Path(place)
    return found


def pip_settings() -> str:
    """This user's pip settings, from its files and from PIP_* variables, as the text of one pip.conf."""
    answer = subprocess.run([sys.executable, "-m", "pip", "config", "list"], capture_output=True, text=True, timeout=60, check=True)
    settings: dict[str, str] = {}
    for line in answer.stdout.splitlines():
        name, _equals, value = line.partition("=")
        section, _dot, key = name.rpartition(".")
        if section in ("global", "install", ":env:"):
            settings[key] = str(ast.literal_eval(value)).replace("\n", "\n    ")
    return "[global]\n" + "".join(f"{key} = {value}\n" for key, value in settings.items())


def pinned_pips() -> set[str]:
    """The versions of pip that the installed ansible-test asks for, which name its get-pip files."""
    package = importlib.util.find_spec("ansible_test")
    if package is None or not package.submodule_search_locations:
        raise RuntimeError("ansible-core is not installed in this environment")
    source = pathlib.Path(package.submodule_search_locations[0], "_internal/python_requirements.py").read_text()
    versions = set(re.findall(r"\bpip='([0-9.]+)'", source))
    assert versions, "this ansible-test names no version of pip where earlier ones did"
    return versions


@contextlib.contextmanager
def ansible_test_home() -> Iterator[dict[str, str]]:
    """Yield the environment to run ansible-test in: a HOME in the cache that holds its virtual environments, one user at a time.

    Only HOME and PATH reach its children, so pip's settings go into a file there. They can hold a password of a package index: the file goes again.
    """
    home = cache() / "sanity"
    (home / ".ansible/test/cache").mkdir(parents=True, exist_ok=True)
    with (home / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        for version in pinned_pips():
            (home / f".ansible/test/cache/get_pip_{version.replace('.', '_')}.py").write_text(GET_PIP)
        programs = home / "pythons"
        shutil.rmtree(programs, ignore_errors=True)
        programs.mkdir()
        for version, place in pythons().items():
            (programs / f"python{version}").symlink_to(place)
        settings = home / ".config/pip/pip.conf"
        settings.parent.mkdir(parents=True, exist_ok=True)
        settings.touch(mode=0o600)
        settings.write_text(pip_settings())
        try:
            path = [pathlib.Path(sys.executable).parent, programs, "/usr/sbin", "/usr/bin", "/sbin", "/bin"]
            yield {"HOME": str(home), "PATH": os.pathsep.join(map(str, path)), "LC_ALL": "C.UTF-8", "NO_COLOR": "1"}
        finally:
            settings.unlink()

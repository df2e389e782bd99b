"""What the gates rest on: real Pythons are found and shims are not, and pip's settings reach ansible-test without staying on disk."""

from __future__ import annotations

import pathlib
import stat
import subprocess
import sys

from tests.quality.checkout import ROOT, run
from tests.quality.toolchain import pythons


def in_python(code: str, more: dict[str, str]) -> str:
    """Run code in a Python of its own that starts with these variables. Returns what it printed."""
    status, output = run([sys.executable, "-c", code], ROOT, more)
    assert status == 0, output
    return output


def test_pythons_are_real() -> None:
    assert f"3.{sys.version_info.minor}" in pythons()
    for version, place in pythons().items():
        with place.open("rb") as program:
            assert program.read(4) == b"\x7fELF", f"{place} is a script"
        answer = subprocess.run([place, "-c", "import platform; print(platform.python_version())"], capture_output=True, text=True, check=True, timeout=60)
        assert answer.stdout.startswith(f"{version}.")


def test_a_shim_is_passed_over(tmp_path: pathlib.Path) -> None:
    """pyenv's shim of a version that is not active exits with 127; one that lies is found out, too."""
    for version, script in {"3.97": "exit 127", "3.98": "echo 3.11", "3.99": f'exec {sys.executable} "$@"'}.items():
        program = tmp_path / f"versions/{version}.0/bin/python{version}"
        program.parent.mkdir(parents=True)
        program.write_text(f"#!/bin/sh\n{script}\n")
        program.chmod(0o755)
    found = in_python("from tests.quality.toolchain import pythons; print(sorted(pythons()))", {"PYENV_ROOT": str(tmp_path)})
    assert "3.9" not in found.replace("'3.9'", "")


def test_pip_settings_reach_ansible_test_and_are_gone_afterwards(tmp_path: pathlib.Path) -> None:
    code = """if True:
        import pathlib, subprocess, sys
        from tests.quality.toolchain import ansible_test_home
        with ansible_test_home() as env:
            print(oct((pathlib.Path(env["HOME"]) / ".config/pip/pip.conf").stat().st_mode & 0o777))
            print(subprocess.run([sys.executable, "-m", "pip", "config", "list"], env=env, check=True, capture_output=True, text=True).stdout)
            assert "shims" not in env["PATH"]
        """
    more = {"PAAS_HARDENING_CACHE": str(tmp_path), "PIP_TIMEOUT": "17", "PIP_TRUSTED_HOST": "one.example two.example"}
    output = in_python(code, more)
    assert output.startswith(f"0o{stat.S_IRUSR | stat.S_IWUSR:o}\n"), output
    assert "global.timeout='17'" in output
    assert "one.example two.example" in output
    assert not (tmp_path / "sanity/.config/pip/pip.conf").exists()

"""Programs out of Go modules: named after their content, built with the right Go, with an error that names the log."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from lab import builds, paths
from lab.errors import LabError

SHOW = "import sys; from lab import builds; print(builds.content_hash(sys.argv[1]))"


@pytest.fixture
def copy(tmp_path: Path) -> Path:
    """A copy of the lab's code, to be changed."""
    shutil.copytree(paths.CHECKOUT / "lab", tmp_path / "lab", ignore=shutil.ignore_patterns("platforms", "image", "__pycache__"))
    return tmp_path


def python(copy: Path, *words: str, path: str | None = None) -> subprocess.CompletedProcess[str]:
    """Run the copy's code with a cache of its own."""
    env = {**os.environ, "PAAS_LAB_CACHE": str(copy / "cache"), "PATH": path or os.environ["PATH"]}
    return subprocess.run([sys.executable, *words], cwd=copy, env=env, capture_output=True, text=True, check=False)


@pytest.mark.parametrize("file", ["go.mod", "go.sum", "etcd/main.go"])
def test_the_hash_follows_the_content(copy: Path, file: str) -> None:
    before = python(copy, "-c", SHOW, "etcd").stdout
    assert before.strip() == builds.content_hash("etcd")
    with (copy / "lab/go/etcd" / file).open("a") as stream:
        stream.write("// one more line\n")
    assert python(copy, "-c", SHOW, "etcd").stdout != before


def test_every_module_has_its_own_content() -> None:
    assert len({builds.content_hash(module) for module in builds.MODULES}) == len(builds.MODULES)


def test_the_servers_version_is_stamped_as_helm_wants_it() -> None:
    version = builds.requirement("kube", "k8s.io/kubernetes")
    flags = builds._ldflags("kube")
    assert f"-X k8s.io/component-base/version.gitVersion={version}" in flags
    assert f"-X k8s.io/component-base/version.gitMinor={version.split('.')[1]}" in flags


def test_a_requirement_that_is_not_there() -> None:
    with pytest.raises(LabError, match="does not require example"):
        builds.requirement("kube", "example.org/x")


def test_an_unknown_program_is_answered_with_those_that_there_are() -> None:
    with pytest.raises(LabError, match="kubectl"):
        builds.ready("kubeclt")


def test_a_go_that_is_too_old_is_not_taken(copy: Path) -> None:
    tools = copy / "tools"
    tools.mkdir()
    (tools / "go").write_text("#!/bin/sh\necho go1.19.8\n")
    (tools / "go").chmod(0o755)
    (tools / "python").symlink_to(sys.executable)
    code = "import sys; sys.executable = sys.argv[1]; from lab import builds; print(builds.go())"
    done = python(copy, "-c", code, str(tools / "python"), path=f"{tools}:/usr/bin:/bin")
    assert "needs Go 1.26 or newer" in done.stderr
    assert "go1.19.8" in done.stderr


def test_a_failed_build_shows_its_end_and_names_its_log(copy: Path) -> None:
    (copy / "lab/go/etcd/etcd/main.go").write_text("package main\n\nfunc main() { nothing() }\n")
    done = python(copy, "-c", "from lab import builds; builds.binary('etcd', print)")
    assert done.returncode == 1
    assert "undefined: nothing" in done.stderr
    log = next((copy / "cache/build").glob("etcd-*/build.log"))
    assert f"read: {log}" in done.stderr
    assert not list((copy / "cache/build").glob("etcd-*/bin/*"))

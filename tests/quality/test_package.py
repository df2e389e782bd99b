"""The collection as a stranger gets it: what the artifact holds, that it installs and is found, and that its lists name everything they should."""

from __future__ import annotations

import pathlib
import re
import tarfile
import tomllib

import pytest
import yaml

from tests.quality.checkout import ROOT, passes, run

NEVER_SHIPPED = (".cache", ".ci", ".git", ".venv", "Makefile", "build", "lab", "tests", "pyproject.toml", "requirements-dev.txt")
ALWAYS_SHIPPED = (
    "LICENSE",
    "README.md",
    "meta/runtime.yml",
    "meta/execution-environment.yml",
    "meta/ee-requirements.txt",
    "playbooks/harden.yml",
    "requirements.txt",
)


def modules() -> list[str]:
    return sorted(path.stem for path in (ROOT / "plugins/modules").glob("*.py") if path.stem != "__init__")


@pytest.fixture(scope="module")
def installed(tmp_path_factory: pytest.TempPathFactory) -> pathlib.Path:
    """A folder with the artifact and, in .cache, the collection as ansible-galaxy installs it from there without asking anybody."""
    folder = tmp_path_factory.mktemp("package")
    passes(["ansible-galaxy", "collection", "build", "--output-path", str(folder), "."])
    (artifact,) = folder.glob("paas-hardening-*.tar.gz")
    passes(["ansible-galaxy", "collection", "install", "--offline", "--collections-path", str(folder / ".cache"), str(artifact)], folder)
    return folder


def test_artifact_holds_what_users_need_and_nothing_else(installed: pathlib.Path) -> None:
    (artifact,) = installed.glob("*.tar.gz")
    with tarfile.open(artifact) as archive:
        names = archive.getnames()
    assert [name for name in names if name.split("/")[0] in NEVER_SHIPPED or "__pycache__" in name] == []
    assert [name for name in ALWAYS_SHIPPED if name not in names] == []
    assert artifact.stat().st_size < 2_000_000


def test_installed_collection_is_found_by_name(installed: pathlib.Path) -> None:
    status, output = run(["ansible-doc", "--list", "paas.hardening"], installed)
    assert status == 0, output
    assert [module for module in modules() if f"paas.hardening.{module}" not in output] == []
    for playbook in sorted((ROOT / "playbooks").glob("*.yml")):
        if not playbook.name.endswith(".meta.yml"):
            passes(["ansible-playbook", "--syntax-check", f"paas.hardening.{playbook.stem}"], installed)


def test_every_module_with_connection_options_is_in_the_action_group() -> None:
    groups = yaml.safe_load((ROOT / "meta/runtime.yml").read_text())["action_groups"]
    assert sorted(groups["workflow"]) == [name for name in modules() if "paas.hardening.cluster" in (ROOT / f"plugins/modules/{name}.py").read_text()]


def test_every_module_runs_in_process_by_an_action_plugin_of_its_name() -> None:
    assert sorted(path.stem for path in (ROOT / "plugins/action").glob("workflow_*.py")) == [name for name in modules() if name.startswith("workflow_")]


def requirements(name: str) -> set[str]:
    lines = (ROOT / name).read_text().splitlines()
    return {line.strip() for line in lines if line.strip() and not line.startswith(("#", "-r"))}


def test_requirements_agree() -> None:
    """The execution environment brings what requirements.txt names; ansible-core it has. Every range has two ends."""
    wanted = requirements("requirements.txt")
    assert requirements("meta/ee-requirements.txt") == {line for line in wanted if not line.startswith("ansible-core")}
    endless = [line for line in wanted | requirements("requirements-dev.txt") if not re.fullmatch(r"[A-Za-z0-9.-]+>=[0-9.]+,<[0-9.]+", line)]
    assert endless == []


def test_execution_environment_is_read_by_ansible_builder() -> None:
    status, output = run(["ansible-builder", "introspect", str(ROOT / ".cache")])
    assert status == 0, output
    # It leaves out PyYAML, which comes with ansible-core.
    assert [package for package in ("kubernetes>=", "openshift>=") if package not in output] == []


def test_supported_core_is_said_once() -> None:
    """meta/runtime.yml and requirements.txt name the same oldest ansible-core."""
    promised = yaml.safe_load((ROOT / "meta/runtime.yml").read_text())["requires_ansible"].removeprefix(">=").removesuffix(".0")
    assert f"ansible-core>={promised}," in (ROOT / "requirements.txt").read_text()


def test_every_test_folder_runs() -> None:
    """A folder with tests that testpaths does not name would never run in `make test`."""
    settings = tomllib.loads((ROOT / "pyproject.toml").read_text())
    paths = [ROOT / path for path in settings["tool"]["pytest"]["ini_options"]["testpaths"]]
    orphans = [str(test.relative_to(ROOT)) for test in (ROOT / "tests").rglob("test_*.py") if not any(path in test.parents for path in paths)]
    assert orphans == []


def test_documents_name_commands_that_exist() -> None:
    targets = set(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(), re.MULTILINE))
    for document in ("README.md", "CONTRIBUTING.md", "ARCHITECTURE.md"):
        named = set(re.findall(r"(?:^\s*|`)make ([a-z-]+)", (ROOT / document).read_text(), re.MULTILINE))
        assert named - targets == set(), document

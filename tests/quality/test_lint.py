"""Every linter accepts the checkout, and every one of them notices a fault of its kind in a copy of it."""

from __future__ import annotations

import pathlib
import shutil
import sys

import pytest

from tests.quality.checkout import ROOT, change, environment, run, working_copy
from tests.quality.toolchain import cache

PLUGINS = "ansible_collections.paas.hardening.plugins"
RUFF_CHECK = ("ruff", "check", "--no-cache", ".")
RUFF_FORMAT = ("ruff", "format", "--no-cache", "--check", ".")
ANSIBLE_LINT = ("ansible-lint", "--offline", "--profile", "production")
MYPY = (sys.executable, "-m", "mypy", "--config-file", "../pyproject.toml", "-p", f"{PLUGINS}.module_utils")
DOCS = ("antsibull-docs", "lint-collection-docs", "--plugin-docs", ".")
CHANGELOG = ("antsibull-changelog", "lint")
SHELL = ("shellcheck", ".ci/run")

# Broken on purpose below.
CODE = "plugins/module_utils/_core/errors.py"


def lint(tool: tuple[str, ...], root: pathlib.Path) -> tuple[int, str]:
    """Run a linter over a checkout. Returns its exit status and what it printed."""
    # mypy sees the module and the action plugin of one name as two modules only from above the collection.
    folder = root / ".cache" if tool is MYPY else root
    # antsibull-docs keeps a log in the home folder. What mypy knows of a file goes by its content, in whichever checkout; only a broken copy keeps its own.
    known = cache() / "mypy" if root == ROOT else root / ".cache" / "mypy"
    return run(tool, folder, env=environment(root, {"HOME": str(root / ".cache"), "MYPY_CACHE_DIR": str(known)}))


@pytest.mark.parametrize(
    "tool",
    [
        pytest.param(RUFF_CHECK, id="ruff-check"),
        pytest.param(RUFF_FORMAT, id="ruff-format"),
        pytest.param(SHELL, id="shellcheck"),
        pytest.param(MYPY, id="mypy"),
        pytest.param(CHANGELOG, id="antsibull-changelog"),
        pytest.param(DOCS, id="antsibull-docs"),
        pytest.param(ANSIBLE_LINT, id="ansible-lint"),
    ],
)
def test_accepts_the_checkout(tool: tuple[str, ...]) -> None:
    status, output = lint(tool, ROOT)
    assert status == 0, output


@pytest.fixture(scope="module")
def broken(tmp_path_factory: pytest.TempPathFactory) -> pathlib.Path:
    """A copy of the checkout with one fault for each linter."""
    root = working_copy(tmp_path_factory.mktemp("lint"))
    if (cache() / "mypy").exists():
        shutil.copytree(cache() / "mypy", root / ".cache" / "mypy")
    change(root, CODE, "from typing import", "import os\nfrom typing import")
    (root / CODE).open("a").write("\n\ndef seeded(value: int) -> str:\n    return   value\n")
    change(root, "plugins/modules/workflow_info.py", "short_description:", "short_description: C(unclosed\nnonsense:")
    change(root, ".ci/run", "\n", "\necho $unquoted_and_unset\n")
    (root / "changelogs/fragments/9999-broken.yml").write_text("---\nno_such_section:\n  - text\n")
    # One module is enough for those that read all documentation.
    for module in root.glob("plugins/modules/*.py"):
        if module.stem != "workflow_info":
            module.unlink()
    (root / "roles/seeded/tasks").mkdir(parents=True)
    (root / "roles/seeded/tasks/main.yml").write_text("---\n- name: lower case\n  ansible.builtin.command: touch /tmp/x\n")
    return root


@pytest.mark.parametrize(
    ("tool", "complaint"),
    [
        pytest.param(RUFF_CHECK, "F401", id="ruff-check"),
        pytest.param(RUFF_FORMAT, f"{CODE}", id="ruff-format"),
        pytest.param(SHELL, "SC2086", id="shellcheck"),
        pytest.param(MYPY, 'got "int", expected "str"', id="mypy"),
        pytest.param(CHANGELOG, "no_such_section", id="antsibull-changelog"),
        pytest.param(DOCS, "workflow_info", id="antsibull-docs"),
        pytest.param((*ANSIBLE_LINT, "roles/seeded"), "no-changed-when", id="ansible-lint"),
    ],
)
def test_notices_a_fault(broken: pathlib.Path, tool: tuple[str, ...], complaint: str) -> None:
    status, output = lint(tool, broken)
    assert status != 0, output
    assert complaint in output

"""The house rules hold in the checkout, and each of them notices what it forbids."""

from __future__ import annotations

import pathlib
import textwrap

import pytest

from tests.quality import house
from tests.quality.checkout import ROOT, listed

PLUGINS = "ansible_collections.paas.hardening.plugins"
IGNORE = "no" + "qa"


@pytest.fixture(scope="module")
def files() -> dict[pathlib.PurePosixPath, str]:
    """The text of every text file of the checkout."""
    found = {}
    for name in listed():
        content = (ROOT / name).read_bytes()
        if b"\0" not in content:
            found[name] = content.decode()
    return found


@pytest.mark.parametrize("rule", house.RULES, ids=lambda rule: rule.__name__)
def test_holds(rule: house.Rule, files: house.Files) -> None:
    assert list(rule(files)) == []


@pytest.mark.parametrize(
    ("rule", "name", "text"),
    [
        (house.arrows, "plugins/module_utils/_core/low.py", f"from {PLUGINS}.module_utils._controls.thing import A"),
        (house.arrows, "plugins/module_utils/_core/low.py", f"import {PLUGINS}.module_utils._cluster.thing"),
        (house.arrows, "plugins/module_utils/_core/low.py", f"from {PLUGINS}.module_utils import _cluster"),
        (house.arrows, "plugins/module_utils/_cluster/low.py", "from .._platforms.model import Platform"),
        (house.arrows, "plugins/module_utils/_cluster/low.py", "def late():\n    from ..._platforms import x\n    from .._platforms import y"),
        (house.arrows, "plugins/module_utils/_controls/low.py", f"from {PLUGINS}.module_utils._report.page import A"),
        (house.arrows, "plugins/module_utils/_controls/low.py", f"from {PLUGINS}.plugin_utils._in_process import A"),
        (house.arrows, "plugins/module_utils/loose.py", "X = 1"),
        (house.arrows, "plugins/module_utils/_attic/old.py", "X = 1"),
        (house.check_mode_branches, "plugins/module_utils/_controls/one.py", "def f(run):\n    if run.check_mode:\n        return 1"),
        (house.check_mode_branches, "plugins/action/one.py", "def f(task):\n    return 1 if task['_ansible_check_mode'] else 2"),
        (house.check_mode_branches, "plugins/modules/one.py", "def f(module, check):\n    return check and module.write()"),
        (house.platform_names, "plugins/module_utils/_controls/one.py", "NAME = 'deis-router'"),
        (house.platform_names, "plugins/module_utils/_controls/one.py", "def f(p):\n    return p.is_drycc"),
        (house.platform_names, "plugins/module_utils/_controls/one.py", "def f(p):\n    return f'hephy-{p}'"),
        (house.sizes_and_names, "lab/long.py", "x = 1\n" * 501),
        (house.sizes_and_names, "plugins/module_utils/_core/common.py", "x = 1\n"),
        (house.sizes_and_names, "tests/unit/test_helpers.py", "x = 1\n"),
        (house.headers, "plugins/modules/one.py", "from __future__ import annotations\n"),
        (house.headers, "plugins/modules/one.py", "\n".join(house.HEADER) + "\nimport os\n"),
        (house.silenced, "lab/one.py", f"import os  # {IGNORE}: F401"),
        (house.silenced, "lab/one.py", "# TO" + "DO: later"),
        (house.silenced, "tests/unit/test_one.py", "@pytest.mark." + "skip"),
        (house.silenced, "tests/unit/test_one.py", "from unittest.mo" + "ck import patch"),
        (house.silenced, "roles/one/tasks/main.yml", "- name: A\n  ignore_errors: true"),
        (house.foreign_names, "README.md", "cd /wo" + "rk/main"),
        (house.foreign_names, "lab/one.py", "URL = 'https://pypi." + "org/simple'"),
    ],
)
def test_notices(rule: house.Rule, name: str, text: str) -> None:
    assert list(rule({pathlib.PurePosixPath(name): text}))


def test_lets_the_innocent_pass() -> None:
    """What the rules allow: arrows that run down, a quoted sentence, the one place that knows check mode, empty package files."""
    control = f"""
        from {PLUGINS}.module_utils._cluster.objects import read
        from .._platforms.model import Platform
        SOURCE = "The first user to run a deis register command becomes the initial admin."
        def plan(platform, supports_check_mode=True):
            '''What Deis and Drycc have in common.'''
            return platform.router
    """
    files = {
        pathlib.PurePosixPath("plugins/module_utils/_controls/one.py"): textwrap.dedent(control),
        pathlib.PurePosixPath("plugins/module_utils/_core/run.py"): "def run(module):\n    if module.check_mode:\n        return",
        pathlib.PurePosixPath("plugins/module_utils/__init__.py"): "",
        pathlib.PurePosixPath("plugins/modules/one.py"): f"from {PLUGINS}.module_utils._controls.one import plan",
    }
    found = [defect for rule in (house.arrows, house.check_mode_branches, house.platform_names, house.sizes_and_names) for defect in rule(files)]
    assert found == []

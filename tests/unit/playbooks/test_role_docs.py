"""The README of each role is what its specification says now; the tool that writes it is exact, repeatable, and notices what is out of date."""

from __future__ import annotations

import importlib.util
import pathlib
import subprocess
import sys
from types import ModuleType

import pytest
import yaml

ROOT = pathlib.Path(__file__).resolve().parents[3]
TOOL = ROOT / "docs/generate_role_docs.py"

SPECIFICATION = r"""---
argument_specs:
  main:
    short_description: Do C(one) thing
    description:
      - First sentence with V(yes\)) and B(bold).
      - Second one, see O(demo_list).
    options:
      demo_mode:
        description: How, V(a|b).
        choices: [soft, hard]
        default: soft
      demo_list:
        description: [Names., Several of them.]
        type: list
        elements: str
        default: []
      demo_name:
        description: A name.
        type: str
        required: true
      demo_text:
        description: A text.
        type: str
"""


@pytest.fixture(scope="module")
def tool() -> ModuleType:
    spec = importlib.util.spec_from_file_location("generate_role_docs", TOOL)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture
def root(tmp_path: pathlib.Path) -> pathlib.Path:
    """A checkout with one role."""
    role = tmp_path / "roles/demo"
    (role / "meta").mkdir(parents=True)
    (role / "defaults").mkdir()
    (role / "meta/argument_specs.yml").write_text(SPECIFICATION)
    (role / "defaults/main.yml").write_text("---\ndemo_mode: soft\ndemo_list: []\n")
    return tmp_path


def test_the_checkout_is_up_to_date() -> None:
    answer = subprocess.run([sys.executable, TOOL, "--check"], capture_output=True, text=True, timeout=60, check=False)
    assert (answer.returncode, answer.stdout) == (0, "")


def test_every_role_has_a_readme() -> None:
    assert [path.name for path in (ROOT / "roles").iterdir() if not (path / "README.md").is_file()] == []


def test_what_is_written(tool: ModuleType, root: pathlib.Path) -> None:
    assert tool.main([], root) == 0
    text = (root / "roles/demo/README.md").read_text()
    assert "# paas.hardening.demo\n\nDo `one` thing.\n\nFirst sentence with `yes)` and **bold**.\nSecond one, see `demo_list`.\n" in text
    table = [line for line in text.splitlines() if line.startswith("|")]
    assert table == [
        "| Variable    | Type        | Default  | Choices        | Meaning |",
        "| ----------- | ----------- | -------- | -------------- | ------- |",
        "| `demo_mode` | str         | `soft`   | `soft`, `hard` | How, `a\\|b`. |",
        "| `demo_list` | list of str | `[]`     |                | Names. Several of them. |",
        "| `demo_name` | str         | required |                | A name. |",
        "| `demo_text` | str         | none     |                | A text. |",
    ]
    (play,) = yaml.safe_load(text.partition("```yaml\n")[2].partition("```")[0])
    assert play["roles"] == [{"role": "paas.hardening.demo", "vars": {"demo_mode": "soft"}}]
    assert text.endswith("\n")
    assert not text.endswith("\n\n")


def test_writing_twice_changes_nothing(tool: ModuleType, root: pathlib.Path, capsys: pytest.CaptureFixture[str]) -> None:
    tool.main([], root)
    readme = root / "roles/demo/README.md"
    first = readme.read_text()
    assert capsys.readouterr().out == "roles/demo/README.md: written\n"
    assert tool.main([], root) == 0
    assert capsys.readouterr().out == ""
    assert readme.read_text() == first
    assert tool.main(["--check"], root) == 0


@pytest.mark.parametrize(
    ("name", "before", "after"),
    [
        ("meta/argument_specs.yml", "A text.", "Another text."),
        ("meta/argument_specs.yml", "[soft, hard]", "[soft, hard, none]"),
        ("defaults/main.yml", "demo_mode: soft", "demo_mode: hard"),
        ("README.md", "## Example", "## Examples"),
    ],
)
def test_a_difference_is_noticed_and_not_repaired(
    tool: ModuleType, root: pathlib.Path, capsys: pytest.CaptureFixture[str], name: str, before: str, after: str
) -> None:
    tool.main([], root)
    file = root / "roles/demo" / name
    assert before in file.read_text()
    file.write_text(file.read_text().replace(before, after))
    readme = (root / "roles/demo/README.md").read_text()
    capsys.readouterr()
    assert tool.main(["--check"], root) == 1
    assert "roles/demo/README.md: out of date" in capsys.readouterr().out
    assert (root / "roles/demo/README.md").read_text() == readme


def test_a_missing_readme_is_noticed(tool: ModuleType, root: pathlib.Path) -> None:
    assert tool.main(["--check"], root) == 1
    assert not (root / "roles/demo/README.md").exists()

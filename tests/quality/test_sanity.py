"""ansible-test sanity accepts the collection with empty ignore files on every Python at hand, and notices seeded faults."""

from __future__ import annotations

import pathlib
import tempfile
from collections.abc import Callable, Iterator, Sequence

import pytest

from tests.quality.checkout import COLLECTION, ROOT, change, copy, listed, run
from tests.quality.toolchain import ansible_test_home, pythons


def ansible_content(name: pathlib.PurePosixPath) -> bool:
    """What the collection is made of. The lab and the tests are no Ansible content: ruff and mypy judge them."""
    return name.parts[0] != "lab" and (name.parts[0] != "tests" or name.parts[1] in ("sanity", "config.yml"))


IDLE = "All targets skipped"
TARGETS = ("3.9", "3.10", "3.11")


@pytest.fixture
def collection() -> Iterator[pathlib.Path]:
    """A copy in a folder named ansible_collections and outside the checkout: ansible-test follows links, and asks a surrounding git what exists."""
    with tempfile.TemporaryDirectory(prefix="paas-hardening-sanity-") as folder:
        files = filter(ansible_content, listed())
        yield copy(files, pathlib.Path(folder).joinpath(*COLLECTION))


def sanity(collection: pathlib.Path, arguments: Sequence[str] = ()) -> tuple[int, str]:
    """Run sanity tests. Returns the exit status and what it printed, without pip's chatter."""
    with ansible_test_home() as env:
        status, output = run(["ansible-test", "sanity", "--local", "--color", "no", *arguments], collection, env=env, timeout=1200)
    told = [line for line in output.splitlines() if line.startswith(("Running ", "ERROR: ", "FATAL: ", "WARNING: "))]
    return status, output if status and not any(line.startswith("ERROR: ") for line in told) else "\n".join(told)


def oldest() -> str:
    """The oldest Python at hand on which modules may have to run."""
    return next(version for version in TARGETS if version in pythons())


SLOW = ("import", "compile", "pylint")


# All of them by the Python that runs Ansible, but what depends on the Python by the oldest only, and pylint, which takes longer than all others together and
# sees little that ruff and mypy do not, not at all; the proof (`make sanity`) is every test with every Python at hand.
@pytest.mark.parametrize(
    ("arguments", "test"),
    [
        pytest.param(lambda: ("--python", TARGETS[-1], *(word for test in SLOW for word in ("--skip-test", test))), "validate-modules", id="newest"),
        pytest.param(lambda: ("--python", oldest(), "--test", "import", "--test", "compile"), "import", id="oldest"),
        pytest.param(lambda: (), "validate-modules", id="every", marks=pytest.mark.proof),
    ],
)
def test_accepts_the_collection(collection: pathlib.Path, arguments: Callable[[], Sequence[str]], test: str) -> None:
    status, output = sanity(collection, arguments())
    assert status == 0, output
    assert IDLE not in output, output
    assert f'Running sanity test "{test}"' in output, output


def test_ignores_nothing() -> None:
    kept = {str(path.relative_to(ROOT)): path.read_text().strip() for path in (ROOT / "tests/sanity").glob("ignore*.txt")}
    assert not any(kept.values()), kept


def test_notices_seeded_faults(collection: pathlib.Path) -> None:
    module = "plugins/modules/workflow_registration.py"
    change(collection, module, "options:", "options:\n  never_there:\n    description: Not in the argument spec.\n    type: str")
    change(collection, "plugins/module_utils/_core/errors.py", "\n\n\nclass", "\nclass")
    (collection / "plugins/module_utils/_core/seeded.py").write_text("match = {}\nmatch match:\n    case {}:\n        pass\n")
    status, output = sanity(collection, ["--test", "validate-modules", "--test", "pep8", "--test", "compile"])
    assert status != 0, output
    for complaint in ("never_there", "E302", "seeded.py:2"):
        assert complaint in output, output

"""With a fresh point of a kind, a second run starts no program, asks nobody, writes nothing, and is over within a second."""

from __future__ import annotations

import json
import os
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from ansible_collections.paas.hardening.plugins.module_utils._backup import recovery_point
from ansible_collections.paas.hardening.plugins.module_utils._core.retry import Deadline
from ansible_collections.paas.hardening.plugins.module_utils._core.run import run
from tests.backup.asking import key_file, parameters
from tests.backup.offsite import catalogue_of
from tests.perf import figures
from tests.proof import Measured
from tests.unit.backup.points import PASSED, manifest

KINDS = ("buckets", "etcd", "objects", "postgres", "secrets", "volumes")
NOWHERE = "/nonexistent/anywhere"
STARTED = {"os.exec", "os.fork", "os.forkpty", "os.posix_spawn", "os.system", "subprocess.Popen", "socket.connect"}
WRITTEN = {"os.mkdir", "os.rename", "os.remove", "os.rmdir", "os.truncate", "os.link"}
# Bytes of each kind in the point, which are read.
SIZE = 8 << 20


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where a point of all kinds is."""
    made = tmp_path_factory.mktemp("fresh")
    catalogue = catalogue_of(made)
    with catalogue.writing(Deadline(5)) as writer, writer.stage() as stage:
        for kind in KINDS:
            place = Path(stage.folder) / kind
            place.mkdir(0o700)
            (place / "content").write_bytes(os.urandom(SIZE))
        kinds = {kind: {"needs": []} for kind in KINDS}
        proofs = {kind: dict(PASSED) for kind in KINDS}
        writer.publish(stage, manifest(stage, catalogue.read().identity, time.time() - 60, kinds=kinds, proofs=proofs))
    return made


def again(folder: Path, kind: str, **changed: Any) -> dict[str, Any]:
    """Run it in a child in which every program that is started, every connection and every change of a file is noted; none of them could come to anything."""
    options: dict[str, Any] = {
        "repository": str(folder / "repository"),
        "signing_key_file": key_file(folder),
        "kinds": [kind],
        "cluster": {"kubeconfig": NOWHERE},
        "etcd": {"endpoints": ["https://127.0.0.1:1"], "programs": NOWHERE},
        "postgres": {"client_folder": NOWHERE, "server_folder": NOWHERE},
        "secrets": {"age": NOWHERE, "recipients": ["age1" + "q" * 58, "age1" + "p" * 58]},
        "volumes": {"folders": [NOWHERE], "restic": NOWHERE},
    }
    given = parameters(recovery_point.VERB, {**options, **changed})
    reader, writer = os.pipe()
    child = os.fork()
    if child == 0:
        try:
            noted: list[str] = []
            sys.addaudithook(lambda event, _arguments: noted.append(event) if event in STARTED | WRITTEN else None)
            begun = time.monotonic()
            result = run(recovery_point.VERB.begin, given, check=False, diff=True)
            told = {"seconds": time.monotonic() - begun, "noted": noted, "changed": result["changed"], "msg": result.get("msg"), "plan": result.get("plan")}
            os.write(writer, json.dumps(told).encode())
        finally:
            os._exit(0)
    os.close(writer)
    with os.fdopen(reader, "rb") as answer:
        content = answer.read()
    os.waitpid(child, 0)
    found: dict[str, Any] = json.loads(content)
    return found


@pytest.mark.parametrize("kind", KINDS)
def test_nothing_is_started(folder: Path, kind: str, measured: Measured) -> None:
    told = again(folder, kind)
    assert (told["msg"], told["changed"], told["plan"], told["noted"]) == (None, False, [], [])
    measured(figures.at_most(f"second run with a fresh point: {kind}", told["seconds"], "s", 1.0, f"a point of {len(KINDS) * SIZE >> 20} MiB is read"))


def test_what_is_started_would_be_noted(tmp_path: Path) -> None:
    """Without a fresh point a program is asked, which the test above would have seen."""
    told = again(tmp_path, "volumes", volumes={"folders": [str(tmp_path)], "restic": "/bin/true"})
    assert ("does not say that it is restic" in told["msg"], told["noted"]) == (True, ["subprocess.Popen"])

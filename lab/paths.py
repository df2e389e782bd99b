"""Where the lab keeps things: one folder of the user's cache, and the data files of the checkout."""

from __future__ import annotations

import json
import os
import re
from pathlib import Path
from typing import Any

from lab.errors import LabError

CHECKOUT = Path(__file__).resolve().parent.parent
GO_MODULES = CHECKOUT / "lab" / "go"
IMAGE_FOLDER = CHECKOUT / "lab" / "image"
IMAGE_TABLE = CHECKOUT / "lab" / "platforms" / "components.yml"
DEFAULT_NAME = "demo"
_NAME = re.compile(r"[a-z][a-z0-9-]{0,29}")


def cache() -> Path:
    """Folder of everything: ``$PAAS_LAB_CACHE``, else ``paas-hardening-lab`` in the user's cache."""
    named = os.environ.get("PAAS_LAB_CACHE")
    if named:
        return Path(named).expanduser().absolute()
    user = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(user).absolute() / "paas-hardening-lab"


def builds() -> Path:
    """Folder of compiled programs."""
    return cache() / "build"


def images() -> Path:
    """Folder of image layers and of content stores made from them."""
    return cache() / "images"


def labs() -> Path:
    """Folder of the labs' own state."""
    return cache() / "labs"


def lab(name: str) -> Path:
    """Folder of one lab. Raises LabError for a name that cannot be one."""
    if not _NAME.fullmatch(name):
        raise LabError(f"{name!r} is no name for a lab: 1 to 30 of a-z, 0-9 and -, a letter first")
    return labs() / name


def private_folder(path: Path) -> Path:
    """Make the folder, and those above it, for this user only."""
    path.mkdir(parents=True, exist_ok=True, mode=0o700)
    return path


def write(path: Path, text: str, mode: int = 0o600) -> bool:
    """Replace a file in one step, so that a crash leaves the old or the new one; tell whether its text changed."""
    if path.exists() and path.read_text() == text:
        return False
    fresh = path.with_name(f".{path.name}.{os.getpid()}")
    with os.fdopen(os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, mode), "w") as stream:
        stream.write(text)
    fresh.replace(path)
    return True


def write_json(path: Path, value: Any) -> bool:
    """Like write, for JSON."""
    return write(path, json.dumps(value, indent=1) + "\n")


def read_json(path: Path, default: Any = None) -> Any:
    """The value in a JSON file, or the default when there is none that can be read."""
    try:
        return json.loads(path.read_text())
    except (FileNotFoundError, ValueError):
        return default

"""Charts as `helm template` renders them, without any cluster."""

from __future__ import annotations

import subprocess
from pathlib import Path
from typing import Any

import yaml

from lab.platforms import charts

GATEWAY_API = "gateway.networking.k8s.io/v1"
#: names in the tables: namespace and release
PLACES = {"hephy": "deis", "deis": "deis", "drycc-1.8": "drycc", "drycc-head": "drycc"}
# Nobody uses a key that is only rendered, and one of RSA takes longer to make than all the rest.
_SLOW_KEY, _QUICK_KEY = 'genPrivateKey "rsa"', 'genPrivateKey "ecdsa"'


def parsed(text: str) -> list[dict[str, Any]]:
    """The documents of a YAML text, by the quick loader: the tables are long."""
    return [document for document in yaml.load_all(text, Loader=yaml.CSafeLoader) if document]


def chart_of(platform: str, folder: Path) -> Path:
    """The chart of a platform, to be rendered only."""
    chart = charts.assemble(platform, folder)
    for template in (path for path in chart.rglob("templates/*") if path.is_file()):
        text = template.read_text()
        if _SLOW_KEY in text:
            template.write_text(text.replace(_SLOW_KEY, _QUICK_KEY))
    return chart


def rendered(helm: Path, chart: Path, platform: str, *options: str) -> list[dict[str, Any]]:
    """What a chart makes with these options."""
    space = PLACES[platform]
    command = [str(helm), "template", space, str(chart), "-n", space, "--api-versions", GATEWAY_API, *options]
    done = subprocess.run(command, capture_output=True, text=True, check=False, env={"HOME": str(chart.parent), "PATH": "/usr/bin:/bin"})
    assert done.returncode == 0, done.stderr
    return parsed(done.stdout)

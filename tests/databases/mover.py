"""Dumps or restores in a process of its own, which a test can kill. What to do comes as JSON on standard input, since it holds passwords."""

from __future__ import annotations

import json
import sys
from typing import Any

from ansible_collections.paas.hardening.plugins.module_utils._host.databases import move
from ansible_collections.paas.hardening.plugins.module_utils._host.databases.client import Client
from ansible_collections.paas.hardening.plugins.module_utils._host.databases.server import Server


def main(given: dict[str, Any]) -> None:
    client, server = Client(**given["client"]), Server(**given["server"])
    if given["act"] == "dump":
        move.dump(client, server, given["folder"], jobs=given["jobs"])
    else:
        move.restore(client, move.load(given["folder"]), server, jobs=given["jobs"])


if __name__ == "__main__":
    main(json.load(sys.stdin))

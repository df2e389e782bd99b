# Copyright: the paas.hardening contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The S3 servers that a host can run, each as a row of one table: how it is started, what its environment is called, where it tells how it is."""

from __future__ import annotations

from typing import Dict, List, Mapping, NamedTuple, Tuple

from ansible_collections.paas.hardening.plugins.module_utils._host import program

# How a server keeps identities: in an IAM of its own, with policies; or as accounts, which the policies of buckets let in.
IAM, ACCOUNTS = "iam", "accounts"

ACCOUNT = "object-store"
UNIT = "object-store.service"
UNIT_FILE = f"/etc/systemd/system/{UNIT}"
OURS = "/etc/paas-hardening/object-store"
ENVIRONMENT_FILE = f"{OURS}/environment"
# A folder with the certificate under the names that the server looks for.
TLS_FOLDER = f"{OURS}/tls"
DATA = "/srv/objects"


class Places(NamedTuple):
    """What a server is told on its command line. ``volumes`` are the folders for data, one a disk."""

    address: str
    port: int
    region: str
    volumes: Tuple[str, ...]


class Backend(NamedTuple):
    """One kind of server.

    ``words`` is its command line, in which the fields of Places stand in braces, beside {tls} (the folder of the certificate), {volume} (the first) and {set}
    (all of them); ``user`` and ``secret`` are the variables of the root credential, ``environment`` is what it gets beside them,
    ``prefixes`` is how all variables begin that it obeys. ``health`` are paths that
    answer 200 to everybody when all is well. ``folders`` are made within the first volume before the first start. ``most`` is how many disks it takes.
    """

    name: str
    title: str
    words: Tuple[str, ...]
    user: str
    secret: str
    environment: Mapping[str, str]
    prefixes: Tuple[str, ...]
    health: Tuple[str, ...]
    folders: Tuple[str, ...]
    identities: str
    most: int

    @property
    def program(self) -> str:
        return f"{program.FOLDER}/{self.name}"

    def command(self, places: Places) -> List[str]:
        """Return the words that the server is started with."""
        known = {**places._asdict(), "tls": TLS_FOLDER, "volume": places.volumes[0], "set": _set(places.volumes)}
        # An address of IPv6 stands in brackets before a port.
        known["address"] = f"[{places.address}]" if ":" in places.address else places.address
        return [self.program, *(word.format(**known) for word in self.words)]

    def variables(self, user: str, secret: str, region: str, more: Mapping[str, str]) -> Dict[str, str]:
        """Return its environment."""
        fixed = {name: value.format(region=region) for name, value in self.environment.items()}
        return {self.user: user, self.secret: secret, **fixed, **more}


def _set(volumes: Tuple[str, ...]) -> str:
    """Return the folders as MinIO wants them, numbered from one on."""
    return volumes[0] if len(volumes) == 1 else f"{DATA}/disk{{1...{len(volumes)}}}"


MINIO = Backend(
    name="minio",
    title="MinIO",
    words=("server", "--quiet", "--address={address}:{port}", "--certs-dir={tls}", "{set}"),
    user="MINIO_ROOT_USER",
    secret="MINIO_ROOT_PASSWORD",
    # The web pages can do nothing that is needed here; updates come by the checksum that the inventory names.
    environment={"MINIO_BROWSER": "off", "MINIO_UPDATE": "off", "MINIO_SITE_REGION": "{region}"},
    prefixes=("MINIO_",),
    health=("/minio/health/live", "/minio/health/cluster", "/minio/health/cluster/read"),
    folders=(),
    identities=IAM,
    most=16,
)
VERSITY = Backend(
    name="versity",
    title="Versity S3 Gateway",
    words=(
        *("--quiet", "--region={region}", "--port={address}:{port}", "--cert={tls}/public.crt", "--key={tls}/private.key", "--health=/health"),
        *("--iam-dir={volume}/accounts", "posix", "--versioning-dir={volume}/versions", "{volume}/buckets"),
    ),
    user="ROOT_ACCESS_KEY_ID",
    secret="ROOT_SECRET_ACCESS_KEY",
    environment={},
    prefixes=("ROOT_", "VGW_"),
    health=("/health",),
    folders=("accounts", "buckets", "versions"),
    identities=ACCOUNTS,
    most=1,
)
BACKENDS: Dict[str, Backend] = {backend.name: backend for backend in (MINIO, VERSITY)}

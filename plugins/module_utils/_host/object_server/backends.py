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
# The word of a command line that stands for many.
_DRIVES = "{drives}"


class Places(NamedTuple):
    """What a server is told on its command line. ``volumes`` are the folders for data, one a disk; ``pool`` are the addresses of a pool's members, in order."""

    address: str
    port: int
    region: str
    volumes: Tuple[str, ...]
    pool: Tuple[str, ...] = ()

    @property
    def drives(self) -> int:
        """How many drives the whole store has."""
        return len(self.volumes) * max(len(self.pool), 1)


class Backend(NamedTuple):
    """One kind of server.

    ``words`` is its command line, in which the fields of Places stand in braces, beside {tls} (the folder of the certificate), {volume} (the first) and {set}
    (all of them); the word {drives} stands for those of all members of a pool. ``user`` and ``secret`` are the variables of the root credential,
    ``environment`` is what it gets beside them, ``prefixes`` is how all variables begin that it obeys. ``health`` are paths that
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
        known = {**places._asdict(), "tls": TLS_FOLDER, "volume": places.volumes[0], "set": _set(places.volumes), "address": _host(places.address)}
        words = [word.format(**known) for word in self.words if word != _DRIVES]
        return [self.program, *words, *(_drives(places) if _DRIVES in self.words else ())]

    def variables(self, user: str, secret: str, region: str, more: Mapping[str, str]) -> Dict[str, str]:
        """Return its environment."""
        fixed = {name: value.format(region=region) for name, value in self.environment.items()}
        return {self.user: user, self.secret: secret, **fixed, **more}


def _host(address: str) -> str:
    """Return an address as it stands before a port: one of IPv6 in brackets."""
    return f"[{address}]" if ":" in address else address


def _drives(places: Places) -> List[str]:
    """Return every drive of a pool, one word each, in the same order on each member. One pattern for all would need names in a row."""
    return [f"https://{_host(address)}:{places.port}{volume}" for address in places.pool for volume in places.volumes]


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
# The same server as a member of a pool over several hosts, which speak to each other by TLS.
MINIO_POOL = MINIO._replace(title="MinIO over several hosts", words=(*MINIO.words[:-1], _DRIVES))
BACKENDS: Dict[str, Backend] = {backend.name: backend for backend in (MINIO, VERSITY)}
# Those that can be one store on several hosts.
POOLS: Dict[str, Backend] = {backend.name: backend for backend in (MINIO_POOL,)}


def parity(drives: int) -> int:
    """Return how many drives of a set of MinIO may fail before something cannot be read, as it chooses by itself. Pure."""
    for least, found in ((8, 4), (6, 3), (4, 2), (2, 1)):
        if drives >= least:
            return found
    return 0


def outlives_a_host(hosts: int, disks: int) -> bool:
    """Tell whether a pool, which is one set, can still be read and written without any one of its hosts. Pure."""
    drives = hosts * disks
    spare = parity(drives)
    data = drives - spare
    return drives - disks >= (data + 1 if data == spare else data)

"""PostgreSQL from a repository of one's own: signed, with a key that is known beforehand, and nothing else comes from it.

The repository is made here, of the distribution's own packages with versions of the project's kind, and signed by a key that is made here: the project's own
cannot be reached from a lab.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
import yaml

from tests import labs
from tests.contract.playbook import Run, run_playbook
from tests.hosts.postgres_site import PRIMARY
from tests.quality.checkout import ROOT

if TYPE_CHECKING:
    from lab.hosts.fleet import Fleet

SUITE, FOLDER = "bookworm-pgdg", "/srv/pgdg"
FILES = "/etc/apt/sources.list.d/paas-hardening-pgdg.sources /etc/apt/keyrings/paas-hardening-pgdg.asc /etc/apt/preferences.d/paas-hardening-pgdg.pref"
# What the project has, too, and a bait: a program of every host in a version that is newer than any.
PACKAGES = ("postgresql-15", "postgresql-client-15", "libpq5", "less")
MAKE = f"""set -e
apt-get -qq update && DEBIAN_FRONTEND=noninteractive apt-get -qq install --no-install-recommends gpg gpg-agent apt-utils >/dev/null 2>&1
mkdir -p {FOLDER}/pool {FOLDER}/dists/{SUITE}/main/binary-$(dpkg --print-architecture) /srv/made && cd /srv/made
chown _apt . && apt-get -qq download {" ".join(PACKAGES)} >/dev/null
for file in *.deb; do
    dpkg-deb -R $file one
    case $file in less_*) version='Version: 999' ;; *) version='&.pgdg12+1' ;; esac
    sed -i "s/^Version: .*/$version/" one/DEBIAN/control
    dpkg-deb -Zgzip -z1 -b one {FOLDER}/pool >/dev/null && rm -r one
done
for name in project other; do
    gpg --batch --quiet --passphrase '' --quick-generate-key $name ed25519 sign never 2>/dev/null
    gpg --armor --export $name > {FOLDER}/$name.asc
done
systemd-run --quiet --unit=repository --working-directory={FOLDER} python3 -m http.server 8080
"""
SIGN = f"""set -e
cd {FOLDER}/dists/{SUITE}
(cd {FOLDER} && apt-ftparchive packages pool) > main/binary-$(dpkg --print-architecture)/Packages
rm -f Release InRelease
apt-ftparchive -o APT::FTPArchive::Release::Origin=lab -o APT::FTPArchive::Release::Suite=CODENAME -o APT::FTPArchive::Release::Codename=CODENAME \\
    -o APT::FTPArchive::Release::Components=main -o APT::FTPArchive::Release::Architectures="$(dpkg --print-architecture)" release . > /srv/made/Release
mv /srv/made/Release .
gpg --batch --quiet --yes --local-user KEY --clearsign --output InRelease Release
"""


@dataclass
class Repository:
    """A host that keeps packages, and one that gets them."""

    fleet: Fleet
    folder: Path

    @property
    def url(self) -> str:
        return f"http://{self.fleet.host('mirror').address}:8080"

    def sign(self, key: str = "project", codename: str = SUITE) -> None:
        """Write the lists anew, signed by a key, under a name."""
        self.fleet.host("mirror").run(SIGN.replace("KEY", key).replace("CODENAME", codename))

    def fingerprint(self, key: str) -> str:
        lines = self.fleet.host("mirror").run(f"gpg --with-colons --list-keys {key}").splitlines()
        return next(line.split(":")[9] for line in lines if line.startswith("fpr:"))

    def run(self, *arguments: str, **more: str) -> Run:
        """Run the role with this repository, or with what is given instead of its parts."""
        key = self.fleet.host("mirror").run(f"cat {FOLDER}/project.asc")
        variables = {
            "postgres_server_version": 15,
            "postgres_server_source": "pgdg",
            "postgres_server_repository": {"url": self.url, "key": key, "fingerprint": self.fingerprint("project"), **more},
        }
        inventory = self.folder / "groups.yml"
        inventory.write_text(yaml.safe_dump({"all": {"children": {"postgres": {"hosts": {"db": {}}}}}}))
        return run_playbook(
            self.folder,
            ROOT / "playbooks/hosts.yml",
            *("-i", str(self.fleet.inventory), "-i", str(inventory), "--tags", "postgres", *arguments),
            variables=variables,
            more={"ANSIBLE_REMOTE_TEMP": "~/.ansible/tmp", "ANSIBLE_SSH_CONTROL_PATH_DIR": str(self.folder / "cp")},
        )

    def there(self) -> list[str]:
        """Which of apt's files the host has."""
        return self.fleet.host("db").run(f"ls {FILES} 2>/dev/null || true").split()


@pytest.fixture(scope="module")
def repository(tmp_path_factory: pytest.TempPathFactory, report: Callable[[str], None]) -> Iterator[Repository]:
    """Both hosts, up, with the repository signed and served, past the relay that brings the distribution's packages."""
    with labs.hosts(["mirror", "db"], report=report, purpose="pgdg") as fleet:
        made = Repository(fleet, tmp_path_factory.mktemp("pgdg"))
        fleet.host("mirror").run(MAKE, seconds=300)
        made.sign()
        direct = f'Acquire::http::Proxy::{fleet.host("mirror").address} "DIRECT";\n'
        fleet.host("db").run("cat > /etc/apt/apt.conf.d/01direct", stdin=direct)
        yield made


def plan(run: Run) -> list[Mapping[str, Any]]:
    return list(run.result(PRIMARY, "db")["plan"])


@pytest.mark.parametrize(
    ("more", "words"),
    [
        ({"fingerprint": "A" * 40}, "The fingerprint of the repository's key is"),
        ({"key": "no key"}, "of no key at all"),
        ({"url": "ftp://mirror"}, "repository.url is"),
        ({"url": "http://127.0.0.1:9"}, "apt does not take the repository"),
    ],
    ids=["fingerprint", "key", "scheme", "silent"],
)
def test_another_key_or_no_answer_leaves_no_source_behind(repository: Repository, more: dict[str, str], words: str) -> None:
    run = repository.run(**more)
    assert (run.status, words in run.output) == (2, True), run.output
    assert [path for path in repository.there() if path.endswith(".sources")] == []


@pytest.mark.parametrize(("key", "codename", "words"), [("other", SUITE, "apt does not take the repository"), ("project", "sid", "cannot be kept out")])
def test_another_signature_or_suite_is_refused_by_what_apt_says(repository: Repository, key: str, codename: str, words: str) -> None:
    repository.sign(key, codename)
    run = repository.run()
    repository.sign()
    assert (run.status, words in run.output) == (2, True), run.output
    assert [path for path in repository.there() if path.endswith(".sources")] == []
    assert repository.fleet.host("db").run("ls /usr/lib/postgresql 2>/dev/null || true") == ""


def test_the_server_comes_from_there_and_nothing_else_does(repository: Repository) -> None:
    host = repository.fleet.host("db")
    host.run(f"rm -f {FILES}")
    predicted = repository.run("--check").ok()
    assert repository.there() == []
    done = repository.run().ok()
    assert plan(done) == plan(predicted)
    assert [change["object"].split()[0] for change in plan(done)][:4] == ["Repository", "Repository", "Repository", "Packages"]
    assert len(repository.there()) == 3
    versions = dict(line.split() for line in host.run(f"dpkg-query -W -f '${{Package}} ${{Version}}\\n' {' '.join(PACKAGES)} postgresql-common").splitlines())
    assert [name for name, version in versions.items() if version.endswith(".pgdg12+1")] == ["libpq5", "postgresql-15", "postgresql-client-15"]
    assert f"500 {repository.url}" not in host.run("apt-cache policy")
    upgraded = host.run("apt-get -s dist-upgrade")
    assert "999" not in upgraded
    assert "less" not in upgraded
    again = repository.run().ok()
    assert plan(again) == []


def test_what_a_hand_changes_is_put_right_and_the_next_version_comes_by_apt(repository: Repository) -> None:
    host = repository.fleet.host("db")
    host.run(f"chmod 666 {FILES}; sed -i '/Signed-By/d' {FILES.split()[0]}; printf 'Package: *\\nPin-Priority: 990\\n' > {FILES.split()[2]}")
    assert [change["object"].split()[0] for change in plan(repository.run().ok())] == ["Repository"] * 3
    assert plan(repository.run().ok()) == []
    mirror = repository.fleet.host("mirror")
    mirror.run(
        f"cd /srv/made && dpkg-deb -R {FOLDER}/pool/postgresql-15_*.deb one && sed -i 's/pgdg12+1/pgdg12+2/' one/DEBIAN/control"
        f" && dpkg-deb -Zgzip -z1 -b one {FOLDER}/pool >/dev/null && rm -r one"
    )
    repository.sign()
    assert ".pgdg12+2 " in host.run("apt-get -qq update && apt-get -s dist-upgrade | grep '^Inst'")
    assert plan(repository.run().ok()) == []


def test_a_server_of_the_distribution_is_told_and_left(repository: Repository) -> None:
    host = repository.fleet.host("db")
    own = host.run("apt-cache madison postgresql-15 | grep -v pgdg | cut -d '|' -f 2 | head -1").strip()
    host.run(f"DEBIAN_FRONTEND=noninteractive apt-get -qq install --allow-downgrades postgresql-15={own} >/dev/null 2>&1")
    run = repository.run().ok()
    assert f"postgresql-15 {own} is not that of {repository.url}" in run.output
    assert [change for change in plan(run) if change["field"] not in ("running", "reloaded")] == []

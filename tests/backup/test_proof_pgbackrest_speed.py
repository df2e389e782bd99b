"""A point of a PostgreSQL that archives takes hardly longer than pgBackRest and PostgreSQL's programs run by hand; and what a synchronous receiver costs."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.backup.archive_site import AS_POSTGRES, Archive, opened
from tests.backup.by_hand import compared, told
from tests.backup.test_proof_pgbackrest import well
from tests.perf import figures
from tests.proof import Measured


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory, report: Callable[[str], None]) -> Iterator[Archive]:
    with opened(tmp_path_factory.mktemp("archive"), report) as made:
        made.roles().ok()
        made.have_ledger()
        yield made


# What an administrator types who proves a backup: taken, recovered to a name behind it, every index, page and checksum read.
BY_HAND = """
set -eu
data=/srv/by_hand control="/usr/lib/postgresql/17/bin/pg_ctl -s -w -D /srv/by_hand"
rm -rf $data; install -d -m 700 $data
pgbackrest --stanza=main --log-level-console=off --log-level-file=off --type=full --start-fast --no-expire-auto backup
psql -X -q -A -t -d postgres -c "SELECT pg_create_restore_point('by_hand'); SELECT pg_switch_wal()" >/dev/null
pgbackrest --stanza=main --log-level-console=off --log-level-file=off check
pgbackrest --stanza=main --log-level-console=off --log-level-file=off --pg1-path=$data --lock-path=/srv/locks_by_hand --archive-mode=off \\
    --type=name --target=by_hand --target-action=promote restore
echo 'local all all peer' > $data/hba
$control -l $data/log -o "-c config_file=/etc/postgresql/17/main/postgresql.conf -c listen_addresses= -c archive_mode=off -c hba_file=$data/hba \\
    -c unix_socket_directories=$data -c data_directory=$data -c external_pid_file=$data/pid -c synchronous_standby_names= -c hot_standby=off -c fsync=off" start
until pg_isready --quiet --host=$data; do sleep 0.1; done
/usr/lib/postgresql/17/bin/pg_amcheck --host=$data --all --install-missing --heapallindexed --parent-check --jobs=1 --no-strict-names
psql -X -q -A -t -h $data -d app -c 'SELECT count(*) FROM ledger' >/dev/null
$control -m fast stop
/usr/lib/postgresql/17/bin/pg_checksums --check --pgdata=$data >/dev/null
rm -rf $data
"""


def test_a_point_takes_hardly_longer_than_by_hand(site: Archive, tmp_path: Path, share: Callable[[int, int], int], measured: Measured) -> None:
    scale = share(2, 100)
    site.host.run(f"{AS_POSTGRES} pgbench --initialize --quiet --scale={scale} app 2>&1", seconds=600)
    site.host.run("cat > /srv/by_hand.sh; chown postgres /srv; install -d -o postgres /srv/locks_by_hand", stdin=BY_HAND)

    def ours(_place: Path) -> None:
        assert well(site.keep(full_age="1s"))["point"]["kinds"]["postgres"]["kind"] == "full"

    def by_hand(_place: Path) -> None:
        site.host.run(f"{AS_POSTGRES} bash /srv/by_hand.sh", seconds=900)

    times = compared(tmp_path, ours, by_hand, share(1, 5))
    measured(told("PostgreSQL by pgBackRest", times, f"a full backup of pgbench's scale {scale}", share))


def test_what_a_synchronous_receiver_costs_is_told(site: Archive, measured: Measured) -> None:
    alone = site.throughput()
    site.receive()
    both = site.throughput()
    measured(figures.told("transactions with a synchronous receiver", both / alone, "times", f"{alone:.0f} a second alone, {both:.0f} with it"))

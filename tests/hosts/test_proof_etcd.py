"""etcd on real hosts of Debian 12 and 13: predicted, done, done once, grown under a writer, up after a reboot, faults named and mended, a member replaced.

The tests tell one story, in this order.
"""

from __future__ import annotations

import time
from collections.abc import Callable

from tests.hosts import outside
from tests.hosts.etcd_site import DATA, HOSTS, OURS, PACKAGED, UNIT, Members, Writer, nothing, told
from tests.perf import figures
from tests.proof import Measured

UNIT_FILE, TIMER = f"/etc/systemd/system/{UNIT}", "etcd-upkeep.timer"
LOOK = f"ls -lAR /etc/systemd/system {OURS} /srv /usr/local/lib 2>&1; getent passwd etcd; blkid -p /dev/vdb; true"
USERS = [{"name": "writer", "prefix": "/writer/"}, {"name": "reader", "prefix": "/writer/", "rights": "read"}]
STRANGER = "10.255.255.250"


def test_an_audit_of_a_bare_host_tells_what_is_missing_and_touches_nothing(members: Members) -> None:
    before = members.hosts["e1"].run(LOOK)
    run = members.run(members=["e1"], mode="audit").ok()
    found = {area: finding["status"] for area, finding in members.findings(run, "e1").items()}
    assert [found[area] for area in ("server", "storage", "tls", "member", "upkeep")] == ["would-fix"] * 5, run.output
    assert members.hosts["e1"].run(LOOK) == before


def test_a_cluster_begins_with_one_member(members: Members) -> None:
    members.run(members=["e1"]).ok()
    assert [(member["name"], member.get("isLearner", False)) for member in members.members(hosts=["e1"])] == [("e1", False)]


def test_it_grows_to_three_under_a_writer_as_predicted_and_no_write_is_lost(members: Members, measured: Measured) -> None:
    members.more.update(authentication=True, root_password=members.password, users=USERS)
    predicted = members.run("--check", "--diff").ok()
    with Writer(members, ["e1"]) as writer:
        done = members.run("--diff").ok()
        time.sleep(2)
    for name in HOSTS:
        assert members.plans(done)[name] == members.plans(predicted)[name], name
    assert len(writer.acknowledged) > 10
    measured(
        figures.at_most("etcd grows from 1 to 3: acknowledged writes lost", len(writer.lost(HOSTS)), f"of {len(writer.acknowledged)}", 0),
        figures.told("etcd grows from 1 to 3: longest pause of a writer", writer.longest, "s"),
    )
    assert [(member["name"], member.get("isLearner", False)) for member in members.members(root=True)] == [(name, False) for name in HOSTS]
    assert [run for run in (predicted, done) if members.password in run.output] == []


def test_it_is_what_it_has_to_be_by_the_word_of_others(members: Members) -> None:
    for host in members.hosts.values():
        assert host.run(f"stat -c '%a %U' {DATA} {OURS}/server.key {OURS}/ca.key {OURS}/root.secret").split() == [
            *("700", "etcd", "600", "etcd", "600", "root", "600", "root"),
        ]
        process = host.run(f"systemctl show -p MainPID --value {UNIT}").strip()
        seen = dict(line.split(":", 1) for line in host.run(f"cat /proc/{process}/status").splitlines() if ":" in line)
        assert (seen["NoNewPrivs"].strip(), seen["Seccomp"].strip(), int(seen["CapEff"], 16), int(seen["CapBnd"], 16)) == ("1", "2", 0, 0)
        listening = {line.split()[3] for line in host.run("ss -Hltnp").splitlines() if "etcd" in line}
        assert listening == {f"{host.address}:2379", f"{host.address}:2380", "127.0.0.1:2381"}
        assert members.password not in host.run("ps axww; journalctl --no-pager --quiet")
    # A user may do what he has to, and no more; who has no certificate may do nothing.
    assert members.etcdctl("put", "/writer/own", "1")[0] == 0
    assert members.etcdctl("get", "/writer/own", files=members.client_files("reader"))[0] == 0
    for words, client in ((("put", "/writer/own", "2"), "reader"), (("get", "/other"), "writer"), (("user", "list"), "writer")):
        status, said = members.etcdctl(*words, files=members.client_files(client))
        assert (status != 0, "permission denied" in said) == (True, True), said
    authority = members.client_files()[:1]
    assert members.etcdctl("get", "/writer/own", files=authority)[0] != 0


def test_strangers_find_no_fault_with_the_tls(members: Members, report: Callable[[str], None]) -> None:
    for name, host in members.hosts.items():
        authority = members.folder / f"{name}.crt"
        authority.write_text(host.run(f"cat {OURS}/ca.crt"))
        for port in (2379, 2380):
            assert outside.tls_troubles(f"{host.address}:{port}", name, authority, report) == [], (name, port)


def test_after_a_reboot_all_is_up_and_nothing_is_to_be_done(members: Members, measured: Measured) -> None:
    for host in members.hosts.values():
        host.reboot()
    begun = time.monotonic()
    run = members.run().ok()
    measured(figures.told("three members of etcd: second run", time.monotonic() - begun, "s"))
    assert members.plans(run) == nothing()
    assert "changed=1" not in run.output
    assert members.statuses(run) == {name: {"pass"} for name in HOSTS}, run.output


def test_the_upkeep_gives_room_back_on_one_member_after_the_other_the_leader_last(members: Members) -> None:
    said = {
        name: host.run("systemctl start etcd-upkeep.service && journalctl -u etcd-upkeep.service -o cat --no-pager") for name, host in members.hosts.items()
    }
    (leader,) = [name for name, text in said.items() if "bytes became" in text]
    order = [line.split(":")[0] for line in said[leader].splitlines() if "bytes became" in line]
    assert (len(order), order[-1]) == (3, members.hosts[leader].address), said
    assert [name for name, text in said.items() if "Another member leads" in text] == [name for name in HOSTS if name != leader]


EXPIRED = f"""cd {OURS} && openssl req -new -key server.key -subj /O=e2 -out /tmp/s.csr
printf 'subjectAltName=DNS:%s,IP:%s\\nextendedKeyUsage=serverAuth,clientAuth' $(hostname) $(hostname -I | cut -d' ' -f1) > /tmp/s.ext
openssl x509 -req -in /tmp/s.csr -CA ca.crt -CAkey ca.key -set_serial 7 -days 0 -extfile /tmp/s.ext > server.crt 2>/dev/null; rm /tmp/s.*"""
# A second port for clients, without TLS, and a flag that says how another cluster began.
OPENED = f"""sed -i 's/^ExecStart=.*/& --initial-cluster=foreign=http:\\/\\/192.0.2.1:2380/; s/--listen-client-urls=/&http:\\/\\/0.0.0.0:2378,/' {UNIT_FILE}
systemctl daemon-reload; systemctl restart {UNIT}"""
# What somebody does by hand on e2 while it runs, and the object and field by which the audit tells it.
FAULTS = {
    "a client port without TLS, a foreign flag": (OPENED, f"File {UNIT_FILE}", "content"),
    "a process that was told otherwise": ("true", f"Unit {UNIT}", "restarted"),
    "a unit that all can write": (f"chmod 666 {UNIT_FILE}", f"File {UNIT_FILE}", "mode"),
    "not started at boot": (f"systemctl --quiet disable {UNIT}", f"Unit {UNIT}", "at boot"),
    "a key that all can read": (f"chmod 644 {OURS}/clients/writer.key", f"Private part {OURS}/clients/writer.key", "mode"),
    "a key of another account": (f"chown nobody {OURS}/clients/reader.key", f"Private part {OURS}/clients/reader.key", "owner"),
    "an authority's key of another account": (f"chown etcd {OURS}/ca.key", f"Private part {OURS}/ca.key", "owner"),
    "one more authority": (f"cat /etc/ssl/certs/ca-certificates.crt >> {OURS}/trust.crt", f"File {OURS}/trust.crt", "content"),
    "another program": ("cp --remove-destination /bin/true /usr/local/lib/paas-hardening/etcd", "Program", "sha256"),
    "an account that can log in": ("usermod --shell /bin/bash etcd 2>/dev/null", "Account etcd", "shell"),
    "a home that all can read": ("chmod 755 /srv/etcd", "Folder /srv/etcd", "mode"),
    "a disk that is not mounted at boot": ("systemctl --quiet disable srv-etcd.mount", "Mount /srv/etcd", "at boot"),
    "a mount of another disk": ("sed -i 's/^What=.*/What=LABEL=other/' /etc/systemd/system/srv-etcd.mount", "Mount /srv/etcd", "unit"),
    "a timer that is off": (f"systemctl --quiet disable --now {TIMER}", f"Unit {TIMER}", "running"),
    "a timer that is off at boot": ("true", f"Unit {TIMER}", "at boot"),
    "another time": (f"sed -i 's/^OnCalendar=.*/OnCalendar=yearly/' /etc/systemd/system/{TIMER}", f"File /etc/systemd/system/{TIMER}", "content"),
    "another upkeep": ("echo >> /usr/local/lib/paas-hardening/etcd-upkeep.pyz", "etcd-upkeep.pyz", "content"),
    "a password that all can read": (f"chmod 644 {OURS}/root.secret", f"File {OURS}/root.secret", "mode"),
    "a home of another account": ("chown nobody /srv/etcd", "Folder /srv/etcd", "owner"),
    "an expired certificate": (EXPIRED, f"Certificate {OURS}/server.crt", "valid until"),
}
# The same, by etcd's own interface, and what is left to a person.
MISUSE = {
    "nobody has to log in": ("Authentication etcd", "enabled"),
    "a user that is root": ("User writer", "roles"),
    "a reader that writes": ("User reader", "rights"),
    "no room for writes": ("Alarm NOSPACE", "raised"),
}
LEFT = {
    "a learner left over": f"a learner https://{STRANGER}:2380 that the inventory does not name",
    "a user that nobody declared": "There is a user stranger that is not declared",
}


def misuse(members: Members) -> None:
    for words in (
        ("user", "grant-role", "writer", "root"),
        ("role", "grant-permission", "reader", "--prefix", "readwrite", "/"),
        ("user", "add", "stranger", "--no-password"),
        ("auth", "disable"),
        ("member", "add", "left", "--learner", f"--peer-urls=https://{STRANGER}:2380"),
    ):
        status, said = members.etcdctl(*words, root=True)
        assert status == 0, said
    filled = 0
    while "space exceeded" not in members.etcdctl("put", "/filled", stdin="x" * 1_400_000)[1]:
        filled += 1
        assert filled < 80


def test_every_fault_is_named_by_the_audit_and_mended_or_left_with_the_reason(members: Members, measured: Measured) -> None:
    host = members.hosts["e2"]
    misuse(members)
    for command, _object, _field in FAULTS.values():
        host.run(command)
    assert host.run(f"python3 -c \"import urllib.request as u; print(u.urlopen('http://{host.address}:2378/version').status)\"").strip() == "200"
    audit = members.run(mode="audit").ok()
    lines = [line for name in HOSTS for line in told(members.plans(audit)[name])]
    expected = {fault: (thing, field) for fault, (_command, thing, field) in FAULTS.items()} | MISUSE
    unnamed = [
        fault for fault, (thing, field) in expected.items() if not any(thing in line.rpartition(": ")[0] and line.endswith(f": {field}") for line in lines)
    ]
    assert unnamed == [], lines
    said = members.said(audit, "e1")
    assert [fault for fault, words in LEFT.items() if words not in said] == [], said
    count = len(expected) + len(LEFT)
    measured(figures.at_least("faults of etcd named", count - len(unnamed), f"of {count}", count, f"{len(LEFT)} of them left to a person"))
    done = members.run().ok()
    assert members.plans(done) == members.plans(audit)
    assert [fault for fault, words in LEFT.items() if words not in members.said(done, "e1")] == []
    for words in (("user", "delete", "stranger"), ("member", "remove", stranger_of(members))):
        assert members.etcdctl(*words, root=True)[0] == 0
    again = members.run().ok()
    assert (members.plans(again), members.statuses(again)) == (nothing(), {name: {"pass"} for name in HOSTS}), again.output
    assert members.etcdctl("put", "/writer/again", "1")[0] == 0
    assert "2378" not in host.run("ss -Hltn")
    assert [run for run in (audit, done) if members.password in run.output] == []


def stranger_of(members: Members) -> str:
    """The number of the member that was left over, in the letters of etcdctl."""
    (number,) = [int(member["ID"]) for member in members.members(hosts=["e1"]) if not member.get("name")]
    return f"{number:x}"


def test_a_lost_member_is_replaced_only_when_it_is_named_and_no_write_is_lost(members: Members, measured: Measured) -> None:
    host = members.hosts["e3"]
    with Writer(members, ["e1", "e2"]) as writer:
        host.run(f"kill -9 $(systemctl show -p MainPID --value {UNIT}); systemctl stop {UNIT}; rm -rf {DATA}/member")
        refused = members.run()
        assert (refused.status, "etcd_server_lost: [e3]" in refused.output) == (2, True), refused.output
        done = members.run(lost=["e3"]).ok()
        time.sleep(2)
    assert {"Member e3: membership"} <= set(told(members.plans(done)["e1"])) & set(told(members.plans(done)["e3"]))
    assert len(writer.acknowledged) > 10
    measured(
        figures.at_most("a member of etcd replaced: acknowledged writes lost", len(writer.lost(["e3"])), f"of {len(writer.acknowledged)}", 0),
        figures.told("a member of etcd replaced: longest pause of a writer", writer.longest, "s"),
    )
    assert [(member["name"], member.get("isLearner", False)) for member in members.members(root=True)] == [(name, False) for name in HOSTS]
    # It is well now: that it is named changes nothing.
    assert members.plans(members.run(lost=["e3"]).ok()) == nothing()


def test_nothing_is_restarted_that_a_quorum_needs_and_who_is_stopped_is_started(members: Members) -> None:
    members.hosts["e3"].run(f"systemctl stop {UNIT}")
    since = {name: members.hosts[name].run(f"systemctl show -p MainPID {UNIT}") for name in ("e1", "e2")}
    run = members.run("--limit", "e1,e2", auto_compaction_retention="2h")
    assert (run.status, "of 3 voters 2 are needed, and without this one 1 would be there" in run.output) == (2, True), run.output
    assert {name: members.hosts[name].run(f"systemctl show -p MainPID {UNIT}") for name in ("e1", "e2")} == since
    assert members.etcdctl("put", "/writer/still", "1", hosts=["e1", "e2"])[0] == 0
    assert told(members.plans(members.run().ok())["e3"]) == [f"Unit {UNIT}: running"]
    assert members.plans(members.run().ok()) == nothing()


def test_the_distribution_s_program_does_as_well_and_begins_no_cluster_of_its_own(members: Members) -> None:
    # 3.4, which says some things otherwise, and 3.5.
    members.more.update(binary="", binary_sha256="")
    for name, version in zip(PACKAGED, ("3.4.", "3.5."), strict=True):
        host = members.fleet.host(name)
        predicted = members.run("--check", members=[name]).ok()
        done = members.run(members=[name]).ok()
        assert members.plans(done, [name]) == members.plans(predicted, [name])
        again = members.run(members=[name]).ok()
        assert (members.plans(again, [name]), members.statuses(again, [name])) == (nothing([name]), {name: {"pass"}}), again.output
        assert members.results(again, name)[0]["member"]["version"].startswith(version)
        assert host.run("systemctl is-active etcd.service || true").strip() == "inactive"
        assert host.run("ss -Hltn | awk '{print $4}'").split().count(f"{host.address}:2379") == 1
        assert members.etcdctl("put", "/writer/own", "1", hosts=[name], files=members.client_files(host=name))[0] == 0
        assert members.etcdctl("get", "/other", hosts=[name], files=members.client_files(host=name))[0] != 0

"""S3 servers on real hosts of Debian 12 and 13: predicted, done, done once, used from another host, up after a reboot, every fault named and mended.

The tests tell one story, in this order.
"""

from __future__ import annotations

import secrets
import time
from collections.abc import Callable

import pytest

from tests.hosts import outside
from tests.hosts.object_store_site import HOSTS, OURS, PORT, Stores, findings, nothing, statuses, told
from tests.perf import figures
from tests.proof import Measured

UNIT, ENVIRONMENT = "object-store.service", f"{OURS}/environment"
# What the kernel does after errors of the first disk.
XFS = "/sys/fs/xfs/$(basename $(readlink -f /sys/dev/block/$(mountpoint -d /srv/objects/disk1)))/error/metadata"
RETRIES = f"cat {XFS}/EIO/max_retries {XFS}/ENOSPC/max_retries {XFS}/default/max_retries"
LOOK = f"ls -lAR /etc/systemd/system {OURS} /srv /usr/local/lib 2>&1; getent passwd object-store; blkid -p /dev/vdb /dev/vdc; true"


def test_an_audit_of_bare_hosts_tells_what_is_missing_and_touches_nothing(stores: Stores) -> None:
    before = {name: host.run(LOOK) for name, host in stores.hosts.items()}
    run = stores.run(object_store_server_mode="audit").ok()
    for name in HOSTS:
        assert {area: finding["status"] for area, finding in findings(stores.result(run, name)).items() if area != "capacity"} == dict.fromkeys(
            ("server", "storage", "tls", "credentials", "buckets", "identities"), "would-fix"
        ), run.output
    assert {name: host.run(LOOK) for name, host in stores.hosts.items()} == before


def test_what_check_mode_predicts_is_what_happens_and_it_happens_once(stores: Stores, measured: Measured) -> None:
    predicted = stores.run("--check", "--diff").ok()
    begun = time.monotonic()
    done = stores.run("--diff").ok()
    seconds = time.monotonic() - begun
    for name in HOSTS:
        assert stores.plans(done)[name] == stores.plans(predicted)[name], name
    begun = time.monotonic()
    again = stores.run().ok()
    again_seconds = time.monotonic() - begun
    measured(figures.told("two object stores from nothing", seconds, "s"), figures.told("two object stores: second run", again_seconds, "s"))
    assert stores.plans(again) == nothing()
    assert "changed=1" not in again.output
    for name in HOSTS:
        assert statuses(stores.result(again, name)) == {"pass"}, again.output
    for run in (predicted, done, again):
        assert [name for name, secret in stores.secrets.items() if secret in run.output] == []


def test_it_is_what_it_has_to_be_by_the_word_of_others(stores: Stores) -> None:
    for name, backend in HOSTS.items():
        host = stores.hosts[name]
        for disk in (1, 2) if backend == "minio" else (1,):
            assert host.run(f"findmnt -n -o FSTYPE,LABEL /srv/objects/disk{disk}").split()[:1] == ["xfs"]
            assert "noatime" in host.run(f"findmnt -n -o OPTIONS /srv/objects/disk{disk}")
        assert host.run(f"stat -c '%a %U' {ENVIRONMENT} {OURS}/server.key {OURS}/ca.key").split() == ["600", "root", "600", "object-store", "600", "root"]
        process = host.run(f"systemctl show -p MainPID --value {UNIT}").strip()
        assert host.run(f"ps -o user:20= -p {process}").strip() == "object-store"
        listening = {line.split()[3].rpartition(":")[0] for line in host.run(f"ss -Hltn sport = :{PORT}").splitlines()}
        assert {host.address} <= listening <= {host.address, "127.0.0.1", "[::1]"}
        # What the kernel says of the process, not the unit.
        seen = dict(line.split(":", 1) for line in host.run(f"cat /proc/{process}/status").splitlines() if ":" in line)
        assert (seen["NoNewPrivs"].strip(), seen["Seccomp"].strip(), int(seen["CapEff"], 16), int(seen["CapBnd"], 16)) == ("1", "2", 0, 0)
        # All that the lab's machine lets a container have.
        soft, hard = host.run(f"grep '^Max open files' /proc/{process}/limits").split()[3:5]
        assert soft == hard
        # Of the namespace that the process lives in.
        assert host.run(f"nsenter -t {process} -m touch /etc/passwd 2>&1 || true").strip().endswith("Read-only file system")
        assert [secret for secret in stores.secrets.values() if secret in host.run("ps axww; journalctl --no-pager --quiet")] == []


def test_an_identity_puts_and_gets_from_another_host_and_reaches_nothing_else(stores: Stores) -> None:
    for name in HOSTS:
        assert stores.curl(name, "--upload-file", "/tmp/body", "/registry/v2/one", who="registry", body="layer")[0] == 200
        assert stores.curl(name, "/registry/v2/one", who="registry") == (200, "layer")
        assert stores.curl(name, "/registry/v2/one", who="auditor") == (200, "layer")
        assert stores.curl(name, "--upload-file", "/tmp/body", "/registry/v2/two", who="auditor", body="no")[0] == 403
        assert stores.curl(name, "/backups?list-type=2", who="registry")[0] == 403
        assert stores.curl(name, "--upload-file", "/tmp/body", "/backups/two", who="registry", body="no")[0] == 403
        assert stores.curl(name, "--request", "PUT", "/mine", who="registry")[0] == 403
        assert {stores.curl(name, path)[0] for path in ("/", "/registry", "/registry/v2/one", "/backups", "/scratch")} == {403}
        status, said = stores.curl(name, "/registry/v2/one", who="registry", verify=False)
        assert (status, "certificate" in said) == (0, True), said
        assert stores.curl(name, "--tls-max", "1.1", "--tlsv1.0", "/registry")[0] == 0
        assert stores.curl(name, f"http://{name}:{PORT}/registry")[0] in (0, 400)
        # It was deleted, and is kept.
        assert stores.curl(name, "--request", "DELETE", "/registry/v2/one", who="registry")[0] == 204
        assert stores.curl(name, "/registry/v2/one", who="registry")[0] == 404
        assert "<VersionId>" in stores.curl(name, "/registry?versions=", who="root")[1]
        assert stores.curl(name, "--upload-file", "/tmp/body", "/registry/v2/one", who="registry", body="layer")[0] == 200


# Versity has no option for its ciphers of TLS 1.2: Go's own choice has these at its end.
LEFT: dict[str, set[str]] = {"minio": set(), "versity": {f"takes TLS_ECDHE_ECDSA_WITH_AES_{bits}_CBC_SHA" for bits in (128, 256)}}


def test_strangers_find_no_fault_with_the_tls(stores: Stores, report: Callable[[str], None]) -> None:
    for name, host in stores.hosts.items():
        authority = stores.folder / f"{name}.crt"
        authority.write_text(host.run(f"cat {OURS}/ca.crt"))
        assert set(outside.tls_troubles(f"{host.address}:{PORT}", name, authority, report)) == LEFT[HOSTS[name]], name


def test_after_a_reboot_all_is_up_and_nothing_is_to_be_done(stores: Stores) -> None:
    for host in stores.hosts.values():
        assert host.run(RETRIES).split() == ["0", "0", "0"]
        host.reboot()
        assert host.run(RETRIES).split() == ["0", "0", "0"]
    run = stores.run().ok()
    assert stores.plans(run) == nothing()
    for name in HOSTS:
        assert stores.curl(name, "/registry/v2/one", who="registry") == (200, "layer")


EXPIRED = f"""cd {OURS} && openssl req -new -key server.key -subj /CN=store > /tmp/s.csr
printf 'subjectAltName=DNS:%s,IP:%s' $(hostname) $(hostname -I | cut -d' ' -f1) > /tmp/s.ext
openssl x509 -req -in /tmp/s.csr -CA ca.crt -CAkey ca.key -set_serial 7 -days 0 -extfile /tmp/s.ext > server.crt 2>/dev/null; rm /tmp/s.*"""
UNIT_FILE = f"/etc/systemd/system/{UNIT}"
# What somebody does by hand while the server runs, and the object and field by which the audit tells it. PROGRAM is the file of the server's program.
FAULTS = {
    "an environment that others can read": (f"chmod 644 {ENVIRONMENT}", "Environment", "mode"),
    "an environment of another account": (f"chown nobody {ENVIRONMENT}", "Environment", "owner"),
    "a further variable": (f"echo 'HTTP_PROXY=\"http://192.0.2.1\"' >> {ENVIRONMENT}", "Environment", "HTTP_PROXY"),
    "a unit with fewer fences": (f"sed -i '/^ProtectSystem/d; /^NoNewPrivileges/d' {UNIT_FILE}; systemctl daemon-reload", f"File {UNIT_FILE}", "content"),
    "a unit that all can write": (f"chmod 666 {UNIT_FILE}", f"File {UNIT_FILE}", "mode"),
    "not started at boot": (f"systemctl --quiet disable {UNIT}", f"Unit {UNIT}", "at boot"),
    "another program": ("cp --remove-destination /bin/true PROGRAM", "Program", "sha256"),
    "an account that can log in": ("usermod --shell /bin/bash object-store 2>/dev/null", "Account", "shell"),
    "an expired certificate": (EXPIRED, "Certificate", "valid until"),
    "an authority's key of another account": (f"chown object-store {OURS}/ca.key", f"Private part {OURS}/ca.key", "owner"),
    "another certificate for the server": (f"ln -sfn /etc/ssl/certs/ca-certificates.crt {OURS}/tls/public.crt", "Link", "target"),
    "data that all can read": ("chmod 777 /srv/objects/disk1", "Folder /srv/objects/disk1", "mode"),
    "a disk that is not mounted at boot": ("systemctl --quiet disable srv-objects-disk1.mount", "Mount /srv/objects/disk1", "at boot"),
    "a mount of another disk": ("sed -i 's/^What=.*/What=LABEL=other/' /etc/systemd/system/srv-objects-disk1.mount", "Mount /srv/objects/disk1", "unit"),
    "errors of disks that are tried for ever": ("sed -i 's/echo 0/echo -1/' /usr/local/lib/paas-hardening/object-store-xfs", "File", "content"),
    "a disk that tries for ever": (f"echo -1 > {XFS}/EIO/max_retries", "XFS /srv/objects/disk1", "retries after EIO"),
    "errors of disks that are forgotten at boot": ("systemctl --quiet disable object-store-xfs.service", "object-store-xfs.service", "at boot"),
}
# The same, by the server's own interface.
MISUSE = {
    "a bucket for everybody": ("Bucket policy registry", "statements"),
    "a bucket without versions": ("Bucket registry", "versioning"),
    "an identity that became administrator": ("Identity auditor", {"minio": "policy", "versity": "role"}),
    "an identity with another secret": ("Identity backup", "secret key"),
}


def misuse(stores: Stores, name: str) -> None:
    stores.let_in(name, "registry")
    stores.set_versioning(name, "registry", "Suspended")
    stores.change_account(name, "auditor", stores.secrets["auditor"], administrator=True)
    stores.change_account(name, "backup", secrets.token_hex(20), administrator=False)


@pytest.mark.parametrize("name", list(HOSTS))
def test_every_fault_is_named_by_the_audit_and_mended(stores: Stores, name: str, measured: Measured) -> None:
    host, backend = stores.hosts[name], HOSTS[name]
    objects = "find /srv/objects -type f -path '*/registry/*' -not -path '*/.minio.sys/*' | sort | xargs -r sha256sum"
    misuse(stores, name)
    before = host.run(objects)
    assert before
    for command, _object, _field in FAULTS.values():
        host.run(command.replace("PROGRAM", f"/usr/local/lib/paas-hardening/{backend}"))
    assert stores.curl(name, "/registry/v2/one") == (200, "layer")
    audit = stores.run("--limit", name, object_store_server_mode="audit").ok()
    lines = told(stores.plans(audit, [name])[name])
    expected = {fault: (thing, field) for fault, (_command, thing, field) in FAULTS.items()}
    expected |= {fault: (thing, field if isinstance(field, str) else field[backend]) for fault, (thing, field) in MISUSE.items()}
    unnamed = [
        fault for fault, (thing, field) in expected.items() if not any(thing in line.rpartition(": ")[0] and line.endswith(f": {field}") for line in lines)
    ]
    assert unnamed == [], lines
    count = len(expected)
    measured(figures.at_least(f"faults of an object store named, {name}", count - len(unnamed), f"of {count}", count))
    done = stores.run("--limit", name).ok()
    assert stores.plans(done, [name]) == stores.plans(audit, [name])
    again = stores.run("--limit", name).ok()
    assert (stores.plans(again, [name]), statuses(stores.result(again, name))) == (nothing([name]), {"pass"}), again.output
    assert stores.curl(name, "/registry/v2/one")[0] == 403
    assert stores.curl(name, "/registry/v2/one", who="registry") == (200, "layer")
    assert host.run(objects) == before
    assert [secret for secret in stores.secrets.values() if secret in audit.output + done.output] == []


def test_a_default_credential_in_force_is_named_and_replaced(stores: Stores) -> None:
    host = stores.hosts["s3a"]
    host.run(f"sed -i 's/^MINIO_ROOT_USER=.*/MINIO_ROOT_USER=minioadmin/; s/^MINIO_ROOT_PASSWORD=.*/MINIO_ROOT_PASSWORD=minioadmin/' {ENVIRONMENT}")
    host.run(f"systemctl restart {UNIT}")
    audit = stores.run("--limit", "s3a", object_store_server_mode="audit").ok()
    lines = told(stores.plans(audit, ["s3a"])["s3a"])
    assert [line.rpartition(": ")[2] for line in lines] == ["MINIO_ROOT_PASSWORD", "MINIO_ROOT_USER", "restarted"], lines
    assert {area: findings(stores.result(audit, "s3a"))[area]["status"] for area in ("credentials", "buckets")} == {
        "credentials": "would-fix",
        "buckets": "unknown",
    }
    stores.run("--limit", "s3a").ok()
    assert stores.plans(stores.run("--limit", "s3a").ok(), ["s3a"]) == nothing(["s3a"])
    assert stores.curl("s3a", "/", who="root")[0] == 200


def test_a_host_that_lost_its_disk_and_its_server_gets_both_back(stores: Stores) -> None:
    for name, host in stores.hosts.items():
        host.run(f"systemctl stop {UNIT}; chown nobody /srv/objects/disk1; umount /srv/objects/disk1")
        audit = stores.run("--limit", name, object_store_server_mode="audit").ok()
        lines = told(stores.plans(audit, [name])[name])
        assert {"Mount /srv/objects/disk1: mounted", f"Unit {UNIT}: running"} <= set(lines), lines
        stores.run("--limit", name).ok()
        assert stores.plans(stores.run("--limit", name).ok(), [name]) == nothing([name])
        assert stores.curl(name, "/registry/v2/one", who="registry") == (200, "layer")


def test_what_is_not_ours_is_named_and_left_to_a_person(stores: Stores) -> None:
    drop_in = f"/etc/systemd/system/{UNIT}.d/more.conf"
    for name, host in stores.hosts.items():
        host.run(f"mkdir -p {drop_in.rpartition('/')[0]}; printf '[Service]\\nUser=root\\n' > {drop_in}; systemctl daemon-reload")
        stores.change_account(name, "stranger", secrets.token_hex(20), administrator=True)
        assert stores.administer(name, "PUT", "/forgotten") == 200
        if HOSTS[name] == "minio":
            stores.let_in(name, "forgotten")
    run = stores.run(object_store_server_capacity_warning=1).ok()
    for name in HOSTS:
        said = " ".join(reason for finding in stores.result(run, name)["findings"] for reason in finding["reasons"])
        words = [f"{drop_in} overrides our unit", "There is an identity stranger", "disk1 is full by"]
        words += ["The bucket forgotten is not declared, and lets everybody in"] if HOSTS[name] == "minio" else []
        assert [word for word in words if word not in said] == [], said
        assert stores.plans(run)[name] == []
    for name, host in stores.hosts.items():
        host.run(f"rm -r {drop_in.rpartition('/')[0]}; systemctl daemon-reload")
        stores.administer(name, "DELETE", "/forgotten")
        if HOSTS[name] == "versity":
            stores.administer(name, "PATCH", "/delete-user", {"access": "stranger"})
        else:
            assert stores.administer(name, "DELETE", "/minio/admin/v3/remove-user", {"accessKey": "stranger"}) == 200
    again = stores.run().ok()
    assert {name: statuses(stores.result(again, name)) for name in HOSTS} == {name: {"pass"} for name in HOSTS}, again.output


def test_it_is_restarted_only_when_something_needs_it_and_comes_back_as_it_was(stores: Stores) -> None:
    host = stores.hosts["s3a"]
    since = host.run(f"systemctl show -p ExecMainStartTimestampMonotonic {UNIT}")
    more = {"MINIO_API_REQUESTS_MAX": "100"}
    waiting = stores.run("--limit", "s3a", object_store_server_restart="never", object_store_server_settings=more).ok()
    assert findings(stores.result(waiting, "s3a"))["server"]["reasons"] == ["The store runs with another environment, and waits for a restart."]
    assert host.run(f"systemctl show -p ExecMainStartTimestampMonotonic {UNIT}") == since
    failed = stores.run("--limit", "s3a", object_store_server_settings={"MINIO_STORAGE_CLASS_STANDARD": "EC:99"})
    assert (failed.status, "It runs again, as it was before" in failed.output) == (2, True), failed.output
    assert stores.curl("s3a", "/registry/v2/one", who="registry") == (200, "layer")
    done = stores.run("--limit", "s3a").ok()
    assert "restarted" in [change["field"] for change in stores.plans(done, ["s3a"])["s3a"]]
    assert stores.plans(stores.run("--limit", "s3a").ok(), ["s3a"]) == nothing(["s3a"])


OWN = "/etc/ssl/own"
# An authority and a certificate by it, as a company's own programs would bring them.
BROUGHT = f"""rm -rf {OWN}; mkdir {OWN} && cd {OWN}
openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -keyout ca.key -out ca.crt -days 100 -subj /CN=company \\
    -addext keyUsage=critical,keyCertSign 2>/dev/null
openssl req -new -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -keyout server.key -subj /CN=s3b -out server.csr 2>/dev/null
printf 'subjectAltName=DNS:s3b,IP:%s\\nsubjectKeyIdentifier=hash\\nauthorityKeyIdentifier=keyid' $(hostname -I | cut -d' ' -f1) > server.ext
openssl x509 -req -in server.csr -CA ca.crt -CAkey ca.key -set_serial 7 -days 90 -extfile server.ext -out server.crt 2>/dev/null"""


def test_a_certificate_of_ones_own_is_used_without_a_restart_and_never_replaced(stores: Stores) -> None:
    host = stores.hosts["s3b"]
    own = {f"object_store_server_tls_{part}": f"{OWN}/{file}" for part, file in (("certificate", "server.crt"), ("key", "server.key"), ("authority", "ca.crt"))}
    host.run(BROUGHT)
    done = stores.run("--limit", "s3b", **own).ok()
    assert {"owner", "target", "reloaded"} == {change["field"] for change in stores.plans(done, ["s3b"])["s3b"]}, done.output
    assert stores.plans(stores.run("--limit", "s3b", **own).ok(), ["s3b"]) == nothing(["s3b"])
    status, said = stores.curl("s3b", "/registry/v2/one", who="registry")
    assert (status, "certificate" in said) == (0, True), said
    stores.run("--limit", "s3b").ok()
    assert stores.curl("s3b", "/registry/v2/one", who="registry") == (200, "layer")
    assert stores.plans(stores.run("--limit", "s3b").ok(), ["s3b"]) == nothing(["s3b"])


def test_what_cannot_be_meant_is_refused_before_anything_is_touched(stores: Stores) -> None:
    identity = {"access_key": "one", "secret_key": secrets.token_hex(20), "buckets": ["nowhere"]}
    before = stores.plans(stores.run("--check", "--limit", "s3b").ok(), ["s3b"])
    for variables, words in (
        ({"root_secret_key": "minioadmin"}, "root_secret_key is a known default"),
        ({"root_access_key": "minioadmin"}, "root_access_key is a known default"),
        ({"root_secret_key": "abc123"}, "root_secret_key is too short"),
        ({"identities": [{**identity, "secret_key": "changeme"}]}, "identities.secret_key is a known default"),
        ({"identities": [identity]}, "names nowhere, which buckets does not"),
        ({"address": "0.0.0.0"}, "every address"),
        ({"address": "192.0.2.1"}, "192.0.2.1 is no address of this host"),
        ({"data_disks": ["/dev/vdz"]}, "there is no such disk"),
        ({"binary_sha256": "0" * 64}, "It is not the program that you trust"),
        ({"buckets": [{"name": "Registry"}], "identities": []}, "cannot be the name of a bucket"),
    ):
        run = stores.run("--limit", "s3b", **{f"object_store_server_{name}": value for name, value in variables.items()})
        assert (run.status, words in run.output) == (2, True), run.output
    assert stores.plans(stores.run("--check", "--limit", "s3b").ok(), ["s3b"]) == before


def test_a_disk_that_holds_something_is_never_formatted(stores: Stores) -> None:
    host = stores.hosts["s3b"]
    host.run(f"systemctl stop {UNIT} && umount /srv/objects/disk1 && xfs_admin -L somebody /dev/vdb >/dev/null")
    run = stores.run("--limit", "s3b")
    assert (run.status, "/dev/vdb is not empty: it holds xfs" in run.output) == (2, True), run.output
    host.run("xfs_admin -L objects-1 /dev/vdb >/dev/null")
    stores.run("--limit", "s3b").ok()
    assert stores.plans(stores.run("--limit", "s3b").ok(), ["s3b"]) == nothing(["s3b"])
    assert stores.curl("s3b", "/registry/v2/one", who="registry") == (200, "layer")

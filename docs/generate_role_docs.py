"""Writes the README of every role from its argument specification and its defaults, so that people never read what is not so.

python docs/generate_role_docs.py           write roles/*/README.md
python docs/generate_role_docs.py --check   write nothing; name what is out of date and end with 1
"""

from __future__ import annotations

import argparse
import pathlib
import re
import sys
from collections.abc import Mapping, Sequence
from typing import Any

import yaml

ROOT = pathlib.Path(__file__).resolve().parents[1]
COMMAND = "python docs/generate_role_docs.py"
NOTICE = f"<!-- Generated from meta/argument_specs.yml and defaults/main.yml by `{COMMAND}`: change those, not this file. -->"
COLUMNS = ("Variable", "Type", "Default", "Choices", "Meaning")

# Roles for hosts of the inventory, with what a user has to give them; the others look at a cluster, from where Ansible runs.
ON_HOSTS: Mapping[str, Mapping[str, Any]] = {
    "firewall": {"firewall_administrators": ["192.0.2.0/28"]},
    "load_balancer": {
        "load_balancer_virtual_addresses": ["192.0.2.10/24"],
        "load_balancer_backends": ["198.51.100.51", "198.51.100.52"],
        "load_balancer_listeners": [{"name": name, "port": port, "proxy_protocol": True} for name, port in (("web", 80), ("web-tls", 443), ("builder", 2222))],
    },
    "postgres_server": {
        "postgres_server_data_disk": "/dev/vdb",
        "postgres_server_access": [{"database": "app", "role": "app", "network": "192.0.2.64/28"}],
        "postgres_server_roles": [{"name": "app", "password": "{{ app_database_password }}"}],
        "postgres_server_databases": [{"name": "app", "owner": "app"}],
    },
    "etcd_server": {
        "etcd_server_binary": "files/etcd",
        "etcd_server_binary_sha256": "{{ etcd_sha256 }}",
        "etcd_server_data_disk": "/dev/vdb",
    },
    "postgres_archive": {"postgres_archive_cipher_pass_file": "/etc/paas/pgbackrest-pass"},
    "postgres_receiver": {"postgres_receiver_password": "{{ receiver_password }}", "postgres_receiver_folder": "/srv/received"},
    "backup_repository": {
        "backup_repository_own_file_system": True,
        "backup_repository_copy": {
            "bucket": "paas-recovery-points",
            "endpoint": "https://s3.elsewhere.example",
            "keys_file": "/etc/paas/copy-keys",
            "recipients": ["age1... of those who run it", "age1... on paper"],
        },
    },
    "backup_monitoring": {"backup_monitoring_textfile_folder": "/var/lib/prometheus/node-exporter"},
    "host_baseline": {"host_baseline_time_servers": ["ntp1.example.com"]},
    "object_store_server": {
        "object_store_server_binary": "files/minio",
        "object_store_server_binary_sha256": "{{ minio_sha256 }}",
        "object_store_server_data_disks": ["/dev/vdb", "/dev/vdc"],
        "object_store_server_root_access_key": "store-root",
        "object_store_server_root_secret_key": "{{ store_root_secret }}",
        "object_store_server_buckets": [{"name": "registry"}],
        "object_store_server_identities": [{"access_key": "registry", "secret_key": "{{ registry_store_secret }}", "buckets": ["registry"]}],
    },
}

# Roles that run where they stand, and have options of their own for the cluster.
BY_ITSELF: Mapping[str, Mapping[str, Any]] = {
    "backup": {
        "backup_repository": "/var/backups/paas",
        "backup_signing_key_file": "/etc/paas/backup-signing-key",
        "backup_cluster": {"kubeconfig": "~/.kube/config"},
        "backup_secrets": {"recipients": ["age1... of those who run it", "age1... on paper"]},
    },
    "deis_v1": {
        "deis_v1_endpoints": ["http://10.21.1.10:2379", "http://10.21.1.11:2379"],
        "deis_v1_administrator_exists": True,
        "deis_v1_backup_folder": "/var/backups/deis",
        "deis_v1_closed_hosts": ["10.21.1.10", "10.21.1.11"],
    },
}

# O(option), V(value), E(VARIABLE), C(code), B(bold), I(italic): the mark-up of Ansible's documentation.
CODE = re.compile(r"\b[OVEC]\(((?:[^()\\]|\\.)*)\)")
BOLD = re.compile(r"\bB\(([^()]*)\)")
ITALIC = re.compile(r"\bI\(([^()]*)\)")
# What PyYAML writes after a value that is no map and no list.
END = "...\n"
ESCAPED = re.compile(r"\\(.)")


class Indented(yaml.SafeDumper):
    """Indents lists below their key, as ansible-lint wants them."""

    def increase_indent(self, flow: bool = False, indentless: bool = False) -> None:
        super().increase_indent(flow, indentless and flow)


def markdown(text: str) -> str:
    """Return a sentence of an argument specification as Markdown."""
    text = CODE.sub(lambda match: "`" + ESCAPED.sub(r"\1", match[1]) + "`", text)
    return ITALIC.sub(r"*\1*", BOLD.sub(r"**\1**", text))


def sentences(description: str | Sequence[str]) -> list[str]:
    """Return a description, which is one sentence or a list of them, as Markdown."""
    return [markdown(line) for line in ([description] if isinstance(description, str) else description)]


def value(known: Any) -> str:
    """Return a value as it stands in YAML, in one line."""
    text = yaml.safe_dump(known, default_flow_style=True, width=10_000)
    return f"`{text.removesuffix(END).strip()}`"


def table(rows: Sequence[Sequence[str]]) -> list[str]:
    """Return the lines of a table whose columns stand under each other; the last one is not filled up."""
    cells = [[cell.replace("|", "\\|") for cell in row] for row in (COLUMNS, *rows)]
    widths = [max(len(row[column]) for row in cells) for column in range(len(COLUMNS) - 1)]
    filled = [[*(cell.ljust(width) for cell, width in zip(row, widths, strict=False)), row[-1]] for row in cells]
    rule = ["-" * width for width in (*widths, len(COLUMNS[-1]))]
    return [f"| {' | '.join(row)} |" for row in (filled[0], rule, *filled[1:])]


def row(name: str, option: Mapping[str, Any], defaults: Mapping[str, Any]) -> list[str]:
    """Return what the table says about one variable."""
    kind = option.get("type", "str") + (f" of {option['elements']}" if "elements" in option else "")
    default = value(defaults[name]) if name in defaults else "required" if option.get("required") else "none"
    choices = ", ".join(value(choice) for choice in option.get("choices", ()))
    return [f"`{name}`", kind, default, choices, " ".join(sentences(option["description"]))]


def example(role: str, title: str, options: Mapping[str, Any], defaults: Mapping[str, Any]) -> str:
    """Return a play that runs the role, with the variables in which there is something to choose."""
    chosen = {name: defaults[name] for name, option in options.items() if name in defaults and "choices" in option}
    cluster = {"hosts": "localhost", "connection": "local", "gather_facts": False}
    cluster |= {"module_defaults": {"group/paas.hardening.workflow": {"kubeconfig": "~/.kube/config"}}}
    given = ON_HOSTS.get(role) or BY_ITSELF.get(role)
    variables = {**chosen, **given} if given else chosen or dict(defaults)
    if role in BY_ITSELF:
        cluster = {"hosts": "localhost", "gather_facts": False}
    play = {
        "name": title,
        **({"hosts": "all", "gather_facts": False} if role in ON_HOSTS else cluster),
        "roles": [{"role": f"paas.hardening.{role}", "vars": variables}],
    }
    return yaml.dump([play], Dumper=Indented, sort_keys=False, width=160).rstrip()


def readme(role: pathlib.Path) -> str:
    """Return the README of a role."""
    spec = yaml.safe_load((role / "meta/argument_specs.yml").read_text())["argument_specs"]["main"]
    defaults = yaml.safe_load((role / "defaults/main.yml").read_text()) or {}
    options = spec["options"]
    lines = [
        NOTICE,
        "",
        f"# paas.hardening.{role.name}",
        "",
        f"{markdown(spec['short_description'])}.",
        "",
        *sentences(spec["description"]),
        "",
        "## Variables",
        "",
        *table([row(name, option, defaults) for name, option in options.items()]),
        "",
        "## Example",
        "",
        "```yaml",
        "---",
        example(role.name, spec["short_description"], options, defaults),
        "```",
        "",
        "With `--check --diff` the play shows what it would change, and changes nothing.",
        "",
    ]
    return "\n".join(lines)


def main(arguments: Sequence[str], root: pathlib.Path = ROOT) -> int:
    """Write, or check, the README of every role below the root. Returns the exit status."""
    parser = argparse.ArgumentParser(description="Write the README of every role from its argument specification.")
    parser.add_argument("--check", action="store_true", help="write nothing; end with 1 when a README is out of date")
    check = parser.parse_args(arguments).check
    stale = []
    for spec in sorted(root.glob("roles/*/meta/argument_specs.yml")):
        target, text = spec.parents[1] / "README.md", readme(spec.parents[1])
        if target.is_file() and target.read_text() == text:
            continue
        stale.append(target.relative_to(root))
        if not check:
            target.write_text(text)
    for name in stale:
        print(f"{name}: {'out of date' if check else 'written'}")
    if check and stale:
        print(f"Run `{COMMAND}`.")
    return int(check and bool(stale))


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))

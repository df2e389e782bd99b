"""hosts.yml is for the groups that an inventory has, and harden.yml builds those up first; without any of them nothing comes of it."""

from __future__ import annotations

import pathlib
import re

import yaml

from tests.unit.playbooks.test_variables import play

FIREWALL, POSTGRES, BALANCER = "Guard the hosts", "Have PostgreSQL", "Balance the load"


def matched(folder: pathlib.Path, playbook: str, groups: dict[str, list[str]], *arguments: str) -> dict[str, set[str]]:
    """The hosts of each play, by Ansible's own word."""
    inventory = folder / "inventory.yml"
    children = {group: {"hosts": {name: {} for name in names}} for group, names in groups.items()}
    inventory.write_text(yaml.safe_dump({"all": {"children": children}}))
    status, output = play(folder, {}, "-i", str(inventory), "--list-hosts", *arguments, playbook=playbook)
    assert (status, "Could not match" in output) == (0, False), output
    found: dict[str, set[str]] = {}
    for part in re.split(r"^  play #", output, flags=re.MULTILINE)[1:]:
        name = re.search(r": (.*?)\t", part)
        assert name, part
        found[name[1]] = set(part.partition("hosts (")[2].split()[1:])
    return found


def test_without_groups_nothing_is_matched_and_nothing_is_warned_of(tmp_path: pathlib.Path) -> None:
    found = matched(tmp_path, "harden.yml", {"clusters": ["one"]})
    assert [found[name] for name in (FIREWALL, POSTGRES, BALANCER)] == [set(), set(), set()]
    assert found["Harden the platform"] == {"localhost"}


def test_each_play_has_the_hosts_of_its_group_and_the_firewall_those_that_its_rules_know(tmp_path: pathlib.Path) -> None:
    groups = {"postgres": ["db1"], "load_balancer": ["lb1", "lb2"], "backup": ["b1"], "visitors": ["v1"]}
    found = matched(tmp_path, "harden.yml", groups)
    assert (found[FIREWALL], found[POSTGRES], found[BALANCER]) == ({"db1", "lb1", "lb2", "b1"}, {"db1"}, {"lb1", "lb2"})
    named = matched(tmp_path, "hosts.yml", groups, "-e", "hosts_pattern=all:!localhost", "-e", "hosts_load_balancer=lb2")
    assert (named[FIREWALL], named[BALANCER]) == ({"db1", "lb1", "lb2", "b1", "v1"}, {"lb2"})


def test_a_playbook_that_moves_one_thing_leaves_the_hosts_alone(tmp_path: pathlib.Path) -> None:
    found = matched(tmp_path, "migrate_database.yml", {"postgres": ["db1"], "load_balancer": ["lb1"]})
    assert [found[name] for name in (FIREWALL, POSTGRES, BALANCER)] == [set(), set(), set()]

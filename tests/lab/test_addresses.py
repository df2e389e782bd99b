"""The address plan: nothing of one lab overlaps with anything else."""

from __future__ import annotations

import ipaddress
import itertools

import pytest

from lab.addresses import MAX_LABS, MAX_NODES, Addresses, zone


def net(text: str) -> ipaddress.IPv4Network:
    return ipaddress.IPv4Network(text, strict=False)


def test_labs_are_apart() -> None:
    networks = [Addresses(index).network for index in range(MAX_LABS)]
    assert not [pair for pair in itertools.combinations(networks, 2) if pair[0].overlaps(pair[1])]
    assert len({Addresses(index).bridge for index in range(MAX_LABS)}) == MAX_LABS


def test_the_parts_of_a_lab_are_apart_and_inside_it() -> None:
    plan = Addresses(3)
    parts = [net(plan.nodes), net(plan.kwok_pods), net(plan.services), *(net(plan.node_pods(number)) for number in range(1, MAX_NODES + 1))]
    assert all(part.subnet_of(plan.network) for part in parts)
    assert not [pair for pair in itertools.combinations(parts, 2) if pair[0].overlaps(pair[1])]


def test_all_pods_are_in_the_range_of_pods_and_no_node_is() -> None:
    plan = Addresses(0)
    pods = net(plan.pods)
    assert net(plan.kwok_pods).subnet_of(pods)
    assert all(net(plan.node_pods(number)).subnet_of(pods) for number in range(1, MAX_NODES + 1))
    assert not pods.overlaps(net(plan.nodes))
    assert not pods.overlaps(net(plan.services))


def test_single_addresses_are_where_they_belong() -> None:
    plan = Addresses(9)
    assert ipaddress.IPv4Address(plan.dns) in net(plan.services)
    assert ipaddress.IPv4Address(plan.api_service) == net(plan.services)[1]
    assert ipaddress.IPv4Address(plan.host) in net(plan.nodes)
    assert plan.host not in {plan.node(number) for number in range(1, MAX_NODES + 1)}
    assert plan.api_url == "https://10.109.0.1:6443"


@pytest.mark.parametrize("index", [-1, MAX_LABS])
def test_there_is_no_such_lab(index: int) -> None:
    with pytest.raises(ValueError, match="a lab's number"):
        Addresses(index)


@pytest.mark.parametrize("number", [0, MAX_NODES + 1])
def test_there_is_no_such_node(number: int) -> None:
    with pytest.raises(ValueError, match="a node's number"):
        Addresses(0).node(number)
    with pytest.raises(ValueError, match="a node's number"):
        Addresses(0).node_pods(number)


def test_interface_names_fit_into_the_kernel() -> None:
    assert all(len(Addresses(index).plug(number)) <= 15 for index in range(MAX_LABS) for number in range(1, MAX_NODES + 1))


def test_nodes_take_turns_in_the_zones() -> None:
    assert [zone(number) for number in (1, 2, 3, 4)] == ["zone-a", "zone-b", "zone-c", "zone-a"]

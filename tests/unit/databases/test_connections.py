"""Whether a server has connections enough."""

from __future__ import annotations

from ansible_collections.paas.hardening.plugins.module_utils._host.databases.inspect import connections_needed, workers_of


def test_a_node_with_many_cores_exhausts_the_default() -> None:
    """The case of teamhephy/controller#74: one controller on a node with 24 cores, max_connections 100."""
    found = connections_needed([workers_of(24)], 100, 3)
    assert (found.needed, found.available, found.enough) == (102, 97, False)
    assert "5 too few" in found.reason
    assert "Raise max_connections to 105" in found.reason


def test_a_small_one_does_not() -> None:
    found = connections_needed([workers_of(2), workers_of(2)], 100, 3)
    assert (found.needed, found.enough) == (23, True)
    assert "18 workers in 2 pods x 1 threads" in found.reason
    assert found.reason.endswith("enough.")


def test_the_last_connection_counts() -> None:
    assert connections_needed([92], 100, 3).enough
    assert not connections_needed([93], 100, 3).enough


def test_threads_databases_and_others_are_counted() -> None:
    assert connections_needed([4, 4], 100, 3, threads=2, databases=2, others=10, spare=1).needed == 43


def test_the_number_to_raise_to_is_enough() -> None:
    found = connections_needed([300], 100, 13, threads=2, others=7)
    assert connections_needed([300], found.needed + 13, 13, threads=2, others=7).enough

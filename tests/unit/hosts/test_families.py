"""What a family of systems has, and what is refused on it; read from what real systems say of themselves."""

from __future__ import annotations

from pathlib import Path

import pytest

from ansible_collections.paas.hardening.plugins.module_utils._core.errors import Refused
from ansible_collections.paas.hardening.plugins.module_utils._host import families

REFUSABLE = (families.POSTGRES, families.BALANCER, families.UPDATES, families.TIME)


@pytest.mark.parametrize(
    ("system", "family"),
    [
        ({"ID": "debian"}, families.DEBIAN),
        ({"ID": "ubuntu", "ID_LIKE": "debian"}, families.DEBIAN),
        ({"ID": "rhel", "ID_LIKE": "fedora"}, families.RED_HAT),
        ({"ID": "rocky", "ID_LIKE": "rhel centos fedora"}, families.RED_HAT),
        ({"ID": "almalinux", "ID_LIKE": "rhel centos fedora"}, families.RED_HAT),
        ({"ID": "ol", "ID_LIKE": "fedora"}, families.RED_HAT),
        ({"ID": "fedora"}, None),
        ({"ID": "alpine"}, None),
        ({}, None),
    ],
)
def test_a_family_is_told_by_what_a_system_says_it_is_like(system: dict[str, str], family: families.Family | None) -> None:
    assert families.family_of(system) is family


@pytest.mark.parametrize("what", REFUSABLE)
def test_what_is_not_known_to_work_is_refused_with_the_reason(what: str) -> None:
    families.require(what, {"ID": "debian"})
    with pytest.raises(Refused) as refused:
        families.require(what, {"ID": "rocky", "ID_LIKE": "rhel", "PRETTY_NAME": "Rocky Linux 9"})
    assert f"{what} is not set up on it" in refused.value.message
    assert "Rocky Linux 9" in refused.value.message
    with pytest.raises(Refused, match="neither Debian's nor Red Hat's"):
        families.require(what, {"ID": "alpine"})


def test_each_row_installs_without_a_question() -> None:
    for family in (families.DEBIAN, families.RED_HAT):
        assert family.install[-1] == "install"
        assert set(family.refused) <= set(REFUSABLE)
    assert "--assumeyes" in families.RED_HAT.install


def test_this_machine_says_what_it_is() -> None:
    system = families.release()
    assert (system["ID"] in Path("/etc/os-release").read_text(), families.family_of(system) is not None) == (True, True)

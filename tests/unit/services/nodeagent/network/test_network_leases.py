from __future__ import annotations

import ipaddress
import tempfile
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from services.nodeagent.network.leases import HostPort, Leases, next_free
from shared.errors import NetworkError

NETWORK = ipaddress.IPv4Network("10.244.3.0/28")


@given(st.sets(st.integers(2, 14)), st.integers(0, 20))
def test_the_next_free_address_is_free_and_the_first_after_the_last(taken: set[int], after: int) -> None:
    used = {str(NETWORK.network_address + number) for number in taken}
    found = next_free(NETWORK, used, str(NETWORK.network_address + after))
    if found is None:
        assert len(taken) == 13
        return
    assert found not in used
    number = int(ipaddress.IPv4Address(found)) - int(NETWORK.network_address)
    start = after + 1 if 2 <= after + 1 <= 14 else 2
    between = range(start, number) if number >= start else (*range(start, 15), *range(2, number))
    assert all(item in taken for item in between)


def test_a_freed_address_is_not_the_next_one_given(tmp_path: Path) -> None:
    leases = Leases(tmp_path)
    leases.load()
    first = leases.claim("a", NETWORK, "veth1")
    leases.release("a")
    assert leases.claim("b", NETWORK, "veth2").address != first.address


def test_leases_survive_a_restart_and_continue_behind_the_latest(tmp_path: Path) -> None:
    leases = Leases(tmp_path)
    leases.load()
    ports = (HostPort("TCP", 80, 8080, "127.0.0.1"),)
    lease = leases.claim("a", NETWORK, "veth1", host_ports=ports)
    again = Leases(tmp_path)
    again.load()
    assert again.all() == [lease]
    assert again.claim("b", NETWORK, "veth2").address == "10.244.3.3"


@pytest.mark.parametrize("content", ["", "{", "[]", '{"sandbox": "a"}', '{"sandbox":"a","address":"10.244.3.9"}'])
def test_an_unreadable_lease_is_dropped(tmp_path: Path, content: str) -> None:
    (tmp_path / "10.244.3.4").write_text(content)
    (tmp_path / ".draft").write_text("{}")
    leases = Leases(tmp_path)
    leases.load()
    assert leases.all() == []
    assert list(tmp_path.iterdir()) == []


def test_an_address_outside_of_the_network_is_refused(tmp_path: Path) -> None:
    leases = Leases(tmp_path)
    leases.load()
    for address in ("10.244.4.1", "10.244.3.1", "10.244.3.15", "nonsense"):
        with pytest.raises(NetworkError, match=address):
            leases.claim("a", NETWORK, "veth1", address=address)


class Machine(RuleBasedStateMachine):
    """Claims, releases and restarts in any order."""

    @initialize()
    def start(self) -> None:
        self.directory = tempfile.TemporaryDirectory()
        self.held: dict[str, str] = {}
        self.restart()

    @rule()
    def restart(self) -> None:
        self.leases = Leases(Path(self.directory.name))
        self.leases.load()

    @rule(name=st.integers(0, 20))
    def claim(self, name: int) -> None:
        sandbox = f"s{name}"
        if sandbox in self.held:
            return
        if len(self.held) == 13:
            with pytest.raises(NetworkError, match="no free address"):
                self.leases.claim(sandbox, NETWORK, "veth")
            return
        lease = self.leases.claim(sandbox, NETWORK, "veth")
        assert lease.address not in self.held.values()
        self.held[sandbox] = lease.address

    @rule(name=st.integers(0, 20))
    def release(self, name: int) -> None:
        self.leases.release(f"s{name}")
        self.held.pop(f"s{name}", None)

    @invariant()
    def agree(self) -> None:
        if hasattr(self, "leases"):
            assert {lease.sandbox: lease.address for lease in self.leases.all()} == self.held

    def teardown(self) -> None:
        if hasattr(self, "directory"):
            self.directory.cleanup()


test_any_order_of_claims_releases_and_restarts_agrees = Machine.TestCase

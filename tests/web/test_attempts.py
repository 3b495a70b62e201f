"""How often someone may try a password."""

from __future__ import annotations

from mitoyolo.web.attempts import Attempts, network


def test_attempts_come_back_with_time() -> None:
    clock = [100.0]
    attempts = Attempts(3, 30.0, lambda: clock[0])
    assert [attempts.take("a") for _ in range(4)] == [0, 0, 0, 30]
    assert attempts.take("b") == 0
    clock[0] += 29
    assert attempts.take("a") == 1
    clock[0] += 1
    assert [attempts.take("a"), attempts.take("a")] == [0, 30]
    attempts.give_back("a")
    assert attempts.take("a") == 0
    clock[0] += 1000
    assert [attempts.take("a") for _ in range(4)] == [0, 0, 0, 30]


def test_attempts_keep_a_bounded_number() -> None:
    attempts = Attempts(1, 30.0, lambda: 0.0)
    for i in range(20_000):
        attempts.take(str(i))
    assert len(attempts._full_at) == 10_000


def test_an_address_of_ipv6_counts_as_its_network() -> None:
    assert network("2001:db8::1") == network("2001:db8::ffff:1") != network("2001:db8:0:1::1")
    assert network("192.0.2.1") != network("192.0.2.2")
    assert network(None) == network("testclient")

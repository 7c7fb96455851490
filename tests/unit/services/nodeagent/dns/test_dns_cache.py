from __future__ import annotations

import os
from pathlib import Path

import dns.flags
import dns.message
import dns.rcode
import dns.rrset
import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.nodeagent.dns import wire
from services.nodeagent.dns.alias import relocated
from services.nodeagent.dns.cache import Cache, Key, aged, parse
from services.nodeagent.dns.resolvconf import ResolvConf, nameservers
from services.nodeagent.dns.wire import Answer

QUESTION = wire.encode_name("www.example.org") + b"\0\1\0\1"
KEY = Key(wire.encode_name("www.example.org"), wire.A)


def message(*, ttl: int = 60, rcode: int = 0, edns: bool = True, soa: int = 0) -> bytes:
    query = dns.message.make_query("www.example.org", "A", use_edns=0 if edns else -1)
    answer = dns.message.make_response(query)
    answer.set_rcode(dns.rcode.Rcode(rcode))
    if rcode == 0 and not soa:
        answer.answer.append(dns.rrset.from_text("www.example.org.", ttl, "IN", "CNAME", "host.example.org."))
        answer.answer.append(dns.rrset.from_text("host.example.org.", ttl + 5, "IN", "A", "192.0.2.1", "192.0.2.2"))
    if soa:
        text = f"a.example.org. b.example.org. 1 2 3 4 {soa}"
        answer.authority.append(dns.rrset.from_text("example.org.", 300, "IN", "SOA", text))
    return answer.to_wire()


def test_an_answer_is_kept_without_its_opt_record() -> None:
    with_opt, without = parse(message(), QUESTION), parse(message(edns=False), QUESTION)
    assert len(with_opt.body) == len(without.body)
    assert with_opt.counts == without.counts == (3, 0, 0)
    assert with_opt.ttl_s == 30


def test_lifetimes_shrink_with_age_and_are_capped() -> None:
    response = parse(message(ttl=20), QUESTION)
    full = message(ttl=20, edns=False)[: 12 + len(QUESTION)] + aged(response, 7)
    assert [records.ttl for records in dns.message.from_wire(full).answer] == [13, 18]
    full = message(ttl=900, edns=False)[: 12 + len(QUESTION)] + aged(parse(message(ttl=900), QUESTION), 10)
    assert {records.ttl for records in dns.message.from_wire(full).answer} == {20}


def test_a_denial_holds_as_long_as_its_soa_says() -> None:
    denial = parse(message(rcode=3, soa=9), QUESTION)
    assert denial.denial
    assert denial.ttl_s == 9


def test_an_answer_holds_for_its_lifetime_and_is_stale_for_an_hour() -> None:
    cache = Cache()
    response = parse(message(ttl=10), QUESTION)
    cache.put(KEY, response, 100.0)
    assert cache.get(KEY, 109.5) == (response, 9)
    assert cache.get(KEY, 110.0) is None
    assert cache.get_stale(KEY, 110.0) == (response, 10)
    assert cache.get_stale(KEY, 4000.0) is None


def test_errors_are_not_kept_and_the_oldest_makes_room() -> None:
    cache = Cache(2)
    cache.put(KEY, parse(message(rcode=2), QUESTION), 0.0)
    assert len(cache) == 0
    for number in range(3):
        cache.put(Key(KEY.name, number), parse(message(), QUESTION), 0.0)
    assert len(cache) == 2
    assert cache.get(Key(KEY.name, 0), 1.0) is None


def test_the_answer_to_another_question_is_refused() -> None:
    with pytest.raises(ValueError, match="another question"):
        parse(message(), wire.encode_name("ww2.example.org") + b"\0\1\0\1")


@given(st.binary(max_size=120), st.integers(0, 4))
def test_any_answer_is_parsed_or_refused(tail: bytes, count: int) -> None:
    head = b"\0\1\x81\x80\0\1" + count.to_bytes(2, "big") + bytes(4)
    try:
        response = parse(head + QUESTION + tail, QUESTION)
    except ValueError:
        return
    assert len(aged(response, 1)) == len(response.body)


def test_records_move_under_another_question() -> None:
    response = parse(message(edns=False), QUESTION)
    body, count = relocated(Answer(0, 3, 0, response.body), KEY.name, wire.A)
    header = b"\0\1\x81\x80\0\1" + count.to_bytes(2, "big") + bytes(4)
    other = wire.encode_name("a.much.longer.name.than.before") + b"\0\1\0\1"
    moved = dns.message.from_wire(header + other + body)
    assert [str(records.name) for records in moved.answer] == ["www.example.org.", "host.example.org."]


def test_resolvers_are_read_without_loopback_and_followed(tmp_path: Path) -> None:
    main, fallback = tmp_path / "resolv.conf", tmp_path / "resolved.conf"
    main.write_text("nameserver 127.0.0.53\noptions edns0\n")
    fallback.write_text("nameserver 192.0.2.1 # a comment\nnameserver fd00::1\nnameserver 192.0.2.2\n")
    upstreams = ResolvConf(main, fallback=fallback)
    assert upstreams() == ["192.0.2.1", "192.0.2.2"]
    main.write_text("nameserver 192.0.2.9\n")
    os.utime(main, (1, 1))
    assert upstreams() == ["192.0.2.9"]
    main.unlink()
    fallback.unlink()
    assert upstreams() == []
    assert nameservers("search example.org\nnameserver\n") == []

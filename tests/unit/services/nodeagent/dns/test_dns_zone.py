from __future__ import annotations

from typing import Any

import dns.flags
import dns.message
import dns.rcode
import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.nodeagent.dns import wire
from services.nodeagent.dns.zone import Zone

Objects = dict[tuple[str, str], dict[str, Any]]


def service(name: str, namespace: str = "ns", **spec: Any) -> Objects:
    return {(namespace, name): {"metadata": {"namespace": namespace, "name": name}, "spec": spec}}


def slices(service: str, *endpoints: dict[str, Any], namespace: str = "ns", port: int = 5432) -> Objects:
    metadata = {"namespace": namespace, "name": service, "labels": {"kubernetes.io/service-name": service}}
    return {
        (namespace, service): {
            "metadata": metadata,
            "addressType": "IPv4",
            "ports": [{"name": "sql", "port": port, "protocol": "TCP"}],
            "endpoints": list(endpoints),
        }
    }


HTTP = {"name": "http", "port": 80, "protocol": "TCP"}
WEB = service("web", clusterIP="10.96.0.20", ports=[HTTP, {"port": 81}])
DB = service("db", clusterIP="None", ports=[{"name": "sql", "port": 5432}])
DB_SLICES = slices(
    "db",
    {"addresses": ["10.244.1.2"], "hostname": "db-0"},
    {"addresses": ["10.244.1.3"]},
    {"addresses": ["10.244.1.4"], "conditions": {"ready": False}},
)


@pytest.fixture
def zone() -> Zone:
    zone = Zone("cluster.local", "10.96.0.10", ["10.244.0.0/16", "10.96.0.0/12"])
    zone.apply(WEB | DB, DB_SLICES)
    return zone


def ask(zone: Zone, name: str, kind: str = "A", *, limit: int = 65535) -> dns.message.Message | None:
    """The answer as an independent library reads it."""
    question = wire.parse_question(dns.message.make_query(name, kind, use_edns=-1).to_wire())
    assert not isinstance(question, int)
    answer = zone.lookup(question.name, question.kind)
    return None if answer is None else dns.message.from_wire(wire.reply(question, answer, 0, limit))


def texts(message: dns.message.Message | None) -> list[str]:
    assert message is not None
    assert message.flags & dns.flags.AA
    return sorted(item.to_text() for records in message.answer for item in records)


def test_a_cluster_ip_service(zone: Zone) -> None:
    assert texts(ask(zone, "web.ns.svc.cluster.local")) == ["10.96.0.20"]
    assert texts(ask(zone, "WEB.ns.SVC.cluster.local")) == ["10.96.0.20"]
    assert texts(ask(zone, "_http._tcp.web.ns.svc.cluster.local", "SRV")) == ["0 100 80 web.ns.svc.cluster.local."]
    assert texts(ask(zone, "20.0.96.10.in-addr.arpa", "PTR")) == ["web.ns.svc.cluster.local."]


def test_a_srv_answer_brings_the_addresses_along(zone: Zone) -> None:
    message = ask(zone, "_sql._tcp.db.ns.svc.cluster.local", "SRV")
    assert texts(message) == [
        "0 100 5432 10-244-1-3.db.ns.svc.cluster.local.",
        "0 100 5432 db-0.db.ns.svc.cluster.local.",
    ]
    assert message is not None
    assert {(str(records.name), records[0].to_text()) for records in message.additional} == {
        ("db-0.db.ns.svc.cluster.local.", "10.244.1.2"),
        ("10-244-1-3.db.ns.svc.cluster.local.", "10.244.1.3"),
    }


def test_a_headless_service_has_its_ready_endpoints(zone: Zone) -> None:
    assert texts(ask(zone, "db.ns.svc.cluster.local")) == ["10.244.1.2", "10.244.1.3"]
    assert texts(ask(zone, "db-0.db.ns.svc.cluster.local")) == ["10.244.1.2"]
    assert texts(ask(zone, "2.1.244.10.in-addr.arpa", "PTR")) == ["db-0.db.ns.svc.cluster.local."]


def test_a_host_that_moves_is_found_at_its_new_address_by_every_answer(zone: Zone) -> None:
    zone.apply(WEB | DB, slices("db", {"addresses": ["10.244.9.9"], "hostname": "db-0"}))
    assert texts(ask(zone, "db-0.db.ns.svc.cluster.local")) == ["10.244.9.9"]
    message = ask(zone, "_sql._tcp.db.ns.svc.cluster.local", "SRV")
    assert message is not None
    assert [records[0].to_text() for records in message.additional] == ["10.244.9.9"]
    assert ask(zone, "2.1.244.10.in-addr.arpa", "PTR").rcode() == dns.rcode.NXDOMAIN  # type: ignore[union-attr]


@pytest.mark.parametrize(
    ("name", "kind", "rcode"),
    [
        ("web.ns.svc.cluster.local", "AAAA", dns.rcode.NOERROR),
        ("ns.svc.cluster.local", "A", dns.rcode.NOERROR),
        ("svc.cluster.local", "A", dns.rcode.NOERROR),
        ("_tcp.db.ns.svc.cluster.local", "SRV", dns.rcode.NOERROR),
        ("pod.cluster.local", "A", dns.rcode.NOERROR),
        ("nobody.ns.svc.cluster.local", "A", dns.rcode.NXDOMAIN),
        ("www.example.org.ns.svc.cluster.local", "A", dns.rcode.NXDOMAIN),
        ("cluster.local", "A", dns.rcode.NOERROR),
        ("99.9.244.10.in-addr.arpa", "PTR", dns.rcode.NXDOMAIN),
        ("7.0.111.10.in-addr.arpa", "PTR", dns.rcode.NXDOMAIN),
        ("not-an-address.ns.pod.cluster.local", "A", dns.rcode.NXDOMAIN),
    ],
)
def test_what_does_not_exist_is_denied_with_the_zones_authority(zone: Zone, name: str, kind: str, rcode: int) -> None:
    message = ask(zone, name, kind)
    assert message is not None
    assert message.rcode() == rcode
    assert message.answer == []
    authority = message.authority[0]
    assert authority.rdtype == dns.rdatatype.SOA
    assert message.question[0].name.is_subdomain(authority.name)


def test_names_of_others_are_nobodys_here(zone: Zone) -> None:
    for name in ("example.org", "cluster.local.example.org", "xcluster.local", "9.9.9.9.in-addr.arpa"):
        assert ask(zone, name) is None


def test_the_zone_names_itself(zone: Zone) -> None:
    assert texts(ask(zone, "dns-version.cluster.local", "TXT")) == ['"1.1.0"']
    assert texts(ask(zone, "ns.dns.cluster.local")) == ["10.96.0.10"]
    assert texts(ask(zone, "cluster.local", "NS")) == ["ns.dns.cluster.local."]
    assert len(texts(ask(zone, "cluster.local", "SOA"))) == 1


def test_pods_are_answered_by_their_form_or_by_what_is_known(zone: Zone) -> None:
    assert texts(ask(zone, "10-244-1-9.ns.pod.cluster.local")) == ["10.244.1.9"]
    pod = {"metadata": {"namespace": "ns", "name": "p"}, "status": {"podIP": "10.244.1.9"}}
    zone.apply(WEB | DB, DB_SLICES, {("ns", "p"): pod})
    assert texts(ask(zone, "10-244-1-9.ns.pod.cluster.local")) == ["10.244.1.9"]
    assert ask(zone, "10-244-1-8.ns.pod.cluster.local").rcode() == dns.rcode.NXDOMAIN  # type: ignore[union-attr]
    zone.apply(WEB | DB, DB_SLICES, {})
    assert ask(zone, "10-244-1-9.ns.pod.cluster.local").rcode() == dns.rcode.NXDOMAIN  # type: ignore[union-attr]


def test_an_external_name_is_an_alias(zone: Zone) -> None:
    zone.apply(service("out", type="ExternalName", externalName="www.example.org"), {})
    name = wire.encode_name("out.ns.svc.cluster.local")
    assert zone.external(name) == wire.encode_name("www.example.org")
    assert texts(ask(zone, "out.ns.svc.cluster.local", "CNAME")) == ["www.example.org."]
    zone.apply({}, {})
    assert zone.external(name) is None


def test_nothing_is_left_of_services_that_are_gone(zone: Zone) -> None:
    empty = len(Zone("cluster.local", "10.96.0.10"))
    assert len(zone) > empty
    zone.apply({}, {})
    assert len(zone) == empty
    assert ask(zone, "ns.svc.cluster.local").rcode() == dns.rcode.NXDOMAIN  # type: ignore[union-attr]


def test_a_malformed_service_does_not_hide_the_others(zone: Zone, caplog: pytest.LogCaptureFixture) -> None:
    bad = service("x" * 64, clusterIP="10.96.0.21") | service("port", clusterIP="10.96.0.22", ports=[{"port": "http"}])
    zone.apply(WEB | DB | bad, DB_SLICES)
    assert texts(ask(zone, "web.ns.svc.cluster.local")) == ["10.96.0.20"]
    assert ask(zone, "port.ns.svc.cluster.local").rcode() == dns.rcode.NXDOMAIN  # type: ignore[union-attr]
    assert caplog.text.count("has no names") == 2


def test_addresses_take_turns(zone: Zone) -> None:
    question = wire.parse_question(dns.message.make_query("db.ns.svc.cluster.local", "A").to_wire())
    assert not isinstance(question, int)
    answer = zone.lookup(question.name, question.kind)
    assert answer is not None
    first = [dns.message.from_wire(wire.reply(question, answer, turn, 512)).answer[0][0].to_text() for turn in (0, 1)]
    assert sorted(first) == ["10.244.1.2", "10.244.1.3"]


def test_a_long_answer_keeps_what_fits() -> None:
    zone = Zone("cluster.local", "10.96.0.10")
    endpoints = [{"addresses": [f"10.244.{number // 200}.{number % 200 + 1}"]} for number in range(300)]
    zone.apply(DB, slices("db", *endpoints))
    cut = ask(zone, "db.ns.svc.cluster.local", limit=512)
    assert cut is not None
    assert cut.flags & dns.flags.TC
    assert len(cut.answer[0]) == (512 - 12 - len(wire.encode_name("db.ns.svc.cluster.local")) - 4) // 16
    assert len(texts(ask(zone, "db.ns.svc.cluster.local"))) == 300


labels = st.text(alphabet="abz-0", min_size=1, max_size=12).map(lambda text: f"a{text}a")


@given(
    st.dictionaries(labels, st.integers(2, 250), max_size=6), st.dictionaries(labels, st.integers(2, 250), max_size=6)
)
def test_changing_step_by_step_gives_the_same_zone_as_starting_anew(
    before: dict[str, int], after: dict[str, int]
) -> None:
    def build(spec: dict[str, int]) -> Objects:
        found: Objects = {}
        for name, number in spec.items():
            found |= service(name, clusterIP=f"10.96.0.{number}", ports=[HTTP])
        return found

    changed, fresh = Zone("cluster.local", "10.96.0.10"), Zone("cluster.local", "10.96.0.10")
    changed.apply(build(before), {})
    changed.apply(build(after), {})
    fresh.apply(build(after), {})
    assert changed._answers == fresh._answers
    assert +changed._nodes == +fresh._nodes


@given(st.binary(max_size=80))
def test_any_datagram_is_parsed_or_refused(data: bytes) -> None:
    for packet in (data, b"\0\1\1\0\0\1\0\0\0\0\0\0" + data):
        result = wire.parse_question(packet)
        if isinstance(result, int):
            if result >= 0:
                assert dns.message.from_wire(wire.failure(packet, result)).rcode() == result
        else:
            assert result.name.endswith(b"\0")


def test_a_query_with_cookies_and_edns_is_answered_in_kind(zone: Zone) -> None:
    query = dns.message.make_query("web.ns.svc.cluster.local", "A", use_edns=0, payload=4096, options=[])
    question = wire.parse_question(query.to_wire())
    assert not isinstance(question, int)
    assert question.limit == 1232
    answer = zone.lookup(question.name, question.kind)
    assert answer is not None
    message = dns.message.from_wire(wire.reply(question, answer, 0, question.limit))
    assert message.edns == 0
    assert query.is_response(message)

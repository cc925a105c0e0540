"""What is agreed with one sender: found by its header or its listener, used on receipt and in the conversion."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from gateway.adapters.db.store import DbStore
from gateway.adapters.mllp.receiver import Listener
from gateway.codecs.er7 import Message
from gateway.exchange.ports.inbox import State
from gateway.exchange.receive import Feed
from gateway.kernel.errors import Invalid
from gateway.settings import Settings, read_settings
from gateway.wiring import hl7v2_processing, mllp_listeners
from tests.support.mllp import Peer, adt, framed, msa, receiving

ADDRESS = "127.0.0.1:0"


def settings(address: str = ADDRESS, **feeds: dict[str, Any]) -> Settings:
    return read_settings(environment={}, mllp_address=address, mllp_feeds=feeds)


def listener(given: Settings) -> Listener:
    return mllp_listeners(given, lambda _kind, _trigger: True)[0]


def test_a_sender_is_found_by_what_it_writes_in_its_header() -> None:
    west = Feed(charset="8859/1")
    feed = Feed(by_sender=(("EHR^WEST", west),))
    assert feed.of(adt("1")) is west
    assert feed.of(adt("1", eol="\n")) is west
    assert feed.of(adt("1").replace(b"WEST|DOOR", b"WEST^1.2.3^ISO|DOOR")) is west
    assert feed.of(adt("1").translate(bytes.maketrans(b"|^", b"#:"))) is west
    assert feed.of(adt("1").replace(b"EHR", b"LAB")) is feed
    assert feed.of(adt("1").replace(b"EHR", "ÉHR".encode())) is feed
    for nothing in (b"", b"MSH", b"MSH|", b"hello", b"MSH|^~\\&|EHR|WEST"):
        assert feed.of(nothing) in (feed, west)


def test_a_certificate_binds_what_is_agreed_with_single_senders_too() -> None:
    feed = Feed(by_sender=(("EHR^WEST", Feed(charset="8859/1")),)).limited_to(frozenset({"LAB^EAST"}))
    assert feed.of(adt("1")).senders == frozenset({"LAB^EAST"})


def test_one_sender_may_repeat_its_control_ids_and_another_may_not(sqlite_store: DbStore) -> None:
    given = settings(west={"senders": ["EHR^WEST"], "conflict": "accept"})
    with receiving(sqlite_store, listener(given)) as receiver:
        peer = Peer(receiver.addresses[0])
        for sender, expected in ((b"EHR", ["AA", "AA", "AA"]), (b"LAB", ["AA", "AE", "AE"])):
            said = []
            for mrn in ("1", "2", "2"):
                peer.send(framed(adt("7", mrn=mrn).replace(b"EHR", sender)))
                said.append(msa(peer.answer())[0])
            assert said == expected
        peer.close()
    with sqlite_store.reading() as reading:
        assert len(reading.inbox.in_state(State.QUARANTINED)) == 1
        assert len(reading.inbox.in_state(State.RECEIVED)) == 3


def test_who_calls_the_listener_of_a_feed_counts_as_its_sender(sqlite_store: DbStore) -> None:
    with receiving(sqlite_store, listener(settings(clinic={"listener": ADDRESS}))) as receiver:
        peer = Peer(receiver.addresses[0])
        peer.send(framed(adt("1")))
        assert msa(peer.answer()) == ("AA", "1")
        peer.close()
    with sqlite_store.reading() as reading:
        assert [one.source for one in reading.inbox.find("1")] == ["clinic"]


def test_the_conversion_gets_charset_zone_overlay_and_custodian_of_the_sender() -> None:
    agreed = {"senders": ["EHR^WEST"], "time_zone": "+05:00", "site": "example", "organization": "Organization/west"}
    processing = hl7v2_processing(settings(west={**agreed, "charset": "8859/1", "jurisdiction": "ca"}))
    message = Message.parse(adt("1").replace(b"PV1|1|I", b"PV1|1|I" + b"|" * 42 + b"20260105101500"))
    theirs, others = processing.convert(message, "EHR^WEST"), processing.convert(message, "LAB^WEST")

    def start(resources: Sequence[dict[str, Any]]) -> str:
        (visit,) = [one for one in resources if one["resourceType"] == "Encounter"]
        return str(visit["period"]["start"])

    assert start(theirs.resources).endswith("+05:00")
    assert start(others.resources).endswith("Z")
    custodians = [one.get("managingOrganization") for one in theirs.resources if one["resourceType"] == "Patient"]
    assert custodians == [{"reference": "Organization/west"}]
    assert processing.charsets == {"EHR^WEST": ("utf-8", "8859/1")}


@pytest.mark.parametrize(
    ("feeds", "at"),
    [
        ({"a": {}}, "mllp_feeds.a"),
        ({"a": {"senders": ["E^W"], "listener": ADDRESS}}, "mllp_feeds.a"),
        ({"a": {"senders": ["E^W"]}, "b": {"senders": ["E^W"]}}, "mllp_feeds.b"),
        ({"a": {"listener": "127.0.0.1:9"}}, "mllp_feeds.a.listener"),
        ({"a": {"listener": ADDRESS}, "b": {"listener": ADDRESS}}, "mllp_feeds.b.listener"),
        ({"a": {"senders": ["EHR"]}}, "mllp_feeds.a"),
        ({"a": {"senders": ["E^W"], "time_zone": "Mars/Base"}}, "zone"),
        ({"a": {"senders": ["E^W"], "conflict": "ignore"}}, "mllp_feeds.a.conflict"),
        ({"a": {"senders": ["E^W"], "organization": "west"}}, "mllp_feeds.a.organization"),
        ({"a": {"senders": ["E^W"], "parties": {"Homes": "Patient/1"}}}, "mllp_feeds.a.parties"),
    ],
)
def test_a_mistake_stops_the_start_and_says_where(feeds: dict[str, Any], at: str) -> None:
    with pytest.raises(Invalid) as failure:
        hl7v2_processing(settings(**feeds))
    assert at in str(failure.value)


def test_feeds_are_read_from_toml(tmp_path: Path) -> None:
    file = tmp_path / "site.toml"
    file.write_text('[mllp_feeds.west]\nsenders = ["EHR^WEST"]\nwait_for_processing = true\n')
    feed = listener(read_settings(str(file), environment={})).feed
    assert feed.of(adt("1")).wait
    assert not feed.wait

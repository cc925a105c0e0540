"""PDQ and PIX over a socket: linking finds, consent decides, and what is hidden looks like what does not exist."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from gateway.codecs.er7 import Message
from gateway.exchange.ports.resources import Draft
from gateway.exchange.ports.store import Store
from gateway.settings import read_settings
from gateway.wiring import mllp_service, open_store, saver
from tests.support.mllp import Peer, adt, framed

WEST: dict[str, Any] = {"resourceType": "Organization", "id": "west", "active": True}
ASKERS = {
    "EHR^WEST": {"organization": "Organization/west", "networks": ["127.0.0.0/8"]},
    "FAR^WEST": {"organization": "Organization/west", "networks": ["10.0.0.0/8"]},
    "LAB^WEST": {"organization": "Organization/west", "networks": ["127.0.0.0/8"]},
}
PERSON = (
    "@PID.5.1^Zqarrow~@PID.5.2^Lena~@PID.7^19800101~@PID.13.1^(204) 555-0142~@PID.11.1^9 Elm Street~@PID.11.3^Brandon"
)


def patient(id_: str, system: str, value: str) -> dict[str, Any]:
    return {
        "resourceType": "Patient", "id": id_, "identifier": [{"system": system, "value": value}],
        "name": [{"family": "Zqarrow", "given": ["Lena"]}], "birthDate": "1980-01-01", "gender": "female",
        "telecom": [{"system": "phone", "value": "204-555-0142", "use": "home"}],
        "address": [{"line": ["9 Elm Street"], "city": "Brandon"}],
    }  # fmt: skip


def consent(id_: str, who: str, kind: str = "permit", to: str = "west") -> dict[str, Any]:
    provision: dict[str, Any] = {"type": kind}
    if kind == "permit":
        role = {"system": "http://terminology.hl7.org/CodeSystem/v3-ParticipationType", "code": "IRCP"}
        actor = {"role": {"coding": [role]}, "reference": {"reference": f"Organization/{to}"}}
        provision["actor"] = [actor]
    return {
        "resourceType": "Consent", "id": id_, "status": "active", "patient": {"reference": f"Patient/{who}"},
        "scope": {"coding": [
            {"system": "http://terminology.hl7.org/CodeSystem/consentscope", "code": "patient-privacy"}]},
        "category": [{"coding": [{"system": "http://loinc.org", "code": "59284-0"}]}],
        "dateTime": "2024-01-01", "policyRule": {"coding": [
            {"system": "http://terminology.hl7.org/CodeSystem/v3-ActCode", "code": "OPTIN"}]},
        "provision": provision,
    }  # fmt: skip


class Hub:
    """A running gateway and a connection to it."""

    def __init__(self, folder: Path) -> None:
        settings = read_settings(
            environment={}, database_url=f"sqlite:///{folder}/q.db", mllp_address="127.0.0.1:0", mllp_askers=ASKERS
        )
        self.store: Store = open_store(settings)
        self._saver = saver(settings)
        self._service = mllp_service(settings, self.store)
        host, _, port = self._service.start().removeprefix("mllp on ").rpartition(":")
        self._peer = Peer((host, int(port)))
        self.save(WEST)

    def save(self, *resources: dict[str, Any], labels: tuple[dict[str, str], ...] = (), first: int = 0) -> None:
        for n, one in enumerate(resources, first):  # a source of its own for each patient of one call
            draft = Draft(one, source=f"source{n}" if one["resourceType"] == "Patient" else "forms", labels=labels)
            self.store.write(lambda unit, d=draft: self._saver.save(unit, [d], now_us=1_700_000_000_000_000))  # type: ignore[misc]

    def ask(
        self, trigger: str, query: str, *, sender: str = "EHR", more: str = "", control_id: str = "Q1", msh: str = ""
    ) -> Message:
        text = (
            f"MSH|^~\\&|{sender}|WEST|DOORWAY|HUB|20260105101500||QBP^{trigger}^QBP_Q21|{control_id}|P|2.5{msh}\r"
            f"QPD|IHE Query|T77|{query}\r{more}"
        )
        self._peer.send(framed(text.encode(errors="surrogateescape")))
        return Message.parse(self._peer.answer())

    def close(self) -> None:
        self._peer.close()
        self._service.stop()
        self.store.close()


@pytest.fixture
def hub(tmp_path: Path) -> Iterator[Hub]:
    made = Hub(tmp_path)
    yield made
    made.close()


def told(answer: Message) -> list[str]:
    """The answer without what differs between any two answers: its header."""
    return [segment.text for segment in answer.segments if segment.id != "MSH"]


def audited(hub: Hub) -> list[dict[str, Any]]:
    with hub.store.reading() as reading:
        return [record.event for record in reading.audit.records()]


def test_a_consenting_person_is_found_with_what_the_tables_say(hub: Hub) -> None:
    hub.save(patient("h", "urn:oid:1.2.3", "c1712345"), consent("ch", "h"))
    answer = hub.ask("Q22", PERSON, more="RCP|I|10^RD\r")
    assert answer.header.raw(9) == "RSP^K22^RSP_K21"
    assert (answer.get("MSA-1"), answer.get("MSA-2")) == ("AA", "Q1")
    assert (answer.get("QAK-1"), answer.get("QAK-2"), answer.get("QAK-4"), answer.get("QAK-6")) == (
        "T77",
        "OK",
        "1",
        "0",
    )
    assert answer.first("QPD").text == f"QPD|IHE Query|T77|{PERSON}"  # type: ignore[union-attr]
    assert answer.get("PID-3.1") == "c1712345"
    assert answer.get("PID-3.4.2") == "1.2.3"
    assert (answer.get("PID-5.1"), answer.get("PID-7"), answer.get("PID-8")) == ("Zqarrow", "19800101", "F")
    assert int(answer.get("QRI-1") or 0) > 50
    event = audited(hub)[-1]
    assert event["outcome"] == "0"
    assert "Patient/h" in str(event["entity"])
    assert "Zqarrow" not in str(event)
    with hub.store.reading() as reading:
        assert reading.inbox.find("Q1") == []


@pytest.mark.parametrize("sender", ["FAR", "NOBODY"])
def test_a_sender_that_is_not_bound_or_not_where_it_should_be_sees_nobody(hub: Hub, sender: str) -> None:
    nobody = told(hub.ask("Q22", PERSON))
    hub.save(patient("h", "urn:oid:1.2.3", "c1712345"), consent("ch", "h"))
    assert told(hub.ask("Q22", PERSON, sender=sender)) == nobody
    assert hub.ask("Q22", PERSON, sender=sender).get("QAK-2") == "NF"


@pytest.mark.parametrize(("trigger", "query", "status"), [
    ("Q22", PERSON, "NF"), ("Q22", "@PID.3.1^c1712345~@PID.3.4.2^1.2.3~@PID.3.4.3^ISO", "NF"),
    ("Q23", "c1712345^^^&1.2.3&ISO", "AE"),
])  # fmt: skip
def test_a_denied_person_and_an_unknown_one_give_the_same_bytes(
    hub: Hub, trigger: str, query: str, status: str
) -> None:
    unknown = hub.ask(trigger, query)
    assert unknown.get("QAK-2") == status
    hub.save(
        patient("h", "urn:oid:1.2.3", "c1712345"), consent("ch", "h", "deny"), patient("n", "urn:oid:1.2.4", "c1712345")
    )
    assert told(hub.ask(trigger, query)) == told(unknown)


def test_an_identifier_leads_to_the_others_of_the_person_in_the_domains_asked_for(hub: Hub) -> None:
    hub.save(patient("h", "urn:oid:1.2.3", "c1712345"), patient("m", "urn:oid:1.2.4", "m99"))
    hub.save(consent("ch", "h"), consent("cm", "m"))
    answer = hub.ask("Q23", "c1712345^^^&1.2.3&ISO^MR")
    assert answer.header.raw(9) == "RSP^K23^RSP_K23"
    assert answer.get("QAK-2") == "OK"
    pid = answer.first("PID")
    assert pid is not None
    assert pid.repetitions(3) == ["m99^^^&1.2.4&ISO"]
    assert pid.raw(5) == "~^^^^^^S"
    assert hub.ask("Q23", "c1712345^^^&1.2.3&ISO|^^^&1.2.4&ISO").get("PID-3.1") == "m99"
    elsewhere = hub.ask("Q23", "c1712345^^^&1.2.3&ISO|^^^&9.9&ISO")
    assert (elsewhere.get("MSA-1"), elsewhere.get("QAK-2")) == ("AA", "NF")
    unknown = hub.ask("Q23", "zqno^^^&1.2.3&ISO")
    assert (unknown.get("MSA-1"), unknown.get("ERR-2"), unknown.get("ERR-3.1")) == ("AE", "QPD", "204")


def test_a_query_in_enhanced_mode_is_accepted_first_and_answered(hub: Hub) -> None:
    for msh_15, first in (("AL", "CA"), ("SU", "CA"), ("NE", "AA"), ("ER", "AA")):
        said = hub.ask("Q22", PERSON, msh=f"|||{msh_15}|NE")
        assert (said.get("MSA-1"), said.get("MSA-2")) == (first, "Q1")
        if first == "CA":
            assert said.header.raw(9)[:3] == "ACK"
            said = Message.parse(hub._peer.answer())
        assert (said.header.raw(9)[:3], said.get("MSA-1"), said.get("QAK-2")) == ("RSP", "AA", "NF")


def test_a_query_with_bytes_that_are_not_of_its_charset_is_answered(hub: Hub) -> None:
    answer = hub.ask("Q22", PERSON.replace("Lena", "L\udce4na"))
    assert (answer.get("MSA-1"), answer.get("QAK-2")) == ("AA", "NF")


PART_2 = {"system": "http://terminology.hl7.org/CodeSystem/v3-ActCode", "code": "42CFRPart2"}
NOTICE = "42 CFR part 2 prohibits unauthorized use or disclosure of these records."


@pytest.mark.parametrize(
    ("trigger", "query"), [("Q22", PERSON), ("Q23", "c1712345^^^&1.2.3&ISO^MR|^^^&1.2.4&ISO")], ids=["PDQ", "PIX"]
)
def test_a_person_of_a_part_2_programme_is_told_with_its_notice_once_or_not_at_all(
    hub: Hub, trigger: str, query: str
) -> None:
    if trigger == "Q23":  # asked by the number of a record that the asker sees
        hub.save(patient("h", "urn:oid:1.2.3", "c1712345"), consent("ch", "h"))
    nobody = told(hub.ask(trigger, query))
    hub.save(patient("m", "urn:oid:1.2.4", "m99"), labels=(PART_2,), first=1)
    hub.save(consent("cm", "m"))
    assert told(hub.ask(trigger, query)) == nobody, "a consent that does not name such records does not let them out"
    assert not any(line.startswith(("PID", "ZNT")) for line in nobody)
    named = consent("cm", "m")
    named["provision"]["securityLabel"] = [PART_2]
    hub.save(named)
    answer = hub.ask(trigger, query)
    assert [pid.get(3) for pid in answer.all("PID")] == ["m99"]
    assert [(one.raw(1), one.get(2), one.get(3)) for one in answer.all("ZNT")] == [("1", "42CFRPart2", NOTICE)]
    told_of = [one for one in audited(hub) if "Patient/m" in str(one["entity"])]
    assert told_of, "that it left is in the audit trail"


def test_an_answer_without_such_a_person_carries_no_notice(hub: Hub) -> None:
    hub.save(patient("h", "urn:oid:1.2.3", "c1712345"), consent("ch", "h"))
    answer = hub.ask("Q22", PERSON)
    assert (len(answer.all("PID")), answer.all("ZNT")) == (1, [])


def test_pages_follow_one_another_by_a_pointer_that_serves_nobody_else(hub: Hub) -> None:
    for n in range(3):
        hub.save(patient(f"p{n}", "urn:oid:1.2.3", f"c{n}"), consent(f"c{n}", f"p{n}"))
    seen, more = [], "RCP|I|2^RD\r"
    first = hub.ask("Q22", PERSON, more=more)
    assert (first.get("QAK-4"), first.get("QAK-5"), first.get("QAK-6"), first.get("DSC-2")) == ("3", "2", "1", "I")
    pointer = first.get("DSC-1")
    second = hub.ask("Q22", PERSON, more=f"{more}DSC|{pointer}|I\r", control_id="Q2")
    assert second.first("DSC") is None
    for page in (first, second):
        seen += [pid.get(3) for pid in page.all("PID")]
    assert sorted(str(one) for one in seen) == ["c0", "c1", "c2"]
    assert hub.ask("Q22", PERSON, sender="LAB", more=f"{more}DSC|{pointer}|I\r").get("ERR-2.1") == "DSC"
    assert hub.ask("Q22", f"{PERSON}~@PID.8^F", more=f"{more}DSC|{pointer}|I\r").get("ERR-2.1") == "DSC"


@pytest.mark.parametrize(("trigger", "query", "more", "place"), [
    ("Q22", "", "", "QPD^1^3^1"), ("Q22", "@PID.5.1^Zqarrow", "", "QPD^1^3^1"), ("Q22", "@ZZZ.1^x", "", "QPD^1^3^1^1"),
    ("Q22", "@PID.5.1^Zqa*", "", "QPD^1^3^1^2"), ("Q22", PERSON, "RCP|I|many\r", "RCP^1^2^1"),
    ("Q22", PERSON, "DSC|forged|I\r", "DSC^1^1^1"), ("Q23", "", "", "QPD^1^3^1"), ("Q23", "a~b", "", "QPD^1^3^1"),
    ("Q23", "c1712345^^^&1.2.3&ISO|zq", "", "QPD^1^4^1"),
])  # fmt: skip
def test_a_bad_query_is_an_error_with_its_place(hub: Hub, trigger: str, query: str, more: str, place: str) -> None:
    answer = hub.ask(trigger, query, more=more)
    assert answer.get("MSA-1") in {"AE", "AR"}
    assert answer.first("ERR").raw(2) == place  # type: ignore[union-attr]
    assert answer.get("QAK-2") == answer.get("MSA-1")
    assert answer.first("PID") is None
    assert audited(hub)[-1]["outcome"] == "4"


def test_other_queries_and_other_messages_go_their_way(hub: Hub) -> None:
    assert hub.ask("Q11", PERSON).get("MSA-1") == "AR"
    hub._peer.send(framed(adt("QBP")))
    assert Message.parse(hub._peer.answer()).get("MSA-1") == "AA"

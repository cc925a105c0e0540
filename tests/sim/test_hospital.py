"""The synthetic hospital: every pathway, repeatable bytes, and a truth that its own messages bear out."""

import json
from pathlib import Path

from gateway.codecs.er7 import Message
from gateway.codecs.er7_batch import split_interchange
from gateway.sim.hospital import PATHWAY_EVENTS, Hospital, write_feed
from gateway.sim.population import PATHWAYS, Population


def messages(folder: Path) -> list[Message]:
    return [
        Message.parse(raw)
        for file in sorted(folder.glob("feed-*.hl7"))
        for raw in split_interchange(file.read_bytes()).messages
    ]


def test_every_pathway_of_the_population_has_its_messages() -> None:
    assert set(PATHWAY_EVENTS) == set(PATHWAYS)
    assert len(PATHWAYS) >= 15


def test_the_same_seed_gives_the_same_bytes(tmp_path: Path) -> None:
    for name in ("a", "b"):
        write_feed(tmp_path / name, seed=4, patients=60)
    files = sorted(path.name for path in (tmp_path / "a").iterdir())
    assert files
    assert all((tmp_path / "a" / name).read_bytes() == (tmp_path / "b" / name).read_bytes() for name in files)


def test_truth_names_every_record_number_and_visit_that_is_sent(tmp_path: Path) -> None:
    told = write_feed(tmp_path, seed=2, patients=700)
    sent = messages(tmp_path)
    assert len(sent) == told.messages
    assert set(told.pathways) == set(PATHWAYS)
    truth = [json.loads(line) for line in (tmp_path / "truth.ndjson").read_text().splitlines()]
    assert {message.get("PID-3.1") for message in sent} == {line["MRN"] for line in truth}
    visits = {number for line in truth for number in line.get("visits", {})}
    assert {message.get("PV1-19.1") for message in sent} - {None} <= visits | {
        f"V{line['MRN'].removeprefix('MRN')}" for line in truth
    }


def test_messages_of_one_person_keep_their_order_and_a_late_one_is_late() -> None:
    hospital = Hospital(Population(3, 400))
    for person, record in hospital.patients():
        sent = hospital.messages(person, record)
        assert [one.at for one in sent] == sorted(one.at for one in sent)
        if person.pathway == "late-message":
            recorded = [Message.parse(one.text).get("EVN-6") or "" for one in sent]
            assert recorded[-1] < recorded[-2]
        if person.pathway == "duplicated-message":
            assert sent[0].text == sent[1].text


def test_every_message_carries_the_canary_and_an_identifier_authority(tmp_path: Path) -> None:
    write_feed(tmp_path, seed=6, patients=80)
    for message in messages(tmp_path):
        assert "zq" in (message.get("PID-5.1") or "")
        assert message.get("PID-3.4.1") == "RGH"

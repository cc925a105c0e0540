"""Messages as odd as senders make them: nothing invented, nothing lost, the same again the next time."""

import orjson
import pytest

from gateway.codecs.er7 import Message
from gateway.kernel.errors import Invalid
from gateway.mapping.hl7v2.after import clean
from gateway.mapping.hl7v2.convert import Conversion, Converter
from tests.mapping.hl7v2.build import PID, PV1, convert, converter, message, only


def of(conversion: Conversion, kind: str) -> list[dict[str, object]]:
    return [r for r in conversion.resources if r["resourceType"] == kind]


def test_what_is_left_over_of_a_thing_is_left_over_every_time() -> None:
    fresh = Converter(converter().tables)
    odd = Message.parse(b"MSH|^~\\&|APP|^^^^^^ZZ|||||ADT^A04|1|P|2.5\r" + PID.encode())
    first, again = fresh.convert(odd), fresh.convert(odd)
    assert first.bundle_bytes() == again.bundle_bytes()
    assert {left.place for left in again.residue} == {"MSH-4.7"}


def test_delimiters_alone_say_nothing() -> None:
    found = convert("ORM^O01", PID, "ORC|NW|1||^^^||~|||^&&^", "OBR|1|1||X")
    (order,) = of(found, "ServiceRequest")
    assert "requisition" not in order
    assert found.residue == ()


def test_the_first_repetition_with_content_counts() -> None:
    found = convert("ADT^A04", "PID|1||4711^^^WEST^MR||Zqwalker||~19800512|F")
    assert (only(found, "Patient")["birthDate"], found.residue) == ("1980-05-12", ())


@pytest.mark.parametrize("diagnosis", ["DG1|1||||20240101|A", "DG1|1||||||||||||||2", "DG1|1||^^"])
def test_a_diagnosis_without_a_name_is_left_over_and_makes_no_part_of_the_visit(diagnosis: str) -> None:
    found = convert("ADT^A01", PID, PV1, diagnosis)
    assert "diagnosis" not in only(found, "Encounter")
    assert bool(found.residue) == (diagnosis != "DG1|1||^^")


def test_one_report_told_twice_has_its_time_once() -> None:
    found = convert("ORU^R01", PID, "OBR|1||F1^LAB|X|||20260101", "OBR|2||F1^LAB|X|||20260101|20260102")
    report = only(found, "DiagnosticReport")
    assert ("effectiveDateTime" in report, "effectivePeriod" in report) == (False, True)


def test_a_diagnosis_of_nobody_is_left_over() -> None:
    found = convert("ADT^A01", "PV1|1|I|||||||||||||||||V1", "DG1|1||F1^X|||A")
    assert "diagnosis" not in only(found, "Encounter")
    assert "DG1-6" in {left.place for left in found.residue}


def test_each_use_of_a_diagnosis_names_its_condition() -> None:
    uses = only(convert("ADT^A01", PID, PV1, "DG1|1||F1^X|||A~W"), "Encounter")["diagnosis"]
    assert len({use["condition"]["reference"] for use in uses}) == 1 < len(uses)


@pytest.mark.parametrize(
    ("sent", "told"),
    [
        ("20240229", "2024-02-29"), ("20230229", None), ("2024", "2024"), ("202402", "2024-02"),
        ("2024022923", "2024-02-29"), ("202402292359", "2024-02-29T23:59:00-05:00"),
        ("20240229235959.1234+0530", "2024-02-29T23:59:59.1234+05:30"), ("20240229235959-2400", None),
        ("20240229235959+1400", "2024-02-29T23:59:59+14:00"), ("20240229235959+1401", None),
        ("20240229235959+0960", None),
    ],
)  # fmt: skip
def test_a_time_keeps_its_precision_or_is_left_over(sent: str, told: str | None) -> None:
    found = convert("ADT^A01", PID, "PV1|1|I" + "|" * 42 + sent)
    assert only(found, "Encounter").get("period", {}).get("start") == told
    assert {left.text for left in found.residue} == (set() if told else {sent})


def test_an_offset_that_there_is_not_is_no_zone() -> None:
    raw = message("ADT^A01", PID, "PV1|1|I" + "|" * 42 + "202402292359").raw.replace(b"-0500||", b"-9900||")
    visit = only(converter().convert(Message.parse(raw)), "Encounter")
    assert visit["period"]["start"] == "2024-02-29T23:59:00Z"


def test_a_message_that_says_nothing_is_refused() -> None:
    with pytest.raises(Invalid):
        converter().convert(Message.parse(b"MSH|^~\\&|||||||ORU^|1||2.3"))


@pytest.mark.parametrize("version", ["2.1", "2.2", "2.3.1", "2.4", "2.7", "2.8.2", "", "9.9", "2.5.1^USA^X"])
@pytest.mark.parametrize("kind", ["ADT^A01", "ADT^A01^ADT_A01"])
def test_every_version_and_header_gives_the_same_person(version: str, kind: str) -> None:
    head = f"MSH|^~\\&|APP|WEST|||20250310||{kind}|1|P|{version}"
    found = converter().convert(Message.parse("\r".join((head, PID + "|||", PV1, "ZZZ", "NK1", "")).encode()))
    assert orjson.dumps(only(found, "Patient")) == orjson.dumps(only(convert("ADT^A01", PID, PV1), "Patient"))


@pytest.mark.parametrize("odd", ["\x01", "\t", "\x7f", "\x1f", "\xa0", "\xad", "\u2028", "\x0b", "\u00e9"])
def test_the_quick_look_for_what_cannot_be_written_agrees_with_the_slow_one(odd: str) -> None:
    """A message that is all printable needs no cleaning; what is not printable is looked at, and only control goes."""
    made = convert("ADT^A28", PID.replace("Zqwalker", f"Zq{odd}walker"))
    assert only(made, "Patient")["name"][0]["family"] == clean(f"Zq{odd}walker")


@pytest.mark.parametrize(("field", "kept"), [("^^^", False), ("~", False), ("^&^", False), ("^x", True), ("~x", True)])
def test_a_field_of_delimiters_alone_says_nothing(field: str, kept: bool) -> None:
    made = convert("ADT^A28", PID + "|" * 16 + field)  # PID-24 is a code of one letter
    assert bool(made.residue) is kept

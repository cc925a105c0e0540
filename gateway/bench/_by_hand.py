"""ADT^A01 of one sender to Bundle bytes, as a programmer writes it by hand: what the tables are measured against.

It gives the same content as the tables for the messages of :func:`admissions` (a test compares them resource by
resource), and nothing else: no other field, repetition, escape, charset or event, no residue, no check. It remembers
what a programmer would remember without being asked: nothing.
"""

from typing import Any, Final

import orjson

from gateway.kernel.identifiers import resource_id

_DOORWAY: Final = "https://doorway.example/fhir"
_TERMINOLOGY: Final = "http://terminology.hl7.org/CodeSystem/"
_AUTHORITY: Final = "urn:oid:2.16.840.1.113883.19.5"
_SENDER: Final = "ADTAPP|RIVERTON"
_NPI: Final = "http://hl7.org/fhir/sid/us-npi"


def admissions(count: int) -> list[bytes]:
    """``count`` admissions of different people, to 60 beds by 40 doctors with 30 diagnoses; people of no one."""
    return [_admission(n) for n in range(count)]


def _admission(n: int) -> bytes:
    born = f"{1930 + n % 80}{1 + n % 12:02d}{1 + n % 28:02d}"
    return "\r".join(
        (
            f"MSH|^~\\&|ADTAPP|RIVERTON|DOORWAY|HOUSING|20250310093000-0500||ADT^A01^ADT_A01|C{n}|P|2.5.1",
            "EVN||20250310092900-0500",
            f"PID|1||{4000 + n}^^^RIVERTON&2.16.840.1.113883.19.5&ISO^MR||Zqwalk{n}^Maria{n % 7}^Lee^^^^L||{born}|F|||"
            f"{n} Harbour St^^Riverton^MT^59{n % 1000:03d}^USA^H||^PRN^PH^^^406^555{n % 10_000:04d}",
            f"PV1|1|I|{n % 3}W^{n % 20}^A|E|||{1_000_000_000 + n % 40}^Zqdoc{n % 40}^Ann^^^^^^NPI|||MED|||||||||"
            f"V{n}^^^RIVERTON&2.16.840.1.113883.19.5&ISO^VN" + "|" * 25 + "20250310091500-0500",
            f"DG1|1||F{n % 30}.20^Dependence {n % 30}^I10|||A",
            "",
        )
    ).encode()


def by_hand(raw: bytes) -> bytes:
    """The Bundle of one of :func:`admissions`."""
    segments = {line[:3]: line.split("|") for line in raw.decode().split("\r") if line}
    msh, evn, pid, pv1, dg1 = (segments[name] for name in ("MSH", "EVN", "PID", "PV1", "DG1"))
    facility, receiver = _namespace(msh[3]), _namespace(msh[5])
    doctor, places = _doctor(pv1[7].split("^")), _places(pv1[3].split("^"))
    patient = _patient(pid)
    subject = {"reference": f"Patient/{patient['id']}"}
    encounter = _encounter(pv1, subject, places, doctor)
    visit = {"reference": f"Encounter/{encounter['id']}"}
    condition = _condition(dg1, subject, visit)
    encounter["diagnosis"] = [
        {
            "use": {"coding": [
                {"system": _TERMINOLOGY + "diagnosis-role", "code": "AD", "display": "Admission Diagnosis"},
                {"code": dg1[6], "system": _TERMINOLOGY + "v2-0052"}]},
            "condition": {"reference": f"Condition/{condition['id']}"},
        }
    ]  # fmt: skip
    header, origin = _about(msh, evn, facility, receiver, [subject, visit, encounter["diagnosis"][0]["condition"]])
    return _bundle([facility, doctor, *places, receiver, patient, encounter, condition, header, origin], msh[9])


def _bundle(resources: list[dict[str, Any]], control_id: str) -> bytes:
    return orjson.dumps(
        {
            "resourceType": "Bundle",
            "id": resource_id("Bundle", _SENDER, control_id),
            "type": "transaction",
            "entry": [
                {
                    "fullUrl": f"{_DOORWAY}/{r['resourceType']}/{r['id']}",
                    "resource": r,
                    "request": {"method": "PUT", "url": f"{r['resourceType']}/{r['id']}"},
                }
                for r in resources
            ],
        }
    )


def _namespace(name: str) -> dict[str, Any]:
    system = f"{_DOORWAY}/sid/namespace"
    return {
        "resourceType": "Organization", "id": resource_id(system, "", name), "name": name,
        "identifier": [{"value": name, "system": system}],
    }  # fmt: skip


def _doctor(parts: list[str]) -> dict[str, Any]:
    system = _NPI if parts[8] == "NPI" else f"{_DOORWAY}/sid/{parts[8]}"
    return {
        "resourceType": "Practitioner", "id": resource_id(system, "", parts[0]),
        "identifier": [{"value": parts[0], "system": system, "assigner": {"display": parts[8]}}],
        "name": [{"family": parts[1], "given": [parts[2]]}],
    }  # fmt: skip


def _places(parts: list[str]) -> list[dict[str, Any]]:
    out: list[dict[str, Any]] = []
    scope = f"{_DOORWAY}/sid/sender/ADTAPP%7CRIVERTON"
    for depth, kind in ((1, "lvl"), (2, "ro"), (3, "bd")):
        name = " ".join(parts[:depth])
        above = f"Location/{out[-1]['id']}" if out else ""
        place: dict[str, Any] = {
            "resourceType": "Location", "id": resource_id("Location", "L", scope, "", name, above),
            "name": parts[depth - 1], "identifier": [{"value": name, "system": scope}], "mode": "instance",
            "physicalType": {"coding": [{"code": kind, "system": _TERMINOLOGY + "location-physical-type"}]},
        }  # fmt: skip
        if above:
            place["partOf"] = {"reference": above}
        out.append(place)
    return out


def _number(text: str) -> dict[str, Any]:
    parts = text.split("^")
    name, oid, _ = parts[3].split("&")
    return {
        "value": parts[0], "system": f"urn:oid:{oid}", "assigner": {"display": name},
        "type": {"coding": [{"code": parts[4], "system": _TERMINOLOGY + "v2-0203"}]},
    }  # fmt: skip


def _patient(pid: list[str]) -> dict[str, Any]:
    name, line, phone = pid[5].split("^"), pid[11].split("^"), pid[13].split("^")
    identifier = _number(pid[3])
    extension = "http://hl7.org/fhir/StructureDefinition/contactpoint-"
    return {
        "resourceType": "Patient",
        "id": resource_id(_AUTHORITY, "MR", identifier["value"]),
        "identifier": [identifier],
        "name": [{"family": name[0], "given": [part for part in name[1:3] if part], "use": "official"}],
        "birthDate": f"{pid[7][:4]}-{pid[7][4:6]}-{pid[7][6:8]}",
        "gender": {"F": "female", "M": "male"}.get(pid[8], "unknown"),
        "address": [
            {"line": [line[0]], "city": line[2], "state": line[3], "postalCode": line[4], "country": line[5],
             "use": "home"}
        ],
        "telecom": [
            {"use": "home", "system": "phone", "value": f"{phone[5]} {phone[6]}", "extension": [
                {"url": extension + "local", "valueString": phone[6]},
                {"url": extension + "area", "valueString": phone[5]}]}
        ],
    }  # fmt: skip


def _encounter(
    pv1: list[str], subject: dict[str, str], places: list[dict[str, Any]], doctor: dict[str, Any]
) -> dict[str, Any]:
    identifier = _number(pv1[19])
    return {
        "resourceType": "Encounter",
        "id": resource_id(_AUTHORITY, "VN", identifier["value"]),
        "status": "in-progress",
        "class": {"system": _TERMINOLOGY + "v3-ActCode", "code": "IMP", "display": "inpatient encounter"},
        "identifier": [identifier],
        "subject": subject,
        "type": [{"coding": [{"code": pv1[4], "system": _TERMINOLOGY + "v2-0007"}]}],
        "location": [{"location": {"reference": f"Location/{places[-1]['id']}"}, "status": "active"}],
        "participant": [
            {"individual": {"reference": f"Practitioner/{doctor['id']}"}, "type": [{"coding": [
                {"code": "ATND", "system": _TERMINOLOGY + "v3-ParticipationType"}], "text": "attender"}]}
        ],
        "serviceType": {"coding": [
            {"system": _TERMINOLOGY + "service-type", "code": "382", "display": "Medical Services"},
            {"code": pv1[10], "system": _TERMINOLOGY + "v2-0069"}]},
        "period": {"start": _time(pv1[44])},
    }  # fmt: skip


def _condition(dg1: list[str], subject: dict[str, str], visit: dict[str, str]) -> dict[str, Any]:
    code = dg1[3].split("^")
    made = {"coding": [{"code": code[0], "display": code[1], "system": "http://hl7.org/fhir/sid/icd-10"}]}
    category = [{"coding": [{"code": dg1[6]}]}]
    texts = [orjson.dumps(part, option=orjson.OPT_SORT_KEYS).decode() for part in (made, category)]
    return {
        "resourceType": "Condition",
        "id": resource_id("Condition", subject["reference"], visit["reference"], *texts),
        "code": made, "category": category, "subject": subject, "encounter": visit,
    }  # fmt: skip


def _about(
    msh: list[str], evn: list[str], facility: dict[str, Any], receiver: dict[str, Any], targets: list[dict[str, str]]
) -> tuple[dict[str, Any], dict[str, Any]]:
    event, nowhere = msh[8].split("^"), f"{_DOORWAY}/sid/unknown-endpoint"
    sender = {"reference": f"Organization/{facility['id']}"}
    header = {
        "resourceType": "MessageHeader", "id": resource_id("MessageHeader", _SENDER, msh[9]),
        "eventCoding": {"code": event[1], "system": _TERMINOLOGY + "v2-0003", "display": event[2]},
        "source": {"name": msh[2], "endpoint": nowhere}, "sender": sender,
        "destination": [
            {"name": msh[4], "endpoint": nowhere},
            {"receiver": {"reference": f"Organization/{receiver['id']}"}, "endpoint": nowhere},
        ],
        "meta": {"tag": [{"code": msh[10], "system": _TERMINOLOGY + "v2-0103"}]},
    }  # fmt: skip
    author = {"coding": [{"code": "author", "system": _TERMINOLOGY + "provenance-participant-type"}]}
    origin = {
        "resourceType": "Provenance", "id": resource_id("Provenance", _SENDER, msh[9], ""), "recorded": _time(msh[6]),
        "target": targets, "agent": [{"who": sender, "type": author}],
        "activity": {"text": f"{event[0]}^{event[1]}"}, "occurredDateTime": _time(evn[2]),
        "entity": [{"role": "source", "what": {"identifier": {
            "value": msh[9], "system": f"{_DOORWAY}/sid/hl7v2-message"}}}],
    }  # fmt: skip
    return header, origin


def _time(text: str) -> str:
    return f"{text[:4]}-{text[4:6]}-{text[6:8]}T{text[8:10]}:{text[10:12]}:{text[12:14]}{text[14:17]}:{text[17:]}"

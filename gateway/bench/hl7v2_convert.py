"""ADT to Bundle bytes: the tables against a converter written by hand for one message, and against hl7apy's parse."""

from collections.abc import Callable
from time import process_time
from typing import Any, Final

import orjson

from gateway.kernel.identifiers import resource_id

REPEATS: Final = 5
_SYSTEM: Final = "urn:oid:2.16.840.1.113883.19.5"
_MESSAGE: Final = "\r".join(
    (
        r"MSH|^~\&|ADTAPP|RIVERTON|DOORWAY|HOUSING|20250310093000-0500||ADT^A01^ADT_A01|{id}|P|2.5.1",
        "EVN|A01|20250310092900-0500",
        "PID|1||{mrn}^^^RIVERTON&2.16.840.1.113883.19.5&ISO^MR||Zqwalker^Maria^Lee^^^^L||19800512|F|||"
        "100 Harbour St^^Riverton^MT^59901^USA^H||^PRN^PH^^^406^5550101",
        "PV1|1|I|3W^312^A|E|||1234567893^Zqdoc^Ann^^^^^^NPI|||MED|||||||||V{mrn}^^^RIVERTON&2.16.840.1.113883.19.5&ISO^VN"
        + "|" * 25
        + "20250310091500-0500",
        "",
    )
)


def messages(count: int) -> list[bytes]:
    """``count`` admissions of different people."""
    return [_MESSAGE.replace("{id}", str(n)).replace("{mrn}", str(4000 + n)).encode() for n in range(count)]


def run(count: int = 400) -> dict[str, float]:
    """Messages a second and the two ratios, all in one run, by CPU time; best of five, taken in turns."""
    from gateway.adapters.files.hl7v2_tables import load_tables
    from gateway.codecs.er7 import Message
    from gateway.mapping.hl7v2.convert import Converter

    converter, feed = Converter(load_tables()), messages(count)
    few = [m.decode() for m in feed[:6]]
    runners: dict[str, tuple[int, Callable[[], None]]] = {
        "tables": (count, lambda: _each(feed, lambda raw: converter.convert(Message.parse(raw)).bundle_bytes())),
        "by_hand": (count, lambda: _each(feed, by_hand)),
        "hl7apy_parse": (len(few), lambda: _hl7apy(few)),
    }
    best = dict.fromkeys(runners, float("inf"))
    for _ in range(REPEATS):
        for name, (number, work) in runners.items():
            began = process_time()
            work()
            best[name] = min(best[name], (process_time() - began) / number)
    return {
        **{f"{name}_per_s": round(1 / seconds, 1) for name, seconds in best.items()},
        "times_by_hand": round(best["tables"] / best["by_hand"], 2),  # at most 5
        "times_hl7apy": round(best["hl7apy_parse"] / best["tables"], 1),  # at least 100
    }


def _each(feed: list[bytes], work: Callable[[bytes], object]) -> None:
    for raw in feed:
        work(raw)


def _hl7apy(texts: list[str]) -> None:
    from importlib import import_module

    parse = import_module("hl7apy.parser").parse_message
    for text in texts:
        parse(text)


def by_hand(raw: bytes) -> bytes:
    """The same Bundle as a programmer writes it for this one message: no tables, checks, residue or other types."""
    segments = {line[:3]: line.split("|") for line in raw.decode().split("\r") if line}
    pid, pv1, msh = segments["PID"], segments["PV1"], segments["MSH"]
    patient = _patient(pid)
    doctor, practitioner = pv1[7].split("^"), ""
    places = _places(pv1[3].split("^"))
    practitioner = resource_id("http://hl7.org/fhir/sid/us-npi", "", doctor[0])
    number = pv1[19].split("^")
    encounter = {
        "resourceType": "Encounter",
        "id": resource_id(_SYSTEM, "VN", number[0]),
        "status": "in-progress",
        "class": {"system": "http://terminology.hl7.org/CodeSystem/v3-ActCode", "code": "IMP"},
        "identifier": [{"system": _SYSTEM, "value": number[0], "type": _kind("VN")}],
        "subject": {"reference": f"Patient/{patient['id']}"},
        "location": [{"location": {"reference": f"Location/{places[-1]['id']}"}, "status": "active"}],
        "participant": [{"individual": {"reference": f"Practitioner/{practitioner}"}, "type": [_kind("ATND")]}],
        "period": {"start": _time(pv1[44])},
    }
    facility = {"resourceType": "Organization", "id": resource_id("namespace", "", msh[3]), "name": msh[3]}
    known = {
        "resourceType": "Practitioner",
        "id": practitioner,
        "identifier": [{"system": "http://hl7.org/fhir/sid/us-npi", "value": doctor[0]}],
        "name": [{"family": doctor[1], "given": [doctor[2]]}],
    }
    header = {
        "resourceType": "MessageHeader",
        "id": resource_id("MessageHeader", msh[2], msh[9]),
        "eventCoding": {"system": "http://terminology.hl7.org/CodeSystem/v2-0003", "code": msh[8].split("^")[1]},
        "source": {"name": msh[2], "endpoint": "https://doorway.example/fhir/sid/unknown-endpoint"},
        "sender": {"reference": f"Organization/{facility['id']}"},
    }
    origin = {
        "resourceType": "Provenance",
        "id": resource_id("Provenance", msh[2], msh[9]),
        "recorded": _time(msh[6]),
        "target": [{"reference": f"Patient/{patient['id']}"}, {"reference": f"Encounter/{encounter['id']}"}],
        "agent": [{"who": {"reference": f"Organization/{facility['id']}"}}],
    }
    return _bundle([facility, *places, known, patient, encounter, header, origin], msh[9])


def _bundle(resources: list[dict[str, Any]], control_id: str) -> bytes:
    return orjson.dumps(
        {
            "resourceType": "Bundle",
            "id": resource_id("Bundle", control_id),
            "type": "transaction",
            "entry": [
                {
                    "fullUrl": f"https://doorway.example/fhir/{r['resourceType']}/{r['id']}",
                    "resource": r,
                    "request": {"method": "PUT", "url": f"{r['resourceType']}/{r['id']}"},
                }
                for r in resources
            ],
        }
    )


def _patient(pid: list[str]) -> dict[str, Any]:
    number, name, line, phone = pid[3].split("^"), pid[5].split("^"), pid[11].split("^"), pid[13].split("^")
    return {
        "resourceType": "Patient",
        "id": resource_id(_SYSTEM, "MR", number[0]),
        "identifier": [{"system": _SYSTEM, "value": number[0], "type": _kind(number[4])}],
        "name": [{"family": name[0], "given": [part for part in name[1:3] if part], "use": "official"}],
        "birthDate": f"{pid[7][:4]}-{pid[7][4:6]}-{pid[7][6:8]}",
        "gender": {"F": "female", "M": "male"}.get(pid[8], "unknown"),
        "address": [{"line": [line[0]], "city": line[2], "state": line[3], "postalCode": line[4], "use": "home"}],
        "telecom": [{"system": "phone", "use": "home", "value": f"{phone[5]} {phone[6]}"}],
    }


def _places(parts: list[str]) -> list[dict[str, Any]]:
    out: list[dict[str, Any]] = []
    for depth in range(1, len(parts) + 1):
        name = " ".join(parts[:depth])
        place: dict[str, Any] = {
            "resourceType": "Location",
            "id": resource_id("Location", name),
            "name": parts[depth - 1],
            "identifier": [{"value": name}],
            "mode": "instance",
        }
        if out:
            place["partOf"] = {"reference": f"Location/{out[-1]['id']}"}
        out.append(place)
    return out


def _kind(code: str) -> dict[str, Any]:
    return {"coding": [{"system": "http://terminology.hl7.org/CodeSystem/v2-0203", "code": code}]}


def _time(text: str) -> str:
    return f"{text[:4]}-{text[4:6]}-{text[6:8]}T{text[8:10]}:{text[10:12]}:{text[12:14]}{text[14:17]}:{text[17:]}"

"""Traits of a FHIR Patient, whichever side it came from (R4; US Core, CA Baseline and our own HMIS extensions)."""

from collections.abc import Iterator
from typing import Any, Final

from gateway.kernel.fhir import DOORWAY, JsonObject, Resource
from gateway.linkage.traits import Reader, Traits, read_number

_SSN_SYSTEMS: Final = frozenset({"http://hl7.org/fhir/sid/us-ssn", "urn:oid:2.16.840.1.113883.4.1"})
_HMIS_SSN: Final = ("/SSN-partial", "/SSN-hashed")  # how our HMIS mapping names the systems of what is no whole SSN
_HASHED_NAME: Final = f"{DOORWAY}/StructureDefinition/hmis-hashed-name-"  # given, middle, family of a hashed export
_HEALTH_TYPES: Final = frozenset({"JHN", "HC", "MC", "MA", "NH", "NI", "PHN"})
_HMIS_COLUMN: Final = f"{DOORWAY}/StructureDefinition/hmis-column"
_QUALITY: Final = {
    "Client.NameDataQuality": "name_quality", "Client.DOBDataQuality": "dob_quality",
    "Client.SSNDataQuality": "ssn_quality",
}  # fmt: skip
_CURRENT_FIRST: Final = {"official": 0, "usual": 1, "": 2}


def traits_of(patient: Resource, reader: Reader) -> Traits:
    """The traits of a Patient; every name of any ``use`` counts, former and chosen names as aliases.

    Identifiers count as the same only under the same system: an MRN says nothing at another authority, and one without
    a system says nothing at all.
    """
    return reader.row(row_of(patient), numbers=frozenset(_numbers(patient)))


def row_of(patient: Resource) -> dict[str, str]:
    """A Patient as a row with the columns of :data:`gateway.linkage.traits.COLUMNS`: what ``link evaluate`` reads."""
    row: dict[str, str] = {"id": f"Patient/{patient['id']}"}
    _names(patient, row)
    _identifiers(patient, row)
    row["dob"] = str(patient.get("birthDate", ""))
    row["sex"] = _sex(patient)
    row["phone"] = next((p for p in _phones(patient)), "")
    _address(patient, row)
    birth = patient.get("multipleBirthBoolean", patient.get("multipleBirthInteger"))
    row["multiple_birth"] = "Y" if birth is True or (type(birth) is int and birth > 0) else ""
    for column, code in _hmis_columns(patient):
        if column in _QUALITY:
            row[_QUALITY[column]] = code
    return row


def _objects(value: Any) -> list[JsonObject]:
    return [one for one in value if isinstance(one, dict)] if isinstance(value, list) else []


def _names(patient: Resource, row: dict[str, str]) -> None:
    names = sorted(_objects(patient.get("name")), key=lambda n: _CURRENT_FIRST.get(str(n.get("use", "")), 3))
    aliases = []
    for n, name in enumerate(names):
        given = [str(g) for g in name.get("given", ()) if g]
        family = str(name.get("family", "") or "")
        if not given and not family and isinstance(name.get("text"), str):
            *given, family = name["text"].split() or [""]
        digests = _digests(name)
        if digests:
            given = [digests.get("given", "".join(given[:1])), digests.get("middle", " ".join(given[1:]))]
            family = digests.get("family", family)
        if n == 0:
            row["first"], row["middle"], row["last"] = (given or [""])[0], " ".join(given[1:]), family
            row["suffix"] = " ".join(str(s) for s in name.get("suffix", ()))
        else:
            aliases.append(" ".join([*given[:1], family]))
    row["alias"] = "; ".join(alias for alias in aliases if alias.strip())


def _digests(name: JsonObject) -> dict[str, str]:
    """The parts of a name that a hashed HMIS export gives as digests."""
    found = ((str(one.get("url", "")), str(one.get("valueString", ""))) for one in _objects(name.get("extension")))
    return {url.removeprefix(_HASHED_NAME): text for url, text in found if url.startswith(_HASHED_NAME)}


def _types(identifier: JsonObject) -> set[str]:
    codings = _objects((identifier.get("type") or {}).get("coding"))
    return {str(coding.get("code", "")) for coding in codings}


def _identifiers(patient: Resource, row: dict[str, str]) -> None:
    for identifier in _objects(patient.get("identifier")):
        value, system = str(identifier.get("value", "") or ""), str(identifier.get("system", "") or "")
        types = _types(identifier)
        if _is_ssn(system, types):
            row.setdefault("ssn", value)
        elif types & _HEALTH_TYPES and value:
            row.setdefault("health_no", value)
            row.setdefault("health_of", system or ",".join(sorted(types & _HEALTH_TYPES)))


def _is_ssn(system: str, types: set[str]) -> bool:
    return system in _SSN_SYSTEMS or system.endswith(_HMIS_SSN) or bool(types & {"SS", "SSN"})


def _numbers(patient: Resource) -> Iterator[str]:
    for identifier in _objects(patient.get("identifier")):
        value, system = str(identifier.get("value", "") or ""), str(identifier.get("system", "") or "")
        types = _types(identifier)
        of_a_person = system and not _is_ssn(system, types) and not types & _HEALTH_TYPES
        if of_a_person and read_number(value):
            yield f"{system}|{value}"


def _sex(patient: Resource) -> str:
    gender = str(patient.get("gender", ""))
    return gender if gender in {"male", "female", "other"} else ""


def _phones(patient: Resource) -> Iterator[str]:
    for contact in _objects(patient.get("telecom")):
        if contact.get("system") in {"phone", "sms"} and contact.get("use") not in {"old", "work"}:
            yield str(contact.get("value", "") or "")


def _address(patient: Resource, row: dict[str, str]) -> None:
    for address in _objects(patient.get("address")):
        if address.get("use") == "old":
            continue
        row["address"] = " ".join(str(line) for line in address.get("line", ()) or [address.get("text", "")] if line)
        row["city"] = str(address.get("city", "") or "")
        row["postal"] = str(address.get("postalCode", "") or "")
        return


def _hmis_columns(patient: Resource) -> Iterator[tuple[str, str]]:
    places = [patient, patient.get("_birthDate"), *_objects(patient.get("name")), *_objects(patient.get("identifier"))]
    for place in places:
        for extension in _objects((place or {}).get("extension")):
            if extension.get("url") != _HMIS_COLUMN:
                continue
            parts = {str(part.get("url")): part for part in _objects(extension.get("extension"))}
            coding = parts.get("value", {}).get("valueCoding", {})
            yield str(parts.get("column", {}).get("valueCode", "")), str(coding.get("code", ""))

"""Conversions of people and addresses: names, SSN, birth date, sex, race, telecom (US Core, HUD 3.01-3.04, 4.21)."""

import re
from typing import Any, Final

from gateway.kernel.fhir import DOORWAY, JsonObject, Resource
from gateway.mapping.hmis import values
from gateway.mapping.hmis.conversions import Binding, Cells, Forward, Inverse, Maker, Members, items

HASHED_EXTENSION: Final = f"{DOORWAY}/StructureDefinition/hmis-hashed-name"
RECORDED_DATE: Final = f"{DOORWAY}/StructureDefinition/hmis-recorded-date"
SSN_SYSTEM: Final = "http://hl7.org/fhir/sid/us-ssn"
_HASH: Final = re.compile(r"[0-9a-fA-F]{32}(?:[0-9a-fA-F]{8}|[0-9a-fA-F]{32}|[0-9a-fA-F]{96})?", re.ASCII)
_HASHED_SSN: Final = re.compile(
    r"[0-9xX]{4}[0-9a-fA-F]{32}(?:[0-9a-fA-F]{8}|[0-9a-fA-F]{32}|[0-9a-fA-F]{96})?", re.ASCII
)
_SSN: Final = re.compile(  # no area 000, 666, 9xx, no zero group or serial, no one digit or 1-9, and two from adverts
    r"(?!000|666|9\d\d)(?!(\d)\1{8}|123456789|078051120|219099999)\d{3}(?!00)\d{2}(?!0000)\d{4}", re.ASCII
)
_RACE: Final = "http://hl7.org/fhir/us/core/StructureDefinition/us-core-race"
_ETHNICITY: Final = "http://hl7.org/fhir/us/core/StructureDefinition/us-core-ethnicity"
_SEX: Final = "http://hl7.org/fhir/us/core/StructureDefinition/us-core-sex"
_CDC: Final = "urn:oid:2.16.840.1.113883.6.238"
_NULL: Final = "http://terminology.hl7.org/CodeSystem/v3-NullFlavor"
_RACES: Final = {
    "1002-5": "American Indian or Alaska Native",
    "2028-9": "Asian",
    "2054-5": "Black or African American",
    "2076-8": "Native Hawaiian or Other Pacific Islander",
    "2106-3": "White",
    "2118-8": "Middle Eastern or North African",
}


def recorded(value: str, beside: JsonObject | None) -> str:
    """The date as it was recorded, while the shortened or overruled one beside it still agrees with it."""
    for item in items(beside or {}, "extension"):
        if item.get("url") == RECORDED_DATE and str(item.get("valueDate", "")).startswith(value):
            return str(item.get("valueDate", ""))
    return value


def hashed(cell: str) -> bool:
    """Whether a cell has the look of a digest (MD5, SHA-1, SHA-256, SHA-512 in hexadecimal), whatever a flag says."""
    return bool(_HASH.fullmatch(cell.strip()))


def whole_ssn(digits: str) -> bool:
    """Whether these are the nine digits of a number that the Social Security Administration could have given."""
    return _SSN.fullmatch(digits) is not None


def _client_name(b: Binding) -> tuple[Forward, Inverse]:
    """Patient.name; digests never become a name but an extension that matching hashed with hashed can use."""
    index = {slot.role: i for i, slot in enumerate(b.slots)}

    def forward(cells: Cells) -> Members | list[Any] | None:
        part = {role: values.text_of(cells[i]) for role, i in index.items()}
        digests = [role for role in ("given", "middle", "family") if part[role] and hashed(str(part[role]))]
        name: JsonObject = {}
        if digests:
            name["extension"] = [
                {"url": f"{HASHED_EXTENSION}-{role}", "valueString": part.pop(role)} for role in digests
            ]
        if part.get("family"):
            name["family"] = part["family"]
        given = [part[role] for role in ("given", "middle") if part.get(role)]
        if given:
            name["given"] = given
        if part.get("suffix"):
            name["suffix"] = [part["suffix"]]
        if not name:
            return None
        return [{"use": "nickname" if values.code_text(cells[index["quality"]]) == "2" else "official", **name}]

    def inverse(resource: Resource) -> Cells:
        name = next(items(resource, "name"), {})
        given = list(name.get("given") or ())
        out = {
            "given": given[0] if given else "",
            "middle": " ".join(given[1:]),
            "family": name.get("family", ""),
            "suffix": " ".join(name.get("suffix") or ()),
        }
        for item in items(name, "extension"):
            role = str(item.get("url", "")).removeprefix(f"{HASHED_EXTENSION}-")
            if role in out:
                if role == "given" and given:
                    out["middle"] = " ".join(given)
                out[role] = item.get("valueString", "")
        return tuple(str(out[slot.role]) for slot in b.slots if slot.owned)

    return forward, inverse


def _person_name(b: Binding) -> tuple[Forward, Inverse]:
    """A staff member's name: given and family."""

    def forward(cells: Cells) -> Members | list[Any] | None:
        part = {slot.role: values.text_of(cell) for slot, cell in zip(b.slots, cells, strict=True)}
        name: JsonObject = {"family": part["family"]} if part.get("family") else {}
        if part.get("given"):
            name["given"] = [part["given"]]
        return [name] if name else None

    def inverse(resource: Resource) -> Cells:
        name = next(items(resource, "name"), {})
        out = {"given": " ".join(name.get("given") or ()), "family": name.get("family", "")}
        return tuple(str(out[slot.role]) for slot in b.slots)

    return forward, inverse


def _contact(b: Binding) -> tuple[Forward, Inverse]:
    """Organization.contact of the export's source: name, phone with extension, e-mail."""

    def forward(cells: Cells) -> Members | list[Any] | None:
        part = {slot.role: values.text_of(cell) for slot, cell in zip(b.slots, cells, strict=True)}
        name: JsonObject = {"family": part["family"]} if part.get("family") else {}
        if part.get("given"):
            name["given"] = [part["given"]]
        telecom = _telecoms(part.get("phone"), part.get("extension"), part.get("email"))
        contact: JsonObject = ({"name": name} if name else {}) | ({"telecom": telecom} if telecom else {})
        return [contact] if contact else None

    def inverse(resource: Resource) -> Cells:
        contact = next(items(resource, "contact"), {})
        name = contact.get("name") or {}
        out = {"given": " ".join(name.get("given") or ()), "family": name.get("family", "")}
        out |= _from_telecoms(contact)
        return tuple(str(out[slot.role]) for slot in b.slots)

    return forward, inverse


_EXTENSION: Final = "http://hl7.org/fhir/StructureDefinition/contactpoint-extension"


def _telecoms(phone: str | None, extension: str | None, email: str | None) -> list[JsonObject]:
    out: list[JsonObject] = []
    if phone:
        item: JsonObject = {"system": "phone", "value": phone}
        if extension:
            item["extension"] = [{"url": _EXTENSION, "valueString": extension}]
        out.append(item)
    if email:
        out.append({"system": "email", "value": email})
    return out


def _from_telecoms(holder: JsonObject) -> dict[str, str]:
    out = {"phone": "", "extension": "", "email": ""}
    for item in items(holder, "telecom"):
        system = "email" if item.get("system") == "email" else "phone"
        out[system] = str(item.get("value", ""))
        for extension in items(item, "extension"):
            if extension.get("url") == _EXTENSION:
                out["extension"] = str(extension.get("valueString", ""))
    return out


def _phone(b: Binding) -> tuple[Forward, Inverse]:
    def forward(cells: Cells) -> Members | list[Any] | None:
        part = {slot.role: values.text_of(cell) for slot, cell in zip(b.slots, cells, strict=True)}
        return list(_telecoms(part.get("number"), part.get("extension"), None)) or None

    def inverse(resource: Resource) -> Cells:
        found = _from_telecoms(resource)
        out = {"number": found["phone"], "extension": found["extension"]}
        return tuple(out[slot.role] for slot in b.slots)

    return forward, inverse


def _email(b: Binding) -> tuple[Forward, Inverse]:
    def forward(cells: Cells) -> Members | list[Any] | None:
        text = values.text_of(cells[0])
        return list(_telecoms(None, None, text)) if text else None

    return forward, lambda resource: (_from_telecoms(resource)["email"],)


def _ssn(b: Binding) -> tuple[Forward, Inverse]:
    """Only a possible, complete number is a us-ssn identifier; partial and hashed ones have systems of their own."""
    partial, digest = f"{b.source.base}/SSN-partial", f"{b.source.base}/SSN-hashed"

    def forward(cells: Cells) -> Members | list[Any] | None:
        text = values.text_of(cells[0])
        if text is None:
            return None
        digits = text.replace("-", "").replace(" ", "")
        if whole_ssn(digits):
            return [{"system": SSN_SYSTEM, "value": digits}]
        return [{"system": digest if _HASHED_SSN.fullmatch(text) else partial, "value": text}]

    def inverse(resource: Resource) -> Cells:
        for item in items(resource, "identifier"):
            if item.get("system") in (SSN_SYSTEM, partial, digest):
                return (str(item.get("value", "")),)
        return ("",)

    return forward, inverse


def _birth(b: Binding) -> tuple[Forward, Inverse]:
    """birthDate. An approximate date (quality 2) on the first of January is only a year: HMIS systems fill up so."""
    date_at, quality_at = b.role("date"), b.role("quality")

    def forward(cells: Cells) -> Members | list[Any] | None:
        day = values.day_of(cells[date_at])
        if day is None:
            return None
        if values.code_text(cells[quality_at]) == "2" and day.endswith("-01-01"):
            return {"birthDate": day[:4], "_birthDate": {"extension": [{"url": RECORDED_DATE, "valueDate": day}]}}
        return {"birthDate": day}

    def inverse(resource: Resource) -> Cells:
        return (recorded(str(resource.get("birthDate", "")), resource.get("_birthDate")),)

    return forward, inverse


def _sex(b: Binding) -> tuple[Forward, Inverse]:
    """HUD 4.21 as administrative gender with HUD's own coding beside it; never derived from gender columns."""
    genders = {"0": "female", "1": "male"}
    marker = f"{DOORWAY}/StructureDefinition/hmis-sex"

    def forward(cells: Cells) -> Members | list[Any] | None:
        code = values.code_of(b.spec, b.first.list, cells[0])
        if code is None:
            return {"gender": "unknown"}
        own = b.spec.codings(b.first.list, code)[0]
        return {
            "gender": genders.get(code.code, "unknown"),
            "_gender": {"extension": [{"url": marker, "valueCoding": own}]},
        }

    def inverse(resource: Resource) -> Cells:
        gender = resource.get("gender")
        for code, name in genders.items():
            if gender == name:
                return (code,)
        for item in items(resource.get("_gender") or {}, "extension"):
            if item.get("url") == marker and gender == "unknown":
                code = str((item.get("valueCoding") or {}).get("code", ""))
                return ("99" if code in genders else code,)
        return ("",)

    return forward, inverse


_SEXES: Final = {"0": "248152002", "1": "248153007", "8": "asked-unknown", "9": "asked-declined"}


def _us_core_sex(b: Binding) -> tuple[Forward, Inverse]:
    """The same answer as Patient's us-core-sex (US Core 7: a code of SNOMED CT, or why there is none)."""

    def forward(cells: Cells) -> Members | list[Any] | None:
        code = values.code_of(b.spec, b.first.list, cells[0])
        told = _SEXES.get(code.code) if code is not None else None
        return None if told is None else [{"url": _SEX, "valueCode": told}]

    return forward, lambda resource: ()


def _race(b: Binding) -> tuple[Forward, Inverse]:
    """us-core-race from the six columns; MENA is a detailed code. Which answer is missing stays in RaceNone."""
    slots = [(i, slot.role) for i, slot in enumerate(b.slots) if slot.owned]
    none_at = b.role("none")

    def forward(cells: Cells) -> Members | list[Any] | None:
        if not any(cells[i] for i, _ in slots):
            return None
        yes = [code for i, code in slots if values.code_text(cells[i]) == "1"]
        parts = [
            {
                "url": "detailed" if code == "2118-8" else "ombCategory",
                "valueCoding": {"system": _CDC, "code": code},
            }
            for code in yes
        ]
        missing = {"8": "UNK", "9": "ASKU", "99": "UNK"}.get(values.code_text(cells[none_at]))
        if not yes and missing:
            parts.append({"url": "ombCategory", "valueCoding": {"system": _NULL, "code": missing}})
        text = ", ".join(_RACES[code] for code in yes) or "none recorded"
        return [{"url": _RACE, "extension": [*parts, {"url": "text", "valueString": text}]}]

    def inverse(resource: Resource) -> Cells:
        for item in items(resource, "extension"):
            if item.get("url") == _RACE:
                codes = {str((part.get("valueCoding") or {}).get("code")) for part in items(item, "extension")}
                return tuple("1" if code in codes else "0" for _, code in slots)
        return tuple("" for _ in slots)

    return forward, inverse


def _ethnicity(b: Binding) -> tuple[Forward, Inverse]:
    def forward(cells: Cells) -> Members | list[Any] | None:
        answer = values.code_text(cells[0])
        if answer not in ("0", "1"):
            return None
        hispanic = {"system": _CDC, "code": "2135-2"}
        parts: list[JsonObject] = [{"url": "ombCategory", "valueCoding": hispanic}] if answer == "1" else []
        text = "Hispanic or Latino" if answer == "1" else "not recorded as Hispanic or Latino"
        return [{"url": _ETHNICITY, "extension": [*parts, {"url": "text", "valueString": text}]}]

    def inverse(resource: Resource) -> Cells:
        for item in items(resource, "extension"):
            if item.get("url") == _ETHNICITY:
                codes = {(part.get("valueCoding") or {}).get("code") for part in items(item, "extension")}
                return ("1" if "2135-2" in codes else "0",)
        return ("",)

    return forward, inverse


def _address(b: Binding) -> tuple[Forward, Inverse]:
    def forward(cells: Cells) -> Members | list[Any] | None:
        part = {slot.role: values.text_of(cell) for slot, cell in zip(b.slots, cells, strict=True)}
        address: JsonObject = {}
        lines = [part[role] for role in ("line1", "line2") if part.get(role)]
        if lines:
            address["line"] = lines
        for role, name in (("city", "city"), ("state", "state"), ("postal-code", "postalCode")):
            if part.get(role):
                address[name] = part[role]
        return {"address": address} if address else None

    def inverse(resource: Resource) -> Cells:
        address = resource.get("address") or {}
        lines = list(address.get("line") or ())
        out = {
            "line1": lines[0] if lines else "",
            "line2": ", ".join(lines[1:]),
            "city": address.get("city", ""),
            "state": address.get("state", ""),
            "postal-code": address.get("postalCode", ""),
        }
        return tuple(str(out[slot.role]) for slot in b.slots)

    return forward, inverse


def _named(key: str, extra: JsonObject) -> Maker:
    def make(b: Binding) -> tuple[Forward, Inverse]:
        def forward(cells: Cells) -> Members | list[Any] | None:
            text = values.text_of(cells[0])
            return None if text is None else [{key: text, **extra}]

        return forward, lambda resource: (str(next(items(resource, b.name), {}).get(key, "")),)

    return make


PEOPLE: Final[dict[str, Maker]] = {
    "client-name": _client_name,
    "person-name": _person_name,
    "contact": _contact,
    "phone": _phone,
    "email": _email,
    "ssn": _ssn,
    "birth": _birth,
    "sex": _sex,
    "us-core-sex": _us_core_sex,
    "race": _race,
    "ethnicity": _ethnicity,
    "address": _address,
    "device-name": _named("name", {"type": "model-name"}),
    "version": _named("value", {}),
}

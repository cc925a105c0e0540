"""Resources of a whole export: what its files looked like, who made it, and its households."""

import json
from typing import TYPE_CHECKING, Final

from gateway.kernel.fhir import DOORWAY, JsonObject
from gateway.mapping.hmis.tables import RECORD_EXTENSION, ROW_EXTENSION
from gateway.mapping.hmis.values import concept_of, day_of

if TYPE_CHECKING:
    from gateway.exchange.hmis_convert import Conversion

FILE_EXTENSION: Final = f"{DOORWAY}/StructureDefinition/hmis-file"
RELATION_EXTENSION: Final = f"{DOORWAY}/StructureDefinition/hmis-relationship"
_DOCUMENT: Final = f"{DOORWAY}/CodeSystem/hmis-document"


def manifest_of(conversion: "Conversion") -> list[JsonObject]:
    """DocumentReference with an attachment a file (name, encoding, header as it stood), and the batch Provenance."""
    source = conversion.source
    first = conversion.export[0] if conversion.export else {}
    key = first.get("ExportID", "").strip()
    content = []
    for number, seen in enumerate(conversion.seen, 1):
        told = conversion.report.files.get(seen.path, {})
        parts: list[JsonObject] = [
            {"url": "file", "valueCode": seen.name or f"-{number}"},
            {"url": "encoding", "valueCode": seen.encoding},
            {"url": "header", "valueString": json.dumps(list(seen.header.cells), ensure_ascii=True)},
            {"url": "rows", "valueInteger": int(told.get("rows", 0))},
        ]
        if told.get("blank_rows"):
            parts.append({"url": "blank", "valueString": " ".join(map(str, told["blank_rows"]))})
        content.append(
            {
                "attachment": {"contentType": "text/csv", "title": seen.path},
                "extension": [{"url": FILE_EXTENSION, "extension": parts}],
            }
        )
    record: list[JsonObject] = [
        {"url": "version", "valueString": conversion.version},
        {"url": "source", "valueString": source.name},
    ]
    place = {"url": ROW_EXTENSION, "valueString": "manifest"}
    meta: JsonObject = {"extension": [place, {"url": RECORD_EXTENSION, "extension": record}], "source": source.base}
    document: JsonObject = {
        "resourceType": "DocumentReference",
        "id": source.id("manifest", key),
        "meta": meta,
        "status": "current",
        "type": {"coding": [{"system": _DOCUMENT, "code": "manifest"}]},
        "content": content or [{"attachment": {"title": "no CSV file"}}],
    }
    if key:
        document["identifier"] = [{"system": f"{source.base}/ExportID", "value": key}]
        document["relatesTo"] = [
            {"code": "appends", "target": {"reference": f"DocumentReference/{source.id('Export', key)}"}}
        ]
    return [document, _provenance(conversion, document, first)]


def _provenance(conversion: "Conversion", document: JsonObject, first: dict[str, str]) -> JsonObject:
    source = conversion.source
    day = day_of(first.get("ExportDate", "")) or "1970-01-01"
    return {
        "resourceType": "Provenance",
        "id": source.id("provenance", first.get("ExportID", "").strip()),
        "meta": {"source": source.base},
        "target": [{"reference": f"DocumentReference/{document['id']}"}],
        # HUD's ExportDate has no zone: the day is kept, noon UTC stands for the unknown instant
        "recorded": f"{day}T12:00:00Z",
        "activity": {
            "coding": [{"system": "http://terminology.hl7.org/CodeSystem/v3-DataOperation", "code": "CREATE"}]
        },
        "agent": [{"who": {"reference": f"Organization/{source.id('Export', '', 'Organization:source')}"}}]
        if conversion.export
        else [{"who": {"display": "HMIS"}}],
        "entity": [{"role": "source", "what": {"reference": f"DocumentReference/{document['id']}"}}],
    }


def household_of(conversion: "Conversion", household: str, members: list[list[str]]) -> JsonObject:
    """A household as Group: members with the relation to its head; each member's own consent still decides.

    ``members``: PersonalID, RelationshipToHoH, EntryDate, exit day, labels.
    """
    source, spec = conversion.source, conversion.spec
    labels: set[str] = set()
    out = []
    for person, relation, entry, exit_, inherited in members:
        labels.update(inherited.split())
        member: JsonObject = {"entity": source.reference("Client", person, keyed=False)}
        if relation not in conversion.relations:
            code = spec.code("3.15.1", relation)
            conversion.relations[relation] = None if code is None else concept_of(spec, "3.15.1", code)
        concept = conversion.relations[relation]
        if concept is not None:
            member["extension"] = [{"url": RELATION_EXTENSION, "valueCodeableConcept": concept}]
        period = {name: day for name, day in (("start", day_of(entry)), ("end", exit_)) if day}
        if period.get("start", "") > period.get("end", "9999"):
            period.pop("end")
        if period:
            member["period"] = period
        if exit_:
            member["inactive"] = True
        out.append(member)
    return {
        "resourceType": "Group",
        "id": source.id("Household", household),
        "meta": {
            "extension": [{"url": ROW_EXTENSION, "valueString": "Household"}],
            "source": source.base,
            "security": conversion.labels.security("L1", frozenset(labels)),
        },
        "identifier": [{"system": f"{source.base}/HouseholdID", "value": household}],
        "active": not all(member.get("inactive") for member in out),
        "type": "person",
        "actual": True,
        "quantity": len(out),
        "member": out,
    }

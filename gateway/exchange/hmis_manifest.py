"""Resources of a whole export: what its files looked like, who made it, and its households."""

import json
from typing import TYPE_CHECKING, Final

from gateway.kernel.fhir import DOORWAY, JsonObject
from gateway.mapping.hmis.memo import KEPT_VALUES, Ids, Odd, to_json
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
            parts.append({"url": "blank", "valueString": " ".join(told["blank_rows"])})
        if seen.heading.blank:
            parts.append({"url": "lead", "valueInteger": seen.heading.blank})
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
    if any(not (seen.name and seen.header.certain) for seen in conversion.seen):
        # a first row that is no header of HUD's may hold a person's cells: fail closed
        meta["security"] = conversion.labels.security("L3", frozenset({"HEALTH"}))
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


def household_of(
    conversion: "Conversion",
    household: str,
    members: list[list[str]],
    concepts: dict[str, JsonObject | None] | None = None,
) -> JsonObject:
    """A household as Group: members with the relation to its head; each member's own consent still decides.

    ``members``: PersonalID, RelationshipToHoH, EntryDate, exit day, labels; ``concepts``: relations that are known.
    """
    source, spec = conversion.source, conversion.spec
    labels: set[str] = set()
    out = []
    concepts = {} if concepts is None else concepts
    for person, relation, entry, exit_, inherited in members:
        labels.update(inherited.split())
        member: JsonObject = {"entity": source.reference("Client", person, keyed=False)}
        if relation not in concepts:
            code = spec.code("3.15.1", relation)
            concepts[relation] = None if code is None else concept_of(spec, "3.15.1", code)
        concept = concepts[relation]
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


class Households:
    """:func:`household_of` as JSON text, for very many: the parts that repeat are made once."""

    def __init__(self, conversion: "Conversion") -> None:
        self._conversion, source = conversion, conversion.source
        self._concepts: dict[str, JsonObject | None] = {}
        self._relations: dict[str, str] = {}
        self._ids, self._people = (
            conversion.ids.setdefault(file, Ids(source.name, file)) for file in ("Household", "Client")
        )
        self._periods: dict[tuple[str, str], str] = {}
        self._security: dict[str, str] = {}
        system = to_json(f"{source.base}/HouseholdID")
        self._before = (
            f'","meta":{{"extension":[{{"url":"{ROW_EXTENSION}","valueString":"Household"}}],"source":"{source.base}"'
        )
        self._middle = f'}},"identifier":[{{"system":{system},"value":"'

    def text(self, household: str, members: list[list[str]]) -> str:
        """The Group as JSON."""
        try:
            return self._quickly(household, members)
        except Odd:
            return to_json(household_of(self._conversion, household, members, self._concepts))

    def _quickly(self, household: str, members: list[list[str]]) -> str:
        out, gone = [], 0
        for person, relation, entry, exit_, _ in members:
            gone += bool(exit_)
            period = self._periods.get((entry, exit_))
            if period is None:
                period = self._period(entry, exit_)
            related = self._relations.get(relation)
            if related is None:
                related = self._relation(relation)
            out.append(f'{{"entity":{{"reference":"Patient/{self._people[person]}"}}{related}{period}}}')
        labels = " ".join(sorted({label for member in members for label in member[4].split()}))
        security = self._security.get(labels)
        if security is None:
            coded = self._conversion.labels.security("L1", frozenset(labels.split()))
            security = self._security[labels] = f',"security":{to_json(coded)}'
        id_, active = self._ids[household], "false" if gone == len(members) else "true"
        return (
            f'{{"resourceType":"Group","id":"{id_}{self._before}{security}{self._middle}{household}"}}],"active":{active}'
            f',"type":"person","actual":true,"quantity":{len(members)},"member":[{",".join(out)}]}}'
        )

    def _period(self, entry: str, exit_: str) -> str:
        days = [f'"start":"{start}"'] if (start := day_of(entry)) else []
        if exit_ and (start or "") <= exit_:
            days.append(f'"end":"{exit_}"')
        text = f',"period":{{{",".join(days)}}}' if days else ""
        if len(self._periods) >= KEPT_VALUES:
            self._periods.clear()
        self._periods[entry, exit_] = text = text + (',"inactive":true' if exit_ else "")
        return text

    def _relation(self, relation: str) -> str:
        member = household_of(self._conversion, "", [["1", relation, "", "", ""]])["member"][0]
        del member["entity"]
        if len(self._relations) >= KEPT_VALUES:
            self._relations.clear()
        text = self._relations[relation] = "," + to_json(member)[1:-1] if member else ""
        return text

"""FHIR R4 resources to an HL7 v2 message, by tables of the same kind: mappings/hl7v2/outbound/<structure>.csv.

A row puts one value into one field: ``segment`` (a new segment for each resource when ``each`` is yes), ``field``,
``source`` (a path that begins with a resource type; ``->`` follows a reference to a resource that is there),
``conversion``, ``vocabulary`` (a concept map read backwards), ``assignment`` (with its components). A segment without
a value is left out, unless its constants stand in rows whose ``each`` is ``always``: those make it when nothing else
does. A row of ``along`` is for a segment that other rows make; field 0 says only that the segment is needed when its
source is there; the rows of ``with`` are a segment behind each one of the block before it, for the same resource. Of
several rows of one field the last with a value counts. Values are escaped by the builder, so none can end its field or
begin a segment. A ``Notice`` among the resources (``code``, ``text``) is what the law says to the receiver.
"""

import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final, TypeAlias

from gateway.codecs.er7_build import Component, FormattedText, Value, build
from gateway.kernel.errors import Invalid, Unsupported
from gateway.kernel.fhir import DOORWAY, JsonObject
from gateway.mapping.hl7v2.model import Tables, Vocabulary
from gateway.mapping.hl7v2.values import SID
from gateway.mapping.table import read_table

OWN_NUMBER: Final = f"{DOORWAY}/NamingSystem/service-request"  # system of a request's id where it has no number
COLUMNS: Final = ("segment", "field", "each", "source", "conversion", "vocabulary", "assignment", "note")
_STEP: Final = re.compile(r"([A-Za-z]+)(?:\[([^\]]+)\])?")
_DOT: Final = re.compile(r"\.(?![^\[]*\])")  # not those of an URL in brackets
Components: TypeAlias = tuple[Component, ...]


@dataclass(frozen=True, slots=True)
class OutRow:
    """One row of an outbound table."""

    place: str
    segment: str
    field: int
    each: str  # yes: a segment for each resource of the source's type; always, along, with: see above
    source: str
    conversion: str
    vocabulary: str
    assignment: str


@dataclass(frozen=True, slots=True)
class Envelope:
    """What the header says beyond the resources. ``time`` is a DTM; HDs are (namespace, universal id, type)."""

    control_id: str
    time: str
    sending_application: Components = ("DOORWAY",)
    sending_facility: Components = ("GATEWAY",)
    receiving_application: Components = ()
    receiving_facility: Components = ()
    version: str = "2.5.1"
    processing_id: str = "P"
    answers: str = field(default="", repr=False)  # MSA-2 of a response


@dataclass(frozen=True, slots=True)
class Change:
    """One row of changes.csv: which event tells of a change; the first row that fits counts."""

    resource: str
    was: str  # state of the version before; new: there was none; =: the same; *: any
    state: str  # state now; * any
    classes: frozenset[str]  # of an Encounter; empty: any
    event: str  # "" is not told


@dataclass(frozen=True, slots=True)
class Outbound:
    """The outbound tables, checked: event (``REF^I12``) to rows."""

    structures: Mapping[str, str]
    needs: Mapping[str, frozenset[str]]  # event -> resource types without which nothing is said
    segments: Mapping[str, frozenset[str]]  # event -> segments without which it would not be valid
    changes: tuple[Change, ...]
    rows: Mapping[str, tuple[OutRow, ...]]
    vocabularies: Mapping[str, Vocabulary]
    systems: Mapping[str, str]  # coding system URI -> table 0396 name


def read_outbound(texts: Mapping[str, str], tables: Tables) -> Outbound:
    """Read every ``mappings/hl7v2/outbound/*.csv``; ``events.csv`` there names the structure of each event.

    Raises:
        Invalid: any mistake, with file:line.
    """
    root = "mappings/hl7v2/outbound/"
    rows: dict[str, tuple[OutRow, ...]] = {}
    for path in sorted(p for p in texts if p.startswith(root) and not p.endswith(("/events.csv", "/changes.csv"))):
        rows[path.removeprefix(root).removesuffix(".csv")] = tuple(_read(texts[path], path, tables))
    structures: dict[str, str] = {}
    needs: dict[str, frozenset[str]] = {}
    segments: dict[str, frozenset[str]] = {}
    columns = ("event", "structure", "needs", "segments", "note")
    for row in read_table(texts[f"{root}events.csv"], file=f"{root}events.csv", columns=columns):
        if row["structure"] not in rows:
            raise Invalid(f"no outbound table {row['structure']}", at=row.place)
        structures[row["event"]] = row["structure"]
        needs[row["event"]] = frozenset(row["needs"].split())
        segments[row["event"]] = frozenset(row["segments"].split())
    systems: dict[str, str] = {}
    for name, system in tables.code_systems.items():
        systems.setdefault(system, name)
    changes = tuple(_changes(texts, f"{root}changes.csv", structures))
    return Outbound(structures, needs, segments, changes, rows, tables.vocabularies, systems)


def _changes(texts: Mapping[str, str], file: str, events: Mapping[str, str]) -> Iterable[Change]:
    columns = ("resource", "was", "is", "class", "event", "note")
    for row in read_table(texts[file], file=file, columns=columns, required=("resource", "was", "is")):
        if row["event"] and row["event"] not in events:
            raise Invalid(f"no outbound event {row['event']}", at=row.place, fix="add it to events.csv")
        yield Change(row["resource"], row["was"], row["is"], frozenset(row["class"].split()), row["event"])


def event_of(before: JsonObject | None, after: JsonObject, outbound: Outbound) -> str:
    """The event that tells of a new version of a Patient or Encounter; "" when none does."""
    was, state = ("new" if before is None else _state(before, None)), _state(after, before)
    code = after.get("class", {}).get("code", "") if isinstance(after.get("class"), dict) else ""
    for row in outbound.changes:
        if row.resource != after["resourceType"] or row.state not in ("*", state):
            continue
        if (row.was in ("*", was) or (row.was == "=" and was == state)) and (not row.classes or code in row.classes):
            return row.event
    return ""


def _state(resource: JsonObject, before: JsonObject | None) -> str:
    """Encounter.status; of a Patient ``replaced``, ``merged`` (it replaces one more than before), or ``known``."""
    if resource["resourceType"] != "Patient":
        return str(resource.get("status", ""))
    if _replaced(resource, "replaced-by"):
        return "replaced"
    return "merged" if _replaced(resource, "replaces") - _replaced(before or {}, "replaces") else "known"


def _replaced(patient: JsonObject, kind: str) -> set[str]:
    links = patient.get("link", ())
    return {str(link.get("other", {}).get("reference", "")) for link in links if link.get("type") == kind}


def _read(text: str, path: str, tables: Tables) -> Iterable[OutRow]:
    for row in read_table(text, file=path, columns=COLUMNS, required=("segment", "field")):
        if row["conversion"] and row["conversion"] not in _CONVERSIONS:
            raise Invalid(
                f"unknown conversion {row['conversion']!r}", at=row.place, fix=", ".join(sorted(_CONVERSIONS))
            )
        if row["vocabulary"] and row["vocabulary"] not in tables.vocabularies:
            raise Invalid(f"no concept map v2-{row['vocabulary']}", at=row.place)
        if not row["field"].isdigit() or bool(row["source"]) == bool(row["assignment"]):
            raise Invalid("a field number, and either a source or an assignment", at=row.place)
        yield OutRow(
            row.place, row["segment"], int(row["field"]), row["each"], row["source"],
            row["conversion"] or "text", row["vocabulary"], row["assignment"],
        )  # fmt: skip


def to_v2(event: str, resources: Sequence[JsonObject], envelope: Envelope, outbound: Outbound) -> bytes:
    """The bytes of the message ``event`` (``REF^I12``; ``OMG^O19/CA`` with its order control) about these resources.

    What consent withheld is simply not among ``resources``: its segments are left out and the message stays valid; b""
    when something is withheld that the event cannot be told without (``needs`` and ``segments`` of events.csv).

    Raises:
        Unsupported: no outbound table for the event.
    """
    event, _, control = event.partition("/")
    structure = outbound.structures.get(event)
    if structure is None:
        raise Unsupported(
            "no outbound mapping for this event", at="MSH-9", fix="see mappings/hl7v2/outbound/events.csv"
        )
    if not outbound.needs[event] <= {resource["resourceType"] for resource in resources}:
        return b""
    kind, trigger = event.split("^")
    head: dict[int, Value] = {
        3: envelope.sending_application, 4: envelope.sending_facility, 5: envelope.receiving_application,
        6: envelope.receiving_facility, 7: envelope.time, 9: (kind, trigger, structure), 10: envelope.control_id,
        11: envelope.processing_id, 12: envelope.version, 18: "UNICODE UTF-8",
    }  # fmt: skip
    segments: list[tuple[str, Mapping[int, Value]]] = [("MSH", head)]
    if kind == "ADT" or kind == "MDM":
        segments.append(("EVN", {1: trigger, 2: envelope.time}))
    if envelope.answers:
        segments.append(("MSA", {1: "AA", 2: envelope.answers}))
    writer = _Writer(resources, outbound, control or "NW")
    segments += writer.all(outbound.rows[structure])
    return build(segments) if outbound.segments[event] <= {name for name, _ in segments} else b""


def notices_of(codes: Iterable[str], texts: Mapping[str, Mapping[str, str]]) -> list[JsonObject]:
    """What the law says to whoever receives a message, as the ``Notice`` that the tables read.

    Args:
        codes: notices that travel with what the gate released.
        texts: notice to language to text (terminology/policies/notices.csv).
    """
    return [
        {
            "resourceType": "Notice",
            "code": {"coding": [{"system": f"{DOORWAY}/CodeSystem/notice", "code": code}], "text": "notice"},
            "text": texts.get(code, {}).get("en") or next(iter(texts.get(code, {}).values()), code),
        }
        for code in codes
    ]


def segments_about(
    structure: str, resources: Sequence[JsonObject], outbound: Outbound, control: str = ""
) -> list[tuple[str, Mapping[int, Value]]]:
    """The segments that a table makes of resources, without a header, for a message that is put together elsewhere.

    ``control`` is ORC-1 where the table asks for it.
    """
    return _Writer(resources, outbound, control).all(outbound.rows[structure])


def _grouped(rows: Sequence[OutRow]) -> Iterable[list[list[OutRow]]]:
    """Rows of one segment that stand together, with the segments that follow each of it; the same name later is another
    segment."""
    blocks: list[list[OutRow]] = []
    for row in rows:
        if blocks and row.segment == blocks[-1][-1].segment and row.field >= blocks[-1][-1].field:
            blocks[-1].append(row)
            continue
        if blocks and row.each != "with":
            yield blocks
            blocks = []
        blocks.append([row])
    if blocks:
        yield blocks


class _Writer:
    def __init__(self, resources: Sequence[JsonObject], outbound: Outbound, control: str = "") -> None:
        self._by_type: dict[str, list[JsonObject]] = {}
        self._by_reference: dict[str, JsonObject] = {}
        for resource in resources:
            self._by_type.setdefault(resource["resourceType"], []).append(resource)
            self._by_reference[f"{resource['resourceType']}/{resource.get('id', '')}"] = resource
        self._outbound = outbound
        self._control = control

    def all(self, rows: Sequence[OutRow]) -> list[tuple[str, Mapping[int, Value]]]:
        """The segments that a whole table makes."""
        out: list[tuple[str, Mapping[int, Value]]] = []
        for block, *behind in _grouped(rows):
            each = next((row for row in block if row.each == "yes" and row.source), None)
            subjects = self._by_type.get(each.source.split(".")[0], []) if each else [None]
            for number, subject in enumerate(subjects, 1):
                for one in (block, *behind):
                    fields = self._segment(one, subject, number)
                    if fields is None:
                        break
                    out.append((one[0].segment, fields))
        return out

    def _segment(self, rows: Sequence[OutRow], subject: JsonObject | None, number: int) -> dict[int, Value] | None:
        """The fields of one segment; None when nothing makes it."""
        fields: dict[int, Value] = {}
        told = any(row.each == "always" for row in rows)
        for row in rows:
            if row.assignment:
                said = {"#": str(number), "@control": self._control}.get(row.assignment, row.assignment)
                fields.setdefault(row.field, (*said.split("^"),) if "^" in said else said)
                continue
            value = self._value(row, subject)
            if value:
                told = told or row.each != "along"
                if row.field:
                    fields[row.field] = value
        return fields if told else None

    def _value(self, row: OutRow, subject: JsonObject | None) -> Value:
        found = [node for node in self._walk(row.source, subject) if node not in (None, "", {}, [])]
        made: list[str | Components | None] = []
        for node in found:
            if row.vocabulary and (node := self._backwards(row.vocabulary, node)) is None:
                continue
            value = _CONVERSIONS[row.conversion](node, self)
            if value:
                made.append(value)
        if not made:
            return None
        return made[0] if len(made) == 1 else [*made]

    def _backwards(self, name: str, node: Any) -> Any:
        """The v2 code whose target this is. A CodeableConcept without one keeps its code, a sender's own; a bare code
        of FHIR (a state) without one is not told: it would mean nothing in a v2 table."""
        concept = isinstance(node, dict)
        if concept:
            entries = node.get("coding") or [node]
            plain = next((e for e in entries if "/v2-" in str(e.get("system", ""))), None)
            if plain is not None:
                return plain.get("code")
            node = entries[0].get("code")
        vocabulary = self._outbound.vocabularies[name]
        text = {True: "true", False: "false"}.get(node, node) if isinstance(node, bool) else node
        return next(
            (code for code, target in vocabulary.codes.items() if target is not None and target.code == text),
            node if concept else None,
        )

    def _walk(self, path: str, subject: JsonObject | None) -> list[Any]:
        head, *hops = path.split("->")
        kind, _, rest = head.partition(".")
        nodes: list[Any] = (
            [subject]
            if subject is not None and subject["resourceType"] == kind
            else list(self._by_type.get(kind, [])[:1])
        )
        nodes = self._steps(nodes, rest)
        for hop in hops:
            nodes = [self._by_reference.get(str(n.get("reference"))) for n in nodes if isinstance(n, dict)]
            nodes = self._steps([n for n in nodes if n is not None], hop.removeprefix("."))
        return nodes

    def _steps(self, nodes: list[Any], path: str) -> list[Any]:
        for step in _DOT.split(path) if path else ():
            found = _STEP.fullmatch(step)
            if found is None:
                return []
            out: list[Any] = []
            for node in nodes:
                value = node.get(found[1]) if isinstance(node, dict) else None
                items = value if isinstance(value, list) else [] if value is None else [value]
                out += _chosen(items, found[2] or "")
            nodes = out
        return nodes

    def system_name(self, system: str) -> str:
        """A coding system as table 0396 names it."""
        table = re.fullmatch(r"http://terminology\.hl7\.org/CodeSystem/v2-(\d{4})", system)
        return f"HL7{table[1]}" if table else self._outbound.systems.get(system, "") or local_name(system)


def local_name(system: str) -> str:
    """The name of a system that we made from a namespace or local coding system."""
    from urllib.parse import unquote

    return unquote(system.rsplit("/", 1)[1]) if system.startswith(("https://doorway.example/", SID)) else system


def _chosen(items: list[Any], wanted: str) -> list[Any]:
    if not wanted:
        return items
    if wanted.isdigit():
        return items[int(wanted) : int(wanted) + 1]
    name, _, value = wanted.partition("=")
    if name.endswith("!"):
        return [item for item in items if _first(item, name[:-1]) != value]
    return [item for item in items if _first(item, name) == value]


def _first(node: Any, path: str) -> Any:
    for step in path.split("/"):
        if isinstance(node, list):
            node = node[0] if node else None
        node = node.get(step) if isinstance(node, dict) else None
    return node


def _authority(system: str) -> Component:
    """HD of an identifier system."""
    if system.startswith("urn:oid:"):
        return (None, system[8:], "ISO")
    if system.startswith("urn:uuid:"):
        return (None, system[9:], "UUID")
    known = {"http://hl7.org/fhir/sid/us-ssn": "SSA", "http://hl7.org/fhir/sid/us-npi": "NPI"}.get(system)
    if known:
        return known
    if system.startswith(f"{SID}/") and "/" not in system[len(SID) + 1 :]:
        return local_name(system)
    return (None, system, "URI") if system else None


def _cx(node: Any, _: _Writer) -> Components | None:
    if not isinstance(node, dict) or "value" not in node:
        return None
    kind = _first(node.get("type", {}), "coding/code")
    return (node["value"], None, None, _authority(node.get("system", "")), kind)


def _ei(node: Any, _: _Writer) -> Components | None:
    if not isinstance(node, dict) or "value" not in node:
        return None
    authority = _authority(node.get("system", ""))
    return (node["value"], *(authority if isinstance(authority, tuple) else (authority,)))


def _own(node: Any, writer: _Writer) -> Components | None:
    return _ei({"system": OWN_NUMBER, "value": node}, writer)


def _xpn(node: Any, _: _Writer) -> Components | None:
    if not isinstance(node, dict):
        return None
    given = [*node.get("given", ()), None, None]
    use = {
        "official": "L",
        "usual": "D",
        "nickname": "N",
        "maiden": "M",
        "old": "BAD",
        "temp": "TEMP",
        "anonymous": "S",
    }
    return (
        node.get("family"), given[0], " ".join(g for g in given[1:] if g) or None, _first(node, "suffix") or None,
        (node.get("prefix") or [None])[0], None, use.get(node.get("use", "")),
    ) if node.get("family") or given[0] else None  # fmt: skip


def _xad(node: Any, _: _Writer) -> Components | None:
    lines = [*node.get("line", ()), None, None] if isinstance(node, dict) else []
    if not lines:
        return None
    use = {"home": "H", "work": "B", "temp": "C", "old": "BA", "billing": "BI"}.get(node.get("use", ""))
    return (lines[0], lines[1], node.get("city"), node.get("state"), node.get("postalCode"), node.get("country"), use)


def _xtn(node: Any, _: _Writer) -> Components | None:
    if not isinstance(node, dict) or "value" not in node:
        return None
    use = {"home": "PRN", "work": "WPN", "mobile": "PRS", "temp": "VHN"}.get(node.get("use", ""))
    if node.get("system") == "email":
        return (None, "NET", "Internet", node["value"])
    kind = {"phone": "CP" if use == "PRS" else "PH", "fax": "FX", "pager": "BP"}.get(node.get("system", ""))
    return (None, use, kind, None, None, None, None, None, None, None, None, node["value"])


def _cwe(node: Any, writer: _Writer) -> Components | None:
    if isinstance(node, str):
        return (node,)
    if not isinstance(node, dict):
        return None
    entries = node.get("coding") or ([node] if "code" in node else [])
    parts: list[Component] = []
    for entry in entries[:2]:
        parts += [entry.get("code"), entry.get("display"), writer.system_name(entry.get("system", "")) or None]
    parts += [None] * (6 - len(parts))
    return (*parts, None, None, node.get("text")) if entries or node.get("text") else None


_STATES: Final = {  # Task.status -> table 0283, user-defined; C and X beside the A, E, P and R that it suggests
    "draft": ("P", "Pending"), "requested": ("P", "Pending"), "accepted": ("A", "Accepted"),
    "in-progress": ("A", "Accepted"), "on-hold": ("A", "Accepted"), "rejected": ("R", "Rejected"),
    "failed": ("X", "Cancelled"), "cancelled": ("X", "Cancelled"), "completed": ("C", "Completed"),
    "entered-in-error": ("X", "Cancelled"),
}  # fmt: skip


def _referral_state(task: Any, writer: _Writer) -> Components | None:
    """RF1-1: where the Task stands now; what a partner called it stands beside as the alternate."""
    said = _cwe(task.get("businessStatus"), writer)
    state = _STATES.get(str(task.get("status")))
    if state is None:
        return said
    own = (*state, "HL70283")
    if said is None:
        return own
    if said[0] == state[0] or said[2] == own[2]:  # another code of the same table is of an earlier day
        return said if said[0] == state[0] else own
    return (*own, *said[:3], *said[6:])


def _xcn(node: Any, _: _Writer) -> Components | None:
    if not isinstance(node, dict) or node.get("resourceType") != "Practitioner":
        return None
    name = (node.get("name") or [{}])[0]
    number = (node.get("identifier") or [{}])[0]
    given = [*name.get("given", ()), None]
    if not name and not number:
        return None
    kind = _first(number.get("type", {}), "coding/code")
    return (
        number.get("value"), name.get("family"), given[0], None, None, None, None, None,
        _authority(number.get("system", "")), None, None, None, kind,
    )  # fmt: skip


def _xon(node: Any, _: _Writer) -> Components | None:
    if not isinstance(node, dict) or node.get("resourceType") != "Organization":
        return None
    if not (node.get("name") or node.get("identifier")):
        return None
    number = (node.get("identifier") or [{}])[0]
    authority = _authority(number.get("system", ""))
    return (node.get("name"), None, None, None, None, authority, None, None, None, number.get("value"))


def _payor(node: Any, _: _Writer) -> Components | None:
    """AUT-2: number and name of a payor, each standing for the other where there is one alone."""
    name, number = _first(node, "name"), _first(node, "identifier/value")
    return (number or name, name) if number or name else None


def _pln(node: Any, _: _Writer) -> Components | None:
    if not isinstance(node, dict) or "value" not in node:
        return None
    kind = _first(node.get("type", {}), "coding/code")
    return (node["value"], "NPI" if node.get("system") == "http://hl7.org/fhir/sid/us-npi" else kind)


def _pl(node: Any, _: _Writer) -> Components | None:
    number = (node.get("identifier") or [{}])[0] if isinstance(node, dict) else {}
    parts = str(number.get("value", "")).split(" ")
    return (*[part or None for part in parts[:3]],) if parts[0] else None


def _dtm(node: Any, _: _Writer) -> str | None:
    """A FHIR date, dateTime or instant as DTM, precision and offset kept."""
    found = re.fullmatch(
        r"(\d{4})(?:-(\d\d)(?:-(\d\d))?)?(?:T(\d\d):(\d\d):(\d\d)(\.\d{1,4})?\d*(Z|[+-]\d\d:\d\d))?", str(node)
    )
    if found is None:
        return None
    digits = "".join(part for part in found.groups()[:6] if part) + (found[7] or "")
    return digits + ("+0000" if found[8] == "Z" else (found[8] or "").replace(":", ""))


def _text(node: Any, _: _Writer) -> str | None:
    if isinstance(node, dict):
        return node.get("text") or node.get("display") or _first(node, "coding/code") or node.get("code")
    return {True: "Y", False: "N"}[node] if isinstance(node, bool) else str(node)


def _formatted(node: Any, writer: _Writer) -> str | None:
    text = _text(node, writer)
    return FormattedText(text) if text else None


def _measured(node: Any, writer: _Writer) -> tuple[str, Any, Component]:
    """OBX-2, OBX-5 and OBX-6 of an Observation (v2.5.1 ch. 7.4.2, table 0125); empty when it has no value."""
    name = next((key for key in node if key.startswith("value")), "")
    value = node.get(name)
    if name in ("valueQuantity", "valueInteger"):
        amount = value if isinstance(value, dict) else {"value": value}
        number = str(amount.get("value", ""))
        said = (amount["comparator"], number) if "comparator" in amount else number
        return ("SN" if "comparator" in amount else "NM"), said if number else None, _unit(amount)
    if name in ("valueRange", "valueRatio"):
        low, high = (value.get(part, {}) for part in _ENDS[name])
        mark = "-" if name == "valueRange" else ":"
        return "SN", (None, _number(low), mark, _number(high)), _unit(low) or _unit(high)
    if name == "valuePeriod":
        return "DR", (_dtm(value.get("start"), writer), _dtm(value.get("end"), writer)), None
    if name == "valueString":
        return ("FT", FormattedText(value), None) if "\n" in value else ("ST", value, None)
    if name == "valueBoolean":
        return "CWE", ("Y", "Yes", "HL70136") if value else ("N", "No", "HL70136"), None
    if name == "valueDateTime":
        return "TS", _dtm(value, writer), None
    if name == "valueTime":
        return "TM", str(value).replace(":", ""), None
    return ("CWE", _cwe(value, writer), None) if name == "valueCodeableConcept" else ("", None, None)


_ENDS: Final = {"valueRange": ("low", "high"), "valueRatio": ("numerator", "denominator")}


def _number(amount: JsonObject) -> str | None:
    return str(amount["value"]) if "value" in amount else None


def _unit(amount: JsonObject) -> Any:
    code, name = amount.get("code"), amount.get("unit")
    system = "UCUM" if amount.get("system") == "http://unitsofmeasure.org" else None
    return (code or name, name, system) if code or name else None


def _decoded(node: Any, _: _Writer) -> str | None:
    import base64
    import binascii

    try:
        return FormattedText(base64.b64decode(str(node), validate=True).decode("utf-8"))
    except (binascii.Error, ValueError):
        return None


_CONVERSIONS: Final[Mapping[str, Callable[[Any, _Writer], "str | Components | None"]]] = {
    "CX": _cx, "EI": _ei, "XPN": _xpn, "XAD": _xad, "XTN": _xtn, "CWE": _cwe, "XCN": _xcn, "XON": _xon, "PLN": _pln,
    "OWN": _own, "PL": _pl, "DTM": _dtm, "text": _text, "FT": _formatted, "base64": _decoded, "payor": _payor,
    "RF1-1": _referral_state,
    "OBX-2": lambda node, writer: _measured(node, writer)[0], "OBX-5": lambda node, writer: _measured(node, writer)[1],
    "OBX-6": lambda node, writer: _measured(node, writer)[2],
}  # fmt: skip

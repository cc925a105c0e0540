"""Reading the tables of mappings/hl7v2, terminology/v2 and mappings/sites/<site>; any mistake stops with file:line."""

import re
from collections.abc import Iterable, Mapping
from itertools import groupby
from typing import Any, Final

import orjson

from gateway.kernel.errors import Invalid
from gateway.mapping.hl7v2.conditions import Ref, parse_condition
from gateway.mapping.hl7v2.model import (
    PRIMITIVES,
    SPECIAL_TARGETS,
    ActionRow,
    Assignment,
    Code,
    Identity,
    Link,
    Map,
    MessageMap,
    MessageRow,
    Required,
    Row,
    SnapshotRow,
    Step,
    Tables,
    Trigger,
    Vocabulary,
)
from gateway.mapping.hl7v2.paths import Elements, parse_path, parse_source, read_elements
from gateway.mapping.table import TableRow, read_table

MAP_COLUMNS: Final = (
    "row", "source", "condition", "target", "extension", "type", "datatype", "vocabulary", "assignment", "note",
)  # fmt: skip
MESSAGE_COLUMNS: Final = (
    "row", "segment", "min", "max", "condition", "resource", "map", "references", "note",
)  # fmt: skip
CONCEPT_COLUMNS: Final = (
    "map", "source_system", "source_code", "source_display", "equivalence",
    "target_system", "target_code", "target_display", "note",
)  # fmt: skip
ROOT: Final = "mappings/hl7v2/"
BUILT_IN: Final = frozenset(
    [
        "base64",
        "text-base64",
        "lines",
        "texts",
        "display",
        "code-system",
        "authority",
        "ei-authority",
        "hl7-time",
        "minutes",
        "ssn",
        "universal-id",
        "universal-system",
    ]
)
_MAP_NAME: Final = re.compile(r"(.*/)?([A-Z][A-Z0-9]{1,2})-([A-Za-z][A-Za-z0-9-]*)\.csv")
_ASSIGNMENT: Final = re.compile(r'\s*(?:"([^"]*)"|([A-Z][A-Z0-9]{1,2}(?:[.-]\d+)+))\s*(\+|$)')


def read_tables(texts: Mapping[str, str], *, site: str = "") -> Tables:
    """Compile the shipped tables and one site's overlay.

    Args:
        texts: path (``mappings/hl7v2/segments/PID-Patient.csv``) to text; everything below ``mappings/hl7v2/``,
            ``terminology/v2/`` and, for a site, ``mappings/sites/<site>/``.
        site: name of the overlay; its files replace rows (see mappings/sites/README.md).

    Raises:
        Invalid: any mistake, with file:line.
    """
    if site and not any(path.startswith(f"mappings/sites/{site}/") for path in texts):
        raise Invalid("no such site", at=f"mappings/sites/{site}", fix="make the folder, or name another site")
    reader = _Reader(texts, site)
    tables = reader.tables()
    _check_links(tables)
    return tables


class _Reader:
    """One pass over the texts; the elements come first, since every path is checked against them."""

    def __init__(self, texts: Mapping[str, str], site: str) -> None:
        self._texts = texts
        self._site = f"mappings/sites/{site}/" if site else ""
        file = f"{ROOT}r4-elements.csv"
        self._elements: Elements = read_elements(texts[file], file=file)

    def _rows(self, name: str, columns: Iterable[str], required: Iterable[str] = ()) -> list[TableRow]:
        """Rows of one shipped file followed by those of the site's file of the same name."""
        out: list[TableRow] = []
        for root in (ROOT, self._site):
            file = root + name
            if root and file in self._texts:
                out += read_table(self._texts[file], file=file, columns=columns, required=required)
        return out

    def _names(self, folder: str) -> list[str]:
        roots = [root + folder for root in (ROOT, self._site) if root]
        found = {path.rsplit("/", 1)[1] for path in self._texts for root in roots if path.startswith(root)}
        return sorted(name for name in found if name.endswith(".csv"))

    def tables(self) -> Tables:
        """Every table, read and checked."""
        identities, order = self._identities()
        return Tables(
            messages={m.structure: m for m in map(self._message, self._names("messages/"))},
            segments={m.name: m for m in (self._map("segments/", name) for name in self._names("segments/"))},
            datatypes={m.name: m for m in (self._map("datatypes/", name) for name in self._names("datatypes/"))},
            vocabularies={v.name: v for v in self._vocabularies()},
            triggers=self._triggers(),
            identities=identities,
            required=self._required(),
            ignored={r["source"]: (r.place, r["reason"]) for r in self._rows("ignored.csv", ("source", "reason"))},
            authorities={
                r["authority"]: r["system"] for r in self._rows("authorities.csv", ("authority", "system", "note"))
            },
            code_systems={r["name"]: r["system"] for r in self._rows("code-systems.csv", ("name", "system", "note"))},
            updates={r["element"]: r["key"] for r in self._rows("updates.csv", ("element", "key", "note"))},
            elements=self._elements,
            snapshots=self._snapshots(),
            actions=self._actions(),
            order=order,
        )

    # -- segment and data type maps ----------------------------------------------------------------------------------

    def _map(self, folder: str, name: str) -> Map:
        found = _MAP_NAME.fullmatch(name)
        if found is None:
            raise Invalid("not named after its map", at=ROOT + folder + name, fix="name it PID-Patient.csv")
        source, result = found[2], found[3]
        rows = self._overlaid(folder + name)
        read = [self._row(row, source, result.split("-")[0]) for row in rows]
        return Map(
            f"{source}[{result}]",
            rows[0].file if rows else ROOT + folder + name,
            source,
            result,
            tuple(read),
            any(row.special == "$value" for row in read),
        )

    def _overlaid(self, name: str) -> list[TableRow]:
        """Shipped rows, where the site's rows for the same source replace all shipped ones of that source."""
        rows = self._rows(name, MAP_COLUMNS, ())
        if not self._site:
            return rows
        own = {row["source"] for row in rows if row.file.startswith(self._site)}
        return [row for row in rows if row.file.startswith(self._site) or row["source"] not in own]

    def _row(self, row: TableRow, source: str, owner: str) -> Row:
        target, extension, type_ = row["target"], row["extension"], row["type"]
        place = row.place
        where = parse_source(row["source"], of=source, at=place)
        special = ""
        steps: tuple[Step, ...] = ()
        if target in SPECIAL_TARGETS:
            special = target
        elif target:
            steps, found = parse_path(target, owner=owner, elements=self._elements, at=place)
            type_ = self._checked_type(type_, found, bool(extension), place)
        if extension and not type_:
            raise Invalid("an extension needs the type of its value", at=place)
        if not (target or extension) and any(row[c] for c in ("type", "datatype", "vocabulary", "assignment")):
            raise Invalid("a row without target maps nothing, yet it has a type, map or assignment", at=place)
        if not (target or extension or row["note"]):
            raise Invalid("a row without target says in its note why nothing is mapped", at=place)
        if row["datatype"] and row["assignment"]:
            raise Invalid("a row is either mapped by a data type or assigned, not both", at=place)
        if row["datatype"] and "[" not in row["datatype"] and row["datatype"] not in BUILT_IN:
            raise Invalid(
                f"unknown conversion {row['datatype']!r}", at=place, fix="one of " + ", ".join(sorted(BUILT_IN))
            )
        subject = Ref(source, tuple(n for n in (where.field, where.component, where.subcomponent) if n))
        return Row(
            place, row["row"], where, parse_condition(row["condition"], at=place, subject=subject), steps, special,
            extension, type_, row["datatype"], row["vocabulary"], _assignment(row["assignment"], place), target,
            row["note"],
        )  # fmt: skip

    def _checked_type(self, said: str, found: str, extension: bool, place: str) -> str:
        if extension:
            return said
        bare = said.split("(")[0]
        same = {found, "Quantity" if found in ("SimpleQuantity", "Duration", "Age") else found}
        if bare and bare not in same and not (bare in PRIMITIVES and found in PRIMITIVES):
            raise Invalid(f"the element has type {found}, not {said}", at=place)
        return found

    # -- message maps ------------------------------------------------------------------------------------------------

    def _message(self, name: str) -> MessageMap:
        rows = self._rows(f"messages/{name}", MESSAGE_COLUMNS, ("segment",))
        structure = name.removesuffix(".csv")
        own = [row for row in rows if self._site and row.file.startswith(self._site)]
        shipped = [row for row in rows if row not in own]
        read = [self._message_row(row, structure) for row in shipped]
        for row in own:  # a site's rows stand after the shipped rows of the same place, or at the end
            fresh = self._message_row(row, structure)
            index = max(
                (i for i, r in enumerate(read) if (r.groups, r.number) == (fresh.groups, fresh.number)), default=-1
            )
            read.insert(index + 1 if index >= 0 else len(read), fresh)
        return MessageMap(structure, (shipped or rows)[0].file if rows else ROOT + name, tuple(read))

    def _message_row(self, row: TableRow, structure: str) -> MessageRow:
        *groups, segment = row["segment"].split(".")
        place = row.place
        if not re.fullmatch(r"[A-Z][A-Z0-9]{2}", segment):
            raise Invalid(f"{segment!r} is no segment", at=place)
        resource = row["resource"]
        if bool(resource) != bool(row["map"]):
            raise Invalid("resource and map go together", at=place)
        type_ = resource.split("[")[0]
        if resource and f"{type_}.id" not in self._elements:
            raise Invalid(f"resource type {type_} is not in r4-elements.csv", at=place)
        return MessageRow(
            place, row["row"], tuple(groups), segment, 1 if row["min"] == "1" else 0, row["max"] != "1",
            parse_condition(row["condition"], at=place, subject=Ref(segment)), resource, row["map"],
            tuple(self._link(text, type_, place) for text in row["references"].split(";") if text.strip()),
            row["note"],
        )  # fmt: skip

    def _link(self, text: str, own: str, place: str) -> Link:
        left, equals, target = (part.strip() for part in text.partition("="))
        if not equals or not target:
            raise Invalid("a reference is written path=resource", at=place)
        found = re.match(r"([A-Z][A-Za-z]+(?:\[\d+\])?)\.", left)
        owner = found[1] if found else ""
        path = left[found.end() :] if found else left
        steps, type_ = parse_path(path, owner=owner.split("[")[0] or own, elements=self._elements, at=place)
        if type_ != "Reference":
            raise Invalid(f"{path} is no reference", at=place)
        return Link(owner, steps, target)

    # -- the small tables --------------------------------------------------------------------------------------------

    def _vocabularies(self) -> list[Vocabulary]:
        by_name: dict[str, list[TableRow]] = {}
        for path in sorted(self._texts):
            mine = path.startswith("terminology/v2/") or (self._site and path.startswith(f"{self._site}terminology/"))
            if mine and path.endswith(".conceptmap.csv"):
                for row in read_table(self._texts[path], file=path, columns=CONCEPT_COLUMNS, required=("map",)):
                    by_name.setdefault(row["map"].rsplit("/", 1)[1].removeprefix("v2-"), []).append(row)
        made = {name: self._vocabulary(name, rows) for name, rows in by_name.items()}
        for row in self._rows("code-tables.csv", ("table", "system", "codes", "note"), ("table", "system", "codes")):
            name, system = row["table"], row["system"]
            kept: dict[str, Code | None] = {code: Code(code, system, "") for code in row["codes"].split()}
            known = made.get(name, Vocabulary(name, system, {}))
            made[name] = Vocabulary(name, known.source_system, kept | dict(known.codes), known.fallback)
        return list(made.values())

    def _vocabulary(self, name: str, rows: list[TableRow]) -> Vocabulary:
        codes: dict[str, Code | None] = {}
        fallback = None
        for row in rows:
            code = Code(row["target_code"], row["target_system"], row["target_display"]) if row["target_code"] else None
            if row["source_code"] == "*":
                fallback = code
            elif row["source_code"] not in codes or row.file.startswith(self._site or "\0"):
                codes[row["source_code"]] = code
        return Vocabulary(name, rows[0]["source_system"], codes, fallback)

    def _triggers(self) -> dict[str, Trigger]:
        columns = ("event", "structure", "status", "cancels", "effect", "note")
        return {
            row["event"]: Trigger(
                row.place, row["event"], row["structure"], row["status"], tuple(row["cancels"].split()),
                row["effect"], row["note"],
            )
            for row in self._rows("triggers.csv", columns, ("event", "effect"))
        }  # fmt: skip

    def _identities(self) -> tuple[dict[str, tuple[Identity, ...]], tuple[str, ...]]:
        rows = self._rows("identities.csv", ("resource", "parts", "note"), ("resource", "parts"))
        read = [Identity(row.place, row["resource"], tuple(row["parts"].split())) for row in rows]
        grouped = {k: tuple(g) for k, g in groupby(sorted(read, key=lambda i: i.resource), key=lambda i: i.resource)}
        return grouped, tuple(dict.fromkeys(i.resource for i in read))

    def _snapshots(self) -> tuple[SnapshotRow, ...]:
        columns = ("segment", "resource", "owner", "element", "value", "action", "note")
        return tuple(
            SnapshotRow(
                row.place, row["segment"], row["resource"], row["owner"], row["element"],
                _json(row["value"], row.place),
                parse_source(row["action"], of=row["segment"], at=row.place).field,
            )
            for row in self._rows("snapshots.csv", columns, ("segment", "resource", "owner", "element"))
        )  # fmt: skip

    def _actions(self) -> dict[str, tuple[ActionRow, ...]]:
        columns = ("segment", "action", "codes", "resource", "list", "key", "of", "note")
        out: dict[str, list[ActionRow]] = {}
        for row in self._rows("actions.csv", columns, columns[:-1]):
            segment, place = row["segment"], row.place
            said = parse_source(row["of"], of=segment, at=place)
            out.setdefault(segment, []).append(
                ActionRow(
                    segment, parse_source(row["action"], of=segment, at=place).field, tuple(row["codes"].split()),
                    row["resource"], row["list"], row["key"], said.field, said.component,
                )
            )  # fmt: skip
        return {segment: tuple(rows) for segment, rows in out.items()}

    def _required(self) -> dict[str, tuple[Required, ...]]:
        out: dict[str, list[Required]] = {}
        for row in self._rows("required.csv", ("resource", "element", "value", "note"), ("resource", "element")):
            value = _json(row["value"], row.place)
            out.setdefault(row["resource"], []).append(
                Required(row.place, row["resource"], row["element"], value, tuple(row["element"].split(".")))
            )
        return {name: tuple(rows) for name, rows in out.items()}


def _json(text: str, place: str) -> Any:
    """The value of a cell; None when it is empty.

    Raises:
        Invalid: not JSON.
    """
    try:
        return orjson.loads(text) if text else None
    except orjson.JSONDecodeError:
        raise Invalid("the value is not JSON", at=place) from None


def _assignment(text: str, place: str) -> Assignment | None:
    """``"urn:oid:"+HD.2``: quoted texts and places, joined by plus signs.

    Raises:
        Invalid: something else.
    """
    if not text:
        return None
    out: list[tuple[str, str]] = []
    position = 0
    while position < len(text):
        found = _ASSIGNMENT.match(text, position)
        if found is None:
            raise Invalid("cannot read the assignment", at=place, fix='write "text" or "text"+CX.1')
        out.append(("text", found[1]) if found[1] is not None else ("ref", found[2]))
        position = found.end()
    return tuple(out)


def _check_links(tables: Tables) -> None:
    """Every map and vocabulary that a row names exists.

    Raises:
        Invalid: the first that does not, with file:line.
    """
    for message in tables.messages.values():
        for row in message.rows:
            if row.map and row.map not in tables.segments:
                raise Invalid(f"no segment map {row.map}", at=row.place, fix="write mappings/hl7v2/segments/…")
            if row.map and row.map.split("[")[0] != row.segment and not row.segment.startswith("Z"):
                raise Invalid(f"{row.map} does not read {row.segment}", at=row.place)
    for table in (*tables.segments.values(), *tables.datatypes.values()):
        for entry in table.rows:
            if "[" in entry.datatype and entry.datatype not in tables.datatypes:
                raise Invalid(f"no data type map {entry.datatype}", at=entry.place)
            if entry.vocabulary and entry.vocabulary not in tables.vocabularies:
                raise Invalid(f"no concept map v2-{entry.vocabulary}", at=entry.place, fix="write it in terminology/v2")
    for trigger in tables.triggers.values():
        if trigger.structure and trigger.structure not in tables.messages:
            raise Invalid(f"no message map {trigger.structure}", at=trigger.place)

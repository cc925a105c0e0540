"""Make profiles/r4/elements.csv: the elements of every FHIR R4 type, one row an element.

The structure comes from the models of fhir.resources (R4B), the rest from the facts beside it:
``facts/corrections.csv`` says where R4 (4.0.1) differs from R4B and states the types that have no R4B model.

Run:   python profiles/make_tables.py          (rewrites profiles/r4/elements.csv and summary.csv)
Check: tests/profiles/test_tables.py runs it again and compares; tests/conformance compares with HL7's definitions.
"""

import csv
import importlib
import io
import pkgutil
import typing
from pathlib import Path

from fhir.resources import R4B

HERE = Path(__file__).parent / "r4"
COLUMNS = ("type", "element", "min", "max", "types")
COMMON = {
    "Element": ("id", "extension"),
    "BackboneElement": ("id", "extension", "modifierExtension"),
    "Resource": ("id", "meta", "implicitRules", "language"),
}
COMMON["DomainResource"] = (*COMMON["Resource"], "text", "contained", "extension", "modifierExtension")
PRIMITIVES = {
    "Base64Binary": "base64Binary", "EncodedBytes": "base64Binary", "UuidVersion": "uuid", "Boolean": "boolean",
    "Canonical": "canonical", "Code": "code", "Date": "date", "DateTime": "dateTime", "Decimal": "decimal",
    "Id": "id", "Instant": "instant", "Integer": "integer", "Markdown": "markdown", "Oid": "oid",
    "PositiveInt": "positiveInt", "String": "string", "Time": "time", "UnsignedInt": "unsignedInt", "Uri": "uri",
    "Url": "url", "Uuid": "uuid", "Xhtml": "xhtml",
}  # fmt: skip
Row = tuple[str, str, str, str, str]


def models() -> dict[str, typing.Any]:
    """Every model class by its FHIR name (``Patient``, ``PatientContact``)."""
    found: dict[str, typing.Any] = {}
    for module in pkgutil.iter_modules(R4B.__path__):
        loaded = importlib.import_module(f"fhir.resources.R4B.{module.name}")
        for name, value in vars(loaded).items():
            if isinstance(value, type) and value.__module__ == loaded.__name__ and hasattr(value, "elements_sequence"):
                found[name] = value
    return found


def base_of(model: type) -> str:
    """Which of the four abstract types the model is built on."""
    return next(c.__name__ for c in model.__mro__[1:] if c.__name__ in COMMON)


def inner(annotation: object) -> tuple[object, bool]:
    """The annotation without Optional and List, and whether there was a List."""
    listed = False
    while True:
        arguments = [a for a in typing.get_args(annotation) if a is not type(None)]
        origin = typing.get_origin(annotation)
        if origin is list:
            annotation, listed = arguments[0], True
        elif arguments and origin is not typing.Annotated and len(arguments) == 1:
            annotation = arguments[0]
        else:
            return annotation, listed


def type_name(annotation: object) -> str:
    """The FHIR name of a field's type."""
    if annotation is bool:
        return "boolean"
    if typing.get_origin(annotation) is typing.Annotated:
        return PRIMITIVES[type(typing.get_args(annotation)[1]).__name__]
    name = getattr(annotation, "__name__", str(annotation)).removeprefix("abc.").removesuffix("Type")
    return PRIMITIVES.get(name, name)


def _is_inner(fhir: str, root: str, known: dict[str, typing.Any]) -> bool:
    """Whether a type is a backbone element of ``root``: stated in its module, and no resource."""
    return (
        fhir in known
        and fhir != root
        and fhir.startswith(root)
        and base_of(known[fhir]) in ("BackboneElement", "Element")
        and known[fhir].__module__ == known[root].__module__
    )


def rows_of(root: str, known: dict[str, typing.Any]) -> list[Row]:
    """The rows of a type and of the backbone elements within it, breadth first."""
    paths, queue, rows = {root: root}, [root], []
    while queue:
        name = queue.pop(0)
        model, path = known[name], paths[name]
        base = base_of(model)
        rows.append((path, "", "", "", base))
        choices: dict[str, list[str]] = {}
        where: dict[str, int] = {}
        for alias in model.elements_sequence():
            field = next(f for n, f in model.model_fields.items() if (f.alias or n) == alias)
            extra = field.json_schema_extra or {}
            annotation, listed = inner(field.annotation)
            fhir = type_name(annotation)
            if alias in COMMON[base]:
                continue
            if _is_inner(fhir, root, known):
                if fhir not in paths:
                    paths[fhir] = f"{path}.{alias}"
                    queue.append(fhir)
                fhir = paths[fhir]
            targets = extra.get("enum_reference_types")
            if targets and fhir in ("Reference", "canonical") and "Resource" not in targets:
                fhir = f"{fhir}({','.join(sorted(targets))})"
            group = extra.get("one_of_many")
            if group:
                choices.setdefault(group, []).append(fhir)
                if group not in where:
                    where[group] = len(rows)
                    rows.append((path, f"{group}[x]", "1" if extra.get("one_of_many_required") else "0", "1", ""))
            else:
                required = field.is_required() or extra.get("element_required")
                rows.append((path, alias, "1" if required else "0", "*" if listed else "1", fhir))
        for group, index in where.items():
            rows[index] = (*rows[index][:4], " ".join(sorted(choices[group])))
    return rows


def corrected(rows: list[Row], corrections: list[Row]) -> list[Row]:
    """``corrections`` laid over ``rows``: same type and element replaces, max 0 removes, the rest is added."""
    table = {row[:2]: row for row in rows}
    for row in corrections:
        if row[3] == "0":
            table.pop(row[:2], None)
        else:
            table[row[:2]] = row
    order = {name: n for n, name in enumerate(dict.fromkeys(key[0] for key in table))}
    return sorted(table.values(), key=lambda row: (row[0].partition(".")[0], order[row[0]]))


def table_text() -> str:
    """The whole table as CSV."""
    known = models()
    rows: list[Row] = []
    with (HERE / "facts" / "corrections.csv").open(encoding="utf-8", newline="") as file:
        corrections = [typing.cast(Row, tuple(row[c] for c in COLUMNS)) for row in csv.DictReader(file)]
    dropped = {row[0] for row in corrections if not row[1] and row[3] == "0"}
    for name, model in sorted(known.items()):
        module_root = name.lower() == model.__module__.rpartition(".")[2]
        if module_root and name not in COMMON and name not in dropped and not name.startswith("FHIR"):
            rows.extend(rows_of(name, known))
    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\n")
    writer.writerow(COLUMNS)
    writer.writerows(corrected(rows, [row for row in corrections if row[1] or row[3] != "0"]))
    return out.getvalue()


def summary_text() -> str:
    """The top-level elements that R4 shows in a summary, one row a resource type, as CSV.

    ``facts/summary.csv`` states the types where R4 (4.0.1) differs from R4B. What every resource shows is left out.
    """
    with (HERE / "elements.csv").open(encoding="utf-8", newline="") as file:
        types = [row["type"] for row in csv.DictReader(file) if row["types"] in ("Resource", "DomainResource")]
    known, found = models(), dict[str, list[str]]()
    for name in types:
        if name in known:
            fields = {
                field.alias or key: field.json_schema_extra or {} for key, field in known[name].model_fields.items()
            }
            found[name] = sorted(
                {f"{extra['one_of_many']}[x]" if extra.get("one_of_many") else alias
                 for alias, extra in fields.items()
                 if extra.get("summary_element_property") and alias not in COMMON["DomainResource"]}
            )  # fmt: skip
    with (HERE / "facts" / "summary.csv").open(encoding="utf-8", newline="") as file:
        found.update({row["type"]: row["elements"].split() for row in csv.DictReader(file)})
    return "type,elements\n" + "".join(f"{name},{' '.join(found[name])}\n" for name in sorted(found))


if __name__ == "__main__":
    (HERE / "elements.csv").write_text(table_text(), encoding="utf-8")
    (HERE / "summary.csv").write_text(summary_text(), encoding="utf-8")

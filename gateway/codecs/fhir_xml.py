"""FHIR XML, read and written by the shape of R4 (R4 "XML representation"); the only importer of lxml.

Element order, decimals and date-times are kept as they are. A DOCTYPE is refused outright, so no entity is ever
expanded; texts of the parser's exceptions may quote a record and are never passed on.
"""

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, Final, Protocol
from xml.sax.saxutils import escape, quoteattr

from lxml import etree

from gateway.codecs.json_text import Exact
from gateway.kernel.errors import Invalid, Malformed
from gateway.kernel.fhir import JsonObject, Resource

FHIR: Final = "http://hl7.org/fhir"
XHTML: Final = "http://www.w3.org/1999/xhtml"
DEPTH_LIMIT: Final = 64

_INTEGERS: Final = frozenset({"integer", "positiveInt", "unsignedInt"})
_INTEGER: Final = re.compile(r"-?(0|[1-9][0-9]{0,17})", re.ASCII)
_DECIMAL: Final = re.compile(r"-?(0|[1-9][0-9]*)(\.[0-9]+)?([eE][+-]?[0-9]{1,4})?", re.ASCII)
_DECLARED: Final = re.compile(rb"""<\?xml[^>]*encoding=["']([A-Za-z0-9._-]+)["']""")


class Use(Protocol):
    """One type that an element may have."""

    @property
    def code(self) -> str:
        """Name of the type: ``string``, ``HumanName``."""
        ...


class Member(Protocol):
    """One element of a type, as the tables of profiles/ state it."""

    @property
    def many(self) -> bool:
        """Whether it may repeat."""
        ...

    def json_names(self) -> Sequence[tuple[str, Any]]:
        """JSON names with their types."""
        ...


class Shape(Protocol):
    """A type with its elements in order."""

    @property
    def base(self) -> str:
        """The type that it derives from."""
        ...

    @property
    def elements(self) -> Sequence[Any]:
        """Its elements, those inherited included, in the order that XML has them."""
        ...


@dataclass(frozen=True, slots=True)
class _Slot:
    name: str
    type: str
    many: bool
    attribute: bool
    primitive: bool


class XmlCodec:
    """Reads and writes resources of the types that ``shape_of`` knows.

    Args:
        shape_of: from a type or backbone path (``Patient``, ``Patient.contact``) to its shape; None: a primitive.
    """

    def __init__(self, shape_of: Callable[[str], Shape | None]) -> None:
        self._shape_of = shape_of
        self._slots = lru_cache(maxsize=None)(self._find_slots)

    def _find_slots(self, type_: str) -> Mapping[str, _Slot]:
        shape = self._shape_of(type_)
        if shape is None:
            raise Invalid("not an R4 type", at=type_ if type_.isalpha() else "resourceType")
        inline = shape.base in ("Element", "BackboneElement")
        out: dict[str, _Slot] = {}
        for member in shape.elements:
            for name, use in member.json_names():
                attribute = (inline and name == "id") or (type_ == "Extension" and name == "url")
                primitive = use.code[0].islower()
                out[name] = _Slot(name, use.code, member.many, attribute, primitive)
        return out

    # -- writing -----------------------------------------------------------------------------------------------------

    def write(self, resource: Resource) -> bytes:
        """The resource as an XML document.

        Raises:
            Invalid: something that has no place in the XML of its type.
        """
        out = ['<?xml version="1.0" encoding="UTF-8"?>']
        self._write_resource(out, resource, root=True)
        return "".join(out).encode()

    def _write_resource(self, out: list[str], resource: Resource, *, root: bool = False) -> None:
        type_ = resource.get("resourceType")
        if not isinstance(type_, str):
            raise Invalid("no resourceType", at="resourceType")
        self._write_element(out, type_, type_, resource, f' xmlns="{FHIR}"' if root else "")

    def _write_element(self, out: list[str], tag: str, type_: str, value: Any, attributes: str = "") -> None:
        if not isinstance(value, dict):
            raise Invalid("not an object", at=type_)
        slots = self._slots(type_)
        names = dict.fromkeys(name.removeprefix("_") for name in value if name != "resourceType")
        unknown = [name for name in names if name not in slots]
        if unknown:
            raise Invalid("an element that R4 does not know cannot be written as XML", at=type_)
        attributes += "".join(
            f" {name}={quoteattr(str(value[name]))}" for name in names if slots[name].attribute and name in value
        )
        children: list[str] = []
        for name, slot in slots.items():
            if name in names and not slot.attribute:
                self._write_slot(children, slot, value.get(name), value.get(f"_{name}"))
        if children:
            out += (f"<{tag}{attributes}>", *children, f"</{tag}>")
        else:
            out.append(f"<{tag}{attributes}/>")

    def _write_slot(self, out: list[str], slot: _Slot, value: Any, beside: Any) -> None:
        values = value if isinstance(value, list) else [value]
        besides = beside if isinstance(beside, list) else [beside]
        for index in range(max(len(values), len(besides))):
            one = values[index] if index < len(values) else None
            more = besides[index] if index < len(besides) else None
            if slot.primitive:
                self._write_primitive(out, slot, one, more)
            elif slot.type in ("Resource", "DomainResource"):
                out.append(f"<{slot.name}>")
                self._write_resource(out, one if isinstance(one, dict) else {})
                out.append(f"</{slot.name}>")
            else:
                self._write_element(out, slot.name, slot.type, one)

    def _write_primitive(self, out: list[str], slot: _Slot, value: Any, beside: Any) -> None:
        if slot.type == "xhtml":
            out.append(_xhtml(value))
            return
        attributes = ""
        inner: list[str] = []
        if isinstance(beside, dict):
            if "id" in beside:
                attributes += f" id={quoteattr(str(beside['id']))}"
            for extension in beside.get("extension", ()):
                self._write_element(inner, "extension", "Extension", extension)
        if value is not None:
            attributes += f" value={_attribute(_text_of(value))}"
        if inner:
            out += (f"<{slot.name}{attributes}>", *inner, f"</{slot.name}>")
        else:
            out.append(f"<{slot.name}{attributes}/>")

    # -- reading -----------------------------------------------------------------------------------------------------

    def read(self, body: bytes, *, at: str = "body") -> Resource:
        """The resource of an XML document, elements in document order, decimals with their digits.

        Raises:
            Malformed: not UTF-8, not well-formed XML, a DOCTYPE, not in the FHIR namespace, too deep.
            Invalid: an element or attribute that the type does not have, or a value that JSON could not hold.
        """
        root = _parse(body, at)
        space, _, name = str(root.tag).rpartition("}")
        if space != "{" + FHIR:
            raise Malformed("not in the FHIR namespace", at=at, fix=f'write xmlns="{FHIR}"')
        return self._read_resource(root, name, 1)

    def _read_resource(self, node: Any, name: str, depth: int) -> Resource:
        shape = self._shape_of(name)
        if shape is None or shape.base not in ("Resource", "DomainResource"):
            raise Invalid("not an R4 resource type", at="resourceType")
        return {"resourceType": name, **self._read_element(node, name, name, depth)}

    def _read_element(self, node: Any, type_: str, at: str, depth: int) -> JsonObject:
        if depth > DEPTH_LIMIT:
            raise Malformed("nested too deeply", at=at, fix=f"at most {DEPTH_LIMIT} levels")
        slots = self._slots(type_)
        out: JsonObject = {}
        for name, value in node.attrib.items():
            slot = slots.get(str(name))
            if slot is None or not slot.attribute:
                raise Invalid("an attribute that has no place here", at=at)
            out[slot.name] = str(value)
        _no_text(node.text, at)
        besides: dict[str, list[Any]] = {}
        for child in node:
            _no_text(child.tail, at)
            space, _, name = str(child.tag).rpartition("}")
            slot = slots.get(name)
            if slot is None or slot.attribute or space != "{" + (XHTML if slot.type == "xhtml" else FHIR):
                raise Invalid("an element that R4 does not know here", at=at)
            value, beside = self._read_slot(child, slot, f"{at}.{name}", depth)
            self._place(out, besides, slot, value, beside, f"{at}.{name}")
        for name, values in besides.items():
            if any(value is not None for value in values):
                out[f"_{name}"] = values if slots[name].many else values[0]
        for name in besides:
            values = out[name]
            if (isinstance(values, list) and all(value is None for value in values)) or values is None:
                del out[name]
        return out

    def _place(
        self, out: JsonObject, besides: dict[str, list[Any]], slot: _Slot, value: Any, beside: Any, at: str
    ) -> None:
        if slot.many:
            out.setdefault(slot.name, []).append(value)
        elif slot.name in out:
            raise Invalid("stands more than once", at=at)
        else:
            out[slot.name] = value
        if slot.primitive and slot.type != "xhtml":
            besides.setdefault(slot.name, []).append(beside)

    def _read_slot(self, node: Any, slot: _Slot, at: str, depth: int) -> tuple[Any, Any]:
        if slot.type == "xhtml":
            node.tail = None
            return etree.tostring(node, encoding="unicode"), None
        if slot.primitive:
            return self._read_primitive(node, slot, at, depth)
        if slot.type in ("Resource", "DomainResource"):
            inner = list(node)
            _no_text(node.text, at)
            if len(inner) != 1:
                raise Invalid("must hold one resource", at=at)
            return self._read_resource(inner[0], str(inner[0].tag).rpartition("}")[2], depth + 1), None
        return self._read_element(node, slot.type, at, depth + 1), None

    def _read_primitive(self, node: Any, slot: _Slot, at: str, depth: int) -> tuple[Any, JsonObject | None]:
        beside: JsonObject = {}
        value: Any = None
        for name, text in node.attrib.items():
            if name == "value":
                value = _value_of(str(text), slot.type, at)
            elif name == "id":
                beside["id"] = str(text)
            else:
                raise Invalid("an attribute that has no place here", at=at)
        _no_text(node.text, at)
        for child in node:
            _no_text(child.tail, at)
            if str(child.tag) != "{" + FHIR + "}extension":
                raise Invalid("an element that R4 does not know here", at=at)
            beside.setdefault("extension", []).append(
                self._read_element(child, "Extension", f"{at}.extension", depth + 1)
            )
        return value, beside or None


def _parser() -> Any:
    return etree.XMLParser(
        resolve_entities=False, no_network=True, load_dtd=False, remove_comments=True, remove_pis=True
    )


def _parse(body: bytes, at: str) -> Any:
    try:
        text = body.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise Malformed("not UTF-8", at=f"{at}, byte {error.start}", fix="send UTF-8") from None
    declared = _DECLARED.match(body.removeprefix(b"\xef\xbb\xbf"))
    if declared and declared[1].lower() not in (b"utf-8", b"utf8", b"us-ascii"):
        raise Malformed("not declared as UTF-8", at=at, fix="send UTF-8")
    if "<!DOCTYPE" in text or "<!ENTITY" in text:
        raise Malformed("a DOCTYPE is not taken", at=at, fix="send the document without it")
    try:
        root = etree.fromstring(text.encode(), _parser())
    except etree.XMLSyntaxError as error:
        raise Malformed("not well-formed XML", at=f"{at}, line {error.lineno or 1}") from None
    except (ValueError, RecursionError):
        raise Malformed("not well-formed XML", at=at) from None
    if root.getroottree().docinfo.doctype:
        raise Malformed("a DOCTYPE is not taken", at=at, fix="send the document without it")
    return root


def _no_text(text: str | None, at: str) -> None:
    if text is not None and text.strip():
        raise Invalid("text outside of an attribute", at=at, fix='FHIR XML holds values in value="…"')


def _value_of(text: str, type_: str, at: str) -> Any:
    """The JSON value of an XML attribute."""
    if type_ == "boolean":
        if text not in ("true", "false"):
            raise Invalid("not a boolean", at=at, fix="write true or false")
        return text == "true"
    if type_ in _INTEGERS:
        if not _INTEGER.fullmatch(text):
            raise Invalid("not an integer", at=at)
        return int(text)
    if type_ == "decimal":
        if len(text) > 256 or not _DECIMAL.fullmatch(text):
            raise Invalid("not a decimal", at=at)
        return Exact(text)
    return text


def _text_of(value: Any) -> str:
    if value is True:
        return "true"
    if value is False:
        return "false"
    return value.text if isinstance(value, Exact) else str(value)


def _attribute(text: str) -> str:
    """A quoted attribute; tabs and line ends as references, or a parser would make spaces of them."""
    return '"' + escape(text, {'"': "&quot;", "\n": "&#10;", "\r": "&#13;", "\t": "&#9;"}) + '"'


def _xhtml(value: Any) -> str:
    """The narrative; when it is not well-formed XHTML, its text in a plain div."""
    text = str(value)
    return text if _is_div(text) else f'<div xmlns="{XHTML}">{escape(text)}</div>'


def _is_div(text: str) -> bool:
    if "<!" in text:
        return False
    try:
        root = etree.fromstring(text.encode(), _parser())
    except (etree.XMLSyntaxError, ValueError):
        return False
    return str(root.tag) == "{" + XHTML + "}div"

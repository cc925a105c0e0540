"""Parts of a resource: ``_elements`` and ``_summary`` (R4 "search", summary); the result is tagged SUBSETTED."""

from collections.abc import Callable, Sequence

from gateway.codecs import json_text
from gateway.kernel.fhir import JsonObject

_ALWAYS = frozenset({"resourceType", "id", "meta", "implicitRules"})
_TAG = {"system": "http://terminology.hl7.org/CodeSystem/v3-ObservationValue", "code": "SUBSETTED"}


class Subset:
    """Cuts resources down.

    Args:
        mandatory: the elements that a type must have, so that what is left is still valid.
        summary: the elements of a type that R4 marks as summary; None when that is not known of the type.
    """

    def __init__(
        self, mandatory: Callable[[str], frozenset[str]], summary: Callable[[str], frozenset[str] | None]
    ) -> None:
        self._mandatory = mandatory
        self._summary = summary

    def of_query(self, body: bytes, pairs: Sequence[tuple[str, str]]) -> bytes:
        """The body as ``_summary`` and ``_elements`` of a query ask for it."""
        given = dict(pairs)
        elements = tuple(part for part in given.get("_elements", "").split(",") if part)
        return self.cut(body, given.get("_summary", ""), elements)

    def cut(self, body: bytes, summary: str, elements: Sequence[str]) -> bytes:
        """The body itself when neither is asked for."""
        if summary not in {"true", "text", "data"} and not elements:
            return body
        resource = json_text.parse(body)
        type_ = str(resource.get("resourceType"))
        keep: frozenset[str] | None
        if elements:
            named = {name.rpartition(".")[2] if name.startswith(f"{type_}.") else name for name in elements}
            keep = frozenset(named) | self._mandatory(type_)
        elif summary == "text":
            keep = frozenset({"text"}) | self._mandatory(type_)
        elif summary == "data":
            keep = frozenset(resource) - {"text"}
        else:
            marked = self._summary(type_)
            if marked is None:
                return body  # R4: a server may return more than the summary
            keep = marked | self._mandatory(type_)
        return json_text.write(_tagged({name: value for name, value in resource.items() if _kept(name, keep)}))


def _kept(name: str, keep: frozenset[str]) -> bool:
    plain = name.removeprefix("_")
    if plain in _ALWAYS or plain in keep:
        return True
    return any(plain.startswith(base) and plain[len(base) : len(base) + 1].isupper() for base in keep)  # value[x]


def _tagged(resource: JsonObject) -> JsonObject:
    meta = dict(resource.get("meta") or {})
    tags = [tag for tag in meta.get("tag", []) if tag != _TAG]
    meta["tag"] = [*tags, dict(_TAG)]
    return {**{name: resource[name] for name in ("resourceType", "id") if name in resource}, **resource, "meta": meta}

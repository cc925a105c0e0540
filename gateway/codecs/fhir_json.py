"""FHIR JSON text to values, strictly; and the second opinion of fhir.resources (its only importer)."""

import json
from typing import Any

from gateway.kernel.errors import Malformed
from gateway.kernel.fhir import JsonObject

_BOM = b"\xef\xbb\xbf"


class _Twice(ValueError):
    """A property stands twice in one object; RFC 8259 leaves open which one counts, so neither does."""


def _object(pairs: list[tuple[str, Any]]) -> JsonObject:
    found = dict(pairs)
    if len(found) != len(pairs):
        raise _Twice
    return found


def _refuse_constant(text: str) -> None:
    raise _Twice


_DECODER = json.JSONDecoder(object_pairs_hook=_object, parse_constant=_refuse_constant)


def read_fhir_json(data: bytes, *, at: str) -> JsonObject:
    """One JSON object from UTF-8 bytes; a byte order mark is tolerated.

    Raises:
        Malformed: not UTF-8, not JSON, nested beyond reason, a property twice in one object, or no object; the message
            gives line and column, never the text.
    """
    try:
        value = _DECODER.decode(data.removeprefix(_BOM).decode("utf-8"))
    except UnicodeDecodeError as error:
        raise Malformed(f"not UTF-8 at byte {error.start}", at=at) from None
    except json.JSONDecodeError as error:
        raise Malformed(f"not JSON at line {error.lineno}, column {error.colno}", at=at) from None
    except _Twice:
        raise Malformed("not JSON that can be trusted: a property stands twice in one object", at=at) from None
    except RecursionError:
        raise Malformed("nested too deeply", at=at) from None
    if not isinstance(value, dict):
        raise Malformed("must be one JSON object", at=at)
    return value


def second_opinion(resource: JsonObject) -> tuple[str, ...] | None:
    """Where fhir.resources (R4B models) objects: places such as ``contact.0.name``; None when it has no such model.

    Its messages quote values, so only the places come out. It takes milliseconds: for tests and tools, not for writes.
    """
    from fhir.resources.R4B import get_fhir_model_class
    from pydantic import ValidationError

    try:
        model = get_fhir_model_class(str(resource.get("resourceType")))
    except (KeyError, LookupError):
        return None
    try:
        model.model_validate(resource)
    except ValidationError as error:
        found = error.errors(include_input=False, include_url=False, include_context=False)
        return tuple(".".join(str(part) for part in one["loc"]) for one in found)
    return ()

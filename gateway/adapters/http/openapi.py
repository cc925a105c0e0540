"""The OpenAPI document of the FHIR routes, made from the tables that route requests."""

import re
from collections.abc import Iterable
from typing import Any, Final

from gateway import __version__
from gateway.adapters.http.route import METHODS

_PATHS: Final = {
    "/fhir/metadata": "metadata",
    "/fhir": "base",
    "/fhir/_search": "base_search",
    "/fhir/_history": "base_history",
    "/fhir/{type}": "type",
    "/fhir/{type}/_search": "type_search",
    "/fhir/{type}/_history": "type_history",
    "/fhir/{type}/{id}": "instance",
    "/fhir/{type}/{id}/_history": "instance_history",
    "/fhir/{type}/{id}/_history/{version}": "version",
}
_BODIES: Final = {
    "POST": ("application/fhir+json", "application/fhir+xml"),
    "PUT": ("application/fhir+json", "application/fhir+xml"),
    "PATCH": ("application/json-patch+json", "application/fhir+json"),
}
_STATUSES: Final = ("400", "401", "403", "404", "405", "406", "409", "410", "412", "413", "415", "422", "429", "503")
_ODD: Final = re.compile(r"[^A-Za-z]+")
_ID: Final = {"type": "string", "pattern": "^[A-Za-z0-9.-]{1,64}$"}


def document(types: Iterable[str], operations: Iterable[str]) -> dict[str, Any]:
    """The OpenAPI 3.1 document.

    Args:
        types: the resource types that are served.
        operations: keys such as ``Patient/*:$everything``.
    """
    served = sorted(types)
    schemas = {"Type": {"type": "string", "enum": served}}
    paths = {path: _path(path, kind) for path, kind in _PATHS.items()}
    for key in sorted(operations):
        place, _, name = key.partition(":")
        if not name.startswith("$") or (name == "$validate" and not place.startswith("Patient")):
            continue  # $validate is the same on every type; one stands for all
        path = f"/fhir/{name}" if place == "system" else f"/fhir/{place.replace('/*', '/{id}')}/{name}"
        paths[path] = _path(path, "operation")
    return {
        "openapi": "3.1.0",
        "info": {"title": "Doorway FHIR R4 API", "version": __version__},
        "paths": paths,
        "components": {
            "schemas": schemas,
            "securitySchemes": {"bearer": {"type": "http", "scheme": "bearer"}},
        },
        "security": [{"bearer": []}],
    }


def _path(path: str, kind: str) -> dict[str, Any]:
    return {method.lower(): _operation(path, kind, method) for method in METHODS[kind]}


def _operation(path: str, kind: str, method: str) -> dict[str, Any]:
    parameters = []
    if "{type}" in path:
        parameters.append(_parameter("type", {"$ref": "#/components/schemas/Type"}))
    if "{id}" in path:
        parameters.append(_parameter("id", _ID))
    if "{version}" in path:
        parameters.append(_parameter("version", {"type": "string", "pattern": "^[0-9]{1,9}$"}))
    if kind in ("type", "base_history", "type_history", "instance_history") and method == "GET":
        count = {"name": "_count", "in": "query", "required": False, "schema": {"type": "integer", "minimum": 0}}
        parameters.append(count)
    out: dict[str, Any] = {
        "operationId": f"{_ODD.sub('_', path.removeprefix('/fhir/'))}_{method}"
        if kind == "operation"
        else f"{kind}_{method}",
        "parameters": parameters,
        "responses": {
            "2XX": {
                "description": "as FHIR R4 says",
                "content": {"application/fhir+json": {}, "application/fhir+xml": {}},
            },
            **{status: {"description": "OperationOutcome"} for status in _STATUSES},
        },
    }
    if kind in ("type_search", "base_search"):
        out["requestBody"] = {"content": {"application/x-www-form-urlencoded": {"schema": {"type": "object"}}}}
    elif method in _BODIES:
        out["requestBody"] = {
            "required": True,
            "content": {media: {"schema": {"type": "object"}} for media in _BODIES[method] if "xml" not in media},
        }
    if kind == "metadata":
        out["security"] = []
    return out


def _parameter(name: str, schema: dict[str, Any]) -> dict[str, Any]:
    return {"name": name, "in": "path", "required": True, "schema": schema}

"""The second opinion of fhir.resources on a FHIR resource (its only importer); reading JSON is codecs.json_text."""

from typing import Any

from gateway.kernel.fhir import JsonObject


def second_opinion(resource: JsonObject) -> tuple[str, ...] | None:
    """Where fhir.resources (R4B models) objects: places such as ``contact.0.name``; None when it has no such model.

    Its messages quote values, so only the places come out. It takes milliseconds: for tests and tools, not for writes.
    """
    from fhir.resources.R4B import get_fhir_model_class
    from pydantic import ValidationError

    try:
        model = get_fhir_model_class(str(resource.get("resourceType")))
    except ValueError:
        return None
    try:
        model.model_validate(resource)
    except ValidationError as error:
        found = error.errors(include_input=False, include_url=False, include_context=False)
        return tuple(".".join(str(part) for part in one["loc"]) for one in found)
    return ()


def as_model(resource: JsonObject) -> Any:
    """The resource as a fhir.resources (R4B) model: for benchmarks and connector authors, never on a request's path.

    Raises:
        LookupError: fhir.resources has no such model.
        pydantic.ValidationError: it objects; the text quotes values, so it must not be logged.
    """
    from fhir.resources.R4B import get_fhir_model_class

    return get_fhir_model_class(str(resource.get("resourceType"))).model_validate(resource)

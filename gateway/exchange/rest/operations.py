"""Operations of the API beside plain REST: each takes the request's place, parameters and body, and answers."""

from collections.abc import Callable, Mapping, Sequence
from typing import Protocol, TypeAlias

from gateway.codecs import json_text
from gateway.exchange.rest.ask import Answer, Ask
from gateway.exchange.rest.core import Rest
from gateway.exchange.rest.find import Finds
from gateway.exchange.rest.issues import Issue
from gateway.exchange.rest.validation import Finding
from gateway.kernel.errors import Malformed
from gateway.kernel.fhir import JsonObject, Resource
from gateway.profiles.validate import Validator


class Where(Protocol):
    """The place of an operation: type and id, either may be empty."""

    @property
    def type(self) -> str: ...

    @property
    def id(self) -> str: ...

    @property
    def rest(self) -> str: ...


Pairs: TypeAlias = Sequence[tuple[str, str]]
Operation: TypeAlias = Callable[[Ask, Where, Pairs, Resource | None], Answer]


def operations_of(core: Rest, finds: Finds, validator: Validator) -> Mapping[str, Operation]:
    """The operations by place and name: ``Patient/*:$everything``, ``system:$export``, ``*:$validate``."""

    def everything(ask: Ask, where: Where, pairs: Pairs, body: Resource | None) -> Answer:
        return finds.everything(ask, where.id, [*pairs, *simple_parameters(body)])

    def validate(ask: Ask, where: Where, pairs: Pairs, body: Resource | None) -> Answer:
        return _validated(core, validator, ask, where, pairs, body)

    out: dict[str, Operation] = {"Patient/*:$everything": everything}
    for type_ in core.types:
        out[f"{type_}:$validate"] = out[f"{type_}/*:$validate"] = validate
    return out


def simple_parameters(body: Resource | None) -> list[tuple[str, str]]:
    """The simple values of a Parameters resource as query parameters.

    Raises:
        Malformed: not Parameters.
    """
    if body is None:
        return []
    if body.get("resourceType") != "Parameters":
        raise Malformed("not Parameters", at="body")
    out = []
    for parameter in body.get("parameter") or ():
        for key, value in parameter.items():
            if key.startswith("value") and isinstance(value, (str, int, float)):
                text = str(value).lower() if isinstance(value, bool) else str(value)
                out.append((str(parameter.get("name")), text))
    return out


def part_of(body: Resource | None, name: str) -> Resource | None:
    """The resource of a named parameter."""
    for parameter in (body or {}).get("parameter") or ():
        if parameter.get("name") == name and isinstance(parameter.get("resource"), dict):
            found: Resource = parameter["resource"]
            return found
    return None


def outcome(findings: Sequence[Finding]) -> JsonObject:
    """An OperationOutcome of findings; one of severity information when there is none."""
    issues = [Issue(one.severity, one.code, one.diagnostics, one.expression) for one in findings]
    issues = issues or [Issue("information", "informational", "no issues found")]
    return {"resourceType": "OperationOutcome", "issue": [issue.as_fhir() for issue in issues]}


def _validated(core: Rest, validator: Validator, ask: Ask, where: Where, pairs: Pairs, body: Resource | None) -> Answer:
    """``$validate`` (R4): a resource in the body, or the stored one; ``profile`` and ``mode`` as parameters.

    Raises:
        Malformed: nothing to validate, or an unknown mode.
    """
    wrapped = body is not None and body.get("resourceType") == "Parameters" and where.type != "Parameters"
    resource = part_of(body, "resource") if wrapped else body
    given = dict([*pairs, *(simple_parameters(body) if wrapped else [])])
    mode = given.get("mode", "")
    if mode not in ("", "create", "update", "delete", "profile"):
        raise Malformed("not a mode of $validate", at="mode", fix="create, update, delete or profile")
    if resource is None and where.id:
        answer = core.read(ask, where.type, where.id).result()
        if isinstance(answer, BaseException):
            raise answer
        resource = json_text.parse(answer.body)
    if resource is None:
        if mode == "delete":
            return Answer(200, json_text.write(outcome([])))
        raise Malformed("nothing to validate", at="resource", fix="send the resource")
    if resource.get("resourceType") != where.type:
        raise Malformed("not the type of the address", at="resourceType")
    profiles = [given["profile"]] if given.get("profile") else []
    return Answer(200, json_text.write(outcome(validator.validate(resource, profiles))))

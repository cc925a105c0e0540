"""Operations of the API beside plain REST: each takes the request's place, parameters and body, and answers."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final, Protocol, TypeAlias

from gateway.codecs import json_text
from gateway.exchange.rest.ask import Answer, Ask
from gateway.exchange.rest.bundles import Entry, bundle, link
from gateway.exchange.rest.core import Rest
from gateway.exchange.rest.find import Finds
from gateway.exchange.rest.issues import ERRORS, Issue, Rejected
from gateway.exchange.rest.validation import Finding
from gateway.exchange.search import COUNT_LIMIT
from gateway.kernel.errors import Malformed
from gateway.kernel.fhir import JsonObject, Resource
from gateway.kernel.identifiers import resource_id
from gateway.profiles.validate import Validator


class Where(Protocol):
    """The place of an operation: type and id, either may be empty."""

    @property
    def type(self) -> str:
        """Resource type, empty for the system."""
        ...

    @property
    def id(self) -> str:
        """Id, empty for a type or the system."""
        ...

    @property
    def rest(self) -> str:
        """Name of the operation, with its ``$``."""
        ...


Pairs: TypeAlias = Sequence[tuple[str, str]]
Operation: TypeAlias = Callable[[Ask, Where, Pairs, Resource | None], Answer]


def operations_of(core: Rest, finds: Finds, validator: Validator) -> Mapping[str, Operation]:
    """The operations by place and name: ``Patient/*:$everything``, ``system:$export``, ``*:$validate``."""

    def everything(ask: Ask, where: Where, pairs: Pairs, body: Resource | None) -> Answer:
        return finds.everything(ask, where.id, [*pairs, *simple_parameters(body)])

    def validate(ask: Ask, where: Where, pairs: Pairs, body: Resource | None) -> Answer:
        return _validated(core, validator, ask, where, pairs, body)

    def status(ask: Ask, where: Where, pairs: Pairs, body: Resource | None) -> Answer:
        return _subscription_status(core, finds, ask, where, [*pairs, *simple_parameters(body)])

    out: dict[str, Operation] = {
        "Patient/*:$everything": everything,
        "Subscription:$status": status,
        "Subscription/*:$status": status,
    }
    for type_ in core.types:
        out[f"{type_}:$validate"] = out[f"{type_}/*:$validate"] = validate
    return out


def checked(
    operations: Mapping[str, Operation], validate: Callable[[Resource], Sequence[Issue]]
) -> Mapping[str, Operation]:
    """The operations behind a check of their Parameters, so that each may rely on names, parts and types of values.

    Resources in the Parameters are each operation's own to judge: ``$validate`` is there for wrong ones.

    Raises:
        Rejected: from an operation, when the Parameters are not what R4 calls so.
    """

    def behind(operation: Operation) -> Operation:
        def run(ask: Ask, where: Where, pairs: Pairs, body: Resource | None) -> Answer:
            if body is not None and body.get("resourceType") == "Parameters" and where.type != "Parameters":
                empty = not body.get("parameter", True)  # a list of none, as some clients send it
                issues = () if empty else validate(_without_resources(body))
                if any(one.severity in ERRORS for one in issues):
                    raise Rejected(issues)
            return operation(ask, where, pairs, body)

        return run

    return {key: behind(operation) for key, operation in operations.items()}


def _without_resources(node: Any) -> Any:
    """Parameters with an empty resource in the place of each."""
    if isinstance(node, list):
        return [_without_resources(one) for one in node]
    if not isinstance(node, dict):
        return node
    return {
        name: dict(_EMPTY) if name == "resource" and isinstance(value, dict) else
        _without_resources(value) if name in ("parameter", "part") else value
        for name, value in node.items()
    }  # fmt: skip


_EMPTY: Final[Resource] = {"resourceType": "Parameters"}


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


_STATUS_PROFILE: Final = (
    "http://hl7.org/fhir/uv/subscriptions-backport/StructureDefinition/backport-subscription-status-r4"
)


def _subscription_status(core: Rest, finds: Finds, ask: Ask, where: Where, pairs: Pairs) -> Answer:
    """``Subscription/$status`` (Subscriptions R5 Backport 1.1): what is registered, and that nothing was sent.

    Raises:
        NotFound: a Subscription that is missing or hidden. Malformed: a parameter that the operation does not have.
    """
    given = [(name, part) for name, value in pairs for part in value.split(",") if part]
    if any(name not in ("id", "status") for name, _ in given):
        raise Malformed("not a parameter of $status", at="$status", fix="id and status")
    wanted = frozenset(value for name, value in given if name == "status")
    ids = [where.id] if where.id else [value.rpartition("/")[2] for name, value in given if name == "id"]
    bodies = []
    for id_ in ids:
        answer = core.read(ask, "Subscription", id_).result()
        if isinstance(answer, BaseException):
            raise answer
        bodies.append(answer.body)
    if ids:
        found = [json_text.parse(body) for body in bodies]
    else:
        page = json_text.parse(finds.search(ask, "Subscription", [("_count", str(COUNT_LIMIT))]).body)
        found = [one["resource"] for one in page.get("entry", ()) if one["resource"]["resourceType"] == "Subscription"]
    entries = [
        Entry(json_text.write(_status_of(one)), f"urn:uuid:{resource_id('subscription-status', one['id'])}", "match")
        for one in found
        if not wanted or one.get("status") in wanted
    ]
    links = [
        ("self", link(ask.base, f"Subscription/{where.id}/$status" if where.id else "Subscription/$status", pairs))
    ]
    return Answer(200, bundle("searchset", entries, total=len(entries), links=links))


def _status_of(subscription: Resource) -> JsonObject:
    """A SubscriptionStatus as the backport writes it for R4."""
    return {
        "resourceType": "Parameters",
        "meta": {"profile": [_STATUS_PROFILE]},
        "parameter": [
            {"name": "subscription", "valueReference": {"reference": f"Subscription/{subscription['id']}"}},
            {"name": "status", "valueCode": str(subscription.get("status", "off"))},
            {"name": "type", "valueCode": "query-status"},
            {"name": "events-since-subscription-start", "valueString": "0"},
        ],
    }

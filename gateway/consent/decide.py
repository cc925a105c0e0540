"""One request line of ``doorway consent decide`` to one decision, with nothing from outside the line.

The same programs and the same judge as the gateway's own gate; only Consents, related resources and the resources to
judge come with the request instead of from the store.
"""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from datetime import tzinfo
from typing import Any, Final

from gateway.consent.asked import Asked, ask
from gateway.consent.codes import UNREAD, Vocabulary, key_of, stated_keys, subsumes
from gateway.consent.dialects import DIALECTS
from gateway.consent.engine import Bound, Node, Program, Reason, Residue, bind, compile_directive
from gateway.consent.read import identifiers_of, read_consent
from gateway.consent.request import AccessRequest, Actor
from gateway.consent.rules import Enforcement, Verdict
from gateway.consent.times import instant_of
from gateway.consent.view import (
    RESOURCE_TYPES,
    STRANGER,
    ResourceView,
    groups_of,
    local,
    members_of,
    people_without_reference,
    view_of,
)  # fmt: skip
from gateway.kernel.errors import Invalid
from gateway.kernel.fhir import JsonObject, Resource

_DEFAULTS: Final = {"deny": False, "permit": True}
_TYPED: Final = f"{RESOURCE_TYPES}|"
_REDACTABLE: Final = ("securityLabel", "class", "resourceType", "documentType", "code")


@dataclass(frozen=True, slots=True)
class Question:
    """A request line, read and typed."""

    request: AccessRequest
    zone: tzinfo
    consents: list[Any]
    related: list[Resource]
    resources: list[Resource] | None
    dialect: str
    default_permit: bool
    classes: frozenset[str] | None
    codes: frozenset[str] | None


def read_question(line: Any) -> Question:
    """Check and type a request line.

    Raises:
        Invalid: with the place in the line; never with a value.
    """
    if not isinstance(line, dict):
        raise Invalid("not a JSON object", at="line")
    if not isinstance(line.get("id"), str):
        raise Invalid("missing or not a string", at="id")
    if not isinstance(line.get("now"), str):
        raise Invalid("missing or not a string", at="now", fix="give the instant with its zone")
    try:
        now = instant_of(line["now"])
    except Invalid as error:
        raise Invalid(error.message, at="now", fix=error.fix) from None
    dialect = line.get("dialect") or ""
    if not isinstance(dialect, str) or (dialect and dialect not in DIALECTS):
        raise Invalid("not a dialect", at="dialect", fix="one of " + ", ".join(DIALECTS))
    default = line.get("domain_default", "deny")
    if not isinstance(default, str) or default not in _DEFAULTS:
        raise Invalid("neither permit nor deny", at="domain_default")
    resources = line.get("resources")
    if now.tzinfo is None:
        raise Invalid("no zone", at="now")
    return Question(
        request=_request(line, now),
        zone=now.tzinfo,
        consents=_list(line.get("consents"), "consents"),
        related=_resources(line.get("related"), "related"),
        resources=None if resources is None else _resources(resources, "resources"),
        dialect=dialect,
        default_permit=_DEFAULTS[default],
        classes=_content(line.get("class"), "class", RESOURCE_TYPES),
        codes=_content(line.get("code"), "code"),
    )


def _list(node: Any, at: str) -> list[Any]:
    if node is None:
        return []
    if not isinstance(node, list):
        raise Invalid("not an array", at=at)
    return node


def _resources(node: Any, at: str) -> list[Resource]:
    found = _list(node, at)
    for index, item in enumerate(found):
        if not isinstance(item, dict) or not isinstance(item.get("resourceType"), str):
            raise Invalid("not a resource", at=f"{at}[{index}]")
    return found


def _content(node: Any, at: str, bare: str = "") -> frozenset[str] | None:
    """Asked classes, codes or categories; a bare string is a resource type, or a code of any system."""
    if node is None:
        return None
    keys = list(stated_keys(node))
    if UNREAD in keys:
        raise Invalid("not a coding", at=at)
    return frozenset(f"{bare}{key}" if key.startswith("|") else key for key in keys) or None


def _request(line: JsonObject, now: Any) -> AccessRequest:
    asker = line.get("asker")
    asker = {} if asker is None else asker
    if not isinstance(asker, dict):
        raise Invalid("not an object", at="asker")
    purposes = asker.get("purposes") or []
    found = []
    for index, purpose in enumerate(
        [purposes] if isinstance(purposes, (str, dict)) else _list(purposes, "asker.purposes")
    ):
        key = key_of(purpose)
        if not key:
            raise Invalid("not a code", at=f"asker.purposes[{index}]")
        found.append(key.removeprefix("|"))
    action = asker.get("action", "access")
    environment = asker.get("environment")
    environment = "" if environment is None else environment
    if not isinstance(action, str) or not action:
        raise Invalid("not a code", at="asker.action")
    if not isinstance(environment, str):
        raise Invalid("not a string", at="asker.environment")
    return AccessRequest(
        now=now,
        actors=tuple(_actors(asker.get("actors"))),
        purposes=tuple(found),
        action=action,
        environment=environment,
        category=tuple(sorted(_content(line.get("category"), "category") or ())),
    )


def _actors(node: Any) -> Iterator[Actor]:
    for index, actor in enumerate(_list(node, "asker.actors")):
        if isinstance(actor, str):
            yield Actor(actor)
            continue
        at = f"asker.actors[{index}]"
        if not isinstance(actor, dict):
            raise Invalid("not an object", at=at)
        inner = actor.get("identifier")
        named: JsonObject = inner if isinstance(inner, dict) else actor
        reference, value = actor.get("reference", ""), named.get("value", "")
        if not isinstance(reference, str) or not isinstance(value, str) or not (reference or value):
            raise Invalid("names neither a reference nor a system and value", at=at)
        yield Actor(reference, str(named.get("system", "")), value)


def decide(line: Any, vocabulary: Vocabulary) -> JsonObject:
    """Decide one request line.

    Raises:
        Invalid: the line is not a request.
    """
    question = read_question(line)
    programs = [
        compile_directive(
            read_consent(
                consent, zone=question.zone, vocabulary=vocabulary, dialect=question.dialect,
                base_permit=question.default_permit, name=f"consents[{index}]",
            )
        )
        for index, consent in enumerate(question.consents)
    ]  # fmt: skip
    asked = ask(
        question.request, vocabulary, question.related, classes=question.classes, codes=question.codes,
        links=_links(question, programs),
    )  # fmt: skip
    court = _Court(question, programs, asked)
    judged = None if question.resources is None else [court.judge(resource) for resource in question.resources]
    answer = court.answer(judged)
    out: JsonObject = {"id": line["id"], "decision": answer}
    out["residual"] = court.residual() if answer == "permit" else []
    out["obligations"] = court.obligations() if answer == "permit" else []
    if judged is not None:
        out["resources"] = judged
    out["dialects"] = {program.directive.consent: program.directive.dialect.name for program in programs}
    out["warnings"] = [f"{p.directive.consent}: {text}" for p in programs for text in _warnings(p)]
    return out


def _warnings(program: Program) -> list[str]:
    d = program.directive
    found = list(d.warnings)
    if d.status in (Enforcement.UNSUPPORTED, Enforcement.QUARANTINED):
        found.insert(0, f"{d.status.value}: it cannot be enforced, so it denies")
    if d.verified is False:
        found.append("verification says that it was not verified")
    return found


def _links(question: Question, programs: Sequence[Program]) -> dict[str, frozenset[str]]:
    """What the instances that rules name refer to (data related), from the resources at hand."""
    wanted = {key for p in programs for node in p.nodes for _, keys in node.rule.data.data or () for key in keys}
    found: dict[str, frozenset[str]] = {}
    for resource in (*question.related, *(question.resources or ())):
        view = view_of(resource, question.zone)
        if view.reference in wanted:
            found[view.reference] = view.refers
    return found


class _Court:
    """The bound Consents, patient by patient."""

    def __init__(self, question: Question, programs: list[Program], asked: Asked) -> None:
        self._question = question
        self._programs = programs
        self._asked = asked
        self._bound: dict[str, Bound] = {}
        self._names = {
            f"Patient/{r.get('id')}": identifiers_of(r)
            for r in (*question.related, *(question.resources or ())) if r.get("resourceType") == "Patient"
        }  # fmt: skip
        self._groups = {
            f"Group/{r.get('id')}": [self._member(one) for one in members_of(r)]
            for r in (*question.related, *(question.resources or ())) if r.get("resourceType") == "Group"
        }  # fmt: skip
        self._all = bind(programs, asked)
        self._views: list[ResourceView] = []

    def _of(self, patient: str) -> Bound:
        """The Consents that speak for a patient, and those of which nobody can tell whom they speak for."""
        if patient not in self._bound:
            names = {patient} | self._names.get(patient, frozenset())
            mine = [
                p for p in self._programs
                if p.directive.for_everyone or not p.directive.patients or not names.isdisjoint(p.directive.patients)
            ]  # fmt: skip
            self._bound[patient] = self._all if len(mine) == len(self._programs) else bind(mine, self._asked)
        return self._bound[patient]

    def judge(self, resource: Resource) -> JsonObject:
        """One resource: every patient it names must permit; one that names a person nobody can find is denied."""
        view = view_of(resource, self._question.zone)
        self._views.append(view)
        others = [self._who(named) for named in people_without_reference(resource)]
        others += [one for group in groups_of(resource) for one in self._groups.get(group, [None])]
        names = dict.fromkeys((*_known(view), *(one for one in others if one)))
        courts = [self._of(patient) for patient in names] or self._everybodys()
        permit = None not in others
        because: list[JsonObject] = []
        for bound in courts:
            said, reasons = bound.judge(view), bound.why(view)
            one = self._question.default_permit if said is Verdict.NONE else said.permits
            if not one and permit:
                permit, because = False, []
            if one == permit:
                because += [_reason(reason) for reason in reasons]
        return {"reference": view.reference, "decision": "permit" if permit else "deny", "because": because}

    def _who(self, keys: frozenset[str]) -> str | None:
        """The patient who has one of these identifiers: the record at hand, else the name that a Consent uses."""
        known = [reference for reference, names in self._names.items() if not keys.isdisjoint(names)]
        spoken = sorted(keys & frozenset[str]().union(*(p.directive.patients for p in self._programs)))
        return known[0] if len(known) == 1 else spoken[0] if spoken and not known else None

    def _member(self, node: JsonObject) -> str | None:
        """The patient who is a member of a Group; None when nobody can tell."""
        literal = node.get("reference")
        if isinstance(literal, str) and local(literal).startswith("Patient/"):
            return local(literal)
        found = people_without_reference({"subject": node})
        return self._who(found[0]) if found else None

    def _everybodys(self) -> list[Bound]:
        """For what names nobody: everybody whose Consents are at hand must permit."""
        speaking = {p.directive.patients for p in self._programs if p.directive.patients}
        return [self._of(min(names)) for names in speaking] if len(speaking) > 1 else [self._all]

    def _bounds(self) -> list[Bound]:
        patients = {patient for view in self._views for patient in _known(view)}
        if not patients:
            return self._everybodys()
        return [self._of(patient) for patient in sorted(patients)]

    def answer(self, judged: list[JsonObject] | None) -> str:
        """permit, deny or none for the request as a whole."""
        said = [self._answer_of(bound) for bound in self._bounds()]
        if len(said) > 1 and judged is not None and any(one["decision"] == "permit" for one in judged):
            return "permit"
        return next((word for word in ("deny", "none") if word in said), "permit")

    def _answer_of(self, bound: Bound) -> str:
        if bound.silent:
            if any(p.directive.dialect.silence_is_default for p in self._programs):
                return "permit" if self._question.default_permit else "deny"
            return "none"
        return "permit" if can_permit(bound, self._question.default_permit) else "deny"

    def residual(self) -> list[JsonObject]:
        """The rules that are still to be applied to data."""
        return [told for residue in self._all.residues for told in _told(residue, -1, self._asked)]

    def obligations(self) -> list[JsonObject]:
        """What to take out before handing over, in words that a caller without an engine can follow."""
        taken: list[object] = []
        kept: list[object] = []
        open_ = False
        for residue in self._all.residues:
            for _, node in residue.live:
                if standing(node, self._asked) is None:
                    continue
                codings = _codings(node, self._asked)
                if node.permit:
                    open_ = open_ or not codings
                    kept += codings
                else:
                    taken += codings
        out: list[JsonObject] = []
        if taken:
            out.append({"redact": {"codes": _once(taken)}, "except": False})
        if kept and not open_:
            out.append({"redact": {"codes": _once(kept)}, "except": True})
        return out


def _known(view: ResourceView) -> list[str]:
    """The patients whom a resource names by a reference; for the others the line itself is searched."""
    return [one for one in view.patients if one != STRANGER]


def _reason(reason: Reason) -> JsonObject:
    return {"consent": reason.consent, "provision": reason.provision, "element": reason.element}


def _once(codings: Iterable[object]) -> list[object]:
    kept: list[object] = []
    for coding in codings:
        if coding not in kept:
            kept.append(coding)
    return kept


def standing(node: Node, asked: Asked) -> bool | None:
    """What is known of a rule before any resource: True it covers everything asked for, False it depends on the
    resource, None it cannot match what is asked for."""
    data = node.rule.data
    if node.test is None:
        return True
    met: list[bool | None] = []
    if data.classes is not None and asked.classes is not None:
        said = [_covers(asked.classes & one, asked.classes, one, node.permit, _TYPED) for one in data.classes]
        met.append(None if None in said else all(said))
    if data.codes is not None and asked.codes is not None:
        bare = _bare(data.codes, own=True)
        under = frozenset(k for k in asked.codes if k in bare or subsumes(data.codes, data.code_prefixes, (k,)))
        met.append(_covers(under, asked.codes, data.codes, node.permit, ""))
    if data.union and met:
        return True if True in met else None if len(met) == len(node.facets) else False
    if None in met:
        return None
    return bool(met) and all(met) and len(met) == len(node.facets)


def _covers(
    found: frozenset[str], asked: frozenset[str], stated: frozenset[str], permit: bool, alike: str
) -> bool | None:
    """Whether a rule matches all (True), some (False) or none (None) of what is asked for.

    ``found`` is what it names of that. Where it names nothing, a value of another kind than those that begin with
    ``alike`` may still match: a document type, where a resource type is asked for.
    """
    if found == asked or (UNREAD in stated and not permit):
        return True
    same = all(key.startswith(alike) for key in (*asked, *stated))
    return None if not found and same else False


def _bare(keys: frozenset[str], *, own: bool = False) -> frozenset[str]:
    """Codes without a system, for a caller who names a code and no system."""
    return frozenset(f"|{key.rpartition('|')[2]}" for key in keys) if own else frozenset(k for k in keys if k[0] == "|")


def can_permit(bound: Bound, default_permit: bool) -> bool:
    """Whether any resource at all could be permitted: the request phase's answer.

    Tries, for each permission that is left, the resource that suits it best: one that matches this permission and
    otherwise only what matches everything.
    """
    if bound.always:
        return False
    sure = [_best(residue, None, bound.asked) for residue in bound.residues]
    if max(sure, default=Verdict.NONE) is Verdict.NONE and default_permit:
        return True
    for at, residue in enumerate(bound.residues):
        for position, (_, node) in enumerate(residue.live):
            if not node.permit or standing(node, bound.asked) is None:
                continue
            said = [_best(residue, position, bound.asked) if i == at else word for i, word in enumerate(sure)]
            if max(said) is Verdict.PERMIT:
                return True
    return False


def _best(residue: Residue, chosen: int | None, asked: Asked) -> Verdict:
    covered = [False] * len(residue.live)
    front: list[Node] = []
    for position in range(len(residue.live) - 1, -1, -1):
        node = residue.live[position][1]
        hit = position == chosen or standing(node, asked) is True
        if hit and not covered[position]:
            front.append(node)
        if residue.parents[position] >= 0 and (hit or covered[position]):
            covered[residue.parents[position]] = True
    if not front:
        return Verdict.WEAK_DENY if residue.grants else Verdict.NONE
    return Verdict.PERMIT if all(node.permit for node in front) else Verdict.DENY


def _told(residue: Residue, parent: int, asked: Asked) -> Iterator[JsonObject]:
    for position, (_, node) in enumerate(residue.live):
        if residue.parents[position] != parent:
            continue
        if standing(node, asked) is None:
            yield from _told(residue, position, asked)
            continue
        out: JsonObject = {"effect": "permit" if node.permit else "deny"}
        for name, values in node.rule.stated:
            out[name] = values[0] if name == "dataPeriod" else list(values)
        inner = list(_told(residue, position, asked))
        if inner:
            out["except"] = inner
        yield out


def _codings(node: Node, asked: Asked) -> list[object]:
    found: list[object] = []
    asked_for = _classes_asked(node, asked)
    for name, values in node.rule.stated:
        if name not in _REDACTABLE or (name in ("class", "resourceType", "documentType") and asked_for):
            continue
        found += values
    return found


def _classes_asked(node: Node, asked: Asked) -> bool:
    """Whether everything that is asked for is of the rule's classes, so that they need not be told again."""
    wanted = asked.classes
    return wanted is not None and all(wanted <= one for one in node.rule.data.classes or ())

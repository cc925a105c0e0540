"""``$consent-explain``, ``-what-if``, ``-lint``, ``-expiring`` and ``-account`` over HTTP.

An explanation of a refusal tells that there is something to refuse. So a partner gets explanations, and faults, of what
it sees anyway, with no word of Consents that it does not see; whoever holds a role of the setting
``privacy_officer_roles`` gets all of them, for any organization, as ``doorway consent explain`` gives them.
"""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any, TypeAlias, cast

from gateway.codecs import json_text
from gateway.consent.lint import endings, lint
from gateway.consent.read import read_consent
from gateway.consent.request import AccessRequest
from gateway.consent.times import instant_us, moment_of
from gateway.exchange.account import LANGUAGES, account_of, consents_of, sentence
from gateway.exchange.disclose import Knowledge
from gateway.exchange.explain import Draft, Explanation, explain, organizations_of, who_sees
from gateway.exchange.ports.resources import ResourceReader, Stored
from gateway.exchange.ports.store import Reading
from gateway.exchange.rest.ask import Answer, Ask
from gateway.exchange.rest.find import Finds, Scoped
from gateway.exchange.rest.operations import Operation, Where, part_of, simple_parameters
from gateway.kernel.errors import Forbidden, Malformed, NotFound
from gateway.kernel.fhir import JsonObject, Resource

Pairs: TypeAlias = Sequence[tuple[str, str]]


@dataclass(frozen=True, slots=True)
class ConsentOperations:
    """The use cases.

    Args:
        officers: ``system|code`` of registrations that may ask about every organization; nobody when empty.
    """

    finds: Finds
    knowledge: Knowledge
    officers: frozenset[str] = frozenset()

    def operations(self) -> Mapping[str, Operation]:
        """By place and name."""
        return {
            "Patient/*:$consent-explain": self.explain,
            "Patient/*:$consent-what-if": self.what_if,
            "Patient/*:$consent-lint": self.lint,
            "Consent:$consent-lint": self.lint,
            "Patient/*:$consent-account": self.account,
            "Consent:$consent-expiring": self.expiring,
        }

    def explain(self, ask: Ask, where: Where, pairs: Pairs, body: Resource | None) -> Answer:
        """Why records of a patient are shown to the own organization; for an officer to any, refusals included.

        Raises:
            NotFound: the patient is missing or hidden. Forbidden: scope, or another organization without the role.
        """
        given = dict([*pairs, *simple_parameters(body)])
        request = self._asked(ask, given)
        with self.finds.store.reading() as reading:
            records, sight = self._records(ask, reading, where.id, f"Patient/{where.id}/$consent-explain")
            found = explain(reading.resources, request, self.knowledge, records)
            if not self._officer(ask):
                consents = self._shown(sight, reading.resources.consents([f"Patient/{where.id}"]))
                found = [_cut(one, frozenset(stored.reference for stored in consents)) for one in found if one.permit]
        return _parameters(
            [
                _part("explanation", decision=("Code", "permit" if one.permit else "deny"), rule=("Code", one.rule),
                      reference=("String", one.reference), text=("String", one.text), because=("String", one.because),
                      label=("String", one.labels), law=("String", one.citation), needs=("String", one.would_need),
                      form=("String", one.forms))
                for one in found
            ]
        )  # fmt: skip

    def what_if(self, ask: Ask, where: Where, pairs: Pairs, body: Resource | None) -> Answer:
        """How many records of each level each organization sees now, and would with a draft or without a Consent.

        Raises:
            Malformed: neither ``draft`` nor ``revoke``. NotFound: no such patient. Forbidden: not an officer.
        """
        self._officers_only(ask, "$consent-what-if")
        given = [*pairs, *simple_parameters(body)]
        draft = part_of(body, "draft")
        gone = frozenset(text for name, text in given if name == "revoke")
        if draft is None and not gone:
            raise Malformed("nothing would change", at="$consent-what-if", fix="send draft or revoke")
        put: dict[str, Stored] = {}
        if draft is not None:
            if draft.get("resourceType") != "Consent":
                raise Malformed("not a Consent", at="draft")
            id_ = str(draft.get("id") or "draft")
            stored = Stored("Consent", id_, 1, ask.now_us, "PUT", json_text.write({**draft, "id": id_}))
            put[stored.reference] = stored
        request, patient = ask.request(), f"Patient/{where.id}"
        with self.finds.store.reading() as reading:
            self._records(ask, reading, where.id, f"{patient}/$consent-what-if")
            before = reading.resources
            after = cast("ResourceReader", Draft(before, put, gone))
            who = sorted({one for r in (before, after) for one in organizations_of(r, [patient], self.knowledge)})
            was = who_sees(before, [patient], who, request, self.knowledge)
            would = who_sees(after, [patient], who, request, self.knowledge)
        return _parameters(
            [
                _part("change", organization=("String", a.organization), level=("Code", level),
                      before=("Integer", a.seen[level]), after=("Integer", b.seen[level]), of=("Integer", total))
                for a, b in zip(was, would, strict=True) for level, total in a.total.items()
            ]
        )  # fmt: skip

    def lint(self, ask: Ask, where: Where, pairs: Pairs, body: Resource | None) -> Answer:
        """What is wrong with the Consent that is sent, or with the Consents of a patient that the caller sees.

        Raises:
            Malformed: no Consent is sent. NotFound: the patient is missing or hidden. Forbidden: scope.
        """
        self._scopes(ask)
        if where.id:
            with self.finds.store.reading() as reading:
                place = f"Patient/{where.id}"
                _, sight = self._records(ask, reading, where.id, f"{place}/$consent-lint")
                stored: Sequence[Stored] = reading.resources.consents([place])
                stored = stored if self._officer(ask) else self._shown(sight, stored)
                consents = [json_text.parse(one.body) for one in stored]
        else:
            sent = part_of(body, "resource") or body
            if sent is None or sent.get("resourceType") != "Consent":
                raise Malformed("no Consent to look at", at="resource", fix="POST a Consent")
            consents = [sent]
        knowledge = self.knowledge
        read = [read_consent(one, zone=knowledge.zone, vocabulary=knowledge.vocabulary, name="the Consent")
                for one in consents]  # fmt: skip
        found = lint(read, knowledge.vocabulary, instant_us(ask.now))
        return _parameters([_part("finding", **{k: ("String", v) for k, v in asdict(one).items()}) for one in found])

    def account(self, ask: Ask, where: Where, pairs: Pairs, body: Resource | None) -> Answer:
        """Every disclosure about a person, in the order of time and in plain words; ``language`` en or fr.

        Raises:
            Forbidden: not an officer. NotFound: no such patient. Malformed: no such language.
        """
        self._officers_only(ask, "$consent-account")
        language = dict([*pairs, *simple_parameters(body)]).get("language", "en")
        if language not in LANGUAGES:
            raise Malformed("not a language of the account", at="language", fix=" or ".join(LANGUAGES))
        with self.finds.store.reading() as reading:
            place = f"Patient/{where.id}"
            self._noted(ask, reading, f"{place}/$consent-account")
            found = account_of(reading.resources, reading.audit, place)
            names = self._members(reading, {one.organization for one in found}, "name")
            signed = self._members(reading, consents_of(found), "dateTime")
        return _parameters(
            [
                _part("disclosure", recorded=("DateTime", one.recorded), organization=("String", one.organization),
                      purpose=("Code", one.purposes), because=("String", one.because), record=("String", one.records),
                      kind=("String", tuple(f"{kind} {count}" for kind, count in one.kinds.items())),
                      text=("String", sentence(one, names, language, signed)))
                for one in found
            ]
        )  # fmt: skip

    def expiring(self, ask: Ask, where: Where, pairs: Pairs, body: Resource | None) -> Answer:
        """The Consents whose period ends ``within`` some days (default 30), soonest first.

        Raises:
            Forbidden: not an officer. Malformed: ``within`` is not a number of days.
        """
        self._officers_only(ask, "$consent-expiring")
        days = dict([*pairs, *simple_parameters(body)]).get("within", "30")
        if not (days.isascii() and days.isdigit() and len(days) < 5):
            raise Malformed("not a number of days", at="within", fix="0 to 9999")
        with self.finds.store.reading() as reading:
            self._noted(ask, reading, "Consent/$consent-expiring")
            read = [self.knowledge.program(one).directive for one in reading.resources.of_type("Consent")]
        found = endings(read, instant_us(ask.now), int(days))
        return _parameters(
            [
                _part("ending", consent=("String", one.consent), patient=("String", one.patients),
                      ends=("DateTime", moment_of(one.ends_us, self.knowledge.zone).isoformat(timespec="milliseconds")),
                      days=("Integer", one.days))
                for one in found
            ]
        )  # fmt: skip

    # -- who may ----------------------------------------------------------------------------------------------------

    def _officer(self, ask: Ask) -> bool:
        return not self.officers.isdisjoint(ask.caller.client.roles)

    def _officers_only(self, ask: Ask, name: str) -> None:
        self._scopes(ask)
        if not self._officer(ask):
            raise Forbidden("this is told to a privacy officer only", at=name)

    def _noted(self, ask: Ask, reading: Reading, what: str) -> None:
        """The audit record of an answer that holds no resource."""
        sight = self.finds.sight(reading.resources, ask)
        self.finds.recorded(ask, sight, sight.release(()), "operation", what, "")

    def _members(self, reading: Reading, references: set[str], member: str) -> dict[str, str]:
        """One member of each resource that there is."""
        found = {ref: json_text.parse(one.body) for ref, one in reading.resources.many(sorted(references)).items()}
        return {reference: str(one[member]) for reference, one in found.items() if member in one}

    def _scopes(self, ask: Ask) -> None:
        for type_ in ("Patient", "Consent"):
            if ask.caller.scopes.constraints(type_, "r") != ("",):
                raise Forbidden("bounded scopes are not enough", at="Authorization", fix=f"ask for system/{type_}.r")

    def _asked(self, ask: Ask, given: Mapping[str, str]) -> AccessRequest:
        """The request that is explained."""
        self._scopes(ask)
        own = ask.request()
        organization, purpose = given.get("organization", own.organization), given.get("purpose", "")
        if organization == own.organization and not purpose:
            return own
        if not self._officer(ask):
            raise Forbidden("only the own organization, for its own purposes, is explained", at="organization")
        purposes = (purpose,) if purpose else own.purposes
        return replace(own, organization=organization, client="", roles=(), actors=(), purposes=purposes)

    def _records(self, ask: Ask, reading: Reading, id_: str, what: str) -> tuple[list[Stored], Scoped]:
        """What there is of the patient, for an officer; else what the caller sees. The audit record is written first.

        Raises:
            NotFound: no such patient, or hidden.
        """
        sight, patient = self.finds.sight(reading.resources, ask), f"Patient/{id_}"
        every = [one for one in reading.resources.compartment([patient]) if not one.deleted]
        shown = every if self._officer(ask) else self._shown(sight, every)
        self.finds.recorded(ask, sight, sight.release(()), "operation", what, "")
        if not any(one.reference == patient for one in shown):
            raise NotFound("no such resource")
        return shown, sight

    def _shown(self, sight: Scoped, candidates: Sequence[Stored]) -> list[Stored]:
        return [one for one, ok in zip(candidates, sight.visible(candidates), strict=True) if ok]


def _cut(one: Explanation, shown: frozenset[str]) -> Explanation:
    """Without a word of Consents that the caller does not see."""
    because = tuple(
        name for name in one.because
        if name.startswith("rule:") or name.partition("/_history/")[0].partition("#")[0] in shown
    )  # fmt: skip
    text = "consent permits it" if one.rule == "consent" else one.text  # the full sentence may name a hidden Consent
    forms = tuple(told for told in one.forms if told.partition(": ")[0] in shown)
    return replace(one, because=because, text=text, would_need=(), forms=forms)


def _part(name: str, **values: tuple[str, Any]) -> JsonObject:
    """A parameter with parts; a tuple gives several of one name, what is empty is left out."""
    parts = [
        {"name": key, f"value{kind}": one}
        for key, (kind, value) in values.items()
        for one in (value if isinstance(value, tuple) else (value,))
        if one != ""
    ]
    return {"name": name, "part": parts}


def _parameters(found: Sequence[JsonObject]) -> Answer:
    out: JsonObject = {"resourceType": "Parameters"}
    if found:
        out["parameter"] = list(found)
    return Answer(200, json_text.write(out))

"""The gate at every door: loads Consents and agreements, judges, releases, and writes the audit record of it.

Whose Consents speak for a record: those of its own patient record; where that has none in any state (a hospital's
record of a person who signed at a housing agency), those of the records it is linked with (Patient.link). A denial of
any linked record counts for all of them, so a person who shuts one door stays behind it everywhere, and a record that
was closed in one place is not opened by a link.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from csv import DictReader
from dataclasses import dataclass, field
from datetime import UTC, tzinfo
from functools import cached_property
from io import StringIO
from typing import Final, TypeAlias

from gateway.consent.asked import Asked, ask
from gateway.consent.askers import Askers
from gateway.consent.bindings import Bindings
from gateway.consent.codes import Vocabulary, read_vocabulary
from gateway.consent.engine import Bound, Program, Reason, compile_directive
from gateway.consent.law import Law, read_law, read_notices
from gateway.consent.outline import outline, timeless, traits_of
from gateway.consent.read import read_consent
from gateway.consent.redact import ElementRule, marked, read_element_rules, redacted
from gateway.consent.release import Judgement, Released, release
from gateway.consent.request import BREAK_GLASS, AccessRequest
from gateway.consent.rules import Verdict
from gateway.consent.times import instant_us
from gateway.consent.view import STRANGER, ResourceView, local, unpack, view_of
from gateway.exchange import stand_in
from gateway.exchange.agreements import contract_of, read_agreement
from gateway.exchange.audit_event import DISCLOSE, audit_event
from gateway.exchange.pending_labels import DIRECTORY, PENDING, read_pending
from gateway.exchange.ports.resources import ResourceReader, Stored, parsed
from gateway.exchange.residual import FORMS_LIMIT, Asker, Disagreements, residual
from gateway.exchange.ruling import Ruling
from gateway.exchange.search import Shown
from gateway.kernel.fhir import ACT_REASON, Resource

Disclosure: TypeAlias = Released[Stored]
ReadData: TypeAlias = Callable[[str], str]  # adapters.files.data.read_data

NOTICES: Final = "doorway:break-glass"  # source of notices that the gateway writes to an Organization
PERSONS: Final = "doorway-link"  # source of the Person above linked records: its versions tell of every one of them
_CACHE_LIMIT: Final = 20_000
_LINKED_LIMIT: Final = 50  # records of one person; more is a fault of linking, and then everything is denied
_PARENTS_LIMIT: Final = 10


def read_vocabulary_from(read_data: ReadData) -> Vocabulary:
    """The hierarchies and roles of terminology/consent, through whatever reads shipped files."""
    return read_vocabulary(
        DictReader(StringIO(read_data("terminology/consent/hierarchy.csv"))),
        DictReader(StringIO(read_data("terminology/consent/roles.csv"))),
    )


@dataclass(frozen=True)
class Knowledge:
    """What decisions rest on beside Consents; built once, shared by all requests of a store.

    ``zone`` is the civil zone in which consent dates begin and end. ``domain_permit`` is what holds where no Consent
    says anything. ``privileged`` are groups whose members may break the glass. The caches are keyed by the exact text
    of a resource, so a changed Consent is read anew by the next request, in every process.
    """

    vocabulary: Vocabulary = field(repr=False)
    law: Law = field(repr=False)
    elements: tuple[ElementRule, ...] = field(default=(), repr=False)
    zone: tzinfo = UTC
    domain_permit: bool = False
    privileged: frozenset[str] = frozenset()
    notices: Mapping[str, Mapping[str, str]] = field(default_factory=dict, repr=False)  # notice -> language -> text
    bindings: Bindings = field(default_factory=Bindings, repr=False, compare=False)
    askers: Askers = field(default_factory=Askers, repr=False, compare=False)
    disagreements: Disagreements = field(default_factory=Disagreements, repr=False, compare=False)
    _programs: dict[bytes, Program] = field(default_factory=dict, repr=False, compare=False)
    _timeless: dict[bytes, Program] = field(default_factory=dict, repr=False, compare=False)
    _views: dict[bytes, ResourceView] = field(default_factory=dict, repr=False, compare=False)
    _parts: dict[tuple[bytes, frozenset[str]], ResourceView] = field(default_factory=dict, repr=False, compare=False)

    def program(self, stored: Stored) -> Program:
        """The compiled form of a stored Consent."""
        found = self._programs.get(stored.body)
        if found is None:
            if len(self._programs) >= _CACHE_LIMIT:
                self._programs.clear()
            directive = read_consent(
                parsed(stored), zone=self.zone, vocabulary=self.vocabulary, base_permit=self.domain_permit,
                name=stored.reference,
            )  # fmt: skip
            found = self._programs[stored.body] = compile_directive(directive)
        return found

    def timeless(self, stored: Stored) -> Program:
        """The compiled form of a stored Consent without the period that all of it shares."""
        found = self._timeless.get(stored.body)
        if found is None:
            if len(self._timeless) >= _CACHE_LIMIT:
                self._timeless.clear()
            found = self._timeless[stored.body] = compile_directive(timeless(self.program(stored).directive))
        return found

    def view(self, stored: Stored) -> ResourceView:
        """The facets of a stored resource."""
        key = stored.facets or stored.body
        found = self._views.get(key)
        if found is None:
            if len(self._views) >= _CACHE_LIMIT:
                self._views.clear()
            kept = unpack(stored.facets) if stored.facets else None  # None too: kept by an older release
            found = self._views[key] = kept or view_of(parsed(stored), self.zone)
        return found

    def people(self, stored: Stored, resources: ResourceReader, depth: int = 3) -> frozenset[str]:
        """``Patient/id`` of everybody whom a resource is about, for the audit trail and the account of disclosures.

        A Provenance or a Binary that names nobody is about those whom its targets, or its document, are about.
        """
        if stored.deleted:
            return frozenset()
        view = self.view(stored)
        if view.patients or view.type not in stand_in.KINDS or not depth:
            return frozenset(view.patients) - {STRANGER}
        behind = resources.many(stand_in.stand_ins(stored, parsed(stored), resources).references)
        return frozenset[str]().union(*(self.people(one, resources, depth - 1) for one in behind.values()))

    def part(self, stored: Stored, rule: ElementRule) -> ResourceView:
        """The facets of an element of a stored resource that carries labels of its own."""
        key = (stored.facets or stored.body, rule.labels)
        found = self._parts.get(key)
        if found is None:
            if len(self._parts) >= _CACHE_LIMIT:
                self._parts.clear()
            found = self._parts[key] = rule.labelled(self.view(stored))
        return found

    @cached_property
    def sensitive(self) -> Mapping[str, Sequence[tuple[ElementRule, bytes, bytes]]]:
        """By resource type: the rules for its elements, and what the text must hold for one of them to apply."""
        found: dict[str, list[tuple[ElementRule, bytes, bytes]]] = {}
        for rule in self.elements:
            narrowed = rule.where[1].encode() if rule.where is not None else b""
            found.setdefault(rule.type, []).append((rule, f'"{rule.path[0]}"'.encode(), narrowed))
        return found


def read_knowledge(
    read_data: ReadData, *, zone: tzinfo = UTC, domain_permit: bool = False, privileged: Iterable[str] = ()
) -> Knowledge:
    """Everything that the gate needs, from the shipped tables.

    Raises:
        Invalid: a mistake in a table, with file:line.
    """
    return Knowledge(
        vocabulary=read_vocabulary_from(read_data),
        law=read_law(DictReader(StringIO(read_data("terminology/policies/law.csv")))),
        elements=read_element_rules(DictReader(StringIO(read_data("terminology/policies/elements.csv")))),
        zone=zone,
        domain_permit=domain_permit,
        privileged=frozenset(privileged),
        notices=read_notices(DictReader(StringIO(read_data("terminology/policies/notices.csv")))),
    )


class Gate:
    """One asker in front of one snapshot (or transaction). Make a new one for every request, never keep one.

    It is the :class:`~gateway.exchange.ports.visibility.Visibility` that searches are bound to, and the judge of
    everything that leaves.
    """

    def __init__(self, resources: ResourceReader, request: AccessRequest, knowledge: Knowledge) -> None:
        self._resources = resources
        self.request = request
        self._knowledge = knowledge
        self._us = instant_us(request.now)
        self._creators = frozenset({request.client, request.organization} - {""})
        self._asked: Asked | None = None
        self._related: list[Resource] = []
        self._known: frozenset[str] = frozenset()  # their references
        self._agreed: bool | None = None
        self._own: dict[str, Stored] | None = None
        self._unlabelled: frozenset[str] = frozenset()  # organizations of which more is known than labels say yet
        self._bound: dict[str, tuple[Bound, Bound | None]] = {}
        self._inherits: dict[str, bool] = {}  # patients whose record has no Consent of its own, in any state
        self._tangled: set[str] = set()  # patients linked with more records than one person has: nobody can tell
        self._alone: dict[str, tuple[Program, ...]] = {}  # the Consents of a patient's own record
        self._kinds: dict[int, ResourceView] = {}  # one resource of each kind that a search has met
        self._seen: dict[str, bool] = {}
        self._current: dict[str, Stored] = {}

    def at_hand(self, current: Stored) -> None:
        """A current version that was read in this transaction already, so that it need not be read again."""
        self._current[current.reference] = current

    def visible(self, candidates: Sequence[Stored]) -> Sequence[bool]:
        """For each candidate, in order, whether the asker may see it. Unknown means no."""
        self._load(candidates)
        return [self.rule(candidate).permit for candidate in candidates]

    def cut(self, type_: str) -> frozenset[str]:
        """Top-level elements in which redaction may take something out; searches are judged on what is left."""
        elements = {rule.path[0] for rule in self._knowledge.elements if rule.type == type_}
        return frozenset(elements | {"link"} if type_ == "Patient" else elements)

    def release(self, candidates: Iterable[Stored]) -> Disclosure:
        """Cut the candidates to what the asker may see; bodies are untouched bytes unless something is redacted."""
        found = list(candidates)
        self._load(found)
        return release(self.request.organization, found, self._judge)

    def rule(self, stored: Stored) -> Ruling:
        """The ruling on one resource; a defect anywhere in it is a denial."""
        if stored.deleted:
            return Ruling(False, "deleted")
        view = self._knowledge.view(stored)
        if view.type == "Person" and stored.source == PERSONS:
            return Ruling(False, "joined")
        if stored.owner in self._creators or (self.request.organization and self.request.organization in view.makers):
            return Ruling(True, "own-records")
        if not self._agreement():
            return Ruling(False, "agreement")
        if self._unlabelled and self._names_unlabelled(view):
            return Ruling(False, "labels")
        if view.type in stand_in.KINDS and not self._stood_for(stored):
            return Ruling(False, "stand-in")
        if not view.patients:
            return self._nobodys(stored, view)
        if self._asks().keys.issuperset(view.patients):
            return Ruling(True, "own-access")
        return self._by_law(view, self._by_consent(view))

    # ---- the residual in the store

    def narrow(self, met: Sequence[Stored]) -> Shown | None:
        """What of the store cannot be visible; None where nothing can be left out beforehand."""
        asked = self._asks()
        everybodys = self._knowledge.domain_permit or self.request.break_glass is not None
        if everybodys or any(key.startswith("Patient/") for key in asked.keys):
            return None
        forms = self._resources.forms(FORMS_LIMIT)
        if forms is None:
            return None
        programs = {form: self._knowledge.timeless(stored) for form, stored in forms.items()}
        for stored in met:
            traits = traits_of(stored.facets)
            if traits.kind:
                self._kinds.setdefault(traits.kind, self._knowledge.view(stored))
        asked = self._with_actors(list(programs.values()))
        asker = Asker(self._us, tuple(sorted(self._creators)), local(self.request.organization))
        if not self._agreement():
            programs = {}
        return residual(programs, self._kinds, asked, asker, self._lawful)

    def _lawful(self, view: ResourceView, bound: Bound) -> bool:
        return self._by_law(view, Ruling(True, "consent", bound.why(view))).permit

    def contradicts(self, stored: Stored, shown: Shown) -> bool:
        """Whether a denial of what the store took for visible is a fault: no maybe was left, or it never was one.

        Only where nothing but the residual decides: one patient, one Consent, no linked record.
        """
        view = self._knowledge.view(stored)
        if len(view.patients) != 1 or STRANGER in view.patients or len(view.makers) > 1:
            return False
        if view.type in stand_in.KINDS or view.type == "Person":
            return False
        if self._names_unlabelled(view):
            return False
        (patient,) = view.patients
        _, linked = self._of(patient)
        programs = self._alone.get(patient, ())
        if linked is not None or patient in self._tangled or len(programs) != 1 or self.rule(stored).permit:
            return False
        unheard = self._knowledge.law.verified and programs[0].directive.verified is not True
        if unheard or programs[0].directive.untold:
            return False  # the forms that the store knows say nothing of verification, nor of what is on record
        own, kind = outline(programs[0].directive), traits_of(stored.facets).kind
        inside = own.low_us <= self._us <= own.high_us
        return shown.surely(own.form, kind) if inside and shown.may(own.form, kind) else True

    def alarm(self, stored: Stored) -> None:
        """Store and engine disagree: counted, and told to whoever watches; the resource stays withheld."""
        self._knowledge.disagreements.add(stored.type)

    def event(
        self, released: Disclosure | None, *, activity: str, what: str = "", query: str = "", refused: str = "",
        address: str = "", id_: str = "", server: str = "",
    ) -> Resource:  # fmt: skip
        """The AuditEvent (IHE BALP) of a disclosure or of its refusal, to be on disk before the first byte leaves.

        Args:
            activity: code of http://hl7.org/fhir/restful-interaction, such as ``read``; ``disclose`` unasked.
            what: the resource or type asked for.
            query: the search as sent.
            refused: the category of a refusal.
            address: network address of the peer.
            id_: the request id (X-Request-Id).
            server: the base address under which the peer found the gateway.
        """
        out = released.resources if released is not None else ()
        if activity == DISCLOSE and not out:
            refused = refused or "forbidden"  # nothing is sent, so nothing was disclosed
        return audit_event(
            self.request, activity,
            patients=sorted({one for stored in out for one in self._knowledge.people(stored, self._resources)}),
            released=[f"{stored.reference}/_history/{stored.version}" for stored in out],
            because=released.because if released is not None else (),
            withheld=released.withheld if released is not None else None,
            what=what, query=query, refused=refused, address=address, id_=id_, server=server,
        )  # fmt: skip

    @property
    def party(self) -> bool:
        """Whether the asking Organization has an agreement in force."""
        return self._agreement()

    def asked(self) -> Asked:
        """The request as rules see it; for explanations."""
        return self._asks()

    # ---- the steps

    def _judge(self, stored: Stored) -> Judgement:
        ruling = self.rule(stored)
        if not ruling.permit:
            return Judgement(False, ruling.because)
        body = self._redacted(stored, own=ruling.rule == "own-records")
        if ruling.notices:
            text = stored.body if body is None else body
            body = marked(text, self._knowledge.law.handling(ruling.notices)) or body
        return Judgement(True, ruling.because, body, ruling.notices)

    def _nobodys(self, stored: Stored, view: ResourceView) -> Ruling:
        """What names no patient: a notice to the asker, what stands for what it sees, what the law holds open."""
        if stored.source == NOTICES and self.request.organization in view.refers:
            return Ruling(True, "addressed")
        if view.type in stand_in.KINDS:
            return self._by_law(view, Ruling(True, "stand-in"))
        return Ruling(view.type in self._knowledge.law.open_types, "directory")

    def _stood_for(self, stored: Stored) -> bool:
        """Whether the asker sees what a Provenance tells of, or what a Binary belongs to."""
        found = stand_in.stand_ins(stored, parsed(stored), self._resources)
        seen = [self._sees(reference) for reference in found.references]
        return bool(seen) and (all(seen) if found.every else any(seen))

    def _by_law(self, view: ResourceView, ruling: Ruling) -> Ruling:
        named = frozenset().union(*(reason.labels for reason in ruling.reasons)) if ruling.permit else frozenset()
        denied, notices = self._knowledge.law.says(view, self._us, self._knowledge.zone, named)
        if denied is not None and (denied.effect != "specific" or ruling.permit):
            return Ruling(False, denied.name, ruling.reasons)
        return Ruling(ruling.permit, ruling.rule, ruling.reasons, notices) if notices and ruling.permit else ruling

    def _by_consent(self, view: ResourceView) -> Ruling:
        """Every patient named must permit."""
        kept: list[Reason] = []
        by_default = broken = False
        if STRANGER in view.patients:  # who must permit, nobody can tell
            return Ruling(False, "stranger")
        for patient in view.patients:
            said, reasons = self._word(patient, view)
            if said.permits:
                kept += reasons
            elif said is Verdict.NONE and self._knowledge.domain_permit:
                by_default = True
            elif self._breaks_glass(reasons):
                broken = True
            else:
                return Ruling(False, "consent" if reasons else "no-consent", reasons)
        rule = "break-glass" if broken else "default" if by_default and not kept else "consent"
        return Ruling(True, rule, tuple(kept))

    def _word(self, patient: str, view: ResourceView) -> tuple[Verdict, tuple[Reason, ...]]:
        """What the Consents that speak for a record say about a resource that names it."""
        mine, linked = self._of(patient)
        if patient in self._tangled:
            return Verdict.DENY, ()
        said = mine.judge(view)
        if linked is not None:
            also = linked.judge(view)
            if (also is Verdict.DENY and said is not Verdict.DENY) or self._inherits[patient]:
                return also, linked.why(view)
        return said, mine.why(view)

    def _breaks_glass(self, reasons: tuple[Reason, ...]) -> bool:
        """Whether emergency access is declared and complete, and no provision denies it by its name."""
        declared, law = self.request.break_glass, self._knowledge.law
        if declared is None or not law.break_glass or BREAK_GLASS not in self.request.purposes:
            return False
        member = declared.privileged or not self._asks().keys.isdisjoint(self._knowledge.privileged)
        if not member or not declared.reason.strip() or self.request.now > declared.until:
            return False
        return not any(f"{ACT_REASON}|{BREAK_GLASS}" in r.purposes for r in reasons if r.verdict is Verdict.DENY)

    def _agreement(self) -> bool:
        """Whether the asking Organization has an agreement that is in force now."""
        if self._agreed is None:
            self._agreed = self._find_agreement()
        return self._agreed

    def _find_agreement(self) -> bool:
        organization = local(self.request.organization)
        recorded, found = contract_of(organization), self._standing()
        self._unlabelled = read_pending(found.get(PENDING)).closed
        if not organization:
            return False
        own = parsed(found.get(organization))
        if own.get("active") is False:
            return False
        agreement = read_agreement(found.get(recorded))
        if agreement is None:
            return self._knowledge.law.agreement == "registered"
        return agreement.holds(self._us, self._knowledge.zone)

    def _names_unlabelled(self, view: ResourceView) -> bool:
        return view.type not in DIRECTORY and not self._unlabelled.isdisjoint(view.refers)

    # ---- loading

    def _asks(self) -> Asked:
        if self._asked is None:
            people = list(self._people().values())
            self._related = [parsed(stored) for stored in people]
            self._asked = self._knowledge.askers.ask(
                self.request, self._knowledge.vocabulary, self._related, [stored.body for stored in people],
                verified=self._knowledge.law.verified,
            )  # fmt: skip
        return self._asked

    def _standing(self) -> dict[str, Stored]:
        """The asking Organization, its agreement, and what waits to be labelled: one look for all of it."""
        if self._own is None:
            organization = local(self.request.organization)
            wanted = (organization, contract_of(organization), PENDING) if organization else ()
            self._own = self._resources.many(wanted) if wanted else {}
        return self._own

    def _ask(self, links: dict[str, frozenset[str]]) -> Asked:
        law, vocabulary = self._knowledge.law, self._knowledge.vocabulary
        return ask(self.request, vocabulary, self._related, verified=law.verified, links=links)

    def _people(self) -> dict[str, Stored]:
        """The caller's own resources: organizations with the parents above them, persons, roles."""
        found: dict[str, Stored] = {}
        todo = {local(actor.reference) for actor in self.request.everyone if actor.reference}
        for _ in range(_PARENTS_LIMIT):
            got = {one: stored for one, stored in self._standing().items() if one in todo and one not in found}
            if further := todo - found.keys() - got.keys():
                got |= self._resources.many(further)
            if not got:
                break
            found |= got
            todo = {
                local(node["reference"])
                for resource in (parsed(stored) for stored in got.values())
                for node in (resource.get("partOf"), resource.get("organization"), resource.get("practitioner"))
                if isinstance(node, dict) and isinstance(node.get("reference"), str)
            }
        return found

    def _of(self, patient: str) -> tuple[Bound, Bound | None]:
        if patient not in self._bound:
            self._load_patients([patient])
        return self._bound[patient]

    def _load(self, candidates: Sequence[Stored]) -> None:
        """The Consents of everybody named on the candidates, in one go."""
        named = {p for c in candidates if not c.deleted for p in self._knowledge.view(c).patients} - {STRANGER}
        self._load_patients(sorted(named - self._bound.keys()))

    def _load_patients(self, patients: Sequence[str]) -> None:
        if not patients:
            return
        linked = self._linked(patients)
        everyone = sorted({*patients, *(other for others in linked.values() for other in others)})
        programs: dict[str, list[Program]] = {patient: [] for patient in everyone}
        for stored in self._resources.consents(everyone):
            program = self._knowledge.program(stored)
            for patient in _whose(stored, program, everyone):
                programs[patient].append(program)
        asked = self._with_actors([p for those in programs.values() for p in those])
        for patient in patients:
            bind = self._knowledge.bindings.bind
            own = bind(programs[patient], asked)
            others = [p for other in linked[patient] for p in programs[other]]
            self._inherits[patient] = not programs[patient]
            self._alone[patient] = tuple(programs[patient])
            self._bound[patient] = (own, bind(others, asked) if others else None)

    def _with_actors(self, programs: Sequence[Program]) -> Asked:
        """The request, with the groups and instances that the rules name looked up."""
        asked = self._asks()
        if len(self._known) != len(self._related):
            self._known = frozenset(f"{r.get('resourceType')}/{r.get('id')}" for r in self._related)
        if all(program.actors <= self._known and not program.related for program in programs):
            return asked
        named = frozenset[str]().union(*(program.actors for program in programs))
        targets = frozenset[str]().union(*(program.related for program in programs))
        more = self._resources.many(sorted(named - self._known))
        links = {
            reference: self._knowledge.view(stored).refers
            for reference, stored in self._resources.many(sorted(targets)).items()
        }
        if more or links:
            self._related += [parsed(stored) for stored in more.values()]
            asked = self._asked = self._ask({**asked.links, **links})
        return asked

    def _linked(self, patients: Sequence[str]) -> dict[str, frozenset[str]]:
        """For each record the other records of the same person, by the Patient.link that it and those show.

        A link counts for the record that holds it: links of the gateway stand on both. One that somebody else's record
        points at this one with would make the answer hang on what else is judged beside it.
        """
        if len(patients) == 1 and patients[0] in self._current:  # as a read has it
            refers = self._knowledge.view(self._current[patients[0]]).refers
            if not any(other.startswith("Patient/") and other != patients[0] for other in refers):
                return {patients[0]: frozenset()}
        beside: dict[str, set[str]] = {patient: set() for patient in patients}
        walked: set[str] = set()
        todo = set(patients)
        while todo and len(walked) <= len(patients) * _LINKED_LIMIT:
            walked |= todo
            got = {one: self._current[one] for one in todo if one in self._current}
            if missing := todo - got.keys():
                got.update(self._resources.many(sorted(missing)))
            for one, stored in got.items():
                for other in self._knowledge.view(stored).refers:  # a Patient refers to Patients by its links only
                    if other.startswith("Patient/") and other != one:
                        beside.setdefault(one, set()).add(other)
                        beside.setdefault(other, set())
            todo = beside.keys() - walked
        groups = {patient: _together(patient, beside) for patient in patients}
        self._tangled |= {patient for patient, group in groups.items() if group & todo or len(group) > _LINKED_LIMIT}
        return {patient: frozenset(group - {patient}) for patient, group in groups.items()}

    # ---- redaction

    def _redacted(self, stored: Stored, *, own: bool = False) -> bytes | None:
        """A copy without what the asker may not see inside a resource, None when there is nothing to take out.

        Its ``own`` record it sees whole, but for links that the gateway put in: those tell of records of others.
        """
        view = self._knowledge.view(stored)
        elements = () if own else self._knowledge.sensitive.get(view.type, ())
        body = stored.body
        escaped = b"\\" in body  # a name may then be written in another way: every rule applies
        seen: dict[frozenset[str], bool] = {}  # the answer hangs on the labels alone
        hidden = []
        for rule, name, narrowed in elements:
            if escaped or (name in body and narrowed in body):
                if rule.labels not in seen:
                    seen[rule.labels] = self._sees_element(stored, rule)
                if not seen[rule.labels]:
                    hidden.append(rule)
        linked = view.refers if view.type == "Patient" else frozenset()
        unseen = frozenset(ref for ref in linked if ref.startswith("Patient/") and not self._sees(ref))
        if not hidden and not unseen:
            return None
        return redacted(stored.body, hidden, unseen)

    def _sees_element(self, stored: Stored, rule: ElementRule) -> bool:
        """Whether an element that carries labels of its own is permitted like a resource with these labels."""
        if rule.labels <= self._knowledge.view(stored).labels:
            return True
        labelled = self._knowledge.part(stored, rule)
        return self._by_law(labelled, self._by_consent(labelled)).permit

    def _sees(self, reference: str) -> bool:
        if reference not in self._seen:
            self._seen[reference] = False  # a circle of references proves nothing
            type_, _, id_ = reference.partition("/")
            stored = self._resources.get(type_, id_)
            self._seen[reference] = stored is not None and self.rule(stored).permit
        return self._seen[reference]


def _whose(stored: Stored, program: Program, patients: Sequence[str]) -> list[str]:
    """The patients that a Consent speaks for; one of which nobody can tell speaks for whomever it was found for."""
    named = [patient for patient in patients if patient in program.directive.patients]
    return named or list(patients)


def _together(start: str, beside: Mapping[str, set[str]]) -> set[str]:
    """Everything that the links lead to from ``start``."""
    found, todo = {start}, [start]
    while todo:
        fresh = beside.get(todo.pop(), set()) - found
        found |= fresh
        todo += fresh
    return found

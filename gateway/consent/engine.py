"""The compiled engine: Consents become flat programs once, a request binds them, resources are judged by facets.

A :class:`Program` is the compiled form of one Consent and may be cached by (reference, version, zone, dialect); a
:class:`Bound` belongs to one request and must never outlive it (a later request may find another Consent or hour).
"""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from itertools import count
from typing import Final, TypeAlias

from gateway.consent.asked import Asked
from gateway.consent.codes import UNREAD
from gateway.consent.criteria import Test, compile_data
from gateway.consent.read import flattened
from gateway.consent.rules import DataGroup, Directive, Enforcement, RequestGroup, Rule, Verdict
from gateway.consent.view import ResourceView

_KNOWN_ACTIONS: Final = frozenset({"access", "collect", "use", "disclose", "correct", "read", "search"})


@dataclass(slots=True)
class Node:
    """One rule of a program. ``parent`` is an index into the program's nodes, -1 at a root; no ``test``: covers all."""

    rule: Rule
    permit: bool
    parent: int
    request: RequestGroup
    test: Test | None
    facets: frozenset[str]  # which fields of a view the test looks at
    asks: int  # the same number for request groups that every request answers alike


@dataclass(slots=True)
class Program:
    """One Consent, compiled. ``always`` is the verdict of a Consent that cannot be enforced."""

    directive: Directive
    nodes: tuple[Node, ...]
    always: Verdict | None = None
    reason: str = ""
    shape: int = 0  # the same number for programs that judge every resource alike, once the same nodes are live
    form: int = 0  # the same number for Consents of which the later replaces the earlier; 0: for none
    replacing: bool = True  # whether it may take the place of another, or lose its own
    asks: tuple[int, ...] = ()  # of its nodes, in order
    actors: frozenset[str] = frozenset()  # references that its rules name as actors
    related: frozenset[str] = frozenset()  # and whose related data they mean
    residues: "dict[tuple[int, ...], _Left]" = field(default_factory=dict)  # by the nodes that are left


@dataclass(slots=True, frozen=True)
class Reason:
    """Which rule of which Consent decided, and by which of its elements."""

    consent: str
    version: str
    provision: str
    element: str
    verdict: Verdict
    labels: frozenset[str] = frozenset()  # sensitivity that the rule itself names, with everything below it
    purposes: frozenset[str] = frozenset()


class _Numbers:
    """Numbers for equal things; a number is never given twice, even after the table was emptied."""

    def __init__(self) -> None:
        self._held: dict[object, int] = {}
        self._next = count(1)

    def of(self, thing: object) -> int:
        """The number of everything that equals ``thing``."""
        found = self._held.get(thing)
        if found is None:
            if len(self._held) >= _NUMBERS_LIMIT:
                self._held.clear()
            found = self._held[thing] = next(self._next)
        return found


_NUMBERS_LIMIT: Final = 100_000
_ASKS: Final = _Numbers()
_SHAPES: Final = _Numbers()


def compile_directive(directive: Directive) -> Program:
    """A directive as a program; one that cannot be enforced always denies, an inactive one says nothing."""
    if directive.status is Enforcement.INACTIVE:
        form = _form(directive) if directive.withdraws else 0
        replacing = directive.withdraws and bool(form or directive.replaces)
        return Program(directive, (), Verdict.NONE, "status", form=form, replacing=replacing)
    if directive.status is not Enforcement.ENFORCEABLE:
        return Program(directive, (), Verdict.DENY, directive.status.value)
    if directive.dialect.flat:
        directive = flattened(directive)
    nodes: list[Node] = []
    for root in directive.rules:
        _lay(root, -1, nodes, directive)
    shape = _SHAPES.of((directive.dialect, tuple((n.permit, n.parent, n.rule.data) for n in nodes)))
    form = _form(directive)
    asks = tuple(node.asks for node in nodes)
    replacing = bool(form or directive.replaces)
    asked = (node.rule.request.actors for node in nodes)
    actors = frozenset[str]().union(*(one.references for one in asked if one is not None))
    data = (pair for node in nodes for pair in node.rule.data.data or ())
    related = frozenset[str]().union(*(keys for meaning, keys in data if meaning == "related"))
    return Program(
        directive, tuple(nodes), shape=shape, form=form, replacing=replacing, asks=asks, actors=actors, related=related
    )


def _form(d: Directive) -> int:
    """The same number for Consents of which the later replaces the earlier; 0: none does."""
    dated = d.form and d.organizations and d.given_us is not None
    return (hash((d.form, d.organizations, d.patients)) or 1) if dated else 0


def _lay(rule: Rule, parent: int, nodes: list[Node], directive: Directive) -> None:
    index = len(nodes)
    test, facets = compile_data(rule.data, rule.permit, directive)
    asks = _ASKS.of((rule.request, rule.permit, directive.dialect))
    nodes.append(Node(rule, rule.permit, parent, rule.request, test, facets, asks))
    for child in rule.children:
        _lay(child, index, nodes, directive)


# ---- request phase


def _live(node: Node, asked: Asked, program: Program) -> bool:
    """Whether the rule stays: its request group matches, with doubt turned against disclosure."""
    group, doubt, now = node.request, not node.permit, asked.now_us
    dialect = program.directive.dialect
    for low, high in group.periods:
        if (low is not None and now < low) or (high is not None and high < now):
            return False
    clear = not group.period_unreadable  # a NO beats doubt, so doubt is only weighed at the end
    if group.actors is not None:
        among = asked.is_one_of(group.actors)
        if among is False:
            return False
        clear = clear and among is True
    if group.actions is not None and asked.action not in group.actions:
        within = asked.action in ("read", "search") and "access" in group.actions
        if not within and group.actions <= _KNOWN_ACTIONS:
            return False
        clear = clear and within
    if group.purposes is not None:
        if not asked.purposes:
            clear = False
        elif not _purpose(group.purposes, asked, dialect.exact_purpose, node.permit):
            if UNREAD not in group.purposes:
                return False
            clear = False
    if group.custodians is not None:
        if asked.custodian:
            if asked.custodian.isdisjoint(group.custodians.keys):
                return False
        elif not dialect.narrative:
            clear = False
    if group.environments is not None:
        if asked.environment and asked.environment not in group.environments:
            return False
        clear = clear and bool(asked.environment)
    if group.asked_codes is not None:
        if asked.codes is not None and asked.codes.isdisjoint(group.asked_codes):
            return False
        clear = clear and asked.codes is not None
    return clear or doubt


def _purpose(stated: frozenset[str], asked: Asked, exact: bool, permit: bool) -> bool:
    if exact:
        return not stated.isdisjoint(asked.purposes_exact)
    if permit and asked.every_purpose:
        return all(not stated.isdisjoint(one) for one in asked.purposes)
    return any(not stated.isdisjoint(one) for one in asked.purposes)


@dataclass(slots=True)
class Residue:
    """What remains of Consents that judge alike: live nodes, children after their parents.

    ``programs`` are all these Consents; ``live`` are nodes of the first, their positions the same in all.
    ``by`` is what took their permissions back (a Consent itself, where the domain demands that it was verified): then
    their denials are left, and what they permitted is denied.
    """

    programs: tuple[Program, ...]
    live: tuple[tuple[int, Node], ...]
    grants: bool  # a rule that can permit is left
    parents: tuple[int, ...] = ()  # for each live node, position in ``live`` of its nearest live ancestor, or -1
    facets: frozenset[str] = frozenset()
    by: Program | None = None

    def judge(self, view: ResourceView, asked: Asked) -> tuple[Verdict, tuple[int, ...]]:
        """The data phase: the frontier of the matching rules decides, denial first; with the indexes of its nodes."""
        size = len(self.live)
        covered = [False] * size
        front: list[int] = []
        denied = False
        for position in range(size - 1, -1, -1):
            node = self.live[position][1]
            hit = node.test is None or node.test(view, asked)
            below = covered[position]
            if hit and not below:
                front.append(position)
                denied = denied or not node.permit
            up = self.parents[position]
            if up >= 0 and (hit or below):
                covered[up] = True
        if not front:
            return (Verdict.WEAK_DENY if self.grants else Verdict.NONE), ()
        deciding = tuple(self.live[at][0] for at in front if self.live[at][1].permit != denied)
        return (Verdict.DENY if denied else Verdict.PERMIT), deciding


_Left: TypeAlias = "tuple[tuple[tuple[int, Node], ...], bool, tuple[int, ...], frozenset[str]]"
_LEFT_LIMIT: Final = 64  # sets of live nodes of one Consent whose residue is kept


def _residue(programs: Sequence[Program], live_at: tuple[int, ...]) -> Residue:
    kept = programs[0].residues
    left = kept.get(live_at)
    if left is None:
        if len(kept) >= _LEFT_LIMIT:
            kept.clear()
        left = kept[live_at] = _left(programs[0].nodes, live_at)
    return Residue(tuple(programs), *left)


def _left(nodes: Sequence[Node], live_at: tuple[int, ...]) -> _Left:
    position = {index: at for at, index in enumerate(live_at)}
    parents = []
    for index in live_at:
        up = nodes[index].parent
        while up >= 0 and up not in position:
            up = nodes[up].parent
        parents.append(position.get(up, -1))
    live = tuple((index, nodes[index]) for index in live_at)
    facets = frozenset[str]().union(*(node.facets for _, node in live))
    return live, any(node.permit for _, node in live), tuple(parents), facets


def _taken_back(programs: Sequence[Program], live_at: tuple[int, ...], by: Program) -> Residue:
    """What is left of Consents whose permissions were taken back: their denials, and a denial of the rest."""
    nodes = programs[0].nodes
    denials = tuple(index for index in live_at if not nodes[index].permit)
    live, _, parents, facets = _left(nodes, denials)
    return Residue(tuple(programs), live, len(denials) < len(live_at), parents, facets, by)


def live_nodes(program: Program, asked: Asked) -> tuple[int, ...]:
    """The request phase of one Consent: which of its rules stay. Equal questions are answered once a request."""
    answers, nodes = asked.answers, program.nodes
    found = []
    for index, asks in enumerate(program.asks):
        stays = answers.get(asks)
        if stays is None:
            stays = answers[asks] = _live(nodes[index], asked, program)
        if stays:
            found.append(index)
    return tuple(found)


# ---- several Consents


def eligible(programs: Iterable[Program], asked: Asked) -> list[Program]:
    """The Consents that count: active or unreadable, of the category asked for, not replaced by another.

    One replaces another by an explicit link, or when it is the same form for the same organization and patient, given
    later, and in force by now (and verified, where the domain demands that). Lateness alone never replaces. What was
    ended since replaces nothing, and still the earlier does not come back: see :func:`withdrawn`.
    """
    counting = [p for p in programs if p.directive.status is not Enforcement.INACTIVE]
    if not asked.categories and not any(p.replacing for p in counting):
        return counting
    if asked.categories:
        counting = [
            p for p in counting
            if p.directive.status is Enforcement.QUARANTINED or not asked.categories.isdisjoint(p.directive.categories)
        ]  # fmt: skip
    replaced: set[str] = set()
    latest: dict[int, int] = {}
    for p in counting:
        if not p.replacing or p.always is not None:
            continue
        d = p.directive
        if (d.starts is not None and d.starts > asked.now_us) or (asked.verified and d.verified is not True):
            continue
        if d.replaces:
            replaced |= d.replaces - {d.consent}
        given = d.given_us
        if p.form and given is not None and given >= latest.get(p.form, given):
            latest[p.form] = given
    if not replaced and len(latest) == len(counting):
        return counting
    return [p for p in counting if p.directive.consent not in replaced and not _outdated(p, latest)]


def withdrawn(counting: Iterable[Program], programs: Iterable[Program], now_us: int) -> dict[str, Program]:
    """Of the Consents that count, those whose permissions a later one takes back: name -> the one that does.

    Who signs a form anew and then ends it, or is asked again and refuses, does not mean the older one to hold again. So
    an ended permission does to earlier Consents of its form, and to those that it says it replaces, what a revocation
    does: their permissions are gone. Their denials stay. (A denial that was ended takes nothing back.)
    """
    ended = [p for p in programs if p.replacing and p.directive.status is Enforcement.INACTIVE]
    if not ended:
        return {}
    found: dict[str, Program] = {}
    for p in ended:
        d = p.directive
        if d.starts is not None and d.starts > now_us:
            continue
        for one in counting:
            given, name = one.directive.given_us, one.directive.consent
            older = given is not None and d.given_us is not None and given < d.given_us
            if name != d.consent and ((p.form and one.form == p.form and older) or name in d.replaces):
                found[name] = p
    return found


def _outdated(program: Program, latest: dict[int, int]) -> bool:
    given = program.directive.given_us
    return bool(program.form) and given is not None and given < latest.get(program.form, given)


@dataclass(slots=True)
class Bound:
    """The Consents of one patient bound to one request: the residual, ready to judge resources.

    ``fixed`` is the answer for every resource where no rule looks at data: then nothing needs to be opened.
    """

    asked: Asked
    residues: tuple[Residue, ...]
    always: tuple[Program, ...]  # Consents that cannot be enforced and so deny
    fixed: Verdict | None = None
    _facets: frozenset[str] = frozenset()
    _memo: dict[int, Verdict] = field(default_factory=dict)
    _why: dict[int, tuple[Reason, ...]] = field(default_factory=dict)

    def judge(self, view: ResourceView) -> Verdict:
        """What all Consents together say about a resource: the strongest word wins."""
        if self.fixed is not None:
            return self.fixed
        kind = self._kind(view)
        found = self._memo.get(kind) if kind else None
        if found is None:
            found = self._decide(view)
            if kind:
                self._memo[kind] = found
        return found

    def judge_all(self, views: Iterable[ResourceView]) -> list[Verdict]:
        """:meth:`judge` for a batch, in order."""
        if self.fixed is not None:
            return [self.fixed for _ in views]
        if not self._facets <= _KIND:
            return [self.judge(view) for view in views]
        memo, out = self._memo, []
        for view in views:
            found = memo.get(view.kind)
            if found is None:
                found = memo[view.kind] = self._decide(view)
            out.append(found)
        return out

    def why(self, view: ResourceView) -> tuple[Reason, ...]:
        """The rules that decide about a resource."""
        kind = self._kind(view) if self.fixed is None else -1
        found = self._why.get(kind) if kind else None
        if found is None:
            found = tuple(self._reasons(view, self.judge(view)))
            if kind:
                self._why[kind] = found
        return found

    def _kind(self, view: ResourceView) -> int:
        """Resources of the same kind get the same answer in this request; 0: to be judged one by one."""
        return view.kind if self._facets <= _KIND else view.coded if self._facets <= _CODED else 0

    def _decide(self, view: ResourceView) -> Verdict:
        best = Verdict.DENY if self.always else Verdict.NONE
        for residue in self.residues:
            if best is Verdict.DENY:
                break
            said = residue.judge(view, self.asked)[0]
            best = max(best, said)
        return best

    def _reasons(self, view: ResourceView, verdict: Verdict) -> Iterator[Reason]:
        if verdict is Verdict.DENY:
            yield from (_unenforced(program) for program in self.always)
        for residue in self.residues:
            said, indexes = residue.judge(view, self.asked)
            if said is verdict and said is not Verdict.NONE:
                for program in residue.programs:
                    yield from _reasons(program, residue, said, indexes)

    @property
    def by_kind(self) -> bool:
        """Whether resources alike in labels and classes are judged alike."""
        return self.fixed is not None or self._facets <= _KIND

    @property
    def grants(self) -> bool:
        """Whether anything could be permitted."""
        return not self.always and any(residue.grants for residue in self.residues)

    @property
    def silent(self) -> bool:
        """Whether nothing is left that could say anything."""
        return not self.always and not self.residues


_KIND: Final = frozenset({"labels", "classes"})
_CODED: Final = frozenset({"labels", "classes", "codes"})


def _unenforced(program: Program) -> Reason:
    d = program.directive
    return Reason(d.consent, d.version, "", program.reason, Verdict.DENY)


def _reasons(program: Program, residue: Residue, said: Verdict, indexes: tuple[int, ...]) -> Iterator[Reason]:
    d = program.directive
    if said is Verdict.WEAK_DENY and residue.by is not None:
        itself = UNTOLD if d.untold else VERIFICATION
        element = itself if residue.by.directive.consent == d.consent else WITHDRAWN
        yield Reason(d.consent, d.version, program.nodes[0].rule.path, element, said)
        return
    if said is Verdict.WEAK_DENY:
        indexes = next((index,) for index, node in residue.live if node.permit)
    for index in indexes:
        rule = program.nodes[index].rule
        yield Reason(
            d.consent, d.version, rule.path, element_of(rule.data), said,
            rule.data.labels or frozenset(), rule.request.purposes or frozenset(),
        )  # fmt: skip


WITHDRAWN: Final = "withdrawn"  # the element of a reason: a later Consent of the same form was ended
UNTOLD: Final = "untold"  # and: what the client was told is not on record any more
VERIFICATION: Final = "verification"  # and: the domain demands that it was verified, which it does not say
_ELEMENTS: Final = (
    ("labels", "securityLabel"), ("classes", "class"), ("codes", "code"), ("period", "dataPeriod"), ("data", "data"),
    ("authors", "actor"), ("sources", "source"), ("tags", "tag"),
)  # fmt: skip


def element_of(group: DataGroup) -> str:
    """The elements of a data group by their FHIR names, joined; ``type`` when it covers everything."""
    return ",".join(name for attribute, name in _ELEMENTS if getattr(group, attribute) is not None) or "type"


def bind(programs: Sequence[Program], asked: Asked) -> Bound:
    """The request phase for one patient: eligible Consents, their residuals, and what follows without any resource."""
    counting = eligible(programs, asked)
    taken = withdrawn(counting, programs, asked.now_us) if len(counting) < len(programs) else {}  # none is inactive
    if asked.verified:
        taken = {p.directive.consent: p for p in counting if p.directive.verified is not True} | taken
    if silent := [p for p in counting if p.directive.untold]:
        taken = taken | {p.directive.consent: p for p in silent}
    always: list[Program] = []
    left: list[tuple[Program, tuple[int, ...]]] = []
    newest: list[Program] = []
    for p in counting:
        if p.always is not None:
            if p.always is Verdict.DENY and not _over(p, asked):
                always.append(p)
        elif live := live_nodes(p, asked):
            left.append((p, live))
            if p.directive.dialect.newest:
                newest.append(p)
    if len(newest) > 1:  # LEAP: the latest applicable Consent decides alone
        last = max(newest, key=lambda p: p.directive.given_us or 0)
        left = [(p, live) for p, live in left if p is last or not p.directive.dialect.newest]
    alike: dict[tuple[int, tuple[int, ...], str], list[Program]] = {}
    for p, live in left:
        by = taken.get(p.directive.consent) if taken else None
        key = p.shape, live, "" if by is None else by.directive.consent
        if key in alike:
            alike[key].append(p)
        else:
            alike[key] = [p]
    residues = [
        _taken_back(those, live, taken[those[0].directive.consent]) if by else _residue(those, live)
        for (_, live, by), those in alike.items()
    ]
    facets = frozenset[str]().union(*[residue.facets for residue in residues])
    bound = Bound(asked, tuple(residues), tuple(always), _facets=facets)
    if not facets or always:
        bound.fixed = bound._decide(_ANYTHING)
    return bound


def _over(program: Program, asked: Asked) -> bool:
    """Whether an unsupported Consent has ended, by dates that could be read."""
    if program.directive.status is not Enforcement.UNSUPPORTED:
        return False
    spans = [span for rule in program.directive.rules[:1] for span in rule.request.periods]
    return any(high is not None and high < asked.now_us for _, high in spans)


_ANYTHING: Final = ResourceView("", "")

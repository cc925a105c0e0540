"""The slow twin: the specification written out as plainly as it can be, against which the compiled engine is tested.

Nothing here is fast and nothing calls it at run time except tests, ``consent explain`` and the benchmark's check.
"""

from gateway.consent.asked import Asked
from gateway.consent.codes import RANK, UNREAD, subsumes
from gateway.consent.dialects import Dialect
from gateway.consent.rules import DataGroup, RequestGroup, Rule, Span, Verdict
from gateway.consent.view import ResourceView
from gateway.kernel.fhir import CONFIDENTIALITY

Truth = bool | None  # None: cannot be told


def all_of(*values: Truth) -> Truth:
    """AND over three values."""
    return False if False in values else None if None in values else True


def any_of(*values: Truth) -> Truth:
    """OR over three values."""
    return True if True in values else None if None in values else False


def closed(permit: bool, truth: Truth) -> bool:
    """Failing closed: what cannot be told is no match for a permission and a match for a denial."""
    return truth if truth is not None else not permit


def request_holds(group: RequestGroup, asked: Asked, dialect: Dialect, permit: bool) -> Truth:
    """Whether everything that a rule asks of the request holds."""
    said: list[Truth] = [_inside(span, asked.now_us) for span in group.periods]
    if group.period_unreadable:
        said.append(None)
    if group.actors is not None:
        said.append(asked.is_one_of(group.actors))
    if group.custodians is not None:
        said.append(None if not asked.custodian else not asked.custodian.isdisjoint(group.custodians.keys))
        if dialect.narrative and not asked.custodian:
            said[-1] = True
    if group.actions is not None:
        said.append(_action(group.actions, asked.action))
    if group.purposes is not None:
        said.append(_purpose(group.purposes, asked, dialect, permit))
    if group.environments is not None:
        said.append(None if not asked.environment else asked.environment in group.environments)
    if group.asked_codes is not None:
        said.append(None if asked.codes is None else not asked.codes.isdisjoint(group.asked_codes))
    return all_of(*said)


def _inside(span: Span, now_us: int) -> bool:
    return (span[0] is None or span[0] <= now_us) and (span[1] is None or now_us <= span[1])


def _action(stated: frozenset[str], asked: str) -> Truth:
    if asked in stated or (asked in ("read", "search") and "access" in stated):
        return True
    known = stated <= {"access", "collect", "use", "disclose", "correct", "read", "search"}
    return False if known else None


def _purpose(stated: frozenset[str], asked: Asked, dialect: Dialect, permit: bool) -> Truth:
    if not asked.purposes:
        return None
    covered = [not stated.isdisjoint(one) for one in asked.purposes]
    found = all(covered) if permit and asked.every_purpose else any(covered)
    if dialect.exact_purpose:
        found = not stated.isdisjoint(asked.purposes_exact)
    return _or_unread(found, stated)


def _or_unread(found: Truth, stated: frozenset[str]) -> Truth:
    """A value that nobody can read may be the one that matches."""
    return any_of(found, None) if UNREAD in stated else found


def data_holds(group: DataGroup, view: ResourceView, asked: Asked, dialect: Dialect, permit: bool) -> Truth:
    """Whether everything that a rule asks of the resource holds."""
    label = _label(group, view, dialect, permit) if group.labels is not None else True
    classes = all_of(*(_or_unread(not view.classes.isdisjoint(one), one) for one in group.classes or ()))
    code = _code(group, view) if group.codes is not None else True
    if group.union:
        stated = [
            t
            for t, there in ((label, group.labels), (classes, group.classes), (code, group.codes))
            if there is not None
        ]
        content = any_of(*stated) if stated else True
    else:
        content = all_of(label, classes, code)
    said: list[Truth] = [content]
    if group.unreadable or group.period_unreadable:
        said.append(None)
    if group.period is not None:
        said.append(_touches(group.period, view.interval, permit and group.strict_period))
    if group.data is not None:
        said.append(any_of(*(_instance(meaning, keys, view, asked, dialect) for meaning, keys in group.data)))
    if group.authors is not None:
        said.append(None if group.authors.unreadable else not view.authors.isdisjoint(group.authors.keys))
    if group.sources is not None:
        said.append(view.source in group.sources)
    if group.tags is not None:
        said.append(not view.tags.isdisjoint(group.tags))
    return all_of(*said)


def _label(group: DataGroup, view: ResourceView, dialect: Dialect, permit: bool) -> Truth:
    said: list[Truth] = []
    if group.labels:
        if not view.labels.isdisjoint(group.labels):
            said.append(True)
        else:
            said.append(False if view.labelled and UNREAD not in group.labels else None)
    for code in group.confidentiality:
        if dialect.exact_confidentiality:
            said.append(f"{CONFIDENTIALITY}|{code}" in view.labels if view.confidential else None)
            continue
        ranks = [RANK[label.rpartition("|")[2]] for label in view.labels if _is_rank(label)]
        if not ranks:
            said.append(None)
        else:
            said.append(max(ranks) <= RANK[code] if permit else max(ranks) >= RANK[code])
    return any_of(*said) if said else None


def _is_rank(label: str) -> bool:
    system, _, code = label.rpartition("|")
    return system == CONFIDENTIALITY and code in RANK


def _code(group: DataGroup, view: ResourceView) -> Truth:
    found = None if view.codes is None else subsumes(group.codes or (), group.code_prefixes, view.codes)
    return _or_unread(found, group.codes or frozenset())


def _touches(window: Span, interval: Span | None, wholly: bool) -> Truth:
    if interval is None:
        return None
    start, end = interval
    low, high = window
    if wholly:
        return (low is None or (start is not None and low <= start)) and (
            high is None or (end is not None and end <= high)
        )
    return (low is None or end is None or low <= end) and (high is None or start is None or start <= high)


def _instance(meaning: str, keys: frozenset[str], view: ResourceView, asked: Asked, dialect: Dialect) -> Truth:
    own = view.reference in keys
    if meaning == "instance":
        return own
    if meaning == "authoredby":
        return not view.authors.isdisjoint(keys)
    if meaning == "dependents" or (meaning == "related" and dialect.related_points_to):
        return own or not view.refers.isdisjoint(keys)
    if meaning == "related":  # what the instance refers to: only the instance itself can say
        links = [asked.links.get(key) for key in keys]
        return any_of(own, *(None if to is None else view.reference in to for to in links))
    return None


def residual(rule: Rule, asked: Asked, dialect: Dialect) -> list[Rule]:
    """Phase one: the rules, children included, whose request group matches."""
    return [r for r in rule.walk() if closed(r.permit, request_holds(r.request, asked, dialect, r.permit))]


def frontier(
    roots: tuple[Rule, ...], asked: Asked, view: ResourceView, dialect: Dialect
) -> tuple[list[Rule], list[Rule]]:
    """Phase two: the residual, and of its rules that match the data those without a matching rule below them."""
    live = [rule for root in roots for rule in residual(root, asked, dialect)]
    hit = [rule for rule in live if closed(rule.permit, data_holds(rule.data, view, asked, dialect, rule.permit))]
    return live, [rule for rule in hit if not any(_below(rule, other) for other in hit)]


def _below(upper: Rule, lower: Rule) -> bool:
    return any(child is lower or _below(child, lower) for child in upper.children)


def verdict(roots: tuple[Rule, ...], asked: Asked, view: ResourceView, dialect: Dialect) -> Verdict:
    """What one Consent's rules say about one resource."""
    live, front = frontier(roots, asked, view, dialect)
    if not front:
        return Verdict.WEAK_DENY if any(rule.permit for rule in live) else Verdict.NONE
    return Verdict.DENY if any(not rule.permit for rule in front) else Verdict.PERMIT

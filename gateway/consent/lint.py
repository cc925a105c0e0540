"""What is wrong with Consents, before somebody relies on them: unenforceable, contradicting, never matching, ending."""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Final

from gateway.consent.codes import UNREAD, Vocabulary
from gateway.consent.engine import compile_directive, withdrawn
from gateway.consent.rules import Directive, Enforcement, Rule
from gateway.kernel.fhir import ACT_REASON

_DAY_US: Final = 86_400_000_000


@dataclass(frozen=True, slots=True)
class Finding:
    """One fault: which Consent, which place in it, the kind, and what to do."""

    consent: str
    place: str
    rule: str  # unsupported, quarantined, note, conflict, unreachable, never-matches, ends-before-it-starts, no-form …
    text: str
    fix: str = ""


def lint(directives: Sequence[Directive], vocabulary: Vocabulary, now_us: int) -> Iterator[Finding]:
    """Every fault of the Consents, one by one and against each other."""
    for d in directives:
        if d.status is Enforcement.INACTIVE:
            continue
        if d.status is not Enforcement.ENFORCEABLE:
            yield Finding(d.consent, "", d.status.value, "it cannot be enforced, so it denies everything", "correct it")
        for text in d.warnings:
            place, _, rest = text.partition(": ") if ": " in text else ("", "", text)
            yield Finding(d.consent, place, "note", rest)
        for root in d.rules:
            yield from _rule(d, root, None, vocabulary, now_us)
        if not any(rule.permit or rule.children for rule in d.rules) and not d.rules:
            yield Finding(d.consent, "provision", "empty", "it permits and denies nothing", "add a provision")
        if d.untold:
            text = "what the client was told is not on record any more, so it permits nothing; its denials hold"
            yield Finding(
                d.consent, "source", "untold", text, "record every statement again, or have the form signed anew"
            )
        if d.verified is False:
            yield Finding(d.consent, "verification", "not-verified", "it says that it was not verified", "verify it")
        if not d.form:
            yield Finding(d.consent, "source", "no-form", "the form that was signed is not named", "add source[x]")
    programs = [compile_directive(d) for d in directives]
    counting = [p for p in programs if p.directive.status is Enforcement.ENFORCEABLE]
    for name, by in withdrawn(counting, programs, now_us).items():
        yield Finding(
            name, "status", "withdrawn",
            f"{by.directive.consent} of the same form was ended, which took its permission back",
            "inactivate it too, or have the form signed anew",
        )  # fmt: skip
    yield from _conflicts([p.directive for p in counting])


def _stated(rule: Rule) -> Iterator[tuple[str, frozenset[str]]]:
    """The coded elements of a provision with the keys that they hold."""
    yield "purpose", rule.request.purposes or frozenset()
    yield "action", rule.request.actions or frozenset()
    yield "securityLabel", rule.data.labels or frozenset()
    yield "code", rule.data.codes or frozenset()
    yield "class", frozenset().union(*(rule.data.classes or ()))


def _rule(d: Directive, rule: Rule, parent: Rule | None, vocabulary: Vocabulary, now_us: int) -> Iterator[Finding]:
    low = max((s for s, _ in rule.request.periods if s is not None), default=None)
    high = min((e for _, e in rule.request.periods if e is not None), default=None)
    if low is not None and high is not None and low > high:
        yield Finding(d.consent, rule.path, "never-matches", "its period and those above it have no day in common")
    elif high is not None and high < now_us and parent is None:
        yield Finding(d.consent, rule.path, "ended", "it is active and its period is over", "renew or inactivate it")
    for element, values in _stated(rule):
        if UNREAD in values:
            at = f"{rule.path}.{element}"
            yield Finding(d.consent, at, "unreadable-value", "a value holds no code: nobody can tell what it means",
                          "give a coding")  # fmt: skip
    for key in sorted(rule.request.purposes or ()):
        if key.startswith(f"{ACT_REASON}|") and not vocabulary.knows(key):
            yield Finding(d.consent, f"{rule.path}.purpose", "unknown-code", "no PurposeOfUse has this code")
    if rule.request.actors is not None and rule.request.actors.unreadable:
        yield Finding(d.consent, f"{rule.path}.actor", "unreadable-actor", "an actor names nobody",
                      "give a reference or an identifier")  # fmt: skip
    same = parent is not None and rule.request == parent.request
    if parent is not None and same and parent.permit and rule.permit and rule.data == parent.data:
        yield Finding(d.consent, rule.path, "unreachable", "it repeats the permission above it", "remove it")
    if parent is not None and same and not rule.permit and rule.data.empty:
        yield Finding(
            d.consent, parent.path, "unreachable", "the denial inside it covers all of it", "limit the denial"
        )
    for child in rule.children:
        yield from _rule(d, child, rule, vocabulary, now_us)


def _conflicts(directives: Sequence[Directive]) -> Iterator[Finding]:
    """Two Consents of a patient of which one denies what the other permits, without being its replacement."""
    for index, one in enumerate(directives):
        for other in directives[index + 1 :]:
            if (
                one.patients.isdisjoint(other.patients)
                or one.consent in other.replaces
                or other.consent in one.replaces
            ):
                continue
            for a, b in ((one, other), (other, one)):
                hit = next(
                    (r for r in a.rules if not r.permit and any(_overlaps(r, p) for p in b.rules if p.permit)), None
                )
                if hit is not None:
                    yield Finding(
                        a.consent, hit.path, "conflict", f"it denies what {b.consent} permits; the denial wins",
                        "say which one holds: inactivate the other, or link it as replaced",
                    )  # fmt: skip


def _overlaps(one: Rule, other: Rule) -> bool:
    a, b = one.request, other.request
    actors = a.actors is None or b.actors is None or not a.actors.keys.isdisjoint(b.actors.keys)
    purposes = a.purposes is None or b.purposes is None or not a.purposes.isdisjoint(b.purposes)
    return actors and purposes and one.data.empty


@dataclass(frozen=True, slots=True)
class Ending:
    """A Consent that ends: the last instant, and how many days are left (negative: over)."""

    consent: str
    patients: tuple[str, ...]
    ends_us: int
    days: int


def endings(directives: Iterable[Directive], now_us: int, within_days: int) -> list[Ending]:
    """Enforceable Consents whose root period ends within so many days, soonest first; ended ones are not among them."""
    found = []
    for d in directives:
        ends = [e for rule in d.rules[:1] for _, e in rule.request.periods if e is not None]
        if d.status is not Enforcement.ENFORCEABLE or not ends:
            continue
        left = (min(ends) - now_us) // _DAY_US
        if 0 <= left <= within_days:
            found.append(Ending(d.consent, tuple(sorted(d.patients)), min(ends), left))
    return sorted(found, key=lambda one: (one.ends_us, one.consent))

"""The data group of a rule as one function of a resource's facets (R4 Consent, provision: class, code, label, data).

Each part answers yes or no with doubt already turned against disclosure: what cannot be told is no match for a
permission and a match for a denial.
"""

from collections.abc import Callable
from typing import TypeAlias

from gateway.consent.asked import Asked
from gateway.consent.codes import RANK, UNREAD
from gateway.consent.rules import DataGroup, Directive
from gateway.consent.view import ResourceView
from gateway.kernel.fhir import CONFIDENTIALITY

Test: TypeAlias = Callable[[ResourceView, Asked], bool]  # a whole data group, failing closed


def compile_data(group: DataGroup, permit: bool, directive: Directive) -> tuple[Test | None, frozenset[str]]:
    """The test of a data group, None when it covers everything, and which facets of a view it looks at."""
    if group.empty:
        return None, frozenset()
    content: list[tuple[Test, str]] = []
    if group.labels is not None:
        content.append((_label_test(group, permit, directive), "labels"))
    for classes in group.classes or ():
        content.append((_class_test(classes, permit), "classes"))
    if group.codes is not None:
        content.append((_code_test(group, permit), "codes"))
    rest: list[tuple[Test, str]] = []
    if group.unreadable or group.period_unreadable:
        doubt = not permit
        rest.append((lambda view, asked: doubt, "none"))
    if group.period is not None:
        rest.append((_period_test(group, permit), "interval"))
    if group.data is not None:
        rest.append((_instance_test(group.data, permit, directive), "instance"))
    if group.authors is not None:
        writers, unclear = group.authors.keys, group.authors.unreadable and not permit
        rest.append((lambda view, asked: unclear or not view.authors.isdisjoint(writers), "authors"))
        if group.authors.unreadable and permit:
            rest.append((lambda view, asked: False, "none"))
    if group.sources is not None:
        sources = group.sources
        rest.append((lambda view, asked: view.source in sources, "source"))
    if group.tags is not None:
        tags = group.tags
        rest.append((lambda view, asked: not view.tags.isdisjoint(tags), "tags"))
    facets = frozenset(name for _, name in (*content, *rest))
    tests = [test for test, _ in content]
    if group.union and len(tests) > 1:
        tests = [_any(tuple(tests))]
    return _all(tuple(tests + [test for test, _ in rest])), facets


def _all(tests: tuple[Test, ...]) -> Test:
    if len(tests) == 1:
        return tests[0]
    return lambda view, asked: all(test(view, asked) for test in tests)


def _always(view: ResourceView, asked: Asked) -> bool:
    """What a denial says of a value that nobody can read."""
    return True


def _any(tests: tuple[Test, ...]) -> Test:
    return lambda view, asked: any(test(view, asked) for test in tests)


def _class_test(classes: frozenset[str], permit: bool) -> Test:
    if UNREAD in classes and not permit:
        return _always
    return lambda view, asked: not view.classes.isdisjoint(classes)


def _code_test(group: DataGroup, permit: bool) -> Test:
    codes, prefixes, doubt = group.codes or frozenset(), group.code_prefixes, not permit
    if UNREAD in codes and doubt:
        return _always

    def test(view: ResourceView, asked: Asked) -> bool:
        if view.codes is None:
            return doubt
        if not view.codes.isdisjoint(codes):
            return True
        return bool(prefixes) and any(code.startswith(prefixes) for code in view.codes)

    return test


def _label_test(group: DataGroup, permit: bool, directive: Directive) -> Test:
    wanted = group.labels or frozenset()
    if UNREAD in wanted and not permit:
        return _always
    if directive.dialect.exact_confidentiality:
        exact = frozenset(f"{CONFIDENTIALITY}|{code}" for code in group.confidentiality)
        return _exact_label_test(wanted, exact, permit)
    ranks = [RANK[code] for code in group.confidentiality]
    bound = (max(ranks) if permit else min(ranks)) if ranks else None

    def permitted(view: ResourceView, asked: Asked) -> bool:
        if not view.labels.isdisjoint(wanted):
            return True
        return bound is not None and view.confidential and view.rank <= bound

    def denied(view: ResourceView, asked: Asked) -> bool:
        if not view.labels.isdisjoint(wanted) or (wanted and not view.labelled):
            return True
        return bound is not None and (not view.confidential or view.rank >= bound)

    return permitted if permit else denied


def _exact_label_test(wanted: frozenset[str], exact: frozenset[str], permit: bool) -> Test:
    every = wanted | exact
    if permit:
        return lambda view, asked: not view.labels.isdisjoint(every)
    return lambda view, asked: (
        not view.labels.isdisjoint(every) or bool(wanted and not view.labelled) or bool(exact and not view.confidential)
    )


def _period_test(group: DataGroup, permit: bool) -> Test:
    low, high = group.period or (None, None)
    wholly, doubt = permit and group.strict_period, not permit

    def test(view: ResourceView, asked: Asked) -> bool:
        if view.interval is None:
            return doubt
        start, end = view.interval
        if wholly:
            return (low is None or (start is not None and low <= start)) and (
                high is None or (end is not None and end <= high)
            )
        return (low is None or end is None or low <= end) and (high is None or start is None or start <= high)

    return test


def _instance_test(data: tuple[tuple[str, frozenset[str]], ...], permit: bool, directive: Directive) -> Test:
    own: set[str] = set()
    pointing: set[str] = set()
    pointed: set[str] = set()
    writers: set[str] = set()
    unclear = False
    for meaning, keys in data:
        if meaning == "authoredby":
            writers |= keys
        elif meaning == "unknown":
            unclear = True
        else:
            own |= keys
            if meaning == "dependents" or (meaning == "related" and directive.dialect.related_points_to):
                pointing |= keys
            elif meaning == "related":
                pointed |= keys
    doubt = unclear and not permit

    def test(view: ResourceView, asked: Asked) -> bool:
        if view.reference in own or doubt:
            return True
        if pointing and not view.refers.isdisjoint(pointing):
            return True
        if writers and not view.authors.isdisjoint(writers):
            return True
        for key in pointed:
            to = asked.links.get(key)
            if (to is None and not permit) or (to is not None and view.reference in to):
                return True
        return False

    return test

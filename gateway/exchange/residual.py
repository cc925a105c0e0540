"""The residual of an asker's Consents for a store: which forms of Consent may show what kinds of resources.

Each form in the store is bound to the request once, by one Consent of it; each kind that was met is judged once.
A form whose rules look at more than labels and classes counts for every kind, so the store leaves out nothing that the
engine could show; which Consents replace others, denials beside permissions, linked records and every further patient
named are for the engine too.
"""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass

from gateway.consent.asked import Asked
from gateway.consent.engine import Bound, Program, bind
from gateway.consent.view import ResourceView
from gateway.exchange.search import Grant, Shown

FORMS_LIMIT = 200  # with more forms than this every candidate is judged
PAIRS_LIMIT = 20_000  # forms times kinds

Permitted = Callable[[ResourceView, Bound], bool]  # whether the law lets out what the Consents permit


@dataclass
class Disagreements:
    """How often the residual in the store and the engine said different things: a fault, and each time a denial."""

    count: int = 0
    alarm: Callable[[str], None] = lambda type_: None  # told the resource type, nothing else

    def add(self, type_: str) -> None:
        """One more."""
        self.count += 1
        self.alarm(type_)


@dataclass(frozen=True, slots=True)
class Asker:
    """Who asks: by which names it owns records, the organization that may be their maker, the instant."""

    now_us: int
    creators: tuple[str, ...]
    organization: str


def residual(
    programs: Mapping[int, Program], kinds: Mapping[int, ResourceView], asked: Asked, asker: Asker, permitted: Permitted
) -> Shown:
    """What a store may show to the asker.

    Args:
        programs: one Consent of each form, without the period that is its own (consent.outline.timeless).
        kinds: one resource of each kind that was met.
        permitted: what the law says of a resource that these Consents permit.
    """
    if len(programs) * len(kinds) > PAIRS_LIMIT:
        kinds = {}
    grants: dict[tuple[int, ...], list[int]] = {}
    decided = set()
    for form, program in programs.items():
        bound = bind([program], asked)
        without = _without(bound, kinds, permitted)
        if without is None:
            continue
        if bound.by_kind:
            decided.add(form)
        grants.setdefault(tuple(without), []).append(form)
    found = tuple(Grant(tuple(sorted(forms)), without) for without, forms in sorted(grants.items()))
    return Shown(asker.now_us, found, asker.creators, asker.organization, frozenset(kinds), frozenset(decided))


def _without(bound: Bound, kinds: Mapping[int, ResourceView], permitted: Permitted) -> Iterable[int] | None:
    """The kinds that the form does not show; None: it shows nothing at all."""
    if not bound.grants:
        return None
    if not bound.by_kind:
        return ()
    return sorted(kind for kind, view in kinds.items() if not (bound.judge(view).permits and permitted(view, bound)))

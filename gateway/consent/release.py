"""The gate: the only maker of :class:`Released`, which every door that lets data out demands (DESIGN, decision 1)."""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any, ClassVar, Generic, Protocol, TypeVar


class Releasable(Protocol):
    """What the gate can let out: one version of a resource with its exact text."""

    __dataclass_fields__: ClassVar[dict[str, Any]]  # a dataclass, so that a redacted copy can be made

    @property
    def type(self) -> str:
        """The resource type."""
        ...

    @property
    def id(self) -> str:
        """The logical id."""
        ...

    @property
    def body(self) -> bytes:
        """The exact text, UTF-8 JSON."""
        ...


C = TypeVar("C", bound=Releasable)


@dataclass(frozen=True, slots=True)
class Judgement:
    """What the gate says about one resource: permit or not, why, and the text to hand out when it was cut."""

    permit: bool
    because: tuple[str, ...] = ()  # Consents (``Consent/id/_history/n``) and rules (``law:…``, ``own-records``)
    body: bytes | None = field(default=None, repr=False)  # redacted copy; None: the stored text, untouched
    notices: tuple[str, ...] = ()  # obligations that travel with it, such as the Part 2 notice


@dataclass(frozen=True, slots=True)
class Released(Generic[C]):
    """Resources that ``to`` may see, in the order of the candidates. Made only by :func:`release`.

    ``because`` names the Consents and rules that say so; ``notices`` are codes of texts that must travel along;
    ``withheld`` is how many of each type were held back (for the audit record only, it must never reach the asker).
    """

    to: str
    resources: tuple[C, ...] = field(repr=False)
    because: tuple[str, ...]
    notices: tuple[str, ...]
    withheld: Mapping[str, int]


def release(to: str, candidates: Iterable[C], judge: Callable[[C], Judgement]) -> Released[C]:
    """Cut ``candidates`` to what ``judge`` permits; each verdict is taken beside the resource that it is about.

    A body is copied only when the judgement carries a redacted one.
    """
    kept: list[C] = []
    because: dict[str, None] = {}
    notices: dict[str, None] = {}
    withheld: dict[str, int] = {}
    for candidate in candidates:
        said = judge(candidate)
        if said.permit is not True:
            withheld[candidate.type] = withheld.get(candidate.type, 0) + 1
            continue
        kept.append(candidate if said.body is None else replace(candidate, body=said.body))
        because.update(dict.fromkeys(said.because))
        notices.update(dict.fromkeys(said.notices))
    return Released(to, tuple(kept), tuple(because), tuple(notices), withheld)

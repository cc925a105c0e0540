"""One record against its candidates, each given up as soon as it is sure that it cannot reach the floor.

The ladders of a model are written into one function, in the order of looking, with the record's own traits bound once:
a candidate then costs its own traits and the levels up to where it falls out. :meth:`Scorer.score` is the slow twin.
"""

from collections.abc import Callable, Sequence
from functools import lru_cache
from typing import Any, Final, TypeAlias

from gateway.linkage.ladders import SCOPE, chain, columns_of
from gateway.linkage.traits import Traits

Gate: TypeAlias = Callable[[Traits], tuple[int, ...] | None]  # the vector of a candidate, None: cannot reach the floor
Bind: TypeAlias = Callable[[Traits, float, Sequence[Sequence[float]], Sequence[float]], Gate]

SOFT: Final = {"given": "soft_name", "middle": "soft_name", "last": "soft_name", "dob": "soft_dob", "ssn": "soft_ssn"}
"""A value that its source calls approximate may agree; that it disagrees says nothing."""


@lru_cache(maxsize=16)
def gate_of(comparisons: tuple[tuple[str, tuple[str, ...], tuple[int, ...]], ...], looked_at: tuple[int, ...]) -> Bind:
    """The function that binds a record: (record, bits in reach of the floor before anything is seen, by comparison the
    most that each level can add, by comparison the most that those looked at later can add).

    Args:
        comparisons: name, levels, and the levels that speak against the pair.
        looked_at: their numbers in the order of looking.
    """
    lines = ["def bind(b, start, most, rest):"]
    columns = dict.fromkeys(column for name, labels, _ in comparisons for column in columns_of(name, labels))
    lines += [f" {column}_r = b.{column}" for column in columns]
    flags = dict.fromkeys(SOFT[name] for name, _, against in comparisons if name in SOFT and against)
    lines += [f" {flag}_b = b.{flag}" for flag in flags]
    for i in looked_at:
        lines.append(f" most{i} = most[{i}]; rest{i} = rest[{i}]")
    lines.append(" def gate(a):")
    lines += [f"  {flag} = a.{flag} or {flag}_b" for flag in flags]
    lines.append("  reach = start")
    for i in looked_at:
        name, labels, against = comparisons[i]
        lines += [f"  {line}" for line in chain(name, labels, f"at{i}", "l")]
        if name in SOFT and against:
            lines.append(f"  if {SOFT[name]} and at{i} in {against!r}: at{i} = 0")
        lines += [f"  reach += most{i}[at{i}]", f"  if reach + rest{i} < 0: return None"]
    lines.append(f"  return ({', '.join(f'at{i}' for i in range(len(comparisons)))},)")
    lines.append(" return gate")
    made: dict[str, Any] = {}
    exec(compile("\n".join(lines), "<gate>", "exec"), dict(SCOPE), made)  # noqa: S102 - our own text
    bind: Bind = made["bind"]
    return bind

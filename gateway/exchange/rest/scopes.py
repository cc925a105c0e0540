"""SMART v2 system scopes: ``system/Type.cruds?constraint`` (SMART App Launch 2.2, "Scopes")."""

import re
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final

from gateway.kernel.errors import Forbidden, Invalid

_V2: Final = re.compile(r"system/(\*|[A-Z][A-Za-z]{1,60})\.(c?r?u?d?s?)(?:\?([!-~]+))?", re.ASCII)
_V1: Final = re.compile(r"system/(\*|[A-Z][A-Za-z]{1,60})\.(read|write|\*)", re.ASCII)
_V1_ACTIONS: Final = {"read": "rs", "write": "cud", "*": "cruds"}
ACTIONS: Final = {"c": "create", "r": "read", "u": "update", "d": "delete", "s": "search"}


@dataclass(frozen=True, slots=True)
class Scope:
    """One scope: resource type or ``*``, the letters of ``cruds`` it allows, and a search that bounds it or ``""``."""

    type: str
    actions: str
    constraint: str = ""


def read_scope(text: str, *, at: str = "scope") -> Scope:
    """Read one scope; v1 forms (``system/Patient.read``) are taken as their v2 meaning.

    Raises:
        Invalid: not a system scope; patient and user scopes need a person at the keyboard, which this API never has.
    """
    found = _V2.fullmatch(text)
    if found and found[2]:
        return Scope(found[1], found[2], found[3] or "")
    old = _V1.fullmatch(text)
    if old:
        return Scope(old[1], _V1_ACTIONS[old[2]])
    raise Invalid("not a SMART system scope", at=at, fix="write system/Type.cruds, such as system/Patient.rs")


@dataclass(frozen=True, slots=True)
class Scopes:
    """Everything that a token allows."""

    each: tuple[Scope, ...]

    @classmethod
    def of(cls, texts: Iterable[str]) -> "Scopes":
        """Read many."""
        return cls(tuple(read_scope(text) for text in texts))

    def constraints(self, type_: str, action: str) -> tuple[str, ...]:
        """The searches of which one must hold; ``("",)`` when a scope allows the action without a bound.

        Args:
            type_: a resource type.
            action: one letter of ``cruds``.

        Raises:
            Forbidden: no scope allows it; the answer names type and action only, so it is the same for any data.
        """
        allowed = [scope for scope in self.each if scope.type in ("*", type_) and action in scope.actions]
        if not allowed:
            raise Forbidden(
                f"the token's scopes do not allow {ACTIONS[action]} of {type_}",
                at="Authorization",
                fix=f"ask for system/{type_}.{action}",
            )
        if any(not scope.constraint for scope in allowed):
            return ("",)
        return tuple(sorted({scope.constraint for scope in allowed}))

    def allows(self, type_: str, action: str) -> bool:
        """Whether some scope allows the action on the type, bounded or not."""
        return any(scope.type in ("*", type_) and action in scope.actions for scope in self.each)

    def everything(self, action: str) -> bool:
        """Whether an unbounded ``*`` scope allows the action."""
        return any(scope.type == "*" and action in scope.actions and not scope.constraint for scope in self.each)


def granted(registered: Iterable[str], asked: Iterable[str]) -> tuple[str, ...]:
    """The part of the asked scopes that the registration covers; everything registered when nothing was asked.

    A scope is covered when one registered scope has its type (or ``*``), at least its actions, and no bound, or the
    same bound. An asked scope that is only partly covered is cut to the covered actions.
    """
    mine = list(registered)
    asked = list(asked)
    if not asked:
        return tuple(mine)
    have = [read_scope(text) for text in mine]
    out: list[str] = []
    for text in asked:
        try:
            want = read_scope(text)
        except Invalid:
            continue  # RFC 6749 section 3.3: the server may ignore what it does not know
        letters = "".join(
            letter
            for letter in want.actions
            if any(
                own.type in ("*", want.type) and letter in own.actions and own.constraint in ("", want.constraint)
                for own in have
            )
        )
        if letters:
            out.append(f"system/{want.type}.{letters}" + (f"?{want.constraint}" if want.constraint else ""))
    return tuple(out)

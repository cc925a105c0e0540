"""What stands above every Consent, as policy data with its citation (terminology/policies/law.csv)."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import date, tzinfo
from typing import Final

from gateway.consent.times import bounds_of
from gateway.consent.view import ResourceView
from gateway.kernel.errors import DoorwayError, Invalid
from gateway.kernel.fhir import DOORWAY

HANDLING: Final = f"{DOORWAY}/CodeSystem/handling"  # VSP, RESTRICTED, EMBARGO-YYYY-MM-DD: labels of the law layer
EMBARGO: Final = f"{HANDLING}|EMBARGO-"

_EFFECTS: Final = ("deny", "specific", "embargo")
_SWITCHES: Final = {  # by rule: its values, what holds without a row first
    "agreement": ("recorded", "registered"),
    "break-glass": ("allowed", "refused"),
    "verification": ("optional", "demanded"),
}


@dataclass(frozen=True, slots=True)
class LawRule:
    """One rule: what carries one of ``labels`` is denied, or needs a permission that names one of ``needs``.

    ``notice`` is the code of the text that goes with what is released under it, ``handling`` are labels that the copy
    carries (``system|code``).
    """

    name: str
    effect: str
    labels: frozenset[str]
    needs: frozenset[str]
    notice: str
    citation: str
    handling: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Law:
    """The rules in order, types that concern no person, and the switches of the domain."""

    rules: tuple[LawRule, ...]
    open_types: frozenset[str]
    agreement: str = "recorded"  # recorded: one must be on record; registered: where none is, a registration counts
    break_glass: bool = True
    verified: bool = False  # a Consent permits nothing until Consent.verification says that it was verified

    def says(
        self, view: ResourceView, now_us: int, zone: tzinfo, named: frozenset[str]
    ) -> tuple[LawRule | None, tuple[str, ...]]:
        """The rule that denies a resource, if one does, and the notices that must go with it otherwise.

        Args:
            named: labels that the permitting provisions name themselves; a general permission names none.
        """
        notices = []
        for rule in self.rules:
            if rule.effect == "embargo":
                if any(_embargoed(label, now_us, zone) for label in view.labels if label.startswith(EMBARGO)):
                    return rule, ()
                continue
            if view.labels.isdisjoint(rule.labels):
                continue
            if rule.effect == "deny" or named.isdisjoint(rule.needs):
                return rule, ()
            if rule.notice:
                notices.append(rule.notice)
        return None, tuple(notices)

    def handling(self, notices: Iterable[str]) -> tuple[str, ...]:
        """The labels that a copy carries which goes out under these notices."""
        wanted = set(notices)
        return tuple(dict.fromkeys(one for rule in self.rules if rule.notice in wanted for one in rule.handling))


def read_notices(rows: Iterable[Mapping[str, str]]) -> dict[str, dict[str, str]]:
    """From rows of (notice, language, text): the texts of each notice by language."""
    found: dict[str, dict[str, str]] = {}
    for row in rows:
        found.setdefault(row["notice"], {})[row["language"]] = row["text"]
    return found


def embargo_label(until: date) -> str:
    """The code of the label that keeps a record back until the end of a day (civil zone of the site)."""
    return f"EMBARGO-{until.isoformat()}"


def _embargoed(label: str, now_us: int, zone: tzinfo) -> bool:
    try:
        return now_us <= bounds_of(label.removeprefix(EMBARGO), zone)[1]
    except DoorwayError:
        return True  # a label that cannot be read keeps the record back


def read_law(rows: Iterable[Mapping[str, str]], *, file: str = "terminology/policies/law.csv") -> Law:
    """From rows of (rule, effect, labels, needs, notice, handling, citation); labels are separated by spaces.

    Raises:
        Invalid: an effect or switch that does not exist, with file:line.
    """
    rules, open_types, switches = [], frozenset[str](), {name: values[0] for name, values in _SWITCHES.items()}
    for line, row in enumerate(rows, start=2):
        if row["effect"] == "open":
            open_types = open_types | frozenset(row["labels"].split())
        elif row["effect"] == "switch":
            name, value = row["rule"], row["labels"].strip()
            if value not in _SWITCHES.get(name, ()):
                fix = "; ".join(f"{one}: {' or '.join(values)}" for one, values in _SWITCHES.items())
                raise Invalid("no such switch, or not one of its values", at=f"{file}:{line}", fix=fix)
            switches[name] = value
        elif row["effect"] in _EFFECTS:
            rules.append(
                LawRule(
                    row["rule"], row["effect"], frozenset(row["labels"].split()), frozenset(row["needs"].split()),
                    row["notice"], row["citation"], tuple((row.get("handling") or "").split()),
                )
            )  # fmt: skip
        else:
            raise Invalid("no such effect", at=f"{file}:{line} effect", fix="deny, specific, embargo, open or switch")
    return Law(
        tuple(rules), open_types, switches["agreement"], switches["break-glass"] == "allowed",
        switches["verification"] == "demanded",
    )  # fmt: skip

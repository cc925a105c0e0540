"""What of a project, its organization or its funders calls for labels (mappings/hmis/projects.csv)."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from gateway.mapping.hmis import values
from gateway.mapping.hmis.spec import Read, Spec
from gateway.mapping.table import read_table

UNKNOWN: Final = "?"  # in the codes of a rule: a value that its list does not know counts as well
_PATH: Final = "mappings/hmis/projects.csv"
_VICTIMS: Final = "VictimServiceProvider"


@dataclass(frozen=True, slots=True)
class _Rule:
    table: str
    column: str
    codes: frozenset[str]
    label: str
    list: str  # of the column

    def meets(self, spec: Spec, cell: str) -> bool:
        """Whether a cell is one of the codes, in whatever spelling; UNKNOWN stands for what is no code at all."""
        text = values.code_text(cell)
        unread = UNKNOWN in self.codes and text != "" and values.code_of(spec, self.list, cell) is None
        return text in self.codes or unread


class ProjectRules:
    """Labels of a project, and whether it serves victims, from cells as they stand."""

    def __init__(self, spec: Spec, rules: Sequence[_Rule]) -> None:
        self._spec, self._rules = spec, rules

    @classmethod
    def load(cls, read: Read, spec: Spec) -> "ProjectRules":
        """Read the table.

        Raises:
            Invalid: a fault in the table, with file:line.
        """
        columns = ("column", "codes", "label", "note")
        rules = []
        for row in read_table(read(_PATH), file=_PATH, columns=columns, required=columns[:3]):
            table, _, column = row["column"].partition(".")
            file = spec.files.get(table)
            known = file.column(column) if file else None
            rules.append(
                _Rule(table, column, frozenset(row["codes"].split()), row["label"], known.list if known else "")
            )
        return cls(spec, rules)

    def labels(self, project: Mapping[str, str], owner: Mapping[str, str], funders: Sequence[str]) -> frozenset[str]:
        """Label names of every client-level row of a project; ``owner`` is its organization's row."""
        found = set()
        for rule in self._rules:
            cells = {"Project": [project.get(rule.column, "")], "Organization": [owner.get(rule.column, "")]}
            if any(rule.meets(self._spec, cell) for cell in cells.get(rule.table, funders)):
                found.add(rule.label)
        return frozenset(found)

    def victims(self, owner: Mapping[str, str]) -> bool:
        """Whether an organization is a victim service provider; an answer that cannot be read counts as yes."""
        return any(rule.column == _VICTIMS and rule.meets(self._spec, owner.get(_VICTIMS, "")) for rule in self._rules)

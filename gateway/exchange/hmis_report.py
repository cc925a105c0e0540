"""What a conversion of an HMIS export needs and tells: room on the way, where resources go, what was seen."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any, Final, Protocol

from gateway.codecs.hmis_csv import Header, Heading
from gateway.kernel.fhir import JsonObject

FINDINGS_KEPT: Final = 10_000


class Scratch(Protocol):
    """Room for what must be grouped across a file, in buckets, so that memory stays flat."""

    def add(self, bucket: int, line: str) -> None:
        """Keep a line."""
        ...

    def read(self, bucket: int) -> Iterator[str]:
        """The lines of a bucket in the order they came."""
        ...


Sink = Callable[[str, list[str]], None]  # resource type, JSON lines
BUCKETS: Final = 64
Share = tuple[int, int]  # which of how many processes: each looks at every key and converts the blocks that are its
WHOLE: Final[Share] = (0, 1)


@dataclass(slots=True)
class Finding:
    """Something about a row that a person should look at; never its content."""

    file: str
    row: int  # line of the table, header not counted, from 1; 0 for the file
    column: str
    reason: str


@dataclass(slots=True)
class Report:
    """What a conversion saw."""

    source: str = ""
    version: str = ""
    files: dict[str, dict[str, Any]] = field(default_factory=dict)
    resources: dict[str, int] = field(default_factory=dict)
    findings: list[Finding] = field(default_factory=list)
    reasons: dict[str, int] = field(default_factory=dict)

    def say(self, file: str, row: int, column: str, reason: str) -> None:
        """Note a finding; beyond a limit only the counts grow."""
        key = f"{file} {column}: {reason}" if column else f"{file}: {reason}"
        self.reasons[key] = self.reasons.get(key, 0) + 1
        if len(self.findings) < FINDINGS_KEPT:
            self.findings.append(Finding(file, row, column, reason))

    def absorb(self, other: "Report") -> None:
        """Add what another process saw."""
        for path, told in other.files.items():
            mine = self.files.setdefault(path, {**told, "rows": 0, "kept_whole": 0})
            mine["rows"] += told["rows"]
            mine["kept_whole"] += told["kept_whole"]
            if told.get("blank_rows") and mine.get("blank_rows") is not told["blank_rows"]:
                both = [*mine.get("blank_rows", ()), *told["blank_rows"]]
                mine["blank_rows"] = sorted(both, key=lambda rows: int(rows.partition("-")[0]))
        for kind, count in other.resources.items():
            self.resources[kind] = self.resources.get(kind, 0) + count
        for reason, count in other.reasons.items():
            self.reasons[reason] = self.reasons.get(reason, 0) + count
        self.findings.extend(other.findings[: FINDINGS_KEPT - len(self.findings)])

    def as_json(self) -> JsonObject:
        """For report.json."""
        return {
            "source": self.source,
            "version": self.version,
            "files": self.files,
            "resources": dict(sorted(self.resources.items())),
            "reasons": dict(sorted(self.reasons.items())),
            "findings": [{"file": f.file, "row": f.row, "column": f.column, "reason": f.reason} for f in self.findings],
        }


@dataclass(slots=True)
class FileSeen:
    """One CSV of the export."""

    path: str
    name: str  # HUD's name, or empty for a file that HUD does not know
    encoding: str
    heading: Heading
    bytes: int

    @property
    def header(self) -> Header:
        """Its header."""
        return self.heading.header

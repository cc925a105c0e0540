"""Each folder of tests/examples/consent: request lines of ``consent decide`` beside what the specification demands.

A line of ``decisions.ndjson`` says in words what is meant and holds what must come out: ``decision``; ``permitted``,
the references that are permitted; ``residual``, ``obligations`` and ``dialects`` as they are; ``because`` of each
resource; ``warn``, which a warning must hold; ``absent``, keys that must not be there; or ``error``, the place of the
mistake.
"""

from pathlib import Path
from typing import Any, Final

import orjson
import pytest

from gateway.consent.decide import decide
from gateway.kernel.errors import Invalid
from gateway.kernel.fhir import JsonObject
from tests.consent.build import words

EXAMPLES: Final = Path(__file__).parents[1] / "examples" / "consent"
FOLDERS: Final = sorted(path.name for path in EXAMPLES.iterdir())
_WHOLE: Final = ("decision", "residual", "obligations", "dialects")


def lines(folder: str, name: str) -> list[JsonObject]:
    return [orjson.loads(line) for line in (EXAMPLES / folder / name).read_bytes().splitlines()]


def answered(request: JsonObject) -> JsonObject:
    """The decision, in the words of ``decisions.ndjson``."""
    try:
        said = decide(request, words())
    except Invalid as error:
        return {"error": error.at}
    judged: list[Any] = said.get("resources", [])
    return said | {
        "permitted": [one["reference"] for one in judged if one["decision"] == "permit"],
        "because": [one["because"] for one in judged],
    }


@pytest.mark.parametrize("folder", FOLDERS)
def test_every_line_is_decided_as_the_specification_says(folder: str) -> None:
    requests, wanted = lines(folder, "requests.ndjson"), lines(folder, "decisions.ndjson")
    assert [one["id"] for one in requests] == [one["id"] for one in wanted]
    wrong = []
    for request, want in zip(requests, wanted, strict=True):
        said = answered(request)
        expected = {key: value for key, value in want.items() if key in (*_WHOLE, "because", "error")}
        found = {key: said.get(key) for key in expected}
        if "permitted" in want:
            expected["permitted"], found["permitted"] = sorted(want["permitted"]), sorted(said["permitted"])
        told = "warn" not in want or any(want["warn"] in text for text in said["warnings"])
        if found != expected or not told or any(key in said for key in want.get("absent", ())):
            wrong.append((want["says"], found))
    assert wrong == []


def test_the_examples_cover_every_part_of_the_specification() -> None:
    assert len(FOLDERS) >= 17
    assert sum(len(lines(folder, "decisions.ndjson")) for folder in FOLDERS) >= 270

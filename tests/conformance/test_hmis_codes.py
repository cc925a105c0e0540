"""The SNOMED CT codes that stand beside HUD's Event codes, against what HL7's packages say of them."""

import json
import tarfile

from gateway.adapters.files.data import read_data
from tests.support.shared import SHARED

assert SHARED is not None
EVENTS = "https://doorway.example/fhir/ConceptMap/hud-4.20.2"
SNOMED = "http://snomed.info/sct"


def test_the_codes_of_referrals_are_procedures_as_the_binding_asks() -> None:
    assert SHARED is not None
    with tarfile.open(SHARED / "packages" / "hl7.fhir.us.core-7.0.0.tgz") as package:

        def included(name: str) -> list[dict[str, object]]:
            member = package.extractfile(f"package/ValueSet-{name}.json")
            assert member is not None
            found: list[dict[str, object]] = json.load(member)["compose"]["include"]
            return [each for each in found if each.get("system") == SNOMED]

        (procedures,) = included("us-core-procedure-code")
        (categories,) = included("us-core-servicerequest-category")
    assert procedures["filter"] == [{"property": "concept", "op": "is-a", "value": "71388002"}]
    lines = [line for line in read_data("terminology/hud/lists.conceptmap.csv").splitlines() if EVENTS in line]
    used = {tuple(line.partition(f"{SNOMED},")[2].split(",")[:2]) for line in lines}
    assert used - {("",)} == {("3457005", "Patient referral"), ("410606002", "Social service procedure")}
    assert {"code": "410606002", "display": "Social service procedure (procedure)"} in list(categories["concept"])  # type: ignore[call-overload]

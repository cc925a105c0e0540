"""UCUM expressions by their form."""

import pytest

from gateway.profiles.ucum import well_formed
from tests.profiles.test_structure import VALIDATOR

GOOD = (
    "mg", "mg/dL", "/min", "{beats}/min", "10*3/uL", "10*-6", "10^9/L", "kg.m/s2", "m[H2O]", "[degF]", "%", "1",
    "mm[Hg]", "[in_i]", "mL/min/{1.73_m2}", "g/(24.h)", "ug/kg/(8.h)", "{score}", "kg/m2", "[arb'U]/mL", "m3{STP}",
    "10*6.[CFU]", "a_j", "B[10.nV]", "Ohm.m", "s-1", "2.54.cm", "/[HPF]", "eq/L", "''",
)  # fmt: skip
BAD = (
    "",
    "mg/",
    "mg//dL",
    "mg per dL",
    "(mg",
    "mg)",
    "{open",
    "}",
    "kg.m.",
    "µg",
    "mg /dL",
    "[in",
    "10*3 /uL",
    "*",
    "(" * 30,
)


@pytest.mark.parametrize("expression", GOOD)
def test_an_expression_is_known_by_its_form(expression: str) -> None:
    assert well_formed(expression)


@pytest.mark.parametrize("expression", BAD)
def test_what_is_no_expression_is_refused(expression: str) -> None:
    assert not well_formed(expression)


@pytest.mark.parametrize(
    ("system", "code", "wrong"),
    [("http://unitsofmeasure.org", "beats per minute", ["Observation.value.code"]),
     ("http://unitsofmeasure.org", "/min", []), ("http://example.org/units", "beats per minute", [])],
)  # fmt: skip
def test_a_quantity_in_ucum_has_a_unit_of_ucum(system: str, code: str, wrong: list[str]) -> None:
    quantity = {"value": 60, "system": system, "code": code}
    observation = {"resourceType": "Observation", "status": "final", "code": {"text": "x"}, "valueQuantity": quantity}
    assert [one.expression for one in VALIDATOR.validate(observation) if one.severity == "error"] == wrong

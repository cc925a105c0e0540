"""One model, two engines: Splink on DuckDB and our own scorer give the same pair the same bits."""

import json
from math import log2
from typing import Any

import pytest

from gateway.adapters.files.linkage import default_reader, load_model
from gateway.adapters.files.splink_engine import SplinkLinker
from gateway.bench._communities import county, region
from gateway.linkage.frequency import Frequencies
from gateway.linkage.model import read_model
from gateway.linkage.scoring import Scorer
from gateway.linkage.splink_settings import model_from, settings_of


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("make", [county, region])
def test_every_pair_has_the_same_bits_in_both_engines(make: Any) -> None:
    reader, model = default_reader(), load_model()
    community = make(55, 150, 150)
    soft = ("name_quality", "dob_quality", "ssn_quality")  # values that may agree but not disagree are not trained on
    left, right = (
        [reader.row({k: v for k, v in row.items() if k not in soft}) for row in side]
        for side in (community.left, community.right)
    )
    rows = SplinkLinker(model, left, right).predict()
    people = {person.key: person for person in (*left, *right)}
    scorer = Scorer(model, Frequencies.of(left), population=len(left))
    prior = log2(1e-4 / (1 - 1e-4))
    off = 0
    for row in rows:
        vector = scorer.vector(people[row["unique_id_l"]], people[row["unique_id_r"]])
        off += abs(scorer.level_bits(vector) - (row["match_weight"] - prior)) > 0.01
    assert len(rows) > 80
    assert off <= 0.001 * len(rows)


def test_what_splink_saved_becomes_a_model_and_unseen_levels_keep_their_weight() -> None:
    model = load_model()
    saved = settings_of(model, two_files=True)
    saved["comparisons"][0]["comparison_levels"][1] |= {"m_probability": 0.5, "u_probability": 0.25}
    del saved["comparisons"][0]["comparison_levels"][2]["m_probability"]
    trained = model_from(model, saved, name="new", about={"records": 7})
    first = trained.comparisons[0]
    assert (first.levels[0].m, first.levels[0].u) == (0.5, 0.25)
    assert first.levels[1].m == model.comparisons[0].levels[1].m
    assert trained.trained["kept_from_start"] == [f"{first.name}.{first.levels[1].level}"]
    assert trained.digest != model.digest
    again = read_model(json.dumps(trained.to_json()), at="x")
    assert again.digest == trained.digest


def test_a_comparison_that_splink_dropped_keeps_its_weights() -> None:
    model = load_model()
    saved = settings_of(model, two_files=True)
    dropped = saved["comparisons"].pop()["output_column_name"].removeprefix("c_")
    trained = model_from(model, saved, name="new", about={})
    assert trained.comparison(dropped) == model.comparison(dropped)
    assert {one.partition(".")[0] for one in trained.trained["kept_from_start"]} == {dropped}

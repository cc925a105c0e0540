"""The work of ``doorway link train``: Splink on DuckDB learns u and m, and the gateway gets them as a model file."""

import json
import time
import warnings
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import click

from gateway.adapters.files.linkage import default_reader, load_model, read_people
from gateway.kernel.errors import Unsupported
from gateway.linkage.model import Model
from gateway.linkage.splink_settings import BLOCKING, LIST_COLUMNS, TEXT_COLUMNS, model_from, rows_of, settings_of
from gateway.linkage.traits import Traits


class SplinkLinker:
    """Splink over our traits and ladders; it needs the packages splink and duckdb, the gateway does not.

    Raises:
        Unsupported: Splink is not installed.
    """

    def __init__(self, model: Model, left: Sequence[Traits], right: Sequence[Traits] | None) -> None:
        try:
            import splink
        except ImportError:
            raise Unsupported("training needs Splink", fix="pip install splink") from None
        self.version = splink.__version__
        api = splink.DuckDBAPI()
        tables = [self._table(api, "left_people", left)]
        if right is not None:
            tables.append(self._table(api, "right_people", right))
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            self.linker = splink.Linker(tables, settings_of(model, two_files=right is not None), log_level="ERROR")
        self.api = api

    def _table(self, api: Any, name: str, people: Sequence[Traits]) -> Any:
        import pyarrow as pa

        rows = list(rows_of(people))
        columns: dict[str, Any] = {"unique_id": pa.array([row["unique_id"] for row in rows], pa.string())}
        for column in TEXT_COLUMNS:
            columns[column] = pa.array([row[column] for row in rows], pa.string())
        for column in LIST_COLUMNS:
            columns[column] = pa.array([row[column] for row in rows], pa.list_(pa.string()))
        columns["soft_dob"] = pa.array([row["soft_dob"] for row in rows], pa.bool_())
        return api.register(pa.table(columns), dataset_display_name=name)

    def train(self) -> dict[str, Any]:
        """u from random pairs, m by expectation-maximisation over each blocking rule; Splink's saved settings."""
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            training = self.linker.training
            training.estimate_u_using_random_sampling(max_pairs=2e6, seed=1)
            for rule in BLOCKING:
                try:
                    training.estimate_parameters_using_expectation_maximisation(rule, record_sample_proportion=1.0)
                except Exception:  # a rule that no pair of these files meets teaches nothing
                    click.echo(f"no pairs for {rule.split('=')[0].strip()}: skipped", err=True)
            found: dict[str, Any] = self.linker.misc.save_model_to_json()
        return found

    def predict(self) -> list[dict[str, Any]]:
        """Every blocked pair with Splink's match weight and level numbers."""
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            found: list[dict[str, Any]] = self.linker.inference.predict().as_record_list()
        return found

    def time_scores(self, person: Traits, entries: Sequence[Traits]) -> float:
        """Milliseconds that Splink takes to score one record against its candidates."""
        left, right = list(rows_of(entries)), list(rows_of([person]))
        begun = time.perf_counter()
        self.linker.inference.score_pairs(left, right).as_record_list()
        return (time.perf_counter() - begun) * 1000


def run_train(
    left_file: str, right_file: str | None, out: str, columns: dict[str, str], model_file: str | None, name: str,
    as_json: bool,
) -> None:  # fmt: skip
    """Train and write the model file."""
    reader = default_reader()
    left = [reader.row(row) for row in read_people(left_file, columns)]
    right = [reader.row(row) for row in read_people(right_file, columns)] if right_file else None
    start = load_model(model_file)
    engine = SplinkLinker(start, left, right)
    trained = engine.train()
    about = {
        "with": f"splink {engine.version}",
        "on": datetime.now(UTC).date().isoformat(),
        "records": len(left) + len(right or ()),
        "from": start.digest,
    }
    model = model_from(start, trained, name=name, about=about)
    Path(out).write_text(json.dumps(model.to_json(), indent=1) + "\n", encoding="utf-8")
    kept = len(model.trained["kept_from_start"])
    told = {"model": model.name, "digest": model.digest, "records": about["records"], "levels_kept_from_start": kept}
    click.echo(
        json.dumps(told)
        if as_json
        else f"{out}: model {model.digest} from {about['records']} records; {kept} levels that Splink never saw keep"
        " their weight"
    )

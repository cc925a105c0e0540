"""Splink on DuckDB over our traits and ladders: for training and for the parity test, never in the running gateway."""

import time
import warnings
from collections.abc import Sequence
from typing import Any

from gateway.kernel.errors import Unsupported
from gateway.linkage.model import Model
from gateway.linkage.splink_settings import BLOCKING, LIST_COLUMNS, TEXT_COLUMNS, rows_of, settings_of
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
        self.skipped: list[str] = []  # rules that no pair of the files met

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
                    self.skipped.append(rule)
            found: dict[str, Any] = self.linker.misc.save_model_to_json()
        return found

    def predict(self) -> list[dict[str, Any]]:
        """Every blocked pair with Splink's match weight and level numbers."""
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            found: list[dict[str, Any]] = self.linker.inference.predict().as_record_list()
        return found

    def count_pairs(self) -> int:
        """How many pairs :meth:`predict` finds, left in the database: a list of them would cost more than finding."""
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            found = self.linker.inference.predict()
            (count,) = found.as_duckdbpyrelation().count("*").fetchall()[0]
        return int(count)

    def time_scores(self, person: Traits, entries: Sequence[Traits]) -> float:
        """Milliseconds that Splink takes to score one record against its candidates."""
        left, right = list(rows_of(entries)), list(rows_of([person]))
        begun = time.perf_counter()
        self.linker.inference.score_pairs(left, right).as_record_list()
        return (time.perf_counter() - begun) * 1000

"""The work of ``doorway link train``: Splink on DuckDB learns u and m, and the gateway gets them as a model file."""

import json
from datetime import UTC, datetime
from pathlib import Path

import click

from gateway.adapters.files.linkage import Columns, check_columns, check_out, default_reader, load_model, read_people
from gateway.adapters.files.splink_engine import SplinkLinker
from gateway.kernel.errors import Invalid
from gateway.linkage.splink_settings import BLOCKING, model_from


def run_train(
    left_file: str, right_file: str | None, out: str, columns: Columns, model_file: str | None, name: str,
    as_json: bool,
) -> None:  # fmt: skip
    """Train and write the model file.

    Raises:
        Invalid: ``out`` cannot be written, or the files hold too little to learn from.
    """
    check_out(out, left_file, right_file)
    check_columns(columns, left_file, right_file)
    reader = default_reader()
    left = [reader.row(row) for row in read_people(left_file, columns)]
    right = [reader.row(row) for row in read_people(right_file, columns)] if right_file else None
    start = load_model(model_file)
    if not left or (len(left) < 2 if right is None else not right):
        raise Invalid("too few records to compare", at=left_file, fix="two files with records, or one with several")
    engine = SplinkLinker(start, left, right)
    trained = engine.train()
    if len(engine.skipped) == len(BLOCKING):
        raise Invalid("no two records have a name, date or number in common", at=left_file, fix="is it the right file?")
    for rule in engine.skipped:
        click.echo(f"no pairs for {rule.split('=')[0].strip()}: skipped", err=True)
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

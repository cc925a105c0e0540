"""``doorway link …``."""

import click


@click.group()
def link() -> None:
    """Linking: evaluate, train, dedupe, review, explain, undo."""


_URL = click.option("--database", "url", help="sqlite:///FILE or postgresql://HOST/NAME; default: the settings.")
_CONFIG = click.option("--config", help="Settings file (TOML).")
_JSON = click.option("--json", "as_json", is_flag=True, help="JSON for machines.")


@link.command(epilog="Example: doorway link evaluate clients.csv patients.csv --truth pairs.csv --out scored.csv")
@click.argument("left", type=click.Path(exists=True, dir_okay=False))
@click.argument("right", required=False, type=click.Path(exists=True, dir_okay=False))
@click.option(
    "--truth", type=click.Path(exists=True, dir_okay=False), help="Two columns, left and right id: all true pairs."
)
@click.option(
    "--out", "out", type=click.Path(dir_okay=False), help="Write left_id,right_id,score,grade (score in bits)."
)
@click.option("--stream", "as_stream", is_flag=True, help="Take RIGHT line by line as arrivals, each timed.")
@click.option("--columns", default="", help="Other headings: first=given_name,address=street_number+address_1,… "
              "A file has its own: id=PersonalID,id=MRN takes what each has.")  # fmt: skip
@click.option(
    "--model",
    "model_file",
    type=click.Path(exists=True, dir_okay=False),
    help="A model file instead of the shipped one.",
)
@click.option(
    "--no-fit", is_flag=True, help="Keep the model's weights as they are; else adapted to the files, without labels."
)
@click.option(
    "--group", default="", help="A coarse column of RIGHT (or the one file): recall of each value (fairness)."
)
@click.option(
    "--clk", "secret", default="", help="Compare keyed Bloom filters under this secret instead of clear values."
)
@click.option("--json", "as_json", is_flag=True, help="Print the figures as JSON.")
def evaluate(
    left: str,
    right: str | None,
    truth: str | None,
    out: str | None,
    as_stream: bool,
    columns: str,
    model_file: str | None,
    no_fit: bool,
    group: str,
    secret: str,
    as_json: bool,
) -> None:
    """Link two CSV files of people, or find doubles in one, and say how good it was and how long it took.

    Columns, any of: id (required), first, middle, last, suffix, alias, dob, sex, ssn, health_no, phone, address, city,
    postal, multiple_birth, name_quality, dob_quality, ssn_quality. The known pairs of --truth are used for the figures
    only, never for scoring. Grade certain is what would be linked automatically.
    """
    from gateway.commands.link_evaluate import Asked, run_evaluate

    if as_stream and right is None:
        raise click.UsageError("--stream needs LEFT and RIGHT")
    if secret and (right is None or as_stream):
        raise click.UsageError("--clk needs LEFT and RIGHT, and no --stream")
    run_evaluate(
        Asked(left, right, truth, out, as_stream, _named(columns), model_file, not no_fit, group, as_json, secret)
    )


def _named(columns: str) -> dict[str, list[str]]:
    named: dict[str, list[str]] = {}
    for item in filter(None, (part.strip() for part in columns.split(","))):
        name, equals, theirs = item.partition("=")
        if not equals or not theirs:
            raise click.UsageError("--columns is name=heading,name=heading")
        named.setdefault(name.strip(), []).append(theirs.strip())
    return named


@link.command(epilog="Example: doorway link train clients.csv patients.csv --out model.json")
@click.argument("left", type=click.Path(exists=True, dir_okay=False))
@click.argument("right", required=False, type=click.Path(exists=True, dir_okay=False))
@click.option("--out", required=True, type=click.Path(dir_okay=False), help="The model file to write.")
@click.option("--columns", default="", help="Other headings: first=given_name,…")
@click.option("--model", "model_file", type=click.Path(exists=True, dir_okay=False), help="The model to start from.")
@click.option("--name", default="trained", show_default=True, help="Name of the new model.")
@_JSON
def train(
    left: str, right: str | None, out: str, columns: str, model_file: str | None, name: str, as_json: bool
) -> None:
    """A model from two CSV files (or one), without labels: u and m by Splink on DuckDB, exported for the gateway.

    Needs Splink (pip install splink), which the running gateway does not. Levels that Splink never saw keep the weight
    of the model to start from. Columns as in `doorway link evaluate`.
    """
    from gateway.commands.link_train import run_train

    run_train(left, right, out, _named(columns), model_file, name, as_json)


@link.command(epilog="Example: doorway link dedupe --database sqlite:///doorway.db")
@_URL
@_CONFIG
@click.option("--dry-run", is_flag=True, help="Count what would be linked and queued; change nothing.")
@_JSON
def dedupe(url: str | None, config: str | None, dry_run: bool, as_json: bool) -> None:
    """Compare every Patient of the store again: after an import without linking, or with a new model."""
    from gateway.commands.link_store import run_dedupe

    run_dedupe(url, config, dry_run, as_json)


@link.command(
    epilog="Example: doorway link review Patient/1 Patient/2 --same --by ann --why 'saw both cards'. "
    "Exit code 3: pairs are waiting."
)
@click.argument("one", required=False)
@click.argument("other", required=False)
@click.option("--same", "decision", flag_value="same", help="They are one person.")
@click.option("--not-same", "decision", flag_value="not-same", help="They are not, for good.")
@click.option("--cannot-tell", "decision", flag_value="cannot-tell", help="Out of the queue until something changes.")
@click.option("--by", default="", help="Who decides.")
@click.option("--why", default="", help="The reason; no values of the records.")
@click.option("--values", is_flag=True, help="Show both records' values: only for who may see both.")
@click.option("--limit", default=20, show_default=True, type=click.IntRange(1, 1000), help="Pairs to show.")
@_URL
@_CONFIG
@_JSON
def review(
    one: str | None,
    other: str | None,
    decision: str | None,
    by: str,
    why: str,
    values: bool,
    limit: int,
    url: str | None,
    config: str | None,
    as_json: bool,
) -> None:
    """The review queue, most likely first, with the evidence of each trait in bits; or a decision on one pair.

    Reviewers are given at most the model's review_budget_per_1000 for each 1,000 records held; what waits behind that
    is counted (`behind`) and moves up as pairs are decided.
    """
    from gateway.commands.link_store import run_decide, run_queue

    if decision is None:
        run_queue(url, config, limit, values, as_json)
        return
    if not one or not other or not by or not why:
        raise click.UsageError("a decision needs both records, --by and --why")
    run_decide(url, config, one, other, decision, by, why, as_json)


@link.command(epilog="Example: doorway link labels --out labels && doorway link evaluate labels/left.csv "
              "labels/right.csv --truth labels/truth.csv")  # fmt: skip
@click.option("--out", required=True, type=click.Path(file_okay=False), help="Folder for the files; they hold records.")
@_URL
@_CONFIG
@_JSON
def labels(out: str, url: str | None, config: str | None, as_json: bool) -> None:
    """What reviewers decided, as files for `doorway link evaluate`: left.csv, right.csv, truth.csv (the pairs that are
    the same), and decisions.csv with every decision, who made it and when.

    The files hold the records in clear: they are readable by their owner only.
    """
    from gateway.commands.link_store import run_labels

    run_labels(out, url, config, as_json)


@link.command(epilog="Example: doorway link explain Patient/1 Patient/2")
@click.argument("one")
@click.argument("other")
@click.option("--values", is_flag=True, help="Show both records' values: only for who may see both.")
@_URL
@_CONFIG
@_JSON
def explain(one: str, other: str, values: bool, url: str | None, config: str | None, as_json: bool) -> None:
    """What two records show, trait by trait in bits, what is held of them, and everything that happened to them."""
    from gateway.commands.link_store import run_explain

    run_explain(url, config, one, other, values, as_json)


@link.command(epilog="Example: doorway link undo Patient/1 Patient/2 --by ann --why 'twins'")
@click.argument("one")
@click.argument("other")
@click.option("--by", required=True, help="Who decides.")
@click.option("--why", required=True, help="The reason; no values of the records.")
@_URL
@_CONFIG
@_JSON
def undo(one: str, other: str, by: str, why: str, url: str | None, config: str | None, as_json: bool) -> None:
    """Split a wrong link for good: the state before comes back, and every disclosure since the link is listed."""
    from gateway.commands.link_store import run_undo

    run_undo(url, config, one, other, by, why, as_json)

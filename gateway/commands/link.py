"""``doorway link …``."""

import click

from gateway.commands.unbuilt import unbuilt


@click.group()
def link() -> None:
    """Linking: evaluate, train, review, undo."""


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
@click.option("--columns", default="", help="Other headings: first=given_name,address=street_number+address_1,…")
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
    "--group", default="", help="A column of RIGHT (or of the one file): recall of each of its values (fairness)."
)
@click.option("--json", "as_json", is_flag=True, help="Print the figures as JSON.")
def evaluate(
    left: str, right: str | None, truth: str | None, out: str | None, as_stream: bool, columns: str,
    model_file: str | None, no_fit: bool, group: str, as_json: bool,
) -> None:  # fmt: skip
    """Link two CSV files of people, or find doubles in one, and say how good it was and how long it took.

    Columns, any of: id (required), first, middle, last, suffix, alias, dob, sex, ssn, health_no, phone, address, city,
    postal, multiple_birth, name_quality, dob_quality, ssn_quality. The known pairs of --truth are used for the figures
    only, never for scoring. Grade certain is what would be linked automatically.
    """
    from gateway.commands.link_evaluate import Asked, run_evaluate

    if as_stream and right is None:
        raise click.UsageError("--stream needs LEFT and RIGHT")
    named = {}
    for item in filter(None, (part.strip() for part in columns.split(","))):
        name, equals, theirs = item.partition("=")
        if not equals or not theirs:
            raise click.UsageError("--columns is name=heading,name=heading")
        named[name.strip()] = theirs.strip()
    run_evaluate(Asked(left, right, truth, out, as_stream, named, model_file, not no_fit, group, as_json))


link.add_command(unbuilt("train", "A model from data."))
link.add_command(unbuilt("review", "The review queue."))
link.add_command(unbuilt("undo", "Exact undo of a link."))

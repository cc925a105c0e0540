"""``doorway demo``: the story of the gateway, told live with synthetic people, and checked against their truth file."""

import click


@click.command(epilog="Example: doorway demo --check")
@click.option("--check", is_flag=True, help="Play the story, compare it with the truth file, exit 0 or 1, stop.")
@click.option("--people", default=60, show_default=True, type=click.IntRange(10, 5000), help="Size of the community.")
@click.option("--seed", default=1, show_default=True, help="Another community.")
@click.option("--database", metavar="URL", help="An empty database to use; default: a new SQLite file.")
@click.option("--json", "as_json", is_flag=True, help="The comparison with the truth as JSON; implies --check.")
def demo(check: bool, people: int, seed: int, database: str | None, as_json: bool) -> None:
    """Everything embedded, with synthetic people: an export, a live feed, links, consent, a referral.

    Ends with what was expected and what was seen, and leaves the gateway running until Ctrl-C.
    """
    from gateway.commands.demo.play import play

    play(people=people, seed=seed, database=database, check=check or as_json, as_json=as_json)

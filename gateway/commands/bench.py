"""``doorway bench``: every benchmark is a module of gateway.bench with ``run() -> dict`` of ratios and their floors."""

import json
import keyword
import pkgutil
from importlib import import_module
from typing import Any

import click

from gateway import bench as benches

_TAKES = {
    "people": ("linkage",),
    "database": ("api", "linkage", "growth"),
    "resources": ("growth",),
    "batch": ("linkage",),
    "packages": ("validation",),
}


def names() -> list[str]:
    """The benchmarks there are."""
    return sorted(m.name.rstrip("_") for m in pkgutil.iter_modules(benches.__path__) if not m.name.startswith("_"))


def _lines(figures: Any, indent: str = "  ") -> list[str]:
    out: list[str] = []
    for name, value in figures.items():
        if isinstance(value, dict):
            out.append(f"{indent}{name}")
            out.extend(_lines(value, indent + "  "))
        else:
            shown = (
                f"{value:,.3g}"
                if isinstance(value, float) and abs(value) < 1000
                else f"{value:,}"
                if isinstance(value, (int, float)) and not isinstance(value, bool)
                else str(value)
            )
            out.append(f"{indent}{name:<52} {shown}")
    return out


@click.command(epilog="Example: doorway bench convert. Ratios are what to trust; rates depend on the machine.")
@click.argument("name", required=False)
@click.option("--json", "as_json", is_flag=True, help="One JSON object a benchmark.")
@click.option("--list", "listing", is_flag=True, help="Name the benchmarks and stop.")
@click.option("--people", type=click.IntRange(100), help="linkage: records in the index.")
@click.option("--database", help="api, linkage, growth: an empty database; growth takes postgresql://HOST/NAME only.")
@click.option("--resources", type=click.IntRange(20_000), help="growth: resources in the larger store.")
@click.option("--packages", help="validation: a folder of FHIR packages (.tgz) whose examples are checked.")
@click.option("--batch", is_flag=True, help="linkage: whole files beside Splink instead, time and peak memory.")
def bench(
    name: str | None,
    as_json: bool,
    listing: bool,
    people: int | None,
    database: str | None,
    resources: int | None,
    packages: str | None,
    batch: bool,
) -> None:
    """Benchmarks, as ratios against the floor that each measures in the same run."""
    known = names()
    if listing:
        click.echo("\n".join(known))
        return
    if name is not None and name not in known:
        raise click.UsageError(f"no benchmark {name!r}; there are: {', '.join(known)}")
    asked: dict[str, Any] = {
        "people": people, "database": database, "resources": resources, "packages": packages, "batch": batch,
    }  # fmt: skip
    asked = {option: value for option, value in asked.items() if value}
    for option in asked:
        if name not in _TAKES[option]:
            raise click.UsageError(f"--{option} is an option of the benchmark {' or '.join(_TAKES[option])}")
    for each in [name] if name else known:
        module = f"{each}_" if keyword.iskeyword(each) else each
        figures = import_module(f"gateway.bench.{module}").run(**asked)
        if as_json:
            click.echo(json.dumps({"benchmark": each, **figures}))
        else:
            click.echo(f"{each}\n" + "\n".join(_lines(figures)))

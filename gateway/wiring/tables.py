"""Every shipped table at once, for `doorway doctor`."""

from gateway.wiring.hl7v2 import hl7v2_converter
from gateway.wiring.parts import search_definitions


def check_tables() -> str:
    """Compile every shipped table; one line on what there is.

    Raises:
        Invalid: a mistake in one of them, with file:line.
    """
    from gateway.adapters.files.data import list_data, read_data
    from gateway.exchange.relabel import read_labeller
    from gateway.mapping.hmis.compile import compile_map
    from gateway.mapping.hmis.conversions import Source
    from gateway.mapping.hmis.spec import load_spec
    from gateway.mapping.hmis.tables import load_maps

    hl7v2_converter()
    search_definitions()
    read_labeller(read_data)
    for version in ("2024", "2026"):
        for table in load_maps(read_data, load_spec(read_data, version), Source("check")).values():
            compile_map(table)
    counts = {name: len(list_data(name)) for name in ("mappings", "profiles", "terminology")}
    return ", ".join(f"{count} tables of {name}" for name, count in counts.items()) + " compile"

"""HL7 v2 messages to FHIR R4 and back, by tables in the columns of HL7's v2-to-FHIR guide (mappings/hl7v2/README.md).

What other parts use::

    from gateway.mapping.hl7v2.tables import read_tables          # texts of mappings/, terminology/v2 -> Tables
    from gateway.mapping.hl7v2.convert import Converter, Feed # Converter(tables).convert(message, feed) -> Conversion
    from gateway.mapping.hl7v2.effects import visit_status        # fold of accepted events -> Encounter.status
    from gateway.mapping.hl7v2.update import merge_update # what is stored + what a message says -> what to store
    from gateway.mapping.hl7v2.outbound import to_v2              # resources -> message bytes

A :class:`~gateway.mapping.hl7v2.convert.Conversion` carries ``resources`` (drafts to upsert, dependencies first),
``effects`` (merge, move, link, unlink, cancel, swap, keep), ``deletions`` (elements that the sender asked to delete),
``snapshots`` (whole sets that snapshot segments give) and ``residue`` (populated leaves that no row maps).
"""

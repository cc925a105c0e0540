"""Message structure from message type and trigger event, where MSH-9.3 is empty (v2.5.1 to v2.8, table 0354)."""

from typing import Final

_STRUCTURES: Final = {
    "ADT_A01": "ADT: A01 A04 A08 A13",
    "ADT_A02": "ADT: A02",
    "ADT_A03": "ADT: A03",
    "ADT_A05": "ADT: A05 A14 A28 A31",
    "ADT_A06": "ADT: A06 A07",
    "ADT_A09": "ADT: A09 A10 A11",
    "ADT_A12": "ADT: A12",
    "ADT_A15": "ADT: A15",
    "ADT_A16": "ADT: A16",
    "ADT_A17": "ADT: A17",
    "ADT_A18": "ADT: A18",
    "ADT_A20": "ADT: A20",
    "ADT_A21": "ADT: A21 A22 A23 A25 A26 A27 A29 A32 A33",
    "ADT_A24": "ADT: A24",
    "ADT_A30": "ADT: A30 A34 A35 A36 A46 A47 A48 A49",
    "ADT_A37": "ADT: A37",
    "ADT_A38": "ADT: A38",
    "ADT_A39": "ADT: A39 A40 A41 A42",
    "ADT_A43": "ADT: A43",
    "ADT_A44": "ADT: A44",
    "ADT_A45": "ADT: A45",
    "ADT_A50": "ADT: A50 A51",
    "ADT_A52": "ADT: A52 A53",
    "ADT_A54": "ADT: A54 A55",
    "ADT_A60": "ADT: A60",
    "ADT_A61": "ADT: A61 A62",
    "BAR_P01": "BAR: P01",
    "BAR_P05": "BAR: P05",
    "DFT_P03": "DFT: P03",
    "DFT_P11": "DFT: P11",
    "MDM_T01": "MDM: T01 T03 T05 T07 T09 T11",
    "MDM_T02": "MDM: T02 T04 T06 T08 T10",
    "OMG_O19": "OMG: O19",
    "OML_O21": "OML: O21",
    "OMP_O09": "OMP: O09",
    "ORG_O20": "ORG: O20",
    "ORL_O22": "ORL: O22",
    "ORM_O01": "ORM: O01",
    "ORR_O02": "ORR: O02",
    "ORU_R01": "ORU: R01",
    "ORU_R30": "ORU: R30 R31 R32",
    "OSU_O51": "OSU: O51",
    "OUL_R21": "OUL: R21",
    "OUL_R22": "OUL: R22",
    "PPG_PCG": "PPG: PCG PCH PCJ",
    "PPP_PCB": "PPP: PCB PCD",
    "PPR_PC1": "PPR: PC1 PC2 PC3",
    "QBP_Q21": "QBP: Q21 Q22 Q23 Q24 Q25",
    "QBP_Q11": "QBP: Q11 Z34 Z44",
    "RAS_O17": "RAS: O17",
    "RDE_O11": "RDE: O11 O25",
    "RDS_O13": "RDS: O13",
    "REF_I12": "REF: I12 I13 I14 I15",
    "RGV_O15": "RGV: O15",
    "RPA_I08": "RPA: I08 I09 I10 I11",
    "RPI_I01": "RPI: I01 I04",
    "RPL_I02": "RPL: I02 I06",
    "RPR_I03": "RPR: I03",
    "RQA_I08": "RQA: I08 I09 I10 I11",
    "RQC_I05": "RQC: I05 I06",
    "RQI_I01": "RQI: I01 I02 I03 I07",
    "RRI_I12": "RRI: I12 I13 I14 I15",
    "RSP_K11": "RSP: K11",
    "RSP_K21": "RSP: K21",
    "RSP_K22": "RSP: K22",
    "RSP_K23": "RSP: K23 K24",
    "SIU_S12": "SIU: S12 S13 S14 S15 S16 S17 S18 S19 S20 S21 S22 S23 S24 S26",
    "SRM_S01": "SRM: S01 S02 S03 S04 S05 S06 S07 S08 S09 S10 S11",
    "SRR_S01": "SRR: S01 S02 S03 S04 S05 S06 S07 S08 S09 S10 S11",
    "VXQ_V01": "VXQ: V01",
    "VXR_V03": "VXR: V03",
    "VXU_V04": "VXU: V04",
    "VXX_V02": "VXX: V02",
}
STRUCTURE_OF: Final[dict[tuple[str, str], str]] = {
    (kind, trigger): structure
    for structure, spelled in _STRUCTURES.items()
    for kind, triggers in [spelled.split(": ")]
    for trigger in triggers.split()
}


def structure_for(kind: str, trigger: str) -> str:
    """The structure that table 0354 gives to ``kind^trigger``, or ``kind_trigger`` where it is silent."""
    if kind == "ACK":
        return "ACK"
    return STRUCTURE_OF.get((kind, trigger)) or (f"{kind}_{trigger}" if trigger else kind)

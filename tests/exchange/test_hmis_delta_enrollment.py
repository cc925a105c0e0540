"""A new Enrollment of coordinated entry in a delta export: what is known of it is said, the rest is not collected."""

from tests.exchange.test_hmis_delta import delta, hmis, put, referral
from tests.exchange.test_hmis_import import export, run


def test_a_new_enrollment_is_in_the_continuum_of_its_project_when_that_has_one() -> None:
    store = hmis(entry="")
    put(store, *referral())
    places = [["ProjectCoCID", "ProjectID", "CoCCode", "DateUpdated"], ["c1", "ce", "MT-500", "2026-02-02 00:00:00"]]
    for codes, expected in (([], "MT-500"), ([["c2", "ce", "MT-501", "2026-02-02 00:00:00"]], "")):
        run(store, export("2026-02-02", "1", {"ProjectCoC": [*places, *codes]}))
        enrollment = delta(store, enroll_at="ce")["Enrollment"][0]
        assert enrollment["EnrollmentCoC"] == expected
        assert (enrollment["LivingSituation"], enrollment["DisablingCondition"]) == ("99", "99")

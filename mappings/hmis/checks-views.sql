-- What the rules of checks-rules.csv are asked of. Tables have the names of HUD's files and hold its live rows (DateDeleted
-- is empty, the first row of a key): columns by their names, `nr` is the row's number; dates are YYYY-MM-DD, an empty cell
-- is NULL, and free text of client-level files is 1 when filled. `limits` has one column a limit of checks-limits.csv.
-- Every table made here that rules place a finding in has `nr` and, where there is one, `ProjectID`.

CREATE INDEX enrollment_person ON Enrollment (PersonalID);
CREATE INDEX exit_enrollment ON Exit (EnrollmentID);
CREATE INDEX income_enrollment ON IncomeBenefits (EnrollmentID, DataCollectionStage);

-- One row: the day of the export and its period; a day that is missing bounds nothing. Without a day of the export the
-- newest entry or exit stands for it: how old something is can be told, and nothing lies in the future.
CREATE TABLE told AS SELECT
  coalesce((SELECT ExportDate FROM Export ORDER BY nr LIMIT 1), (SELECT max(day) FROM
    (SELECT max(EntryDate) AS day FROM Enrollment UNION ALL SELECT max(ExitDate) FROM Exit)), '0001-01-01') AS today,
  coalesce((SELECT ExportStartDate FROM Export ORDER BY nr LIMIT 1), '0001-01-01') AS begins,
  coalesce((SELECT ExportEndDate FROM Export ORDER BY nr LIMIT 1), '9999-12-31') AS ends;

CREATE TABLE participation AS SELECT ProjectID,
  min(HMISParticipationStatusStartDate) AS first_day, max(coalesce(HMISParticipationStatusEndDate, '9999-12-31')) AS last_day
FROM HMISParticipation WHERE HMISParticipationType = 1 AND HMISParticipationStatusStartDate IS NOT NULL GROUP BY ProjectID;

CREATE TABLE last_exit AS SELECT EnrollmentID, max(nr) AS exit_nr, ExitDate, Destination, DestinationSubsidyType
FROM Exit GROUP BY EnrollmentID;
CREATE UNIQUE INDEX last_exit_enrollment ON last_exit (EnrollmentID);

CREATE TABLE nights AS SELECT EnrollmentID, DateProvided AS night, count(*) AS times
FROM Services WHERE RecordType = 200 AND DateProvided IS NOT NULL GROUP BY EnrollmentID, DateProvided;
CREATE INDEX nights_enrollment ON nights (EnrollmentID, night);

CREATE TABLE contacts AS SELECT EnrollmentID, max(InformationDate) AS last_contact
FROM CurrentLivingSituation GROUP BY EnrollmentID;
CREATE UNIQUE INDEX contacts_enrollment ON contacts (EnrollmentID);

CREATE TABLE collected_for AS SELECT EnrollmentID, max(DataCollectionStage = 1) AS at_entry, max(DataCollectionStage = 3) AS at_exit
FROM IncomeBenefits GROUP BY EnrollmentID;
CREATE UNIQUE INDEX collected_for_enrollment ON collected_for (EnrollmentID);

CREATE TABLE site AS SELECT p.*,
  o.VictimServiceProvider IS 1 AS victims,
  p.ProjectType IN (0, 1, 2, 3, 8, 9, 10, 13) AND p.RRHSubType IS NOT 1 AS has_beds,
  coalesce(p.OperatingStartDate, '0001-01-01') AS opened, coalesce(p.OperatingEndDate, '9999-12-31') AS closed,
  coalesce(h.first_day, '0001-01-01') AS joined, coalesce(h.last_day, '9999-12-31') AS parted,
  h.ProjectID IS NOT NULL AS participates,
  EXISTS (SELECT 1 FROM Funder f WHERE f.ProjectID = p.ProjectID AND f.Funder = 33) AS ssvf,
  (SELECT count(*) FROM ProjectCoC c WHERE c.ProjectID = p.ProjectID) AS cocs,
  (SELECT count(*) FROM Inventory i WHERE i.ProjectID = p.ProjectID) AS inventories
FROM Project p LEFT JOIN Organization o ON o.OrganizationID = p.OrganizationID
LEFT JOIN participation h ON h.ProjectID = p.ProjectID;
CREATE INDEX site_key ON site (ProjectID);

-- One row an enrollment, with its exit, client and project.
-- asked: whom HUD asks most questions, adults and heads; prior: project types of 3.917; street: those of 3.917A;
-- income: those that collect income, benefits and insurance.
CREATE TABLE stay AS SELECT e.*, e.RelationshipToHoH IS 1 AS head,
  x.exit_nr, x.ExitDate, x.Destination, x.DestinationSubsidyType, coalesce(x.ExitDate, '9999-12-31') AS until,
  c.DOB, CAST(substr(e.EntryDate, 1, 4) AS INTEGER) - CAST(substr(c.DOB, 1, 4) AS INTEGER)
    - (substr(e.EntryDate, 6, 5) < substr(c.DOB, 6, 5)) AS age,
  p.ProjectType, p.RRHSubType, p.opened, p.closed, p.joined, p.parted, p.participates, p.ssvf, p.victims,
  p.ProjectType IN (3, 9, 10, 13) AND p.RRHSubType IS NOT 1 AS permanent,
  p.ProjectType IN (0, 1, 2, 3, 4, 6, 8, 9, 10, 12, 13, 14) AS prior,
  p.ProjectType IN (0, 1, 4, 8) AS street,
  p.ProjectType IN (0, 2, 3, 8, 9, 10, 12, 13) AS income,
  coalesce(i.at_entry, 0) AS at_entry, coalesce(i.at_exit, 0) AS at_exit,
  k.last_contact, (SELECT max(night) FROM nights n WHERE n.EnrollmentID = e.EnrollmentID) AS last_night,
  julianday(t.today) - julianday(e.EntryDate) AS days, t.today, 0 AS asked
FROM Enrollment e CROSS JOIN told t
LEFT JOIN site p ON p.ProjectID = e.ProjectID
LEFT JOIN Client c ON c.PersonalID = e.PersonalID
LEFT JOIN last_exit x ON x.EnrollmentID = e.EnrollmentID
LEFT JOIN collected_for i ON i.EnrollmentID = e.EnrollmentID
LEFT JOIN contacts k ON k.EnrollmentID = e.EnrollmentID;
UPDATE stay SET asked = head OR coalesce(age, 0) >= 18;
CREATE INDEX stay_key ON stay (EnrollmentID);
CREATE INDEX stay_household ON stay (HouseholdID, ProjectID);
CREATE INDEX stay_project ON stay (ProjectID, EntryDate);
CREATE INDEX stay_person ON stay (PersonalID, ProjectID, EntryDate);

-- Projects that collect income at all: elsewhere a missing record says nothing.
CREATE TABLE collecting AS SELECT DISTINCT ProjectID FROM stay WHERE at_entry OR at_exit;

CREATE TABLE household AS SELECT HouseholdID, ProjectID, min(nr) AS nr, count(*) AS members,
  count(DISTINCT CASE WHEN head THEN PersonalID END) AS heads, count(age) AS ages, max(age) AS oldest
FROM stay WHERE HouseholdID IS NOT NULL GROUP BY HouseholdID, ProjectID;

-- The heads of a household beyond its first one.
CREATE TABLE further_head AS SELECT s.nr, s.ProjectID FROM household h
JOIN stay s ON s.HouseholdID = h.HouseholdID AND s.ProjectID IS h.ProjectID AND s.head
WHERE h.heads > 1 AND s.nr > (SELECT min(o.nr) FROM stay o
  WHERE o.HouseholdID = h.HouseholdID AND o.ProjectID IS h.ProjectID AND o.head);

-- A household is one group at one project: the rows that use its HouseholdID at another one.
CREATE TABLE reused AS SELECT s.nr, s.ProjectID FROM stay s JOIN (
  SELECT HouseholdID, min(nr) AS first_nr FROM household GROUP BY HouseholdID HAVING count(*) > 1) r
ON r.HouseholdID = s.HouseholdID JOIN stay f ON f.nr = r.first_nr WHERE s.ProjectID IS NOT f.ProjectID;

-- The second and later enrollments of a client at a project on one day.
CREATE TABLE twice AS SELECT s.nr, s.ProjectID FROM stay s WHERE EXISTS (SELECT 1 FROM stay o
  WHERE o.PersonalID = s.PersonalID AND o.ProjectID = s.ProjectID AND o.EntryDate = s.EntryDate AND o.nr < s.nr);

-- Where a client sleeps by an enrollment: shelter, transitional housing and safe haven from entry, housing from move-in.
CREATE TABLE occupied AS SELECT nr, PersonalID, ProjectID, ProjectType, EntryDate,
  CASE WHEN permanent THEN MoveInDate ELSE EntryDate END AS since, until
FROM stay WHERE (ProjectType IN (0, 2, 8) OR (permanent AND MoveInDate IS NOT NULL))
  AND CASE WHEN permanent THEN MoveInDate ELSE EntryDate END < until;
CREATE INDEX occupied_person ON occupied (PersonalID);

-- Rapid rehousing beside permanent supportive housing is allowed; a second entry on the same day is rule 1.
CREATE TABLE overlap AS SELECT b.nr, b.ProjectID FROM occupied a JOIN occupied b ON b.PersonalID = a.PersonalID
  AND (a.since, a.nr) < (b.since, b.nr) AND b.since < a.until
WHERE NOT (a.ProjectType = 13 AND b.ProjectType IN (3, 9, 10)) AND NOT (b.ProjectType = 13 AND a.ProjectType IN (3, 9, 10))
  AND NOT (a.ProjectID = b.ProjectID AND a.EntryDate = b.EntryDate)
UNION SELECT s.nr, s.ProjectID FROM stay s JOIN nights n ON n.EnrollmentID = s.EnrollmentID
  JOIN occupied o ON o.PersonalID = s.PersonalID AND o.since <= n.night AND n.night < o.until
WHERE s.ProjectType = 1 GROUP BY s.nr, s.ProjectID HAVING count(DISTINCT n.night) > 2;

-- Open stays far beyond those of the same project type: three times the middle half above it, of twenty stays or more.
CREATE TABLE open_stay AS SELECT *, row_number() OVER (PARTITION BY kind ORDER BY days) AS i, count(*) OVER (PARTITION BY kind) AS n
FROM (SELECT nr, ProjectID, days, ProjectType AS kind FROM stay WHERE ExitDate IS NULL AND days IS NOT NULL AND ProjectType IS NOT NULL
  UNION ALL SELECT nr, ProjectID, days, 'waits ' || ProjectType FROM stay
  WHERE ExitDate IS NULL AND days IS NOT NULL AND permanent AND head AND MoveInDate IS NULL);
CREATE TABLE fence AS SELECT kind, max(CASE WHEN i = (n + 3) / 4 THEN days END) AS low, max(CASE WHEN i = (3 * n + 3) / 4 THEN days END) AS high
FROM open_stay WHERE n >= 20 GROUP BY kind;
CREATE TABLE outlier AS SELECT o.nr, o.ProjectID, o.kind LIKE 'waits%' AS waits FROM open_stay o
JOIN fence f ON f.kind = o.kind WHERE o.days > f.high + 3 * max(f.high - f.low, 10);

-- Income, benefits and insurance of a stage, with how many sources are said.
CREATE TABLE collected AS SELECT i.nr, i.EnrollmentID, i.DataCollectionStage AS stage, s.ProjectID, s.income, s.asked, s.ExitDate,
  i.IncomeFromAnySource, i.BenefitsFromAnySource, i.InsuranceFromAnySource,
  (Earned IS 1) + (Unemployment IS 1) + (SSI IS 1) + (SSDI IS 1) + (VADisabilityService IS 1) + (VADisabilityNonService IS 1)
    + (PrivateDisability IS 1) + (WorkersComp IS 1) + (TANF IS 1) + (GA IS 1) + (SocSecRetirement IS 1) + (Pension IS 1)
    + (ChildSupport IS 1) + (Alimony IS 1) + (OtherIncomeSource IS 1) AS incomes,
  (SNAP IS 1) + (WIC IS 1) + (TANFChildCare IS 1) + (TANFTransportation IS 1) + (OtherTANF IS 1) + (OtherBenefitsSource IS 1) AS benefits,
  (Medicaid IS 1) + (Medicare IS 1) + (SCHIP IS 1) + (VHAServices IS 1) + (EmployerProvided IS 1) + (COBRA IS 1) + (PrivatePay IS 1)
    + (StateHealthIns IS 1) + (IndianHealthServices IS 1) + (OtherInsurance IS 1) AS insurances
FROM IncomeBenefits i JOIN stay s ON s.EnrollmentID = i.EnrollmentID;

-- The months that one spell of homelessness has lasted at entry, as 3.917.5 writes them (113: more than twelve), and the
-- least days that the length of stay means.
CREATE TABLE spell AS SELECT *, CASE WHEN months > 12 THEN 113 ELSE 100 + months END AS months_code
FROM (SELECT nr, ProjectID, EntryDate, LivingSituation, DateToStreetESSH, TimesHomelessPastThreeYears, MonthsHomelessPastThreeYears, asked,
  (CAST(substr(EntryDate, 1, 4) AS INTEGER) - CAST(substr(DateToStreetESSH, 1, 4) AS INTEGER)) * 12
    + CAST(substr(EntryDate, 6, 2) AS INTEGER) - CAST(substr(DateToStreetESSH, 6, 2) AS INTEGER) + 1 AS months,
  CASE LengthOfStay WHEN 11 THEN 2 WHEN 2 THEN 7 WHEN 3 THEN 28 WHEN 4 THEN 90 WHEN 5 THEN 365 ELSE 0 END AS least_days,
  julianday(EntryDate) - julianday(DateToStreetESSH) AS days_homeless
FROM stay WHERE DateToStreetESSH IS NOT NULL AND EntryDate IS NOT NULL);

CREATE TABLE veteran AS SELECT c.*, CAST(substr(c.DOB, 1, 4) AS INTEGER) AS born, CAST(substr(t.today, 1, 4) AS INTEGER) AS this_year
FROM Client c CROSS JOIN told t WHERE c.VeteranStatus = 1;

-- A client's age on the day of the export.
CREATE TABLE person AS SELECT c.*, CAST(substr(t.today, 1, 4) AS INTEGER) - CAST(substr(c.DOB, 1, 4) AS INTEGER)
  - (substr(t.today, 6, 5) < substr(c.DOB, 6, 5)) AS age FROM Client c CROSS JOIN told t;

CREATE TABLE referral AS SELECT v.nr, s.ProjectID, v.Event, v.ReferralResult, julianday(t.today) - julianday(v.EventDate) AS days, s.ExitDate
FROM Event v CROSS JOIN told t JOIN stay s ON s.EnrollmentID = v.EnrollmentID;

-- Inventory with its project; `active` within the period of the export.
CREATE TABLE bed AS SELECT i.*, p.ProjectType, p.RRHSubType, p.HousingType, p.OperatingStartDate, p.OperatingEndDate, p.has_beds, p.victims,
  p.participates, p.inventories, coalesce(i.InventoryStartDate, '0001-01-01') AS since, coalesce(i.InventoryEndDate, '9999-12-31') AS until,
  CHVetBedInventory + YouthVetBedInventory + VetBedInventory + CHYouthBedInventory + YouthBedInventory + CHBedInventory + OtherBedInventory AS parts,
  coalesce(i.InventoryStartDate, '0001-01-01') <= t.ends AND coalesce(i.InventoryEndDate, '9999-12-31') >= t.begins AS active,
  t.begins, t.ends, t.today,
  EXISTS (SELECT 1 FROM ProjectCoC c WHERE c.ProjectID = i.ProjectID AND c.CoCCode = i.CoCCode) AS coc_known
FROM Inventory i JOIN site p ON p.ProjectID = i.ProjectID CROSS JOIN told t;

CREATE TABLE place AS SELECT c.*, p.ProjectType, p.HousingType, p.has_beds, p.victims, p.inventories, p.opened, p.closed, t.begins, t.ends,
  EXISTS (SELECT 1 FROM Inventory i WHERE i.ProjectID = c.ProjectID AND i.CoCCode = c.CoCCode) AS stocked
FROM ProjectCoC c JOIN site p ON p.ProjectID = c.ProjectID CROSS JOIN told t;

-- How a project was used.
CREATE TABLE used AS SELECT p.*, t.today, t.begins, t.ends,
  (SELECT count(*) FROM stay s WHERE s.ProjectID = p.ProjectID) AS stays,
  (SELECT count(*) FROM stay s WHERE s.ProjectID = p.ProjectID AND s.ExitDate IS NULL) AS open_stays,
  (SELECT max(s.ExitDate) FROM stay s WHERE s.ProjectID = p.ProjectID) AS last_exit,
  (SELECT count(*) FROM stay s WHERE s.ProjectID = p.ProjectID AND s.last_night IS NOT NULL) AS with_nights,
  (SELECT count(*) FROM stay s WHERE s.ProjectID = p.ProjectID AND s.EntryDate <= t.ends AND s.until >= t.begins) AS stays_in_period,
  EXISTS (SELECT 1 FROM bed b WHERE b.ProjectID = p.ProjectID AND b.active AND b.BedInventory > 0) AS active_beds
FROM site p CROSS JOIN told t;

-- Participation periods that begin before an earlier one of the project has ended.
CREATE TABLE hmis_period AS SELECT b.nr, b.ProjectID FROM HMISParticipation a JOIN HMISParticipation b ON b.ProjectID = a.ProjectID
  AND (a.HMISParticipationStatusStartDate, a.nr) < (b.HMISParticipationStatusStartDate, b.nr)
  AND b.HMISParticipationStatusStartDate < coalesce(a.HMISParticipationStatusEndDate, '9999-12-31') GROUP BY b.nr, b.ProjectID;
CREATE TABLE ce_period AS SELECT b.nr, b.ProjectID FROM CEParticipation a JOIN CEParticipation b ON b.ProjectID = a.ProjectID
  AND (a.CEParticipationStatusStartDate, a.nr) < (b.CEParticipationStatusStartDate, b.nr)
  AND b.CEParticipationStatusStartDate < coalesce(a.CEParticipationStatusEndDate, '9999-12-31') GROUP BY b.nr, b.ProjectID;

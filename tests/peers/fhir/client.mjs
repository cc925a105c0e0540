// Every call that fhir-kit-client has, against the gateway at argv[2] with the token argv[3]; answers as one JSON line.
import { CapabilityTool, Client } from 'fhir-kit-client';

const [, , baseUrl, bearerToken] = process.argv;
const client = new Client({ baseUrl, bearerToken });
const said = {};
const patient = {
  resourceType: 'Patient', name: [{ family: 'Zqjs', given: ['Ida'] }], birthDate: '1980-02-03',
  telecom: [{ system: 'phone', value: '403-555-0101' }],
};

async function refused(work) {
  try {
    await work();
    return 'done';
  } catch (error) {
    return [error.response?.status, error.response?.data?.resourceType];
  }
}
const status = (answer) => Client.httpFor(answer).response.status;
const kinds = (bundle) => (bundle.entry ?? []).map((entry) => entry.resource.resourceType).sort();

const statement = await client.capabilityStatement();
const tool = new CapabilityTool(statement);
said.capability = [
  tool.resourceCan('Patient', 'vread'), tool.resourceSearch('Patient', 'birthdate'), tool.serverCan('transaction'),
];
said.token = String((await client.smartAuthMetadata()).tokenUrl);

const made = await client.create({ resourceType: 'Patient', body: patient });
said.created = [status(made), made.meta.versionId];
const id = made.id;
const put = await client.update({ resourceType: 'Patient', id, body: { ...made, gender: 'female' } });
said.updated = [status(put), put.gender, put.meta.versionId];
const patched = await client.patch({
  resourceType: 'Patient', id, jsonPatch: [{ op: 'replace', path: '/gender', value: 'other' }],
});
said.patched = [patched.gender, patched.meta.versionId];
said.read = (await client.read({ resourceType: 'Patient', id })).gender;
said.vread = (await client.vread({ resourceType: 'Patient', id, version: '2' })).gender;
said.history = [
  (await client.history({ resourceType: 'Patient', id })).entry.length,
  (await client.history({ resourceType: 'Patient' })).entry.length,
];
const conditional = await client.update({
  resourceType: 'Patient', searchParams: { identifier: 'urn:zq|1' },
  body: { ...patient, identifier: [{ system: 'urn:zq', value: '1' }] },
});
said.conditional = status(conditional);
said.stale = await refused(() =>
  client.update({ resourceType: 'Patient', id, body: put, options: { headers: { 'If-Match': 'W/"1"' } } }),
);

for (let day = 1; day <= 7; day += 1) {
  await client.create({
    resourceType: 'Observation',
    body: {
      resourceType: 'Observation', status: 'final', code: { text: `n${day}` }, subject: { reference: `Patient/${id}` },
      effectiveDateTime: `2026-01-0${day}`,
    },
  });
}
let page = await client.search({
  resourceType: 'Observation', searchParams: { patient: id, _count: 3, _sort: '-date', _total: 'accurate' },
});
said.total = page.total;
said.pages = [];
while (page) {
  said.pages.push(page.entry.map((entry) => entry.resource.effectiveDateTime));
  page = await client.nextPage({ bundle: page });
}
said.posted = (
  await client.search({
    resourceType: 'Observation', searchParams: { patient: id, date: 'ge2026-01-06' }, options: { postSearch: true },
  })
).entry.length;
said.included = kinds(
  await client.search({
    resourceType: 'Observation', searchParams: { date: '2026-01-01', _include: 'Observation:subject' },
  }),
);
const compartment = { resourceType: 'Patient', id };
said.compartment = (await client.search({ compartment, resourceType: 'Observation' })).entry.length;
said.everything = kinds(await client.operation({ name: '$everything', resourceType: 'Patient', id, method: 'GET' })).length;
said.valid = (
  await client.operation({
    name: 'validate', resourceType: 'Patient',
    input: { resourceType: 'Parameters', parameter: [{ name: 'resource', resource: patient }] },
  })
).resourceType;
said.matched = (
  await client.operation({
    name: 'match', resourceType: 'Patient',
    input: { resourceType: 'Parameters', parameter: [{ name: 'resource', resource: patient }] },
  })
).type;

const observation = (await client.search({ resourceType: 'Observation', searchParams: { _count: 1 } })).entry[0].resource;
said.resolved = [
  (await client.resolve({ reference: `Patient/${id}` })).id === id,
  (await client.resolve({ reference: observation.subject.reference, context: observation })).id === id,
  (await client.resolve({ reference: `${baseUrl}/Patient/${id}` })).id === id,
];
const entries = [
  { fullUrl: 'urn:uuid:0c3151bd-1cbf-4d64-b04d-cd9187a4c6e0', resource: patient, request: { method: 'POST', url: 'Patient' } },
  {
    resource: {
      resourceType: 'Observation', status: 'final', code: { text: 'in a transaction' },
      subject: { reference: 'urn:uuid:0c3151bd-1cbf-4d64-b04d-cd9187a4c6e0' },
    },
    request: { method: 'POST', url: 'Observation' },
  },
];
const done = await client.transaction({ body: { resourceType: 'Bundle', type: 'transaction', entry: entries } });
said.transaction = done.entry.map((entry) => entry.response.status.slice(0, 3));
const batch = await client.batch({
  body: {
    resourceType: 'Bundle', type: 'batch',
    entry: [`Patient/${id}`, 'Patient/zq-nobody'].map((url) => ({ request: { method: 'GET', url } })),
  },
});
said.batch = batch.entry.map((entry) => entry.response.status.slice(0, 3));
said.deleted = status(await client.delete({ resourceType: 'Observation', id: observation.id }));
said.gone = await refused(() => client.read({ resourceType: 'Observation', id: observation.id }));
said.missing = await refused(() => client.read({ resourceType: 'Patient', id: 'zq-none' }));
said.invalid = await refused(() => client.create({ resourceType: 'Patient', body: { ...patient, gender: 'none' } }));
said.system = await refused(() => client.systemSearch({ searchParams: { name: 'x' } }));
said.anonymous = await refused(() => new Client({ baseUrl }).read({ resourceType: 'Patient', id }));
console.log(JSON.stringify(said));

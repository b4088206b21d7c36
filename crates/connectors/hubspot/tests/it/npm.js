// Drives the simulator with HubSpot's official client. Arguments: base URL, token, id of the first contact.
const assert = require("node:assert/strict");
const { Client } = require("@hubspot/api-client");

const [, , basePath, accessToken, first] = process.argv;

async function main() {
  const hubspot = new Client({ accessToken, basePath });
  const { basicApi, batchApi, searchApi } = hubspot.crm.contacts;

  const page = await basicApi.getPage(100, undefined, ["email", "loyalty_tier"]);
  assert.equal(page.results.length, 100);
  assert.equal(page.results[0].id, first);
  assert.ok(page.results[0].createdAt instanceof Date && !Number.isNaN(page.results[0].createdAt.getTime()));
  assert.ok("loyalty_tier" in page.results[0].properties);
  assert.equal((await hubspot.crm.contacts.getAll(100)).length, 250);
  assert.equal((await basicApi.getPage(10, undefined, undefined, undefined, undefined, true)).results.length, 2);

  const one = await basicApi.getById(first, ["email"]);
  assert.equal(one.id, first);
  const withEmail = page.results.find((contact) => contact.properties.email);
  const byEmail = await basicApi.getById(withEmail.properties.email, ["email"], undefined, undefined, false, "email");
  assert.equal(byEmail.id, withEmail.id);

  const found = await searchApi.doSearch({
    filterGroups: [{ filters: [{ propertyName: "hs_object_id", operator: "GT", value: first }] }],
    sorts: ["hs_object_id"],
    properties: ["email"],
    limit: 200,
  });
  assert.equal(found.total, 249);
  assert.equal(found.results.length, 200);
  assert.ok(found.paging.next.after);

  const upserted = await batchApi.upsert({
    inputs: [
      { id: "zoë@example.com", idProperty: "email", properties: { firstname: "Zoë" }, objectWriteTraceId: "a" },
      { id: "carl@example.com", idProperty: "email", properties: { city: "東京" }, objectWriteTraceId: "b" },
    ],
  });
  assert.equal(upserted.status, "COMPLETE");
  assert.deepEqual(upserted.results.map((contact) => contact.objectWriteTraceId).sort(), ["a", "b"]);
  assert.ok(upserted.results.every((contact) => contact._new === true));
  const partial = await batchApi.upsert({
    inputs: [
      { id: "carl@example.com", idProperty: "email", properties: { city: "Bern" }, objectWriteTraceId: "b" },
      { id: "broken", idProperty: "email", properties: {}, objectWriteTraceId: "c" },
    ],
  });
  assert.equal(partial.numErrors, 1);
  assert.deepEqual(partial.errors[0].context.objectWriteTraceId, ["c"]);

  await basicApi.archive(upserted.results[0].id);
  await assert.rejects(basicApi.getById(upserted.results[0].id), (error) => error.code === 404);
  await assert.rejects(new Client({ accessToken: "wrong", basePath }).crm.contacts.basicApi.getPage(), (error) => error.code === 401);
  console.log("all is well");
}

main().catch((error) => {
  console.error(error);
  process.exit(1);
});

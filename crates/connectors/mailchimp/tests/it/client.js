// Drives the vendor's own client against a simulator: node client.js <base path> <api key> <list id>
const assert = require("node:assert");
const crypto = require("node:crypto");
const client = require("@mailchimp/mailchimp_marketing");

const [basePath, apiKey, list] = process.argv.slice(2);
const hash = (email) => crypto.createHash("md5").update(email.toLowerCase()).digest("hex");

async function main() {
  client.setConfig({ apiKey, server: "us1" });
  client.basePath = basePath;
  const out = {};
  out.ping = (await client.ping.get()).health_status;
  out.before = (await client.lists.getListMembersInfo(list, { count: 1000 })).total_items;

  const zoe = "Zoe@Example.org";
  const set = await client.lists.setListMember(list, hash(zoe), {
    email_address: zoe,
    status_if_new: "subscribed",
    merge_fields: { FNAME: "Zoë", LNAME: "李小龍" },
  });
  assert.strictEqual(set.id, hash(zoe));
  out.set = [set.email_address, set.status, set.merge_fields.FNAME, set.merge_fields.LNAME];

  const batch = await client.lists.batchListMembers(list, {
    members: [
      { email_address: "amy@example.org", status_if_new: "subscribed" },
      { email_address: "out@example.org", status_if_new: "subscribed", merge_fields: { FNAME: "x" } },
      { email_address: "nonsense", status_if_new: "subscribed" },
    ],
    update_existing: true,
  });
  out.batch = [batch.new_members.length, batch.updated_members.map((m) => m.status), batch.errors.length];
  out.batchError = [batch.errors[0].email_address, batch.errors[0].error_code, batch.error_count];

  const got = await client.lists.getListMember(list, hash("amy@example.org"), { fields: ["id", "status"] });
  out.got = got;
  await client.lists.deleteListMember(list, hash("amy@example.org"));
  out.archived = (await client.lists.getListMember(list, hash("amy@example.org"))).status;

  const page = await client.lists.getListMembersInfo(list, {
    count: 1, offset: 1, status: "subscribed", fields: ["members.email_address", "total_items"],
  });
  out.page = page;
  try {
    await client.lists.getListMember(list, hash("nobody@example.org"));
  } catch (error) {
    out.missing = [error.status, JSON.parse(error.response.text).title];
  }
  client.setConfig({ apiKey: "wrong-us1", server: "us1" });
  client.basePath = basePath;
  try {
    await client.ping.get();
  } catch (error) {
    out.refused = [error.status, JSON.parse(error.response.text).title];
  }
  process.stdout.write(JSON.stringify(out));
}

main().catch((error) => {
  console.error(error);
  process.exit(1);
});

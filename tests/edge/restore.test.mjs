// A house whose objects are deleted comes back from its snapshot in the bucket, in the real Worker.

import assert from "node:assert/strict";
import { test } from "node:test";

import { done, drill } from "./support/drill.mjs";
import { startHouse } from "./support/house.mjs";
import { ADMIN_TOKEN, claimHouse } from "./support/operator.mjs";
import { form, visitor } from "./support/visitor.mjs";

test("a destroyed house comes back: documents, keys, conversations, operators and the audit log, and nobody who was erased", async (t) => {
  const told = await drill((text) => t.diagnostic(text));
  assert.ok(told.lostMs >= 1_000 && told.firstMs > 0 && told.wholeMs >= told.firstMs);
  t.diagnostic(JSON.stringify(told));
});

test("where the platform keeps no earlier states an operator is told so, and nothing changes", async (t) => {
  const house = await startHouse({}, { ADMIN_TOKEN });
  t.after(() => house.stop());
  const owner = await claimHouse(house.worker);
  const ann = visitor(house);
  const { id } = (await done(ann, "/v1/files", form("what stays"))).json();
  const { id: name } = (await done(ann, "/api/me")).json();
  const to = new Date(Date.now() - 1_000).toISOString();
  const told = await owner.do("POST", "/rewind", { owner: name, to }, [501]);
  assert.equal(told.code, "rewind_unavailable");
  assert.equal((await done(ann, `/v1/files/${id}/content`)).text, "what stays");
  const { entries } = await owner.do("GET", "/audit");
  assert.ok(entries.some(({ action }) => action === "owner.rewind"), "it is on record");
});

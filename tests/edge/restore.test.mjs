// A house whose objects are deleted comes back from its snapshot in the bucket, in the real Worker.

import assert from "node:assert/strict";
import { test } from "node:test";

import { drill } from "./support/drill.mjs";

test("a destroyed house comes back: documents, keys, conversations, operators and the audit log, and nobody who was erased", async (t) => {
  const told = await drill((text) => t.diagnostic(text));
  assert.ok(told.lostMs >= 1_000 && told.firstMs > 0 && told.wholeMs >= told.firstMs);
  t.diagnostic(JSON.stringify(told));
});

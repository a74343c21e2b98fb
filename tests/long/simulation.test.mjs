// The failure engine's simulation with five times the schedules of the everyday tests.

import assert from "node:assert/strict";
import { test } from "node:test";

import { run } from "../../tools/lib.mjs";

const SCHEDULES = "5000000";

test("five million schedules of faults break no invariant", { timeout: 1_200_000 }, async () => {
  const args = ["test", "--locked", "--release", "--test", "models", "--", "--nocapture", "no_schedule"];
  const output = await run("cargo", args, { quiet: true, env: { GATEHOUSE_SCHEDULES: SCHEDULES } });
  assert.ok(output.includes(`${SCHEDULES} schedules: `), output);
});

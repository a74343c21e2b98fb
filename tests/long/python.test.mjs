// The official Python SDKs. They need Python, so they are part of the long run alone.

import assert from "node:assert/strict";
import { execFile, execFileSync } from "node:child_process";
import { existsSync, mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { before, test } from "node:test";
import { promisify } from "node:util";

import { realSite } from "../browser/browser.mjs";
import { DIALECTS, resultsIn, said } from "../edge/support/sdk-provider.mjs";
import { QUESTION, SCHEMA, STRUCTURED, WEATHER, startSdkHouse, weatherIn } from "../edge/support/sdk-house.mjs";

const VENV = join(import.meta.dirname, "../../.tools/python");
const PACKAGES = ["openai==3.52.0", "anthropic==2.11.0"];

/** Runs a program of this folder; the event loop stays free for the provider, which runs in this process. */
const python = async (program, ...args) =>
  (await promisify(execFile)(join(VENV, "bin/python"), [join(import.meta.dirname, program), ...args], { encoding: "utf8" })).stdout;

before(() => {
  if (!existsSync(join(VENV, "bin/python"))) execFileSync("python3", ["-m", "venv", VENV], { stdio: "inherit" });
  execFileSync(join(VENV, "bin/pip"), ["install", "--quiet", "--disable-pip-version-check", ...PACKAGES], { stdio: "inherit" });
});

test("the Python SDKs work unmodified: whole answers, streams, error classes", async () => {
  const site = await realSite();
  try {
    assert.match(await python("sdk.py", site.url), /python SDKs: ok/);
  } finally {
    await site.stop();
  }
});

test("and over a provider of every dialect: streams, tools, structured output, errors", async () => {
  const house = await startSdkHouse();
  const folder = mkdtempSync(join(tmpdir(), "gatehouse-python-"));
  try {
    const of = (dialect) => Object.fromEntries(["text", "tools", "tool_results"].map((feature) => [feature, said(dialect, feature)]));
    const fixtures = { question: QUESTION, tool: WEATHER, schema: SCHEMA, structured: STRUCTURED, said: Object.fromEntries(DIALECTS.map((name) => [name, of(name)])) };
    const file = join(folder, "fixtures.json");
    writeFileSync(file, JSON.stringify(fixtures));
    const output = await python("providers.py", house.url, file);
    for (const name of DIALECTS) {
      assert.ok(output.includes(`over a provider that speaks ${name}: ok`), output);
      const answered = house.provider.of(name, "tools").filter(({ body }) => Object.keys(resultsIn(name, body)).length > 0);
      assert.equal(answered.length, 3, "each SDK sent its results");
      for (const { body } of answered) assert.deepEqual(Object.values(resultsIn(name, body)), ["Paris", "Rome"].map(weatherIn));
    }
  } finally {
    await house.stop();
    rmSync(folder, { recursive: true, force: true });
  }
});

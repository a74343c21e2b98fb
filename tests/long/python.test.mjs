// The official Python SDKs. They need Python, so they are part of the long run alone.

import assert from "node:assert/strict";
import { execFileSync } from "node:child_process";
import { existsSync } from "node:fs";
import { join } from "node:path";
import { after, before, test } from "node:test";

import { realSite } from "../browser/browser.mjs";

const VENV = join(import.meta.dirname, "../../.tools/python");
const PACKAGES = ["openai==3.52.0", "anthropic==2.11.0"];

let site;

before(async () => {
  if (!existsSync(join(VENV, "bin/python"))) execFileSync("python3", ["-m", "venv", VENV], { stdio: "inherit" });
  execFileSync(join(VENV, "bin/pip"), ["install", "--quiet", "--disable-pip-version-check", ...PACKAGES], { stdio: "inherit" });
  site = await realSite();
});

after(() => site?.stop());

test("the Python SDKs work unmodified: whole answers, streams, error classes", () => {
  const output = execFileSync(join(VENV, "bin/python"), [join(import.meta.dirname, "sdk.py"), site.url], { encoding: "utf8" });
  assert.match(output, /python SDKs: ok/);
});

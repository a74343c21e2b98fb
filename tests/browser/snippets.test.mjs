// The snippets of the documentation, run as they are printed there, with the address of the site under test.

import assert from "node:assert/strict";
import { execFile } from "node:child_process";
import { mkdirSync, readFileSync, readdirSync, writeFileSync } from "node:fs";
import { dirname, join } from "node:path";
import { after, before, test } from "node:test";
import { fileURLToPath } from "node:url";
import { promisify } from "node:util";

import { OUT, realSite } from "./browser.mjs";

const SNIPPETS = join(dirname(fileURLToPath(import.meta.url)), "../../docs/snippets");
const PRINTED = "http://localhost:8787";

let site;

before(async () => {
  site = await realSite();
});

after(() => site?.stop());

// A module that only exports something has its own test (`signed.mjs`: tests/edge/signing.test.mjs).
const isModule = (name) => /^export /m.test(readFileSync(join(SNIPPETS, name), "utf8"));

for (const name of readdirSync(SNIPPETS).filter((name) => !isModule(name))) {
  test(`${name} prints an answer`, async () => {
    const text = readFileSync(join(SNIPPETS, name), "utf8");
    assert.ok(text.includes(PRINTED), "the snippet must name the local address");
    mkdirSync(OUT, { recursive: true });
    const copy = join(OUT, name);
    writeFileSync(copy, text.replaceAll(PRINTED, site.url));
    const { stdout } = await promisify(execFile)(process.execPath, [copy], { timeout: 60_000 });
    assert.match(stdout, /key/i, stdout);
  });
}

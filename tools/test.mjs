// Every test, in the order in which a mistake is cheapest to find. `npm test host` or `npm test edge` runs a part.

import { existsSync, readFileSync, readdirSync, rmSync } from "node:fs";
import { gzipSync } from "node:zlib";
import { buildSite, buildWorker } from "./build.mjs";
import { Stop, at, run, say } from "./lib.mjs";

/** Ceiling for the wasm, gzipped: what a visitor of a cold isolate waits for, and far below the platform's 3 MB. */
const WASM_CEILING_BYTES = 2368 * 1024;

const steps = {
  async style() {
    await run("cargo", ["fmt", "--all", "--check"]);
    await run("cargo", ["clippy", "--quiet", "--locked", "--workspace", "--all-features", "--all-targets", "--", "-D", "warnings"]);
    await run("cargo", ["clippy", "--quiet", "--locked", "--lib", "--target", "wasm32-unknown-unknown", "--", "-D", "warnings"]);
  },
  async host({ long }) {
    await run("cargo", ["test", "--locked", "--workspace", "--all-features", "--quiet"], { env: longer(long) });
  },
  async build() {
    await buildSite();
    await buildWorker("release");
    const gzipped = gzipSync(readFileSync(at("build", "index_bg.wasm")), { level: 9 }).length;
    say(`the wasm has ${(gzipped / 1024).toFixed(0)} KiB gzipped of ${WASM_CEILING_BYTES / 1024}`);
    if (gzipped > WASM_CEILING_BYTES) throw new Stop("the wasm is over its ceiling");
  },
  async deploy() {
    const out = at("build", "dry-run");
    rmSync(out, { recursive: true, force: true });
    const log = await run("wrangler", ["deploy", "--dry-run", "--env", "production", "--outdir", out], {
      quiet: true,
      env: { GATEHOUSE_PROFILE: "release" },
    });
    if (/\[WARNING\]/.test(log.replace(/\[custom build\][^\n]*/g, ""))) {
      process.stderr.write(log);
      throw new Stop("wrangler warns about wrangler.toml");
    }
  },
  edge: ({ long }) => nodeTests(["tests/edge", "tests/tools"], long),
  browser: ({ long }) => nodeTests(["tests/browser"], long),
  long: ({ long }) => nodeTests(["tests/long"], long),
};

/** What tells tests that there is time for more rounds. */
const longer = (long) => (long ? { GATEHOUSE_LONG: "1" } : {});

/** Runs the test files of folders, one after the other: they start servers and measure behaviour, not speed. */
async function nodeTests(folders, long) {
  const files = folders
    .filter((folder) => existsSync(at(folder)))
    .flatMap((folder) => readdirSync(at(folder)).map((name) => at(folder, name)))
    .filter((file) => file.endsWith(".test.mjs"));
  if (files.length === 0) throw new Stop(`no tests in ${folders.join(", ")}`);
  await run("node", ["--test", "--test-concurrency=1", "--test-timeout=180000", ...files], { env: { GATEHOUSE_PROFILE: "release", ...longer(long) } });
}

export async function test({ long, only }) {
  const wanted = only.length > 0 ? only : Object.keys(steps).filter((name) => long || name !== "long");
  const unknown = wanted.filter((name) => !(name in steps));
  if (unknown.length > 0) throw new Stop(`there is no part ${unknown}; use ${Object.keys(steps).join(", ")}`);
  for (const name of wanted) {
    const began = Date.now();
    say(`test: ${name}`);
    await steps[name]({ long });
    say(`test: ${name} passed in ${((Date.now() - began) / 1000).toFixed(0)} s`);
  }
  say("every test passed");
}

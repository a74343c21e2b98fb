// Builds the site and the Worker. wrangler runs this before it starts and on every change of a watched file; each
// half is skipped when nothing that it depends on has changed.

import { spawn } from "node:child_process";
import { existsSync, readFileSync, writeFileSync } from "node:fs";
import { pathToFileURL } from "node:url";
import { Stop, at, digestOf, environment, filesBelow, once, run, say, windows } from "./lib.mjs";

const SITE_PROGRAM = at("target", "debug", windows ? "gatehouse-site.exe" : "gatehouse-site");

/** What the host program itself is made of. */
const siteProgramSources = () => [
  ...filesBelow("src/base", "src/domain", "src/app", "tools/site/src"),
  ...["src/lib.rs", "src/errors.toml", "build.rs", "gatehouse.toml", "Cargo.toml", "Cargo.lock", "tools/site/Cargo.toml"].map((f) => at(f)),
];

/** The operator's folder, as gatehouse.toml names it; the site's builder reads the file properly. */
function siteFolder() {
  const section = readFileSync(at("gatehouse.toml"), "utf8").split(/^\[site\]$/m)[1]?.split(/^\[/m)[0] ?? "";
  return /^dir\s*=\s*"([^"]+)"/m.exec(section)?.[1] ?? "static";
}

export async function buildSite() {
  const program = siteProgramSources();
  await once("site-program", digestOf(program), [SITE_PROGRAM], async () => {
    say("building the site's builder");
    await run("cargo", ["build", "--quiet", "--locked", "--package", "gatehouse-site"]);
  });
  const inputs = [...program, ...filesBelow(siteFolder(), "docs", "tools/site/pages"), at("README.md"), at("CHANGELOG.md")].filter((f) => existsSync(f));
  await once("site", digestOf(inputs), [at("build", "site", "index.html")], () =>
    run(SITE_PROGRAM, ["--root", at(), "--out", at("build", "site")]),
  );
}

export async function buildWorker(profile) {
  const inputs = [
    ...filesBelow("src", "tools/worker"),
    ...["build.rs", "gatehouse.toml", "Cargo.toml", "Cargo.lock", "rust-toolchain.toml"].map((f) => at(f)),
  ].filter((f) => !f.endsWith("entry.js"));
  await once("worker", digestOf(inputs, profile), [at("build", "index.js"), at("build", "index_bg.wasm")], async () => {
    say(`building the Worker (${profile})`);
    await workerBuild(profile);
    dropRepeatedImports();
    if (profile === "release") await dropNames();
  });
}

/** The bundle names a module of helpers once for each function that comes from it, which bundlers warn about. */
function dropRepeatedImports() {
  const file = at("build", "index.js");
  const seen = new Set();
  const once = (entry, named) => (seen.has(named) ? "" : (seen.add(named), entry));
  writeFileSync(file, readFileSync(file, "utf8").replace(/,\s*("\.\/snippets\/[^"]+": ?[\w$]+)/g, once));
}

/**
 * Leaves out the functions' names, which are for debuggers alone and a twelfth of the upload. worker-build always keeps
 * them, and the linker's `strip = "symbols"` would take away what wasm-bindgen needs.
 */
function dropNames() {
  const file = at("build", "index_bg.wasm");
  return run("wasm-opt", [file, "--strip-debug", "-o", file], { quiet: true });
}

/** Runs worker-build and shows cargo's progress; what else it says is shown when it fails. */
function workerBuild(profile) {
  return new Promise((resolve, reject) => {
    const child = spawn("worker-build", [`--${profile}`, "--out-dir", at("build"), at("tools", "worker")], { cwd: at(), env: environment(), shell: windows });
    let output = "";
    const show = (data) => {
      output += data;
      for (const line of String(data).split("\n")) {
        if (/^\s*(Compiling|Finished|Downloading|error|warning: unused)/.test(line)) process.stderr.write(`${line}\n`);
      }
    };
    child.stdout.on("data", show);
    child.stderr.on("data", show);
    child.on("error", reject);
    child.on("close", (code) => {
      if (code === 0) return resolve();
      process.stderr.write(output);
      reject(new Stop(`worker-build ended with ${code}.`));
    });
  });
}

if (process.argv[1] && import.meta.url === pathToFileURL(process.argv[1]).href) {
  try {
    await Promise.all([buildSite(), buildWorker(process.env.GATEHOUSE_PROFILE ?? "release")]);
  } catch (error) {
    if (!(error instanceof Stop)) throw error;
    say(error.message);
    process.exitCode = 1;
  }
}

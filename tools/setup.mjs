// Everything that must be there before anything can be built: npm packages, the wasm target, the build tools, a
// master key. Each step is skipped when it was done for the same versions.

import { randomBytes } from "node:crypto";
import { appendFileSync, existsSync, mkdirSync, readFileSync, writeFileSync } from "node:fs";
import { Stop, at, digestOf, run, say, windows } from "./lib.mjs";

/** Build tools from crates.io, by the versions that Cargo.lock has of their libraries. */
const CARGO_TOOLS = [
  { crate: "worker-build", version: "0.8.7", program: "worker-build", locked: true },
  // Without --locked: its own lockfile names versions that not every mirror of the index has.
  { crate: "wasm-bindgen-cli", version: "0.2.130", program: "wasm-bindgen", locked: false },
];

/** These tools handle a few files a build: compiling them quickly matters more than their speed. */
const QUICK = {
  CARGO_PROFILE_RELEASE_OPT_LEVEL: "1",
  CARGO_PROFILE_RELEASE_LTO: "off",
  CARGO_PROFILE_RELEASE_CODEGEN_UNITS: "16",
  CARGO_PROFILE_RELEASE_DEBUG: "0",
};

export async function npmPackages() {
  const digest = digestOf([at("package.json"), at("package-lock.json")]);
  const stamp = at("node_modules", ".gatehouse");
  if (existsSync(stamp) && readFileSync(stamp, "utf8") === digest) return;
  say("installing npm packages (about a minute the first time)");
  await run(windows ? "npm.cmd" : "npm", ["ci", "--no-audit", "--no-fund", "--loglevel=error"]);
  writeFileSync(stamp, digest);
}

export async function rust() {
  try {
    await run("cargo", ["--version"], { quiet: true });
  } catch {
    throw new Stop("Rust is needed: install it with rustup (https://rustup.rs), then run this again.");
  }
  const installed = await run("rustup", ["target", "list", "--installed"], { quiet: true }).catch(() => undefined);
  if (installed !== undefined && !installed.includes("wasm32-unknown-unknown")) {
    say("adding the wasm32 target");
    await run("rustup", ["target", "add", "wasm32-unknown-unknown"]);
  }
  const components = await run("rustup", ["component", "list", "--installed"], { quiet: true }).catch(() => undefined);
  const missing = ["rustfmt", "clippy"].filter((name) => components !== undefined && !components.includes(name));
  if (missing.length > 0) await run("rustup", ["component", "add", ...missing]).catch(() => say(`without ${missing}`));
}

export async function cargoTools() {
  const folder = at(".tools", "cargo");
  mkdirSync(folder, { recursive: true });
  for (const { crate, version, program, locked } of CARGO_TOOLS) {
    const stamp = at(".tools", "cargo", `.${crate}`);
    const there = existsSync(at(".tools", "cargo", "bin", windows ? `${program}.exe` : program));
    if (there && existsSync(stamp) && readFileSync(stamp, "utf8") === version) continue;
    say(`building ${crate} ${version} (once, two to four minutes)`);
    const args = ["install", crate, "--version", version, "--root", folder, "--force"];
    await run("cargo", locked ? [...args, "--locked"] : args, {
      env: { ...QUICK, CARGO_TARGET_DIR: at(".tools", "target"), RUSTFLAGS: "" },
    });
    writeFileSync(stamp, version);
  }
}

/** `npm start` must work without a key and without an account, but documents and the cache need a root key. */
export function masterKey() {
  const file = at(".dev.vars");
  const text = existsSync(file) ? readFileSync(file, "utf8") : "";
  if (/^MASTER_KEY=./m.test(text)) return;
  const gap = text === "" || text.endsWith("\n") ? "" : "\n";
  appendFileSync(file, `${gap}MASTER_KEY=${randomBytes(32).toString("base64url")}\n`, { mode: 0o600 });
  say("wrote a fresh MASTER_KEY to .dev.vars");
}

export async function setUp() {
  await rust();
  await cargoTools();
}

// Small helpers of the project's scripts: paths, running programs, stamps.

import { spawn } from "node:child_process";
import { createHash } from "node:crypto";
import { existsSync, mkdirSync, readFileSync, readdirSync, statSync, writeFileSync } from "node:fs";
import { dirname, join, relative, sep } from "node:path";
import { fileURLToPath } from "node:url";

export const root = dirname(dirname(fileURLToPath(import.meta.url)));
export const at = (...parts) => join(root, ...parts);
export const windows = process.platform === "win32";

export function say(text) {
  process.stderr.write(`gatehouse: ${text}\n`);
}

/** A failure that the user can mend: shown without a stack. */
export class Stop extends Error {}

/** What every program of ours is started with: no telemetry, no look-ups, our tools first. */
export function environment(extra = {}) {
  const paths = [at("node_modules", ".bin"), at(".tools", "cargo", "bin"), process.env.PATH];
  return {
    ...process.env,
    PATH: paths.join(windows ? ";" : ":"),
    WRANGLER_SEND_METRICS: "false",
    CLOUDFLARE_CF_FETCH_ENABLED: "false",
    WASM_BINDGEN_BIN: at(".tools", "cargo", "bin", windows ? "wasm-bindgen.exe" : "wasm-bindgen"),
    WASM_OPT_BIN: at("node_modules", ".bin", "wasm-opt"),
    ESBUILD_BIN: at("node_modules", ".bin", "esbuild"),
    ...extra,
  };
}

/** Runs a program to its end, its output shown; rejects when it fails. */
export function run(program, args, { env, cwd = root, quiet = false } = {}) {
  return new Promise((resolve, reject) => {
    const child = spawn(program, args, {
      cwd,
      env: environment(env),
      stdio: quiet ? ["ignore", "pipe", "pipe"] : ["inherit", "inherit", "inherit"],
      shell: windows,
    });
    let output = "";
    child.stdout?.on("data", (data) => (output += data));
    child.stderr?.on("data", (data) => (output += data));
    child.on("error", (error) =>
      reject(error.code === "ENOENT" ? new Stop(`${program} is needed and was not found.`) : error),
    );
    child.on("close", (code, signal) => {
      if (code === 0) resolve(output);
      else reject(Object.assign(new Stop(`${program} ${args.slice(0, 3).join(" ")} ended with ${signal ?? code}.`), { output }));
    });
  });
}

/** Every file below the given paths, sorted. */
export function filesBelow(...paths) {
  const found = [];
  const visit = (path) => {
    if (!existsSync(path)) return;
    if (statSync(path).isDirectory()) {
      for (const name of readdirSync(path).sort()) {
        if (name !== "node_modules" && name !== "target") visit(join(path, name));
      }
    } else found.push(path);
  };
  for (const path of paths) visit(at(path));
  return found.sort();
}

/** A digest of files and of whatever else matters. */
export function digestOf(files, ...extra) {
  const hash = createHash("sha256");
  for (const file of files) {
    hash.update(relative(root, file).split(sep).join("/")).update("\0").update(readFileSync(file)).update("\0");
  }
  for (const text of extra) hash.update(String(text)).update("\0");
  return hash.digest("hex");
}

/** Runs `make` unless the stamp of that name says that it was done for this digest; the stamp is written afterwards. */
export async function once(name, digest, outputs, make) {
  const stamp = at("build", `.${name}.stamp`);
  const done = existsSync(stamp) && readFileSync(stamp, "utf8") === digest && outputs.every((path) => existsSync(path));
  if (done) return false;
  await make();
  mkdirSync(dirname(stamp), { recursive: true });
  writeFileSync(stamp, digest);
  return true;
}

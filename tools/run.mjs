// The commands of package.json: set-up first, then the job. Runs on any Node from 20 on; what needs a newer one is
// given the one that the npm package `node` supplies.

import { spawn } from "node:child_process";
import { existsSync } from "node:fs";
import { Stop, at, environment, say, windows } from "./lib.mjs";
import { cargoTools, masterKey, npmPackages, rust } from "./setup.mjs";

const [command = "start", ...rest] = process.argv.slice(2);

const jobs = {
  async start() {
    masterKey();
    const { buildSite, buildWorker } = await import("./build.mjs");
    await buildSite();
    await buildWorker("dev");
    say("starting on http://localhost:8787 (stop with Ctrl+C)");
    await foreground("wrangler", ["dev", "--port", "8787", ...rest], { GATEHOUSE_PROFILE: "dev" });
  },
  async build() {
    const { buildSite, buildWorker } = await import("./build.mjs");
    await buildSite();
    await buildWorker("release");
  },
  async deploy() {
    const named = rest.some((word) => word === "--env" || word === "-e" || word.startsWith("--env="));
    await foreground("wrangler", ["deploy", ...(named ? [] : ["--env", "production"]), ...rest], { GATEHOUSE_PROFILE: "release" });
  },
  async test() {
    await (await import("./test.mjs")).test({ long: false, only: rest });
  },
  async "test:long"() {
    await (await import("./test.mjs")).test({ long: true, only: rest });
  },
  async "restore-drill"() {
    const { buildSite, buildWorker } = await import("./build.mjs");
    await buildSite();
    await buildWorker("release");
    await foreground("node", [at("tools", "restore-drill.mjs")], { GATEHOUSE_PROFILE: "release" });
  },
  async bench() {
    await foreground("node", [at("tests", "bench", "run.mjs"), ...rest]);
  },
};

/** A program that owns the terminal until it ends, and our exit code with it. */
function foreground(program, args, env = {}) {
  return new Promise((resolve, reject) => {
    const child = spawn(program, args, { cwd: at(), env: environment(env), stdio: "inherit", shell: windows });
    for (const signal of ["SIGINT", "SIGTERM"]) process.on(signal, () => child.kill(signal));
    child.on("error", reject);
    child.on("close", (code) => {
      process.exitCode = code ?? 1;
      resolve();
    });
  });
}

/** wrangler needs Node 22.12 or later. */
function isOldNode() {
  const [major, minor] = process.versions.node.split(".").map(Number);
  return major < 22 || (major === 22 && minor < 12);
}

async function main() {
  if (!(command in jobs)) throw new Stop(`there is no command ${command}; use one of ${Object.keys(jobs).join(", ")}`);
  await npmPackages();
  if (isOldNode()) {
    const newer = at("node_modules", "node", "bin", windows ? "node.exe" : "node");
    if (!existsSync(newer)) throw new Stop(`Node ${process.versions.node} is too old for wrangler; install Node 22.12 or later.`);
    return foreground(newer, [at("tools", "run.mjs"), command, ...rest]);
  }
  await rust();
  await cargoTools();
  await jobs[command]();
}

try {
  await main();
} catch (error) {
  if (!(error instanceof Stop)) throw error;
  say(error.message);
  if (error.output) process.stderr.write(error.output);
  process.exitCode = 1;
}

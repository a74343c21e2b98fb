// The real Worker: `wrangler dev` over workerd, with stores of its own in a temporary folder.

import { spawn } from "node:child_process";
import { existsSync, mkdtempSync, readFileSync, readdirSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { dirname, join } from "node:path";
import { fileURLToPath } from "node:url";

import { CANARIES } from "./config.mjs";
import { until } from "./wait.mjs";

const ROOT = join(dirname(fileURLToPath(import.meta.url)), "../../..");
const WRANGLER = join(ROOT, "node_modules/wrangler/bin/wrangler.js");
/** A first start may have to build the Worker: ten minutes. */
const START_MS = 600_000;

const quiet = {
  WRANGLER_SEND_METRICS: "false",
  CLOUDFLARE_CF_FETCH_ENABLED: "false",
  GATEHOUSE_PROFILE: process.env.GATEHOUSE_PROFILE ?? "release",
  // wrangler shows what the Worker logs, without colours between.
  NO_COLOR: "1",
  FORCE_COLOR: "0",
};

/** Process groups that run; they must not outlive the tests, however those end. */
const groups = new Set();
function endAll() {
  for (const group of groups) {
    try {
      process.kill(-group, "SIGKILL");
    } catch {
      // It has ended already.
    }
  }
}
process.on("exit", endAll);
for (const signal of ["SIGINT", "SIGTERM"]) process.on(signal, () => process.exit(1));

/** Starts the processes, at a free port unless one is given, and resolves when they answer. */
function start(settings, vars, folder, port = "0", inspector = 0) {
  const given = { ...CANARIES, GATEHOUSE_CONFIG: settings && JSON.stringify(settings), ...vars };
  const words = Object.entries(given).filter(([, value]) => value !== undefined);
  const flags = words.flatMap(([name, value]) => ["--var", `${name}:${value}`]);
  const args = [WRANGLER, "dev", "--env", "test", "--ip", "127.0.0.1", "--port", port, "--inspector-port", String(inspector)];
  args.push("--persist-to", folder, "--show-interactive-dev-session=false", ...flags);
  // With a file of its own, wrangler does not read what a developer has in .dev.vars.
  const none = join(folder, "none.env");
  writeFileSync(none, "");
  args.push("--env-file", none);
  const child = spawn(process.execPath, args, {
    cwd: ROOT,
    env: { ...process.env, ...quiet },
    stdio: ["ignore", "pipe", "pipe"],
    // A group of its own, so that workerd ends with wrangler.
    detached: true,
  });
  const run = { child, output: "" };
  groups.add(child.pid);
  run.ended = new Promise((resolve) => child.on("close", resolve)).then(() => groups.delete(child.pid));
  const ready = new Promise((resolve, reject) => {
    const late = setTimeout(() => reject(new Error(`the Worker did not start:\n${run.output}`)), START_MS);
    const take = (part) => {
      run.output += part;
      const found = /Ready on (http:\/\/127\.0\.0\.1:\d+)/.exec(run.output);
      if (found) {
        clearTimeout(late);
        resolve(found[1]);
      }
    };
    child.stdout.on("data", take);
    child.stderr.on("data", take);
    child.on("close", () => reject(new Error(`wrangler ended:\n${run.output}`)));
  });
  return ready.then((url) => Object.assign(run, { url }));
}

async function kill(run, signal) {
  try {
    process.kill(-run.child.pid, signal);
  } catch {
    // It has ended already.
  }
  await run.ended;
}

/** Memory of the runtime in a group of processes, in bytes; undefined where the system does not tell. */
function memoryOf(group) {
  if (!existsSync("/proc/self/stat")) return undefined;
  let bytes = 0;
  for (const id of readdirSync("/proc").filter((name) => /^\d+$/.test(name))) {
    try {
      const [, name, rest] = /\((.*)\) (.*)/s.exec(readFileSync(`/proc/${id}/stat`, "utf8"));
      // Behind the name: state, parent, group.
      if (name !== "workerd" || Number(rest.split(" ")[2]) !== group) continue;
      bytes += 1024 * Number(/^VmRSS:\s+(\d+) kB/m.exec(readFileSync(`/proc/${id}/status`, "utf8"))[1]);
    } catch {
      // It has ended meanwhile.
    }
  }
  return bytes;
}

/**
 * Starts the Worker with that configuration.
 *
 * @param {object | undefined} settings What `config()` gives; without it the configuration that was built in.
 * @param {object} vars Variables and secrets laid over the canaries; `undefined` takes one away.
 * @param {number} [inspector] The port of the runtime's inspector, until a restart.
 * @returns {Promise<object>} `url`; `output()` all that was printed; `logs()` the log lines; `log(requestId)` waits for one;
 *   `memory()` of the runtime in bytes, undefined where the system does not tell it; `restart({ hard, next, vars, meanwhile })` with the same stores; `folder` of the stores; `stop()`.
 */
export async function startWorker(settings, vars = {}, inspector) {
  const folder = mkdtempSync(join(tmpdir(), "gatehouse-test-"));
  let run = await start(settings, vars, folder, "0", inspector);
  let before = "";
  const output = () => before + run.output;
  const logs = () =>
    output()
      .split("\n")
      .filter((line) => line.startsWith('{"level"'))
      .map((line) => JSON.parse(line));
  return {
    folder,
    output,
    logs,
    get url() {
      return run.url;
    },
    async log(requestId) {
      return until(() => logs().find((line) => line.request_id === requestId), `the log line of ${requestId}`);
    },
    memory: () => memoryOf(run.child.pid),
    /** `hard` kills without a chance to write anything; `meanwhile` is done while nothing runs. */
    async restart({ hard = false, next = settings, vars: given, meanwhile } = {}) {
      if (given !== undefined) vars = given;
      await kill(run, hard ? "SIGKILL" : "SIGTERM");
      before += run.output;
      await meanwhile?.();
      // Tokens name the origin they were issued for.
      run = await start(next, vars, folder, new URL(run.url).port);
    },
    async stop() {
      await kill(run, "SIGKILL");
      rmSync(folder, { recursive: true, force: true });
    },
  };
}

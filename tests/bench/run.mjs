// `npm run bench`: what Gatehouse costs, against a bare pass-through Worker and against another gateway, in one run.
//
//   --quick        about two minutes instead of nine; the streams are then only roughly right
//   --json FILE    all numbers as JSON too
//   --only TEXT    the scenarios with that text in their names, and plain chat
//   --rounds N     how often the systems take turns
//   --networks N   over how many networks the thousand addresses are spread
//   --disk         the objects' files on a disk rather than in memory
//   --files        instead of all that: what documents cost, against the bare bucket
//   --search       instead of all that: what a question to a vector store takes, by how many passages it has
//   --host         instead of all that: what parsing, accounting and translating a stream costs on this machine, per event
//
// The systems take turns in several rounds, since a machine is never quiet for long; ratios are taken within a round,
// and of them the median. Nothing here fails for being slow: only a wrong answer does.

import { existsSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { parseArgs } from "node:util";

import { buildSite, buildWorker } from "../../tools/build.mjs";
import { Stop, at, digestOf, run, say, windows } from "../../tools/lib.mjs";
import { setUp } from "../../tools/setup.mjs";
import { bundle, deployment } from "./bundle.mjs";
import { filesBench } from "./files.mjs";
import { LIMITS, houseVars, isHouse, keysOf } from "./limits.mjs";
import { Client, addresses } from "./load.mjs";
import { report } from "./report.mjs";
import { FILL, SCENARIOS, gatehouseVars, portkeyHeaders } from "./scenarios.mjs";
import { searchBench } from "./search.mjs";
import { cpuMs, memoryMiB, startCopying, startGatehouse, startPassthrough, startPortkey, startUpstream, stopAll } from "./servers.mjs";

const { values: options } = parseArgs({
  options: {
    quick: { type: "boolean", default: false },
    json: { type: "string" },
    rounds: { type: "string" },
    networks: { type: "string", default: "1000" },
    disk: { type: "boolean", default: false },
    only: { type: "string" },
    files: { type: "boolean", default: false },
    search: { type: "boolean", default: false },
    host: { type: "boolean", default: false },
  },
});

const PLAN = options.quick
  ? { rounds: 2, loadMs: 500, singleMs: 200, slowMs: 1200, slowSingleMs: 500, warm: 600, slowWarm: 40 }
  : { rounds: 5, loadMs: 1500, singleMs: 500, slowMs: 3000, slowSingleMs: 1100, warm: 3000, slowWarm: 150 };
if (options.rounds) PLAN.rounds = Number(options.rounds);
const ADDRESSES = 1000;
const NETWORKS = Number(options.networks);
const CONCURRENCY = 10;
/** Work after the last byte (the log line, a cache entry) belongs to the request. */
const SETTLE_MS = 150;
const PLAIN = SCENARIOS[0];
const ALL = [...SCENARIOS, ...LIMITS];

/**
 * Where the objects' SQLite files lie: in memory when the system has such a folder, because a commit on a disk costs what
 * the disk costs, and varies as it does; on the platform no Worker pays for that. `--disk` puts them on a disk.
 */
const MEMORY_FOLDER = "/dev/shm";
const inMemory = !options.disk && existsSync(MEMORY_FOLDER);

// === making ready ===

async function otherGateway() {
  const here = (...parts) => at("tests", "bench", ...parts);
  const stamp = here("node_modules", ".gatehouse");
  const digest = digestOf([here("package-lock.json")]);
  if (existsSync(stamp) && readFileSync(stamp, "utf8") === digest) return;
  say("installing the gateway that we compare with");
  await run(windows ? "npm.cmd" : "npm", ["ci", "--no-audit", "--no-fund", "--ignore-scripts", "--loglevel=error"], { cwd: here() });
  writeFileSync(stamp, digest);
}

async function startSystems(folder, scenarios) {
  const upstream = await startUpstream();
  const common = { ...(await deployment()), bundle: await bundle(), upstream };
  const nextAddress = addresses(ADDRESSES, NETWORKS);
  const gatehouse = (name, entries) => startGatehouse(name, folder, { ...common, vars: gatehouseVars(upstream, entries) });
  const clients = [
    new Client(await startPassthrough(folder, common), { nextAddress }),
    new Client(await startCopying(folder, common), { nextAddress }),
    new Client(await gatehouse("gatehouse", 256), { nextAddress, gatehouse: true }),
    new Client(await gatehouse("gatehouse-kv", 0), { nextAddress, gatehouse: true }),
    new Client(await startPortkey(folder), { nextAddress, headers: portkeyHeaders(upstream) }),
  ];
  const names = new Set(scenarios.flatMap((scenario) => scenario.systems));
  for (const name of [...names].filter(isHouse)) {
    const server = await startGatehouse(name, folder, { ...common, vars: houseVars(name, upstream), counted: true });
    clients.push(new Client(server, { nextAddress, gatehouse: true, keys: await keysOf(name, server) }));
  }
  return { upstream, systems: Object.fromEntries(clients.map((client) => [client.server.name, client])) };
}

// === measuring ===

const sleep = (ms) => new Promise((resolve) => setTimeout(resolve, ms));
const numbers = (port, path) => fetch(`http://127.0.0.1:${port}/${path}`).then((answer) => answer.json());
const storeCounters = (upstream) => numbers(upstream.store, "counters");
const objectCalls = (client) => (isHouse(client.server.name) ? numbers(client.server.port, "object-calls") : undefined);

/** One system in one scenario: one request at a time, then several. */
async function slice(client, scenario, upstream) {
  const { pid } = client.server;
  // While the others had their turn, objects left memory; what is measured is a client that is at it.
  if (client.gatehouse && !scenario.key) await client.count(PLAIN, CONCURRENCY, ADDRESSES);
  // A key's clients are few; an isolate leases by what it was asked for in this second and the one before.
  if (scenario.key) {
    await client.count(scenario, CONCURRENCY, 100);
    await sleep(SETTLE_MS);
  }
  // The isolate forgets its oldest entries for newer ones, and the miss makes many.
  if (scenario.prime) await client.count(scenario, 4, scenario.prime);
  const before = await storeCounters(upstream);
  const callsBefore = await objectCalls(client);
  const single = await client.run(scenario, 1, scenario.slow ? PLAN.slowSingleMs : PLAN.singleMs);
  await sleep(SETTLE_MS);
  const cpuBefore = cpuMs(pid);
  const began = performance.now();
  const loaded = await client.run(scenario, CONCURRENCY, scenario.slow ? PLAN.slowMs : PLAN.loadMs);
  const wallMs = performance.now() - began;
  await sleep(SETTLE_MS);
  const cpu = cpuBefore === undefined ? undefined : cpuMs(pid) - cpuBefore;
  const after = await storeCounters(upstream);
  const callsAfter = await objectCalls(client);
  const requests = loaded.total.length;
  const all = requests + single.total.length;
  checkStore(scenario, all, before, after);
  const calls = callsAfter && Object.fromEntries(Object.keys(callsAfter).map((name) => [name, (callsAfter[name] - callsBefore[name]) / all]));
  return { requests, calls, wallMs, cpuMs: cpu, cpuPerRequestMs: cpu === undefined ? undefined : cpu / requests, single, loaded };
}

/** A hit that never reached the store it is said to come from would be a measurement of something else. */
function checkStore(scenario, requests, before, after) {
  for (const [what, each] of Object.entries(scenario.store ?? {})) {
    const seen = after[what] - before[what];
    if (seen !== each * requests) throw new Error(`${scenario.name}: ${seen} ${what} of the store for ${requests} requests`);
  }
}

async function measure({ upstream, systems }, scenarios) {
  say("filling the caches, warming up");
  // Each has entries of its own: a key depends on the configuration.
  for (const name of ["gatehouse", "gatehouse-kv"]) await systems[name].count(FILL, 4, FILL.count);
  await sleep(SETTLE_MS);
  for (const scenario of scenarios) {
    for (const name of scenario.systems) await systems[name].count(scenario, CONCURRENCY, scenario.slow ? PLAN.slowWarm : PLAN.warm);
  }
  const results = new Map(scenarios.map((scenario) => [scenario.name, Object.fromEntries(scenario.systems.map((name) => [name, []]))]));
  const startCpu = Object.fromEntries(Object.entries(systems).map(([name, client]) => [name, cpuMs(client.server.pid)]));
  for (let round = 0; round < PLAN.rounds; round += 1) {
    say(`round ${round + 1} of ${PLAN.rounds}`);
    for (const scenario of scenarios) {
      // Another system begins each time.
      const turn = scenario.systems.map((_, i) => scenario.systems[(i + round) % scenario.systems.length]);
      for (const name of turn) results.get(scenario.name)[name].push(await slice(systems[name], scenario, upstream));
    }
  }
  const processes = Object.entries(systems).map(([name, client]) => {
    const cpu = cpuMs(client.server.pid);
    return { name, memoryMiB: memoryMiB(client.server.pid), cpuMs: cpu === undefined ? undefined : cpu - startCpu[name] };
  });
  return { results, processes };
}

/** One line for each answer of Gatehouse: proof that logging was on. */
function checkLogs(systems, results) {
  for (const { server } of Object.values(systems).filter((client) => client.gatehouse)) {
    const { name } = server;
    const lines = readFileSync(server.log, "utf8").split('"request_id"').length - 1;
    const requests = [...results.values()].flatMap((of) => of[name] ?? []).reduce((sum, one) => sum + one.requests, 0);
    if (lines < requests) throw new Error(`${name} wrote ${lines} log lines for ${requests} requests`);
  }
}

/** A benchmark with a report of its own. */
function told({ text, ...data }) {
  process.stdout.write(text);
  if (options.json) writeFileSync(options.json, `${JSON.stringify(data, null, 2)}\n`);
}

async function main() {
  if (options.host) return run("cargo", ["bench", "--locked", "--quiet", "--bench", "streams"]);
  await setUp();
  await buildSite();
  await buildWorker("release");
  if (options.files) return told(await filesBench({ rounds: options.quick ? 2 : PLAN.rounds + 2 }));
  if (options.search) return told(await searchBench({ times: options.quick ? 5 : 15 }));
  await otherGateway();
  // Others are compared with the first one, so it is always there; and so is what a chosen one is compared with.
  const chosen = ALL.filter((scenario) => scenario === PLAIN || scenario.name.includes(options.only ?? ""));
  const bases = new Set(chosen.map((scenario) => scenario.base));
  const scenarios = ALL.filter((scenario) => chosen.includes(scenario) || bases.has(scenario.name));
  const folder = mkdtempSync(join(inMemory ? MEMORY_FOLDER : tmpdir(), "gatehouse-bench-"));
  process.on("exit", () => rmSync(folder, { recursive: true, force: true }));
  try {
    const running = await startSystems(folder, scenarios);
    const measured = await measure(running, scenarios);
    checkLogs(running.systems, measured.results);
    const { text, data } = await report({ ...measured, scenarios, plan: PLAN, load: { addresses: ADDRESSES, networks: NETWORKS, concurrency: CONCURRENCY, files: inMemory ? "a folder in memory" : "a disk" } });
    process.stdout.write(text);
    if (options.json) writeFileSync(options.json, `${JSON.stringify(data, null, 2)}\n`);
    for (const client of Object.values(running.systems)) client.close();
  } finally {
    await stopAll();
    rmSync(folder, { recursive: true, force: true });
  }
}

for (const [signal, code] of [["SIGINT", 130], ["SIGTERM", 143]]) process.on(signal, () => process.exit(code));
try {
  await main();
} catch (error) {
  if (error.output) process.stderr.write(error.output);
  if (error instanceof Stop) say(error.message);
  else process.stderr.write(`${error.stack}\n`);
  process.exitCode = 1;
}

// From slices to a table that says what was measured, where, and how.

import { execFileSync } from "node:child_process";
import { readFileSync } from "node:fs";
import { cpus, loadavg, release, totalmem, type } from "node:os";

import { at } from "../../tools/lib.mjs";
import { workerd } from "./servers.mjs";

const TITLES = {
  passthrough: "(a) pass-through",
  gatehouse: "(b) Gatehouse",
  "gatehouse-kv": "(b) Gatehouse",
  portkey: "(c) Portkey",
  copying: "(d) copying",
  "gatehouse-keys": "(b) Gatehouse, keys",
  "gatehouse-watched": "(b) Gatehouse, keys watched",
  "gatehouse-4-leases": "(b) Gatehouse, 4 accounts of requests",
  "gatehouse-4-budgets": "(b) Gatehouse, 4 accounts of money",
};

/** Of sorted or unsorted numbers, the one below which that share lies (nearest rank). */
export function quantile(numbers, share) {
  const sorted = [...numbers].sort((x, y) => x - y);
  return sorted[Math.min(sorted.length - 1, Math.max(0, Math.ceil(share * sorted.length) - 1))];
}

export const median = (numbers) => {
  const sorted = [...numbers].sort((x, y) => x - y);
  const middle = sorted.length >> 1;
  return sorted.length % 2 === 1 ? sorted[middle] : (sorted[middle - 1] + sorted[middle]) / 2;
};

/** One line of the table: a system in a scenario, with (a) and with no limit in the same rounds to compare with. */
function row(scenario, system, slices, base, none) {
  const over = (pick) => median(slices.map(pick));
  const measured = slices.every((one) => one.cpuPerRequestMs !== undefined);
  const ratios = measured && base ? slices.map((one, i) => one.cpuPerRequestMs / base[i].cpuPerRequestMs) : undefined;
  const single = (which, share) => over((one) => quantile(one.single[which], share));
  const all = slices.flatMap((one) => one.loaded.total);
  const latency = (one) => quantile(one.single.total, 0.5);
  const against = (others, pick) => others && median(slices.map((one, i) => pick(one) / pick(others[i])));
  return {
    scenario: scenario.name,
    base: scenario.base,
    system,
    requests: slices.reduce((sum, one) => sum + one.requests, 0),
    cpuMs: measured ? over((one) => one.cpuPerRequestMs) : undefined,
    ratio: ratios && median(ratios),
    ratioSpread: ratios && [Math.min(...ratios), Math.max(...ratios)],
    target: system.startsWith("gatehouse") ? scenario.target : undefined,
    singleP50: single("total", 0.5),
    singleP99: quantile(slices.flatMap((one) => one.single.total), 0.99),
    firstByteP50: single("first", 0.5),
    addedFirstByte: base && median(slices.map((one, i) => quantile(one.single.first, 0.5) - quantile(base[i].single.first, 0.5))),
    loadedP50: over((one) => quantile(one.loaded.total, 0.5)),
    loadedP99: quantile(all, 0.99),
    limit: scenario.limit && {
      added: base && median(slices.map((one, i) => latency(one) - latency(base[i]))),
      timesBase: against(base, latency),
      timesNone: against(none, latency),
      cpuTimesNone: measured ? against(none, (one) => one.cpuPerRequestMs) : undefined,
      calls: slices[0].calls && Object.fromEntries(Object.keys(slices[0].calls).map((name) => [name, over((one) => one.calls[name])])),
    },
  };
}

function rows(scenarios, results) {
  return scenarios.flatMap((scenario) => {
    const of = results.get(scenario.name);
    const base = of.passthrough ?? results.get(scenario.base)?.passthrough;
    const none = scenario.limit && results.get(scenario.base)["gatehouse-keys"];
    return scenario.systems.map((system) => row(scenario, system, of[system], base, none));
  });
}

/** Is the target met, and is (b) below (c)? */
function verdict(line, lines) {
  if (!line.system.startsWith("gatehouse") || line.cpuMs === undefined) return "";
  const words = [];
  if (line.target && line.ratio) words.push(`${line.ratio <= line.target ? "meets" : "misses"} ${line.target}`);
  const other = [line.scenario, line.base].map((name) => lines.find(({ scenario, system }) => scenario === name && system === "portkey")).find(Boolean);
  if (other) words.push(line.cpuMs < other.cpuMs ? "below (c)" : "not below (c)");
  return words.join(", ");
}

const fixed = (number, digits) => (number === undefined ? "–" : number.toFixed(digits));
const signed = (number) => (number === undefined ? "–" : `${number >= 0 ? "+" : "−"}${Math.abs(number).toFixed(2)}`);

function table(lines) {
  const head = ["scenario", "system", "requests", "CPU ms/request", "× (a)", "spread", "target", "first byte p50", "added", "p50 at 1", "p99 at 1", "p50 at 10", "p99 at 10"];
  const cells = lines.filter((line) => !line.limit).map((line) => [
    line.scenario,
    TITLES[line.system],
    String(line.requests),
    fixed(line.cpuMs, 3),
    fixed(line.ratio, 2),
    line.ratioSpread ? line.ratioSpread.map((one) => one.toFixed(2)).join("–") : "–",
    verdict(line, lines),
    fixed(line.firstByteP50, 2),
    line.system === "passthrough" ? "–" : signed(line.addedFirstByte),
    ...[line.singleP50, line.singleP99, line.loadedP50, line.loadedP99].map((one) => fixed(one, 2)),
  ]);
  return drawn(head, cells, (i) => i < 2 || i === 6);
}

/** A table in Markdown; `isText`: which columns are not numbers. */
function drawn(head, cells, isText) {
  const widths = head.map((title, i) => Math.max(title.length, ...cells.map((cell) => cell[i].length)));
  const line = (cell) => `| ${cell.map((text, i) => (isText(i) ? text.padEnd(widths[i]) : text.padStart(widths[i]))).join(" | ")} |`;
  const rule = `| ${widths.map((width, i) => (isText(i) ? "-".repeat(width) : `${"-".repeat(width - 1)}:`)).join(" | ")} |`;
  return [line(head), rule, ...cells.map(line)].join("\n");
}

/** What each kind of limit adds to a key's request. */
function limitsTable(lines) {
  const head = ["limit", "p50 at 1", "added to (a)", "× (a)", "× none", "CPU ms/request", "CPU × (a)", "CPU × none", "Limiter calls", "Ledger calls"];
  // (a) was measured beside each of them; one row of it is enough.
  const shown = lines.filter(({ system, scenario, base }) => system !== "passthrough" || scenario === base);
  const cells = shown.map(({ scenario, system, limit, ...line }) => [
    system === "passthrough" ? TITLES[system] : scenario.replace("limit: ", ""),
    fixed(line.singleP50, 2),
    system === "passthrough" ? "–" : signed(limit.added),
    fixed(limit.timesBase, 2),
    fixed(limit.timesNone, 2),
    fixed(line.cpuMs, 3),
    fixed(line.ratio, 2),
    fixed(limit.cpuTimesNone, 2),
    fixed(limit.calls?.Limiter, 2),
    fixed(limit.calls?.Ledger, 2),
  ]);
  return `
What an API key's limits cost, by its allowance. "× none" is against a key without any. Both ratios of the time are of the medians at 1.

${drawn(head, cells, (i) => i === 0)}

Calls are those of objects for one request. A Limiter is the object of the client's network, which every request asks; a
Ledger is an account's, which a request need not ask while a lease holds, and the key's record, which is read again once a
second. A budget is reserved before the call and settled after the last byte: the time is that of reserving, CPU and calls
those of both. "4 accounts" are the key by its tier, the alias, the tenant and all tenants together. "watched" is a key
without limits where unusual use is looked for, as it is by default; for the others it is not. "refused" is a 429 that
the isolate remembers, without a call of the provider; it is compared with (a) beside "none". Keys are used from ten addresses.
`;
}

const version = (...path) => JSON.parse(readFileSync(at(...path, "package.json"), "utf8")).version;
const workerdVersion = () => execFileSync(workerd(), ["--version"], { encoding: "utf8" }).trim();

export async function report({ results, processes, scenarios, plan, load }) {
  const lines = rows(scenarios, results);
  const machine = {
    date: new Date().toISOString(),
    cpu: cpus()[0]?.model.trim(),
    cores: cpus().length,
    memoryGiB: Math.round(totalmem() / 2 ** 30),
    system: `${type()} ${release()}`,
    loadAverage: loadavg().map((one) => Number(one.toFixed(2))),
  };
  const versions = {
    gatehouse: version(),
    workerd: workerdVersion(),
    portkey: version("tests", "bench", "node_modules", "@portkey-ai", "gateway"),
    node: process.versions.node,
    wrangler: version("node_modules", "wrangler"),
  };
  const limits = lines.filter((line) => line.limit);
  const outside = processes.map((one) => ({ ...one, outsideMs: outsideOf(one, results) }));
  const text = `
# Benchmark

${machine.date} · ${machine.cores} × ${machine.cpu}, ${machine.memoryGiB} GiB, ${machine.system} · load average ${machine.loadAverage.join(" ")}
Gatehouse ${versions.gatehouse} (release wasm, bundled by wrangler ${versions.wrangler}) · ${versions.workerd} · @portkey-ai/gateway ${versions.portkey} · Node ${versions.node}

${table(lines)}
${limits.length > 0 ? limitsTable(limits) : ""}
Times in milliseconds. "at 1" and "at 10" are requests under way at a time. CPU is user and system time of the server's process with all its
threads, at ${load.concurrency} under way, the work after the last byte included${machine.system.startsWith("Linux") ? "" : "; it is not measured on this system, which has no /proc"}. "× (a)" is the median over ${plan.rounds} rounds of the ratio within a round, "spread" the
lowest and highest of them. Cache hits, the miss and the built-in answer are compared with (a) and (c) in "plain chat", for they have no such thing; the
translated and the resumable stream with (a) in "stream, inspecting". A native stream asked for usage; the inspecting one is the SDK's default
body, from which the usage that Gatehouse asked for is taken out; the translated one is Anthropic's SDK over this provider of OpenAI's chat.

Load: ${load.addresses} client addresses in ${load.networks} networks (IPv4 /24, each a Durable Object), the OpenAI SDK's headers and default bodies; streams have 64 events
4 ms apart. (d) is a Worker that copies a stream piece by piece in JavaScript and looks at nothing: the least that inspecting can cost. (a), (b) and (d) run on the same workerd, bare: one socket, one worker, no proxy before it. In (b) everything is on: limits
in SQLite files (in ${load.files}), cache, checks, one log line a request into a file. Before each measurement every address asks once, so that
its object is in memory; "newcomers" are clients whose network was never seen before, each request a new object. The provider, the key-value store behind the KV binding, and the load
are processes of their own, not counted. (c) runs on Node with its defaults: without limits, without a cache, without a log; it
holds a stream back for 25 ms after its first event.

Processes after the run: ${outside.map((one) => `${TITLES[one.name]}${one.name.endsWith("-kv") ? " without isolate memory" : ""} ${fixed(one.memoryMiB, 0)} MiB, ${fixed(one.outsideMs / 1000, 2)} s of CPU outside of the slices above`).join("; ")}.
`;
  return { text, data: { machine, versions, plan, load, lines, processes: outside } };
}

/** CPU that a process used while nothing of its own was measured: requests one at a time, alarms, collected garbage. */
function outsideOf(one, results) {
  if (one.cpuMs === undefined) return undefined;
  const inside = [...results.values()].flatMap((of) => of[one.name] ?? []).reduce((sum, slice) => sum + slice.cpuMs, 0);
  return one.cpuMs - inside;
}

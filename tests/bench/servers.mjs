// The systems under comparison, each in one process of its own: bare workerd (no dev proxy, no simulators) and node.

import { spawn } from "node:child_process";
import { closeSync, copyFileSync, mkdirSync, openSync, readFileSync, readdirSync, writeFileSync } from "node:fs";
import { createRequire } from "node:module";
import { createServer } from "node:net";
import { basename, dirname, join } from "node:path";
import { fileURLToPath } from "node:url";

import { Stop, at } from "../../tools/lib.mjs";

const here = dirname(fileURLToPath(import.meta.url));
const START_MS = 20_000;

const children = new Set();
// Nothing of ours outlives us, however we end.
process.on("exit", () => children.forEach((child) => child.kill("SIGKILL")));

/** Starts a program; `first` is its first line on the descriptor `line`. */
function start(program, args, { stdio, line, env }) {
  const child = spawn(program, args, { stdio, env: env ?? process.env });
  children.add(child);
  child.on("close", () => children.delete(child));
  let errors = "";
  child.stderr?.on("data", (data) => (errors = (errors + data).slice(-4000)));
  let late;
  const first = new Promise((resolve, reject) => {
    late = setTimeout(() => reject(new Stop(`${program} did not start in time.\n${errors}`)), START_MS);
    let text = "";
    child.stdio[line]?.on("data", (data) => {
      text += data;
      if (text.includes("\n")) resolve(text.split("\n")[0]);
    });
    child.on("error", reject);
    child.on("close", (code) => reject(new Stop(`${program} ended with ${code}.\n${errors}`)));
  }).finally(() => clearTimeout(late));
  first.catch(() => {});
  return { child, first };
}

export function stopAll() {
  const ended = [...children].map((child) => new Promise((resolve) => child.on("close", resolve)));
  children.forEach((child) => child.kill("SIGKILL"));
  return Promise.all(ended);
}

/** The fake provider and the store: `{ provider, store }`, two ports. */
export async function startUpstream() {
  const { first } = start(process.execPath, [join(here, "upstream.mjs")], { stdio: ["pipe", "pipe", "inherit"], line: 1 });
  return JSON.parse(await first);
}

// === workerd ===

/** The program itself: what lies in node_modules/.bin may be a script around it. */
export const workerd = () => createRequire(at("package.json"))("workerd").default;

/** Text in workerd's configuration language, whose strings are those of C: all but plain letters as their bytes. */
function text(value) {
  const bytes = [...Buffer.from(String(value))];
  const plain = (byte) => byte >= 32 && byte < 127 && byte !== 34 && byte !== 92;
  return `"${bytes.map((byte) => (plain(byte) ? String.fromCharCode(byte) : `\\x${byte.toString(16).padStart(2, "0")}`)).join("")}"`;
}

/** A file as a module; files are embedded from the folder in which the configuration lies. */
function module(folder, source, kind) {
  const file = basename(source);
  copyFileSync(source, join(folder, file));
  return `(name = ${text(`./${file}`)}, ${kind} = embed ${text(file)})`;
}

/** The worker's own standard output goes to this file, so that what logging costs is counted and can be checked. */
async function startWorkerd(name, folder, services) {
  const config = join(folder, `${name}.capnp`);
  writeFileSync(
    config,
    `using Workerd = import "/workerd/workerd.capnp";
const config :Workerd.Config = (
  services = [
    (name = "internet", network = (allow = ["public", "private"])),
${services.map((service) => `    ${service},`).join("\n")}
  ],
  sockets = [(name = "http", address = "127.0.0.1:0", http = (), service = "main")],
);
`,
  );
  const log = join(folder, `${name}.log`);
  const output = openSync(log, "w");
  const { child, first } = start(workerd(), ["serve", "--control-fd=3", config, "config"], {
    stdio: ["ignore", output, "pipe", "pipe"],
    line: 3,
  });
  closeSync(output);
  const { port } = JSON.parse(await first);
  return { name, pid: child.pid, port, log };
}

/** (a): a Worker that returns what the provider says. */
export const startPassthrough = (folder, common) => startBare("passthrough", folder, common);

/** (d): a Worker that copies it piece by piece. */
export const startCopying = (folder, common) => startBare("copying", folder, common);

function startBare(name, folder, { compatibility, upstream }) {
  return startWorkerd(name, folder, [
    `(name = "main", worker = (
      compatibilityDate = ${text(compatibility)},
      modules = [${module(folder, join(here, `${name}.mjs`), "esModule")}],
      bindings = [(name = "UPSTREAM", text = ${text(`http://127.0.0.1:${upstream.provider}`)})],
    ))`,
  ]);
}

/**
 * (b): Gatehouse as it is deployed, with every binding of its configuration. The site is a folder, the key-value store a
 * process of its own, Durable Objects keep SQLite files on disk. Documents are not part of the measurement: their bucket
 * leads nowhere. `counted` counts the calls of objects.
 */
export function startGatehouse(name, folder, { compatibility, objects, bundle, upstream, vars, counted = false }) {
  const storage = join(folder, `${name}-objects`);
  mkdirSync(storage);
  const built = readdirSync(bundle)
    .filter((file) => /\.(js|wasm)$/.test(file))
    .sort((a, b) => Number(b.endsWith(".js")) - Number(a.endsWith(".js")))
    .map((file) => join(bundle, file));
  // The entry comes first.
  const sources = counted ? [join(here, "counted.mjs"), ...built] : built;
  const modules = sources.map((file) => module(folder, file, file.endsWith(".wasm") ? "wasm" : "esModule"));
  const bindings = [
    ...Object.entries(vars).map(([key, value]) => `(name = ${text(key)}, text = ${text(value)})`),
    ...objects.map(({ binding, className }) => `(name = ${text(binding)}, durableObjectNamespace = ${text(className)})`),
    `(name = "CACHE", kvNamespace = "store")`,
    `(name = "DOCUMENTS", r2Bucket = "store")`,
    `(name = "ASSETS", service = "site")`,
  ];
  const namespaces = objects.map(({ className }) => `(className = ${text(className)}, uniqueKey = ${text(`bench-${className}`)}, enableSql = true)`);
  return startWorkerd(
    name,
    folder,
    [
      `(name = "store", external = (address = ${text(`127.0.0.1:${upstream.store}`)}, http = ()))`,
      `(name = "site", disk = ${text(at("build", "site"))})`,
      `(name = "disk", disk = (path = ${text(storage)}, writable = true))`,
      `(name = "main", worker = (
      compatibilityDate = ${text(compatibility)},
      modules = [
        ${modules.join(",\n        ")},
      ],
      bindings = [
        ${bindings.join(",\n        ")},
      ],
      durableObjectNamespaces = [
        ${namespaces.join(",\n        ")},
      ],
      durableObjectStorage = (localDisk = "disk"),
    ))`,
    ],
  );
}

// === the other gateway ===

/** (c): the gateway from npm, as its own start script runs it. */
export async function startPortkey(folder) {
  const port = await freePort();
  const script = join(here, "node_modules", "@portkey-ai", "gateway", "build", "start-server.js");
  const output = openSync(join(folder, "portkey.log"), "w");
  const { child } = start(process.execPath, [script, `--port=${port}`, "--headless"], {
    stdio: ["ignore", output, "pipe"],
    line: 2,
    env: { ...process.env, NODE_ENV: "production" },
  });
  closeSync(output);
  for (let tries = 0; tries < 100; tries += 1) {
    if (await fetch(`http://127.0.0.1:${port}/`).then((r) => r.arrayBuffer(), () => undefined)) return { name: "portkey", pid: child.pid, port };
    await new Promise((resolve) => setTimeout(resolve, 100));
  }
  throw new Stop("the other gateway did not start");
}

function freePort() {
  return new Promise((resolve, reject) => {
    const server = createServer().on("error", reject);
    server.listen(0, "127.0.0.1", () => {
      const { port } = server.address();
      server.close(() => resolve(port));
    });
  });
}

// === what a process used ===

/** Ticks of /proc a second: USER_HZ, which Linux keeps at 100 on every architecture that Node runs on. */
const TICKS_PER_SECOND = 100;

/** Processor time of a process and all its threads so far, in ms; undefined where there is no /proc. */
export function cpuMs(pid) {
  if (process.platform !== "linux") return undefined;
  const stat = readFileSync(`/proc/${pid}/stat`, "utf8");
  // The name in parentheses may hold spaces; utime and stime are fields 14 and 15 (proc_pid_stat(5)).
  const fields = stat.slice(stat.lastIndexOf(")") + 2).split(" ");
  return ((Number(fields[11]) + Number(fields[12])) * 1000) / TICKS_PER_SECOND;
}

/** Resident memory in MiB. */
export function memoryMiB(pid) {
  if (process.platform !== "linux") return undefined;
  const kib = /^VmRSS:\s+(\d+)/m.exec(readFileSync(`/proc/${pid}/status`, "utf8"))?.[1];
  return Number(kib) / 1024;
}

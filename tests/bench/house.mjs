// Gatehouse over the local runtime's own bucket and objects, for what bare workerd has no bucket for.

import { existsSync, readFileSync, readdirSync } from "node:fs";
import { createRequire } from "node:module";
import { tmpdir } from "node:os";
import { join } from "node:path";

import { at } from "../../tools/lib.mjs";
import { deployment } from "./bundle.mjs";

const MEMORY_FOLDER = "/dev/shm";

/** Where the objects' and the bucket's files lie: in memory where the system has such a folder. */
export const filesFolder = () => (existsSync(MEMORY_FOLDER) ? MEMORY_FOLDER : tmpdir());

/** Starts the bundle in the folder `out` with these variables, and further Workers that share its bucket. */
export async function startHouse({ folder, out, vars, others = {} }) {
  // What wrangler itself runs the Worker with.
  const wrangler = createRequire(at("package.json")).resolve("wrangler");
  const { Miniflare, convertV4MiniflareOptions } = await import(createRequire(wrangler).resolve("miniflare"));
  const { compatibility: compatibilityDate, objects } = await deployment();
  const files = readdirSync(out).filter((file) => /\.(js|wasm)$/.test(file));
  const modules = files
    .sort((a, b) => Number(b.endsWith(".js")) - Number(a.endsWith(".js")))
    .map((file) => ({ type: file.endsWith(".wasm") ? "CompiledWasm" : "ESModule", path: join(out, file), contents: readFileSync(join(out, file)) }));
  const common = { compatibilityDate, modulesRoot: out, r2Buckets: { DOCUMENTS: "documents" }, unsafeDirectSockets: [{ host: "127.0.0.1", port: 0 }] };
  const options = convertV4MiniflareOptions({
    resourcePersistencePath: folder,
    workers: [
      ...Object.entries(others).map(([name, file]) => ({ name, ...common, modules: [{ type: "ESModule", path: join(out, `${name}.mjs`), contents: readFileSync(file) }] })),
      {
        name: "gatehouse",
        ...common,
        modules,
        kvNamespaces: ["CACHE"],
        durableObjects: Object.fromEntries(objects.map(({ binding, className }) => [binding, { className, useSQLite: true }])),
        serviceBindings: { ASSETS: () => new Response(null, { status: 404 }) },
        bindings: vars,
      },
    ],
  });
  const house = new Miniflare(options);
  const urls = {};
  for (const name of [...Object.keys(others), "gatehouse"]) urls[name] = await house.unsafeGetDirectURL(name);
  return { house, urls, pid: runtime() };
}

/** The process of the runtime: a child of this one. */
function runtime() {
  for (const id of existsSync("/proc") ? readdirSync("/proc").filter((name) => /^\d+$/.test(name)) : []) {
    try {
      const [, name, rest] = /\((.*)\) (.*)/s.exec(readFileSync(`/proc/${id}/stat`, "utf8"));
      if (name === "workerd" && Number(rest.split(" ")[1]) === process.pid) return Number(id);
    } catch {
      // It has ended meanwhile.
    }
  }
  return undefined;
}

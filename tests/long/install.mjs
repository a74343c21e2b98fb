// What only the long tests need is installed when they run, once for each version of it.

import { existsSync, readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";

import { digestOf, run, windows } from "../../tools/lib.mjs";

/** Installs the npm packages of a folder with a lock of its own. */
export async function installed(folder) {
  const stamp = join(folder, "node_modules", ".gatehouse");
  const digest = digestOf([join(folder, "package-lock.json")]);
  if (existsSync(stamp) && readFileSync(stamp, "utf8") === digest) return;
  await run(windows ? "npm.cmd" : "npm", ["ci", "--no-audit", "--no-fund", "--ignore-scripts", "--loglevel=error"], { cwd: folder });
  writeFileSync(stamp, digest);
}

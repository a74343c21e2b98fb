// The Worker as it would be deployed.

import { rmSync } from "node:fs";

import { at, run } from "../../tools/lib.mjs";

/** Bundles it; gives the folder. */
export async function bundle() {
  const out = at("build", "bench");
  rmSync(out, { recursive: true, force: true });
  await run("wrangler", ["deploy", "--dry-run", "--env", "test", "--outdir", out], { quiet: true, env: { GATEHOUSE_PROFILE: "release" } });
  return out;
}

/** What wrangler.toml says of the environment `test`. */
export async function deployment() {
  process.env.WRANGLER_SEND_METRICS = "false";
  const { unstable_readConfig: readConfig } = await import("wrangler");
  const config = readConfig({ config: at("wrangler.toml"), env: "test" });
  const objects = config.durable_objects.bindings.map((object) => ({ binding: object.name, className: object.class_name }));
  return { compatibility: config.compatibility_date, objects };
}

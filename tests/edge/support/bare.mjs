// A module of ours in bare workerd, without the Worker around it.

import { spawn } from "node:child_process";
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { createRequire } from "node:module";
import { tmpdir } from "node:os";
import { join } from "node:path";

import { at } from "../../../tools/lib.mjs";

/**
 * Starts workerd with modules, the first of which answers requests.
 *
 * @param {Record<string, string>} modules Their sources by name.
 * @returns {Promise<{ url: string, stop: () => Promise<void> }>}
 */
export async function startBare(modules) {
  const folder = mkdtempSync(join(tmpdir(), "gatehouse-bare-"));
  for (const [name, source] of Object.entries(modules)) writeFileSync(join(folder, name), source);
  const listed = Object.keys(modules).map((name) => `(name = "${name}", esModule = embed "${name}")`);
  writeFileSync(
    join(folder, "config.capnp"),
    `using Workerd = import "/workerd/workerd.capnp";
const config :Workerd.Config = (
  services = [(name = "main", worker = (modules = [${listed.join(", ")}], compatibilityDate = "2026-06-01"))],
  sockets = [(name = "http", address = "127.0.0.1:0", http = (), service = "main")],
);`,
  );
  const program = createRequire(at("package.json"))("workerd").default;
  const child = spawn(program, ["serve", "--control-fd=3", join(folder, "config.capnp")], { stdio: ["ignore", "inherit", "inherit", "pipe"] });
  const ended = new Promise((resolve) => child.on("close", resolve));
  const port = await new Promise((resolve, reject) => {
    let text = "";
    child.stdio[3].on("data", (data) => {
      text += data;
      const listen = text.split("\n").find((line) => line.includes('"listen"'));
      if (listen) resolve(JSON.parse(listen).port);
    });
    child.on("close", (code) => reject(new Error(`workerd ended with ${code}`)));
  });
  const stop = async () => {
    child.kill("SIGKILL");
    await ended;
    rmSync(folder, { recursive: true, force: true });
  };
  return { url: `http://127.0.0.1:${port}`, stop };
}

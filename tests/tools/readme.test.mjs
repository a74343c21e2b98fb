// The README is a promise: its commands exist, its links lead somewhere, its snippets are the ones that are tested.

import assert from "node:assert/strict";
import { execFileSync } from "node:child_process";
import { existsSync, readFileSync } from "node:fs";
import { dirname, join } from "node:path";
import { test } from "node:test";
import { fileURLToPath } from "node:url";

const root = dirname(dirname(dirname(fileURLToPath(import.meta.url))));
const read = (...path) => readFileSync(join(root, ...path), "utf8");
const pages = ["README.md", "CONTRIBUTING.md"];

const blocks = (text, language) => [...text.matchAll(new RegExp("```" + language + "\\n([^]*?)```", "g"))].map((match) => match[1]);

test("every command of the README and CONTRIBUTING exists", () => {
  const { scripts } = JSON.parse(read("package.json"));
  const commands = pages.flatMap((page) => blocks(read(page), "sh")).flatMap((block) => block.trim().split("\n"));
  assert.ok(commands.length >= 6);
  for (const line of commands) {
    const words = line.split("#")[0].trim().split(/\s+/);
    const [program, verb, name] = words;
    if (program === "npm") assert.ok(scripts[verb === "run" ? name : verb], line);
    else if (program === "npx" && verb === "wrangler") {
      const help = execFileSync(join(root, "node_modules", ".bin", "wrangler"), [...words.slice(2, 4), "--help"], {
        encoding: "utf8",
        env: { ...process.env, WRANGLER_SEND_METRICS: "false" },
      });
      assert.match(help, /secret put/, line);
    } else assert.fail(`an unknown command: ${line}`);
  }
});

test("every link and picture of the README and CONTRIBUTING is there", () => {
  for (const page of pages) {
    const text = read(page);
    const targets = [...text.matchAll(/\]\(([^)]+)\)|(?:src|srcset)="([^"]+)"/g)].map((match) => match[1] ?? match[2]);
    for (const target of targets.filter((one) => !one.includes("://"))) {
      assert.ok(existsSync(join(root, target)), `${page}: ${target}`);
    }
  }
});

test("the README's snippets make the same calls as those that the tests run", () => {
  const calls = (text) => [...text.matchAll(/\b(?:new \w+|client[.\w]+)\(/g)].map((match) => match[0]);
  const [openai, anthropic] = blocks(read("README.md"), "js");
  assert.deepEqual(calls(openai), calls(read("docs", "snippets", "openai.mjs")));
  assert.deepEqual(calls(anthropic), calls(read("docs", "snippets", "anthropic.mjs")));
});

test("the README's first screen holds one sentence, a picture and one command", () => {
  const [, sentence, picture, command] = read("README.md").split(/\n\n/);
  assert.equal(sentence.match(/[.!?](\s|$)/g).length, 1);
  assert.match(picture, /^<picture>/);
  assert.equal(command, "```sh\nnpm start\n```");
});

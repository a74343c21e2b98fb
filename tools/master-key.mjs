// `npm run master-key`: makes a MASTER_KEY on this machine and prints it. By default from the system's randomness.
// With --passphrase it asks for one and derives the key by PBKDF2-HMAC-SHA-256, so that the key can be made again from
// the passphrase and the salt that it prints. The Worker never sees a passphrase.
//
//   npm run --silent master-key                                   a random key
//   npm run --silent master-key -- --passphrase                   a derived key, with a new salt
//   npm run --silent master-key -- --passphrase --salt <salt> [--iterations <n>]    the same key again
//   npm run --silent master-key -- --check                        reads a key and says whether it is a good one
//
// The key goes to standard output and nothing else does, so it can be sent on:
//   npm run --silent master-key | npx wrangler secret put MASTER_KEY

import { pbkdf2Sync, randomBytes } from "node:crypto";
import { realpathSync } from "node:fs";
import { fileURLToPath } from "node:url";
import { parseArgs } from "node:util";
import { Stop } from "./lib.mjs";

/** OWASP's minimum for PBKDF2-HMAC-SHA-256; fewer are refused. */
export const LEAST_ITERATIONS = 600_000;
/** What is used unless told. */
export const ITERATIONS = 1_000_000;
/** More would keep a machine busy for a quarter of an hour and is taken for a slip. */
const MOST_ITERATIONS = 1_000_000_000;
/** Shorter ones are guessed, whatever the iterations. */
const LEAST_CHARACTERS = 16;
const KEY_BYTES = 32;
const SALT_BYTES = 16;

/** PBKDF2-HMAC-SHA-256 (RFC 8018 §5.2). */
export function pbkdf2(passphrase, salt, iterations, length) {
  return pbkdf2Sync(passphrase, salt, iterations, length, "sha256");
}

/** The key of a passphrase. The same letters typed on different systems are the same passphrase (NFC). */
export function derive(passphrase, salt, iterations) {
  if (!Number.isInteger(iterations) || iterations < LEAST_ITERATIONS) {
    throw new Stop(`--iterations must be a whole number, at least ${LEAST_ITERATIONS}.`);
  }
  if (iterations > MOST_ITERATIONS) throw new Stop(`--iterations must be at most ${MOST_ITERATIONS}.`);
  if (salt.length < SALT_BYTES) throw new Stop(`the salt must have at least ${SALT_BYTES} bytes.`);
  const text = passphrase.normalize("NFC");
  if ([...text].length < LEAST_CHARACTERS) {
    throw new Stop(`the passphrase must have at least ${LEAST_CHARACTERS} characters; six random words are good.`);
  }
  return pbkdf2(Buffer.from(text, "utf8"), salt, iterations, KEY_BYTES);
}

/** Bytes of base64url without padding; undefined for anything else, so that a slip is not silently dropped. */
export function fromBase64url(text) {
  const bytes = Buffer.from(text, "base64url");
  return bytes.toString("base64url") === text ? bytes : undefined;
}

/** Undefined for a good key, else what is wrong with it. */
export function fault(text) {
  const bytes = fromBase64url(text.trim().replace(/=+$/, ""));
  if (bytes === undefined) return "it is not base64url (A-Z, a-z, 0-9, - and _)";
  if (bytes.length !== KEY_BYTES) return `it has ${bytes.length} bytes instead of ${KEY_BYTES}`;
  if (new Set(bytes).size < 8) return "it is not random: it repeats the same few bytes";
  return undefined;
}

/** Asks at a terminal for a line and does not show it. Raw mode comes before the question, so that nothing typed shows. */
export function askHidden(question, input, output) {
  return new Promise((resolve, reject) => {
    let line = "";
    const end = (settle, value) => {
      input.off("data", read);
      input.pause();
      input.setRawMode(false);
      output.write("\n");
      settle(value);
    };
    const read = (part) => {
      for (const character of part.toString("utf8")) {
        if (character === "\r" || character === "\n" || character === "\u0004") return end(resolve, line);
        if (character === "\u0003") return end(reject, new Stop("stopped."));
        if (character === "\u007f" || character === "\b") line = [...line].slice(0, -1).join("");
        else line += character;
      }
    };
    input.setRawMode(true);
    input.setEncoding("utf8"); // A character of several bytes may come in two parts.
    input.on("data", read);
    input.resume();
    output.write(question);
  });
}

/** The first line of standard input, asked for when that is a terminal. */
async function readSecret(question) {
  if (process.stdin.isTTY) return askHidden(question, process.stdin, process.stderr);
  let text = "";
  for await (const part of process.stdin.setEncoding("utf8")) text += part;
  return text.split(/\r?\n/)[0];
}

/** Asks once for a key that is derived again, where a slip shows as another key, and twice for a new one. */
async function askPassphrase(again) {
  const first = await readSecret("Passphrase: ");
  return { first, second: again || !process.stdin.isTTY ? first : await readSecret("Once more: ") };
}

async function derived({ salt, iterations }) {
  const count = iterations === undefined ? ITERATIONS : Number(iterations);
  const bytes = salt === undefined ? randomBytes(SALT_BYTES) : fromBase64url(salt);
  if (bytes === undefined) throw new Stop("the salt is not base64url.");
  const { first, second } = await askPassphrase(salt !== undefined);
  if (first !== second) throw new Stop("the two passphrases differ.");
  const key = derive(first, bytes, count);
  process.stderr.write(
    `Keep these with the passphrase; the same key is made again by\n` +
      `  npm run --silent master-key -- --passphrase --salt ${bytes.toString("base64url")} --iterations ${count}\n`,
  );
  return key;
}

async function main(words) {
  const { values } = parseArgs({
    args: words,
    options: {
      passphrase: { type: "boolean" },
      salt: { type: "string" },
      iterations: { type: "string" },
      check: { type: "boolean" },
    },
  });
  if (values.check) {
    const wrong = fault(await readSecret("MASTER_KEY: "));
    if (wrong !== undefined) throw new Stop(`not a good MASTER_KEY: ${wrong}.`);
    process.stderr.write("a good MASTER_KEY\n");
    return;
  }
  const stray = ["salt", "iterations"].find((name) => values[name] !== undefined);
  if (!values.passphrase && stray) throw new Stop(`--${stray} goes with --passphrase.`);
  const key = values.passphrase ? await derived(values) : randomBytes(KEY_BYTES);
  process.stdout.write(`${key.toString("base64url")}\n`);
}

const started = process.argv[1] !== undefined && realpathSync(process.argv[1]) === fileURLToPath(import.meta.url);
if (started) {
  try {
    await main(process.argv.slice(2));
  } catch (error) {
    const usage = typeof error.code === "string" && error.code.startsWith("ERR_PARSE_ARGS");
    if (!(error instanceof Stop) && !usage) throw error;
    process.stderr.write(`gatehouse: ${error.message}\n`);
    process.exitCode = 1;
  }
}

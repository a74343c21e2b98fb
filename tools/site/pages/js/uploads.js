// Sending files: a short one in one request, a long one in parts, several at a time. What was begun in parts can be
// paused, and goes on after a reload once the file is chosen again.

import { Failure, failure, refused, unreachable } from "./problems.js";
import { say } from "./texts.js";

const MIB = 1024 * 1024;

/** Longer files go in parts, which have at least this length: 8 MiB. */
export const PART_BYTES = 8 * MIB;
/** Parts that a file has at most, as long as that needs none above 64 MiB: uploads are counted by the hour. */
const PARTS = 64;

/** Parts under way at a time. */
const AT_ONCE = 3;
/** Attempts for one part. */
const TRIES = 5;
/** Pause after the first failed attempt, in milliseconds; doubled each time, less a random part of it. */
const FIRST_PAUSE_MS = 500;
/** Statuses after which the same request may succeed. */
const PASSING = [408, 429, 500, 502, 503, 504];

/** Sends a form; XMLHttpRequest alone tells how much of a body has left. */
function post(path, body, { headers = {}, onProgress, signal }) {
  return new Promise((resolve, reject) => {
    const request = new XMLHttpRequest();
    request.open("POST", path);
    for (const [name, value] of Object.entries(headers)) request.setRequestHeader(name, value);
    request.responseType = "json";
    request.upload.addEventListener("progress", (event) => event.lengthComputable && onProgress(event.loaded, event.total));
    request.addEventListener("load", async () => {
      if (request.status >= 200 && request.status < 300) return resolve(request.response);
      const { problem } = await failure(request.response ?? undefined, headersOf(request));
      reject(new Failure({ ...problem, status: request.status }));
    });
    request.addEventListener("error", () => reject(unreachable()));
    request.addEventListener("abort", () => reject(signal.reason));
    if (signal.aborted) return reject(signal.reason);
    signal.addEventListener("abort", () => request.abort());
    request.send(body);
  });
}

function headersOf(request) {
  const names = ["x-request-id", "retry-after", "retry-after-ms"];
  return new Headers(names.map((name) => [name, request.getResponseHeader(name)]).filter(([, value]) => value !== null));
}

async function tell(path, body) {
  const options = { method: "POST", headers: { "content-type": "application/json" }, body: JSON.stringify(body) };
  const response = await fetch(path, options).catch(() => {
    throw unreachable();
  });
  if (!response.ok) throw await refused(response);
  return response.json();
}

function formOf(file) {
  const body = new FormData();
  body.append("purpose", "user_data");
  body.append("file", file, file.name);
  return body;
}

/** Sends a file in one request; with a key it can be sent again without being stored twice. */
export function sendWhole(file, { key, onProgress, signal }) {
  return post("/v1/files", formOf(file), { headers: key ? { "idempotency-key": key } : {}, onProgress, signal });
}

/** Sends a new version of a document, which is stored over the content with that SHA-256 alone. */
export function sendVersion(path, file, { sha256, onProgress, signal }) {
  return post(`${path}/content`, formOf(file), { headers: { "if-match": `"${sha256}"` }, onProgress, signal });
}

/** SHA-256 in hexadecimal digits; undefined where the browser cannot tell, without TLS. */
export async function digestOf(blob) {
  if (!crypto.subtle) return undefined;
  const digest = await crypto.subtle.digest("SHA-256", await blob.arrayBuffer());
  return Array.from(new Uint8Array(digest), (byte) => byte.toString(16).padStart(2, "0")).join("");
}

// === What was begun ===

/**
 * An upload that is not complete. The file itself is not kept: it is known again by name, length and time.
 *
 * @typedef {{ id: string, name: string, size: number, modified: number }} Begun
 */

const KEY = "gatehouse.uploads";

const isBegun = (record) =>
  /^upload_[0-9a-f]{32}$/.test(record?.id) && typeof record.name === "string" && [record.size, record.modified].every(Number.isSafeInteger);

/** Uploads that this browser began and has not completed. @returns {Begun[]} */
export function unfinished() {
  try {
    const kept = JSON.parse(localStorage.getItem(KEY));
    return Array.isArray(kept) ? kept.filter(isBegun) : [];
  } catch {
    return [];
  }
}

function keep(records) {
  try {
    if (records.length === 0) localStorage.removeItem(KEY);
    else localStorage.setItem(KEY, JSON.stringify(records));
  } catch {
    // Full or forbidden: then it does not go on after a reload.
  }
}

const forget = (id) => keep(unfinished().filter((record) => record.id !== id));

/** The upload that was begun with this file. */
export const begunWith = (file) =>
  unfinished().find((record) => record.name === file.name && record.size === file.size && record.modified === file.lastModified);

/** The share of an upload that is stored, from 0 to 1; undefined when the upload is over. */
export async function shareOf(record) {
  const parts = await storedParts(record.id);
  if (!parts) return void forget(record.id);
  return parts.reduce((sum, part) => sum + part.bytes, 0) / record.size;
}

/** Gives an upload up, here and at the server; what the server does not hear it removes by itself. */
export async function giveUp(id) {
  forget(id);
  await tell(`/v1/uploads/${id}/cancel`, {}).catch(() => {});
}

// === Parts ===

/** The parts that are stored; undefined when there is no such upload any more. */
async function storedParts(id) {
  const response = await fetch(`/v1/uploads/${id}/parts`).catch(() => {
    throw unreachable();
  });
  if (response.status === 404) return undefined;
  if (!response.ok) throw await refused(response);
  return (await response.json()).data;
}

/** It depends on nothing but the file's length, so that an upload goes on with the same parts. */
const partBytes = ({ size }) => Math.min(64 * MIB, Math.max(PART_BYTES, Math.ceil(size / PARTS / MIB) * MIB));

const slice = (file, number) => file.slice((number - 1) * partBytes(file), number * partBytes(file));

/** Is this what is stored? Where the browser cannot tell, without TLS, the length has to do. */
async function isSame(file, part) {
  const content = slice(file, part.part_number);
  if (content.size !== part.bytes) return false;
  const digest = await digestOf(content);
  return digest === undefined || digest === part.sha256;
}

async function begin(file) {
  const made = await tell("/v1/uploads", { filename: file.name, purpose: "user_data", bytes: file.size, mime_type: file.type });
  const record = { id: made.id, name: file.name, size: file.size, modified: file.lastModified };
  keep([...unfinished(), record]);
  return record;
}

/** Waits, unless it is to stop. */
function pause(ms, signal) {
  return new Promise((resolve, reject) => {
    const timer = setTimeout(resolve, ms);
    signal.addEventListener("abort", () => {
      clearTimeout(timer);
      reject(signal.reason);
    });
  });
}

async function sendPart(id, file, number, onProgress, signal) {
  const body = new FormData();
  body.append("part_number", String(number));
  body.append("data", slice(file, number), "part");
  for (let attempt = 1; ; attempt += 1) {
    try {
      return await post(`/v1/uploads/${id}/parts`, body, { onProgress, signal });
    } catch (error) {
      const { status, wait } = error instanceof Failure ? error.problem : { status: 0 };
      const passes = error instanceof Failure && (status === undefined || PASSING.includes(status));
      if (signal.aborted || !passes || attempt === TRIES) throw error;
      onProgress(0);
      await pause(wait ?? FIRST_PAUSE_MS * 2 ** (attempt - 1) * (1 - Math.random() / 2), signal);
    }
  }
}

/**
 * Sends a file in parts, or what is missing of it, and resolves with the stored file. One tab at a time does so with a
 * file: two would send the same parts, and the second store it once more. Without TLS browsers have no locks.
 *
 * @param {File} file
 * @param {{ onProgress: (loaded: number, total: number) => void, signal: AbortSignal }} options
 */
export async function sendInParts(file, options) {
  if (!navigator.locks) return goOn(file, options);
  const name = [KEY, file.name, file.size, file.lastModified].join(" ");
  return navigator.locks.request(name, { ifAvailable: true }, (lock) => {
    if (!lock) throw new Failure({ title: say("elsewhereTitle"), fix: say("elsewhereFix") });
    return goOn(file, options);
  });
}

async function goOn(file, { onProgress, signal }) {
  let record = begunWith(file);
  let known = record && (await storedParts(record.id));
  if (!known) {
    if (record) forget(record.id);
    record = await begin(file);
    known = [];
  }
  if (signal.aborted) throw signal.reason;
  const count = Math.ceil(file.size / partBytes(file));
  const stored = new Map();
  for (const part of known) {
    if (part.part_number <= count && (await isSame(file, part))) stored.set(part.part_number, part.id);
  }
  const sent = new Map([...stored.keys()].map((number) => [number, slice(file, number).size]));
  const report = () => onProgress([...sent.values()].reduce((sum, bytes) => sum + bytes, 0), file.size);
  report();

  const missing = Array.from({ length: count }, (_, i) => i + 1).filter((number) => !stored.has(number));
  const stop = new AbortController();
  signal.addEventListener("abort", () => stop.abort(signal.reason));
  const work = async () => {
    for (let number = missing.shift(); number !== undefined; number = missing.shift()) {
      const at = number;
      const onPart = (loaded) => {
        sent.set(at, Math.min(loaded, partBytes(file)));
        report();
      };
      stored.set(at, (await sendPart(record.id, file, at, onPart, stop.signal)).id);
      sent.set(at, slice(file, at).size);
      report();
    }
  };
  try {
    await Promise.all(Array.from({ length: AT_ONCE }, work));
  } catch (error) {
    stop.abort(error);
    throw error;
  }
  const numbers = [...stored.keys()].sort((a, b) => a - b);
  const made = await tell(`/v1/uploads/${record.id}/complete`, { part_ids: numbers.map((number) => stored.get(number)) });
  forget(record.id);
  return made.file;
}

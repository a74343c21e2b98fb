// A Worker with its fake provider, and what is asked of every answer.

import assert from "node:assert/strict";

import { config } from "./config.mjs";
import { startProvider } from "./fake-provider.mjs";
import { startWorker } from "./worker.mjs";

/**
 * Starts both.
 *
 * @param {object} sections As for `config()`.
 * @param {object} vars As for `startWorker()`.
 */
export async function startHouse(sections, vars) {
  const provider = await startProvider();
  const given = typeof sections === "function" ? sections(provider) : sections;
  /** A configuration with the same provider, for a restart. */
  const settings = (others) => config(provider, others);
  const worker = await startWorker(settings(given), vars);
  const stop = async () => {
    await worker.stop();
    await provider.stop();
  };
  return { provider, worker, settings, stop };
}

/** The catalogue's code in an error of any dialect. */
export function codeOf(answer) {
  const body = answer.json();
  return body.error?.gatehouse?.code ?? body.code;
}

/** The catalogue's code in an event of a stream, in either protocol; undefined when the event is no error of ours. */
export function codeInBand({ data }) {
  if (data === "[DONE]" || !data.startsWith("{")) return undefined;
  return JSON.parse(data).error?.gatehouse?.code;
}

/** What stands on every answer, whatever it says; a page tells its own site where its links were followed. */
export function assertDressed(answer) {
  const { headers } = answer;
  assert.match(headers["x-request-id"], /^[\w-]{8,}$/);
  assert.equal(headers["request-id"], headers["x-request-id"]);
  assert.match(headers.traceparent, /^00-[0-9a-f]{32}-[0-9a-f]{16}-00$/);
  assert.equal(headers["x-content-type-options"], "nosniff");
  const isPage = headers["content-type"]?.startsWith("text/html");
  assert.equal(headers["referrer-policy"], isPage ? "same-origin" : "no-referrer");
  assert.equal(headers["x-frame-options"], "DENY");
  assert.match(headers["strict-transport-security"], /max-age=\d{8}/);
  assert.match(headers["content-security-policy"], /default-src 'none'/);
  assert.match(headers.vary, /Origin/);
}

/** A refusal in one of the dialects: status, code, form, and the headers of every answer. */
export function assertRefused(answer, dialect, status, code) {
  assert.equal(answer.status, status, answer.text);
  assertDressed(answer);
  if (dialect === "page") {
    assert.match(answer.headers["content-type"], /^text\/html/);
    assert.ok(answer.text.includes(`/docs/errors/${code}`) && answer.text.includes(answer.headers["x-request-id"]));
    return;
  }
  const body = answer.json();
  assert.equal(codeOf(answer), code, answer.text);
  if (dialect === "problem") {
    assert.equal(answer.headers["content-type"], "application/problem+json");
    assert.equal(body.status, status);
    assert.equal(body.request_id, answer.headers["x-request-id"]);
    return;
  }
  assert.equal(answer.headers["content-type"], "application/json");
  assert.ok(body.error.message.length > 10);
  assert.equal(body.error.gatehouse.request_id, answer.headers["x-request-id"]);
  if (dialect === "anthropic") {
    assert.equal(body.type, "error");
    assert.match(body.error.type, /_error$|^request_too_large$/);
    assert.equal(body.request_id, answer.headers["x-request-id"]);
  } else {
    assert.equal(body.type, undefined);
    assert.ok("type" in body.error && "param" in body.error && "code" in body.error);
  }
}

// Calls of providers: one at a time or teed, read in pieces, whole, or relayed natively; and bodies written in pieces.

import { readAll, timer } from "./glue.js";

/** A request to a provider. With `tee` its body can be relayed later although some of it was read before. */
class Call {
  constructor(answer, control, tee) {
    this.answer = answer;
    this.control = control;
    this.tee = tee;
    // Whoever waits for the head learns of the failure; nobody may.
    answer.catch(() => {});
  }

  /** The reading side, opened once. */
  reading() {
    if (this.reader === undefined) {
      let body = this.response.body;
      if (this.tee) [this.client, body] = body.tee();
      this.reader = body.getReader({ mode: "byob" });
      this.buffer = new ArrayBuffer(BUFFER_BYTES);
    }
    return this.reader;
  }
}

/** Starts a request; nothing is waited for. `headers` has one `name: value` a line. */
export function startCall(url, headers, body, tee) {
  const control = new AbortController();
  const pairs = headers.split("\n").map((line) => {
    const at = line.indexOf(": ");
    return [line.slice(0, at), line.slice(at + 2)];
  });
  const answer = fetch(url, { method: "POST", headers: pairs, body, redirect: "manual", signal: control.signal });
  return new Call(answer, control, tee);
}

/** The head of the answer: [status, content-type, retry-after, retry-after-ms]. */
export async function headOf(call) {
  const response = await call.answer;
  call.response = response;
  const get = (name) => response.headers.get(name) ?? undefined;
  return [response.status, get("content-type"), get("retry-after"), get("retry-after-ms")];
}

const BUFFER_BYTES = 65_536;

/** The next piece, as much as has gathered; undefined at the end. It is valid until the next one is asked for. */
export async function chunkOf(call) {
  if (call.response.body === null) return undefined;
  const reader = call.reading();
  const { done, value } = await reader.read(new Uint8Array(call.buffer));
  if (value) call.buffer = value.buffer;
  return done ? undefined : value;
}

/** The rest of the body: at most `cap` bytes. */
export async function restOf(call, cap) {
  const { response } = call;
  if (response.body === null) return new Uint8Array();
  // A body that tells a small length comes in one native step. A compressed one does not tell its true length.
  const length = response.headers.has("content-encoding") ? null : response.headers.get("content-length");
  if (length !== null && Number(length) <= Math.min(cap, BUFFER_BYTES)) return new Uint8Array(await response.arrayBuffer());
  return readAll(response.body, cap);
}

/** The body as it is. */
export function bodyOf(call) {
  return call.response.body ?? undefined;
}

/** Closes the connection. */
export function abortCall(call) {
  call.control.abort();
  call.reader?.cancel().catch(() => {});
  call.client?.cancel().catch(() => {});
}

// === bodies that are written in pieces ===

/** Every outlet that is open: when the wasm instance is lost, nobody is left to close them. */
const open = new Set();

/** A body: its writing side and what the client reads. */
export function outlet() {
  const through = new IdentityTransformStream();
  const writer = through.writable.getWriter();
  const made = { writer, readable: through.readable };
  made.gone = writer.closed.catch(() => {}).finally(() => open.delete(made));
  // Nothing may be done to this body from within another request: only told that it is lost. What follows runs here.
  new Promise((resolve) => (made.lose = resolve)).then((error) => writer.abort(error)).catch(() => {});
  open.add(made);
  return made;
}

/** Writes a piece; settles when the client took it. */
export function writeTo({ writer }, bytes) {
  return writer.write(bytes);
}

/** Ends the body. */
export function closeOutlet({ writer }) {
  return within(CLOSING_MS, writer.close().catch(() => {}));
}

// A panic ends the wasm instance and with it whoever was writing: the answers are cut, so that nobody waits for ever.
addEventListener("error", (event) => {
  if (!(event.error instanceof WebAssembly.RuntimeError)) return;
  for (const made of open) made.lose(event.error);
  open.clear();
});

// === native relay ===

/** How a relay ended; the same numbers stand in `edge/upstream.rs`. */
const ENDED = 0;
const BROKEN = 1;
const STALLED = 2;
const OVERRAN = 3;
const CLIENT_GONE = 4;

/** The meter reads what has gathered this often: waking for every event would double the cost of a stream. */
const WAKE_MS = 250;

/** After a pipe failed: how long its upstream may take to show whether it was the one that broke. */
const SETTLE_MS = 50;

/** Longest wait for a client that takes neither the closing event nor the end. */
const CLOSING_MS = 5000;

/**
 * Passes a body to the client through a native pipe, while `push` sees its bytes a few times a second. The pipe
 * neither closes nor aborts the client's side, so that a bad end can still be answered: `closing(end)` gives the bytes
 * to append, if any. Returns the client's stream and the promise of the end.
 *
 * What is no answer is passed to its end all the same: a pipe that is aborted while a piece is on its way can take the
 * client's side with it, and then nothing could be said any more.
 */
export function relay(call, idleMs, totalMs, push, closing) {
  const through = new IdentityTransformStream();
  const control = new AbortController();
  const { client, reader } = call;
  const pipe = client.pipeTo(through.writable, { signal: control.signal, preventClose: true, preventAbort: true });
  return [through.readable, watch(pipe, control, through.writable, reader, idleMs, totalMs, push, closing)];
}

/** Reads the metering branch: one read is under way at a time, and what it brings is looked at only when asked. */
class Meter {
  constructor(reader, push) {
    this.reader = reader;
    this.push = push;
    this.fed = Date.now();
    this.ask();
  }

  ask() {
    this.gathered = undefined;
    this.reading = this.reader.read(new Uint8Array(BUFFER_BYTES)).then(
      (read) => (this.gathered = read),
      (error) => (this.gathered = { error }),
    );
  }

  /** Has the branch come to its end, or broken? */
  get over() {
    return this.gathered !== undefined && (this.gathered.done || this.gathered.error !== undefined);
  }

  /** Shows what came to the observer, if something did; true when that was a full buffer, so that more may be there. */
  take() {
    const value = this.gathered?.value;
    if (!value?.byteLength) return false;
    this.fed = Date.now();
    this.push(value);
    this.ask();
    return value.byteLength === BUFFER_BYTES;
  }
}

/** Waits for one of the promises, at most that long. */
async function within(ms, ...promises) {
  const late = timer(ms);
  try {
    return await Promise.race([...promises, late.promise]);
  } finally {
    late.clear();
  }
}

/** Sees a relay to its end and closes the client's side, whatever happens to the observer. */
async function watch(pipe, control, writable, reader, idleMs, totalMs, push, closing) {
  let end = BROKEN;
  let last;
  try {
    end = await untilEnd(pipe, control, reader, idleMs, totalMs, push);
    last = closing(end);
  } catch (error) {
    // The observer's instance was lost to a panic elsewhere: the answer itself can still pass.
    reader.cancel().catch(() => {});
    await pipe.catch(() => {});
    throw error;
  } finally {
    if (end !== CLIENT_GONE) {
      const writer = writable.getWriter();
      writer.closed.catch(() => {});
      const close = async () => {
        if (last) await writer.write(last);
        await writer.close();
      };
      await within(CLOSING_MS, close().catch(() => {}));
    }
  }
  return end;
}

async function untilEnd(pipe, control, reader, idleMs, totalMs, push) {
  let piped; // undefined while the pipe runs, then "done" or "failed"
  const settled = pipe.then(
    () => (piped = "done"),
    () => (piped = "failed"),
  );
  const began = Date.now();
  const wake = Math.max(10, Math.min(WAKE_MS, idleMs / 2, totalMs / 2));
  const abort = async (end) => {
    control.abort();
    reader.cancel().catch(() => {});
    await settled;
    return end;
  };
  const meter = new Meter(reader, push);

  while (piped === undefined) {
    await within(wake, settled);
    while (meter.take() && piped === undefined) await within(wake, meter.reading);
    if (piped !== undefined) break;
    const now = Date.now();
    if (now - began >= totalMs) return abort(OVERRAN);
    if (now - meter.fed >= idleMs) return abort(STALLED);
  }

  // An upstream that ended or broke shows on the metering side too, behind all that has gathered there. When only the
  // pipe failed, it was the client that went away.
  const late = timer(SETTLE_MS);
  while (!meter.over) {
    const woke = await (piped === "done" ? meter.reading : Promise.race([meter.reading, late.promise]));
    if (woke === "late") return abort(CLIENT_GONE);
    meter.take();
  }
  late.clear();
  if (piped === "done" && meter.gathered?.done) return ENDED;
  return abort(BROKEN);
}

// What is cheaper or only possible on the JavaScript side: one crossing instead of many, and native pipes.

/** Method, URL, country, then one `name: value` a line. A header value cannot contain a line feed. */
export function head(request) {
  let text = `${request.method}\n${request.url}\n${request.cf?.country ?? ""}`;
  for (const [name, value] of request.headers) text += `\n${name}: ${value}`;
  return text;
}

/** A response from headers in the form `name: value`, one a line. */
export function respond(status, headers, body) {
  const pairs = headers.split("\n").map((line) => {
    const at = line.indexOf(": ");
    return [line.slice(0, at), line.slice(at + 2)];
  });
  // 304 and 204 must not have a body, not even an empty one.
  return new Response(body === undefined || status === 204 || status === 304 ? null : body, { status, headers: pairs });
}

// === bodies ===

const TOO_LARGE = "TooLarge";
const TIMED_OUT = "TimedOut";
const OVERRUN = "Overrun";

function named(name) {
  const error = new Error(name);
  error.name = name;
  return error;
}

/**
 * Reads a stream whole: at most `cap` bytes (decompressed ones count); where `ms` is not 0, its first byte within
 * `firstMs` and all of it within `ms` milliseconds.
 */
export async function readAll(source, cap, firstMs, ms) {
  if (isSmall(source, cap)) return readSmall(source, firstMs);
  const stream = source instanceof Response ? source.body : source;
  const reader = stream.getReader();
  const timers = [];
  const deadline = (name, after) => new Promise((_, reject) => timers.push(setTimeout(() => reject(named(name)), after)));
  const overrun = ms > 0 && deadline(OVERRUN, ms);
  let late = ms > 0 && deadline(TIMED_OUT, firstMs);
  for (const promise of [overrun, late]) if (promise) promise.catch(() => {});
  const parts = [];
  let size = 0;
  try {
    for (;;) {
      const next = reader.read();
      const { done, value } = await (ms > 0 ? Promise.race(late ? [next, overrun, late] : [next, overrun]) : next);
      if (done) break;
      late = false;
      size += value.byteLength;
      if (size > cap) throw named(TOO_LARGE);
      parts.push(value);
    }
  } catch (error) {
    reader.cancel().catch(() => {});
    throw error;
  } finally {
    for (const handle of timers) clearTimeout(handle);
  }
  if (parts.length === 1) return parts[0];
  const whole = new Uint8Array(size);
  let at = 0;
  for (const part of parts) {
    whole.set(part, at);
    at += part.byteLength;
  }
  return whole;
}

/** A body that says it has at most this many bytes comes in one piece, as good as always. */
const SMALL_BYTES = 65_536;

/** Is this a response whose body can be read in one native step? A compressed one does not tell its true length. */
function isSmall(source, cap) {
  if (!(source instanceof Response) || source.headers.has("content-encoding")) return false;
  const length = source.headers.get("content-length");
  return length !== null && Number(length) <= Math.min(cap, SMALL_BYTES);
}

/** Reads such a body: the first byte's deadline holds for all of it. */
async function readSmall(response, firstMs) {
  const late = timer(firstMs);
  const whole = await Promise.race([response.arrayBuffer(), late.promise]);
  late.clear();
  if (whole === "late") {
    controls.get(response)?.abort();
    throw named(TIMED_OUT);
  }
  return new Uint8Array(whole);
}

/** A request body of known, acceptable length, in one native step. */
export async function readBuffer(request) {
  return new Uint8Array(await request.arrayBuffer());
}

// === upstream ===

/** What aborts the request behind a response. */
const controls = new WeakMap();

/**
 * Sends a request and waits for the head of the answer: [status, content-type, retry-after, retry-after-ms, response],
 * the last one only when it has a body.
 */
export async function send(url, headers, body, ms) {
  const control = new AbortController();
  const timer = setTimeout(() => control.abort(named(TIMED_OUT)), ms);
  const pairs = headers.split("\n").map((line) => {
    const at = line.indexOf(": ");
    return [line.slice(0, at), line.slice(at + 2)];
  });
  try {
    const answer = await fetch(url, {
      method: "POST",
      headers: pairs,
      body,
      redirect: "manual",
      signal: control.signal,
    });
    const get = (name) => answer.headers.get(name) ?? undefined;
    controls.set(answer, control);
    const source = answer.body ? answer : undefined;
    return [answer.status, get("content-type"), get("retry-after"), get("retry-after-ms"), source];
  } finally {
    clearTimeout(timer);
  }
}

const BUFFER_BYTES = 65_536;

/**
 * Tees a body and waits for its first byte on the metering side. Resolves to the two branches, or to the word `empty`,
 * `late` or `broken: …`.
 */
export async function firstByte(response, ms) {
  const [client, meter] = response.body.tee();
  const reader = meter.getReader({ mode: "byob" });
  const give_up = () => {
    reader.cancel().catch(() => {});
    client.cancel().catch(() => {});
  };
  let timer;
  const late = new Promise((resolve) => (timer = setTimeout(resolve, ms, "late")));
  try {
    const read = await Promise.race([reader.read(new Uint8Array(BUFFER_BYTES)), late]);
    if (read === "late" || read.done) {
      give_up();
      return read === "late" ? "late" : "empty";
    }
    return { client, reader, first: read.value };
  } catch (error) {
    give_up();
    return `broken: ${error?.message ?? error}`;
  } finally {
    clearTimeout(timer);
  }
}

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
export function relay({ client, reader, first }, idleMs, totalMs, push, closing) {
  const through = new IdentityTransformStream();
  const control = new AbortController();
  const pipe = client.pipeTo(through.writable, { signal: control.signal, preventClose: true, preventAbort: true });
  return [through.readable, watch(pipe, control, through.writable, reader, first, idleMs, totalMs, push, closing)];
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

/** Resolves to `late` after that time; `clear` lets it go. */
function timer(ms) {
  let handle;
  const promise = new Promise((resolve) => (handle = setTimeout(resolve, ms, "late")));
  return { promise, clear: () => clearTimeout(handle) };
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
async function watch(pipe, control, writable, reader, first, idleMs, totalMs, push, closing) {
  let end = BROKEN;
  let last;
  try {
    end = await untilEnd(pipe, control, reader, first, idleMs, totalMs, push);
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

async function untilEnd(pipe, control, reader, first, idleMs, totalMs, push) {
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
  push(first);
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

// === stores ===

/** Calls the object of that name. */
export function callObject(env, binding, name, command) {
  return env[binding].getByName(name).call(command);
}

/** Every row of an object's storage, as key, value, key, value, … */
export function loadRows(storage) {
  storage.sql.exec("CREATE TABLE IF NOT EXISTS rows (key TEXT PRIMARY KEY, value TEXT NOT NULL) WITHOUT ROWID");
  const flat = [];
  for (const row of storage.sql.exec("SELECT key, value FROM rows")) flat.push(row.key, row.value);
  return flat;
}

/** Writes rows in one transaction: key, value or undefined (remove), key, … Throws if any of it fails. */
export function persist(storage, flat) {
  storage.transactionSync(() => {
    for (let i = 0; i < flat.length; i += 2) {
      const key = flat[i];
      const value = flat[i + 1];
      if (value === undefined) storage.sql.exec("DELETE FROM rows WHERE key = ?", key);
      else
        storage.sql.exec(
          "INSERT INTO rows (key, value) VALUES (?, ?) ON CONFLICT (key) DO UPDATE SET value = excluded.value",
          key,
          value,
        );
    }
  });
}

/** Sets the alarm. The object's output gate waits for it as for any write. */
export function setAlarm(storage, at) {
  storage.setAlarm(at).catch((error) => console.error("alarm", String(error)));
}

/** Removes everything, the alarm included. */
export async function deleteEverything(storage) {
  await storage.deleteAlarm();
  await storage.deleteAll();
}

/** Writes a blob. */
export async function putBlob(bucket, key, bytes) {
  await bucket.put(key, bytes);
}

/** A body made of pieces of blobs, fetched one after the other as the client reads; undefined when the first is gone. */
export async function streamBlobs(bucket, parts) {
  const open = ([key, offset, length]) => bucket.get(key, { range: { offset, length } });
  const total = parts.reduce((sum, part) => sum + part[2], 0);
  if (total === 0) return new Response("").body ?? undefined;
  const first = await open(parts[0]);
  if (!first) return undefined;
  const out = new FixedLengthStream(total);
  (async () => {
    for (const [i, part] of parts.entries()) {
      const blob = i === 0 ? first : await open(part);
      // A missing piece cuts the body short: the client sees a broken transfer, never a shorter document.
      if (!blob) throw new Error(`blob ${part[0]} is gone`);
      await blob.body.pipeTo(out.writable, { preventClose: true });
    }
    await out.writable.close();
  })().catch((error) => out.writable.abort(error).catch(() => {}));
  return out.readable;
}

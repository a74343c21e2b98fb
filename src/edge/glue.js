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

/** A body with a known length gets its Content-Length from a stream that knows it. */
export function fixed(stream, length) {
  const out = new FixedLengthStream(length);
  stream.pipeTo(out.writable).catch(() => {});
  return out.readable;
}

// === bodies ===

const TOO_LARGE = "TooLarge";
const TIMED_OUT = "TimedOut";

function named(name) {
  const error = new Error(name);
  error.name = name;
  return error;
}

/** Reads a stream whole: at most `cap` bytes (decompressed ones count), at most `ms` milliseconds when that is not 0. */
export async function readAll(stream, cap, ms) {
  const reader = stream.getReader();
  let timer;
  const late = ms > 0 && new Promise((_, reject) => (timer = setTimeout(() => reject(named(TIMED_OUT)), ms)));
  const parts = [];
  let size = 0;
  try {
    for (;;) {
      const next = reader.read();
      const { done, value } = await (late ? Promise.race([next, late]) : next);
      if (done) break;
      size += value.byteLength;
      if (size > cap) throw named(TOO_LARGE);
      parts.push(value);
    }
  } catch (error) {
    reader.cancel().catch(() => {});
    throw error;
  } finally {
    clearTimeout(timer);
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

/** A request body of known, acceptable length, in one native step. */
export async function readBuffer(request) {
  return new Uint8Array(await request.arrayBuffer());
}

// === upstream ===

/** Sends a request and waits for the head of the answer: [status, content-type, retry-after, retry-after-ms, body]. */
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
    return [answer.status, get("content-type"), get("retry-after"), get("retry-after-ms"), answer.body ?? undefined];
  } finally {
    clearTimeout(timer);
  }
}

const BUFFER_BYTES = 65_536;

/**
 * Tees a body and waits for its first byte on the metering side. Resolves to the two branches, or to the word `empty`,
 * `late` or `broken: …`.
 */
export async function firstByte(stream, ms) {
  const [client, meter] = stream.tee();
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
 */
export function relay({ client, reader, first }, idleMs, totalMs, push, closing) {
  const through = new IdentityTransformStream();
  const control = new AbortController();
  const pipe = client.pipeTo(through.writable, { signal: control.signal, preventClose: true, preventAbort: true });
  return [through.readable, watch(pipe, control, through.writable, reader, first, idleMs, totalMs, push, closing)];
}

async function watch(pipe, control, writable, reader, first, idleMs, totalMs, push, closing) {
  let piped; // undefined while the pipe runs, then "done" or "failed"
  const settled = pipe.then(
    () => (piped = "done"),
    () => (piped = "failed"),
  );
  const began = Date.now();
  let fed = began;
  const wake = Math.max(10, Math.min(WAKE_MS, idleMs / 2, totalMs / 2));
  push(first);

  // One read is under way at a time; what it brings is looked at when the clock wakes us.
  let gathered;
  const ask = () => reader.read(new Uint8Array(BUFFER_BYTES)).then((read) => (gathered = read), (error) => (gathered = { error }));
  const take = () => {
    const { value } = gathered;
    gathered = undefined;
    if (value?.byteLength) {
      push(value);
      fed = Date.now();
    }
  };
  let reading = ask();

  let end;
  while (piped === undefined && end === undefined) {
    let timer;
    await Promise.race([settled, new Promise((resolve) => (timer = setTimeout(resolve, wake)))]);
    clearTimeout(timer);
    while (gathered && !gathered.done && !gathered.error) {
      take();
      reading = ask();
      // Lets a read that was already satisfied settle, without waiting for one that is not.
      await Promise.race([reading, Promise.resolve()]);
    }
    const now = Date.now();
    if (piped !== undefined) break;
    if (now - began >= totalMs) end = OVERRAN;
    else if (now - fed >= idleMs) end = STALLED;
  }

  if (end !== undefined) {
    control.abort();
    await settled;
  }
  const writer = writable.getWriter();
  writer.closed.catch(() => {});
  if (end === undefined) {
    // An upstream that ended or broke shows on the metering side too, behind all that has gathered there. When only the
    // pipe failed, it was the client that went away.
    let timer;
    const late = new Promise((resolve) => (timer = setTimeout(resolve, SETTLE_MS, "late")));
    for (;;) {
      const woke = await (piped === "done" ? reading : Promise.race([reading, late]));
      if (woke === "late") {
        end = CLIENT_GONE;
        break;
      }
      if (gathered.done || gathered.error) {
        end = piped === "done" && !gathered.error ? ENDED : BROKEN;
        break;
      }
      take();
      reading = ask();
    }
    clearTimeout(timer);
  }
  if (end !== ENDED) reader.cancel().catch(() => {});

  const last = closing(end);
  if (end !== CLIENT_GONE) {
    let timer;
    const close = async () => {
      if (last) await writer.write(last);
      await writer.close();
    };
    const patience = new Promise((resolve) => (timer = setTimeout(resolve, CLOSING_MS)));
    await Promise.race([close().catch(() => {}), patience]);
    clearTimeout(timer);
  }
  return end;
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

// What is cheaper or only possible on the JavaScript side: one crossing instead of many, and native pipes.

/** Method, URL, country, autonomous system, then one `name: value` a line. A header value cannot contain a line feed. */
export function head(request) {
  let text = `${request.method}\n${request.url}\n${request.cf?.country ?? ""}\n${request.cf?.asn ?? ""}`;
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

function named(name) {
  const error = new Error(name);
  error.name = name;
  return error;
}

/** Reads a stream whole: at most `cap` bytes (decompressed ones count). */
/** Most bytes of a body that are read at once: 256 KiB = 256 × 1024. */
const PIECE = 262_144;

/** A body as it comes. `next()` gives a piece that is to be copied before the next call, and undefined at the end. */
export function pieces(stream) {
  const reader = stream.getReader({ mode: "byob" });
  let buffer = new ArrayBuffer(PIECE);
  return {
    async next() {
      const { done, value } = await reader.read(new Uint8Array(buffer));
      if (done) return undefined;
      buffer = value.buffer;
      return value;
    },
  };
}

export async function readAll(stream, cap) {
  const reader = stream.getReader();
  const parts = [];
  let size = 0;
  try {
    for (;;) {
      const { done, value } = await reader.read();
      if (done) break;
      size += value.byteLength;
      if (size > cap) throw named("TooLarge");
      parts.push(value);
    }
  } catch (error) {
    reader.cancel().catch(() => {});
    throw error;
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

/** A timer: `promise` resolves after that time unless `clear` was called before. */
export function timer(ms) {
  let handle;
  const promise = new Promise((resolve) => (handle = setTimeout(resolve, ms, "late")));
  return { promise, clear: () => clearTimeout(handle) };
}

// === stores ===

/** Calls the object of that name. */
export function callObject(env, binding, name, command) {
  return env[binding].getByName(name).call(command);
}

/**
 * Takes the object of that name back to how it was at that time, in milliseconds. False where the platform keeps no
 * earlier states.
 */
export async function rewindObject(env, binding, name, time) {
  const object = env[binding].getByName(name);
  try {
    await object.rewind(time);
  } catch (error) {
    if (/point-in-time/i.test(error?.message)) return false;
    throw error;
  }
  // It goes back when it starts anew, which no call of it outlives.
  await object.restart().catch(() => {});
  return true;
}

/** Sends a command to the object of a stored answer: [what is told, its body]. */
export function openStored(env, binding, name, command) {
  return env[binding].getByName(name).open(command);
}

/** Storages whose table is there. */
const made = new WeakSet();
const MAKE_ROWS = "CREATE TABLE IF NOT EXISTS rows (key TEXT PRIMARY KEY, value TEXT NOT NULL) WITHOUT ROWID";

/**
 * Every row of an object's storage, as key, value, key, value, … An object that was only asked keeps nothing: whoever
 * guesses names of objects must not make them.
 */
export function loadRows(storage) {
  const table = storage.sql.exec("SELECT 1 FROM sqlite_master WHERE type = 'table' AND name = 'rows'").toArray();
  if (table.length === 0) return [];
  made.add(storage);
  const flat = [];
  for (const row of storage.sql.exec("SELECT key, value FROM rows")) flat.push(row.key, row.value);
  return flat;
}

/** Writes rows in one transaction: key, value or undefined (remove), key, … Throws if any of it fails. */
export function persist(storage, flat) {
  wrote(storage);
  storage.transactionSync(() => {
    if (!made.has(storage)) storage.sql.exec(MAKE_ROWS);
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
  made.add(storage);
}

// === rows of a machine that reads and writes as it goes ===

/** Storages and the tables that are there. */
const tables = new WeakMap();

function hasTable(storage, table) {
  let known = tables.get(storage);
  if (known?.has(table)) return true;
  const found = storage.sql.exec("SELECT 1 FROM sqlite_master WHERE type = 'table' AND name = ?", table).toArray();
  if (found.length === 0) return false;
  if (known === undefined) tables.set(storage, (known = new Set()));
  known.add(table);
  return true;
}

/** Is there anything of that machine? */
export { hasTable as rowsExist };

/** Runs `step` in one transaction: whatever it throws undoes what it wrote, a table that it made included. */
export function inTransaction(storage, step) {
  try {
    storage.transactionSync(step);
  } catch (error) {
    tables.delete(storage);
    throw error;
  }
}

export function rowsGet(storage, table, key) {
  if (!hasTable(storage, table)) return undefined;
  const [row] = storage.sql.exec(`SELECT value FROM ${table} WHERE key = ?`, key).toArray();
  return row && new Uint8Array(row.value);
}

/** Keys from `from` up to and without `to`, as key, value, key, value, … */
export function rowsScan(storage, table, from, to, descending, limit) {
  if (!hasTable(storage, table)) return [];
  const order = descending ? "DESC" : "ASC";
  const flat = [];
  for (const row of storage.sql.exec(
    `SELECT key, value FROM ${table} WHERE key >= ? AND key < ? ORDER BY key ${order} LIMIT ?`,
    from,
    to,
    limit,
  ))
    flat.push(row.key, new Uint8Array(row.value));
  return flat;
}

export function rowsPut(storage, table, key, value) {
  wrote(storage);
  if (!hasTable(storage, table))
    storage.sql.exec(`CREATE TABLE ${table} (key TEXT PRIMARY KEY, value BLOB NOT NULL) WITHOUT ROWID`);
  storage.sql.exec(
    `INSERT INTO ${table} (key, value) VALUES (?, ?) ON CONFLICT (key) DO UPDATE SET value = excluded.value`,
    key,
    value,
  );
}

export function rowsRemove(storage, table, key) {
  wrote(storage);
  if (hasTable(storage, table)) storage.sql.exec(`DELETE FROM ${table} WHERE key = ?`, key);
}

export function rowsRemoveBetween(storage, table, from, to) {
  wrote(storage);
  if (hasTable(storage, table)) storage.sql.exec(`DELETE FROM ${table} WHERE key >= ? AND key < ?`, from, to);
}

/** Sets the alarm. The object's output gate waits for it as for any write. */
export function setAlarm(storage, at) {
  storage.setAlarm(at).catch((error) => console.error("alarm", String(error)));
}

/** Removes everything, the alarm included. */
export async function deleteEverything(storage) {
  const forget = () => [made, tables, marks].forEach((known) => known.delete(storage));
  forget();
  wrote(storage);
  await storage.deleteAlarm();
  await storage.deleteAll();
  forget();
}

// === snapshots: rows as they lie there, whichever machine they are of ===

/** How often each storage was written since this instance met it, behind a name of the instance. */
const writes = new WeakMap();

function wrote(storage) {
  const known = writes.get(storage);
  if (known) known.count += 1;
  else writes.set(storage, { instance: crypto.randomUUID(), count: 0 });
}

function markOf(storage) {
  if (!writes.has(storage)) wrote(storage);
  const { instance, count } = writes.get(storage);
  return `${instance}/${count}`;
}

/** Of each storage: the mark of the restore that fills or filled it, null where there was none. */
const marks = new WeakMap();
const MAKE_MARK = "CREATE TABLE IF NOT EXISTS restoring (id TEXT NOT NULL, whole INTEGER NOT NULL, reached TEXT NOT NULL)";

function restoreOf(storage) {
  if (!marks.has(storage)) {
    const there = storage.sql.exec("SELECT 1 FROM sqlite_master WHERE type = 'table' AND name = 'restoring'").toArray();
    const [mark] = there.length > 0 ? storage.sql.exec("SELECT id, whole, reached FROM restoring").toArray() : [];
    marks.set(storage, mark ?? null);
  }
  return marks.get(storage);
}

/** Throws while a restore has not put back everything: half of an object serves nobody. */
export function requireWhole(storage) {
  if (restoreOf(storage)?.whole === 0) throw new Error("this object is being restored");
}

/** The machines' tables: neither the platform's own nor the mark. */
function tablesOf(storage) {
  const found = storage.sql.exec("SELECT name FROM sqlite_master WHERE type = 'table' ORDER BY name").toArray();
  return found.map(({ name }) => name).filter((name) => /^[a-z]+$/.test(name) && name !== "restoring");
}

function base64(bytes) {
  let text = "";
  for (let at = 0; at < bytes.length; at += 8192) text += String.fromCharCode(...bytes.subarray(at, at + 8192));
  return btoa(text);
}

/**
 * A page of an object's rows as JSON: `rows` of [table, key, value], values of bytes in base64; `more`; and a `mark` that
 * is another one when the object was written since. `asked`: `after` a [table, key], at most so many `bytes` and `rows`,
 * but one row in any case. Nothing is made by asking.
 */
export function snapshotRows(storage, asked) {
  requireWhole(storage);
  const { after, bytes, rows: most } = JSON.parse(asked);
  const rows = [];
  let size = 0;
  for (const table of tablesOf(storage)) {
    if (after && table < after[0]) continue;
    const from = after && table === after[0] ? after[1] : undefined;
    const found =
      from === undefined
        ? storage.sql.exec(`SELECT key, value FROM ${table} ORDER BY key`)
        : storage.sql.exec(`SELECT key, value FROM ${table} WHERE key > ? ORDER BY key`, from);
    for (const { key, value } of found) {
      if (rows.length > 0 && (size >= bytes || rows.length >= most)) return page(storage, rows, true);
      const text = typeof value === "string" ? value : base64(new Uint8Array(value));
      size += key.length + text.length;
      rows.push([table, key, text]);
    }
  }
  return page(storage, rows, false);
}

function page(storage, rows, more) {
  return JSON.stringify({ rows, more, mark: markOf(storage) });
}

/**
 * Puts rows of a snapshot back, in one transaction, into an object that is empty or that this very restore is filling;
 * with `discard` in the place of whatever is there. `first` begins the object anew, `last` ends its restore; `reached` is
 * kept for the next step. With `look` nothing is done but to tell.
 *
 * What `is`: "empty" and "used" (without a restore), "other" (half-way in another one), "filling", "whole" (by this one).
 */
export function restoreRows(storage, asked) {
  const { id, look, first, last, rows = [], reached, discard } = JSON.parse(asked);
  const mark = restoreOf(storage);
  const own = mark?.id === id;
  const holds = () => tablesOf(storage).some((table) => storage.sql.exec(`SELECT 1 FROM ${table} LIMIT 1`).toArray().length > 0);
  let is = own ? (mark.whole ? "whole" : "filling") : mark?.whole === 0 ? "other" : holds() ? "used" : "empty";
  if (look || is === "whole" || (is === "used" && !discard)) return JSON.stringify({ is, reached: own ? mark.reached : "" });
  try {
    storage.transactionSync(() => {
      if (!own || first) for (const table of tablesOf(storage)) storage.sql.exec(`DROP TABLE ${table}`);
      if (!own) {
        storage.sql.exec(MAKE_MARK);
        storage.sql.exec("DELETE FROM restoring");
        storage.sql.exec("INSERT INTO restoring (id, whole, reached) VALUES (?, 0, '')", id);
      }
      for (const table of new Set(rows.map(([table]) => table))) {
        if (!/^[a-z]+$/.test(table) || table === "restoring") throw new Error(`there is no table ${table}`);
        const kind = table === "rows" ? "TEXT" : "BLOB";
        storage.sql.exec(`CREATE TABLE IF NOT EXISTS ${table} (key TEXT PRIMARY KEY, value ${kind} NOT NULL) WITHOUT ROWID`);
      }
      for (const [table, key, text] of rows) {
        const value = table === "rows" ? text : Uint8Array.from(atob(text), (char) => char.charCodeAt(0));
        storage.sql.exec(`INSERT OR REPLACE INTO ${table} (key, value) VALUES (?, ?)`, key, value);
      }
      if (reached !== undefined) storage.sql.exec("UPDATE restoring SET reached = ?", reached);
      if (last) storage.sql.exec("UPDATE restoring SET whole = 1");
    });
  } finally {
    for (const known of [made, tables, marks]) known.delete(storage);
    wrote(storage);
  }
  // The machine finds what is due, and sets its own alarm.
  if (last) setAlarm(storage, Date.now());
  is = last ? "whole" : "filling";
  return JSON.stringify({ is, reached: restoreOf(storage).reached });
}

// === signatures ===

// PKCS #8 of an Ed25519 seed (RFC 8410 §7): the seed follows these bytes.
const SEED_PREFIX = [0x30, 0x2e, 0x02, 0x01, 0x00, 0x30, 0x05, 0x06, 0x03, 0x2b, 0x65, 0x70, 0x04, 0x22, 0x04, 0x20];

function signingKey(seed, extractable) {
  const pkcs8 = Uint8Array.from([...SEED_PREFIX, ...seed]);
  return crypto.subtle.importKey("pkcs8", pkcs8, "Ed25519", extractable, ["sign"]);
}

/** Signs a message with the key of an Ed25519 seed. */
export async function signEd25519(seed, message) {
  const key = await signingKey(seed, false);
  return new Uint8Array(await crypto.subtle.sign("Ed25519", key, message));
}

/** The public key of an Ed25519 seed, in base64url. */
export async function publicEd25519(seed) {
  const { x } = await crypto.subtle.exportKey("jwk", await signingKey(seed, true));
  return x;
}

/** Is the signature valid? Keys and signatures of a wrong form are not. */
export async function verifySignature(ed25519, publicKey, message, signature) {
  const form = ed25519 ? { name: "Ed25519" } : { name: "ECDSA", namedCurve: "P-256", hash: "SHA-256" };
  let key;
  try {
    key = await crypto.subtle.importKey("raw", publicKey, form, false, ["verify"]);
  } catch {
    return false;
  }
  return signature.length === 64 && crypto.subtle.verify(form, key, signature, message);
}

// Blobs in R2. Sealed ones are messages of C2SP chunked encryption as in src/base/cobblestone.rs, by the platform's
// cipher: keys come derived from Rust, what is done here is the chunks.

const CHUNK = 16_384;
const TAG = 16;
const SEALED = CHUNK + TAG;
/** Chunks that are opened together: 64 × 16 KiB = 1 MiB in memory for each download. */
const AT_ONCE = 64;

const importKey = (raw, use) => crypto.subtle.importKey("raw", raw, "AES-GCM", false, [use]);

/** The nonce of a chunk: that of chunk 0, XOR its number as a big-endian integer. */
function nonceOf(base, chunk) {
  const nonce = base.slice();
  const view = new DataView(nonce.buffer);
  view.setUint32(8, view.getUint32(8) ^ (chunk % 2 ** 32));
  view.setUint32(4, view.getUint32(4) ^ Math.floor(chunk / 2 ** 32));
  return nonce;
}

/** A whole message: its header, then every chunk with its tag, the last one shorter than the others. */
export async function seal(raw, base, header, plain) {
  const key = await importKey(raw, "encrypt");
  const chunks = Math.floor(plain.length / CHUNK) + 1;
  const sealed = new Uint8Array(header.length + plain.length + chunks * TAG);
  sealed.set(header);
  for (let first = 0; first < chunks; first += AT_ONCE) {
    const numbers = Array.from({ length: Math.min(AT_ONCE, chunks - first) }, (_, i) => first + i);
    await Promise.all(
      numbers.map(async (chunk) => {
        const part = plain.subarray(chunk * CHUNK, (chunk + 1) * CHUNK);
        const bytes = await crypto.subtle.encrypt({ name: "AES-GCM", iv: nonceOf(base, chunk) }, key, part);
        sealed.set(new Uint8Array(bytes), header.length + chunk * SEALED);
      }),
    );
  }
  return sealed;
}

/** What was sealed does not open: it was changed, cut off or put in another's place. */
function forged() {
  const error = new Error("a sealed blob does not open");
  error.name = "Forged";
  return error;
}

/** Opens chunks that lie one after the other, the first of which has that number. */
async function openChunks(key, base, first, sealed) {
  const count = Math.ceil(sealed.length / SEALED);
  const opened = await Promise.all(
    Array.from({ length: count }, async (_, i) => {
      const part = sealed.subarray(i * SEALED, (i + 1) * SEALED);
      try {
        return await crypto.subtle.decrypt({ name: "AES-GCM", iv: nonceOf(base, first + i) }, key, part);
      } catch {
        throw forged();
      }
    }),
  );
  const plain = new Uint8Array(opened.reduce((sum, chunk) => sum + chunk.byteLength, 0));
  opened.reduce((at, chunk) => (plain.set(new Uint8Array(chunk), at), at + chunk.byteLength), 0);
  return plain;
}

/** Fills the buffer from a byte stream's reader, as far as the stream goes. */
async function fill(reader, size) {
  let buffer = new ArrayBuffer(size);
  let have = 0;
  while (have < size) {
    const { done, value } = await reader.read(new Uint8Array(buffer, have, size - have));
    if (value) buffer = value.buffer;
    if (done) break;
    have += value.byteLength;
  }
  return new Uint8Array(buffer, 0, have);
}

/**
 * The plain bytes of some chunks, in pieces of up to 1 MiB, each given only once all of it has opened: `length` bytes
 * after the first `skip`. `last` says that the last chunk is the message's last, which is shorter than the others.
 */
async function* openStream(body, raw, base, first, skip, length, last) {
  const key = await importKey(raw, "decrypt");
  const reader = body.getReader({ mode: "byob" });
  let [chunk, from, left] = [first, skip, length];
  try {
    for (;;) {
      const sealed = await fill(reader, AT_ONCE * SEALED);
      const ends = sealed.length < AT_ONCE * SEALED;
      const rest = sealed.length % SEALED;
      // A message's last chunk is there, and nowhere but at its end.
      if (ends && (last ? rest < TAG : rest !== 0)) throw forged();
      if (sealed.length > 0) {
        const plain = (await openChunks(key, base, chunk, sealed)).subarray(from, from + left);
        [chunk, from, left] = [chunk + AT_ONCE, 0, left - plain.length];
        if (plain.length > 0) yield plain;
      }
      if (ends) break;
    }
    if (left > 0) throw forged();
  } finally {
    reader.cancel().catch(() => {});
  }
}

/** Writes a blob. */
export async function putBlob(bucket, key, bytes) {
  await bucket.put(key, bytes);
}

/** Writes a sealed blob. */
export async function putSealed(bucket, key, raw, base, header, plain) {
  await bucket.put(key, await seal(raw, base, header, plain));
}

/** A blob whole; undefined when there is none. */
export async function getBlob(bucket, key) {
  const blob = await bucket.get(key);
  return blob ? new Uint8Array(await blob.arrayBuffer()) : undefined;
}

/** Keys of blobs in order, behind `after`: [are there more, key, key, …]. */
export async function listBlobs(bucket, prefix, after) {
  const { objects, truncated } = await bucket.list({ prefix, limit: 1000, ...(after !== undefined && { startAfter: after }) });
  return [truncated, ...objects.map(({ key }) => key)];
}

const get = (bucket, [key, offset, length]) => bucket.get(key, { range: { offset, length } });

/** The bytes of a piece, as `streamBlobs` takes it; undefined when it is gone. */
export async function openBlob(bucket, part) {
  const blob = await get(bucket, part);
  if (!blob) return undefined;
  if (!part[3]) return new Uint8Array(await blob.arrayBuffer());
  const plain = new Uint8Array(part[3][4]);
  let at = 0;
  for await (const piece of openStream(blob.body, ...part[3])) {
    plain.set(piece, at);
    at += piece.length;
  }
  return plain;
}

/** The digest of pieces one after the other; undefined when one is gone. */
export async function digestBlobs(bucket, parts, algorithm) {
  const digest = new crypto.DigestStream(algorithm);
  const writer = digest.getWriter();
  for (const part of parts) {
    const blob = await get(bucket, part);
    const pieces = blob && (part[3] ? openStream(blob.body, ...part[3]) : blob.body);
    if (!pieces) return undefined;
    for await (const piece of pieces) await writer.write(piece);
  }
  await writer.close();
  return new Uint8Array(await digest.digest);
}

/**
 * A body made of pieces of blobs, fetched one after the other as the client reads; undefined when the first is gone. A
 * piece is [key, offset, length], where it is sealed followed by [raw key, base nonce, number of the first chunk, bytes
 * to skip, plain bytes, whether the last chunk is the message's last]. The first chunks are opened before the body is
 * given, so that what was changed there is an answer and not a cut.
 */
export async function streamBlobs(bucket, parts) {
  const total = parts.reduce((sum, [, , length, sealed]) => sum + (sealed ? sealed[4] : length), 0);
  if (total === 0) return new Response("").body ?? undefined;
  const open = async (part) => {
    const blob = await get(bucket, part);
    if (!blob || !part[3]) return blob && { body: blob.body };
    const pieces = openStream(blob.body, ...part[3]);
    return { pieces, first: await pieces.next() };
  };
  const first = await open(parts[0]);
  if (!first) return undefined;
  const out = new FixedLengthStream(total);
  (async () => {
    for (const [i, part] of parts.entries()) {
      const blob = i === 0 ? first : await open(part);
      // A missing piece cuts the body short: the client sees a broken transfer, never a shorter document.
      if (!blob) throw new Error(`blob ${part[0]} is gone`);
      if (blob.body) await blob.body.pipeTo(out.writable, { preventClose: true });
      else await writeAll(out.writable, blob);
    }
    await out.writable.close();
  })().catch((error) => {
    if (error.name === "Forged") console.error("blob", String(error));
    return out.writable.abort(error).catch(() => {});
  });
  return out.readable;
}

async function writeAll(writable, { pieces, first }) {
  const writer = writable.getWriter();
  try {
    for (let piece = first; !piece.done; piece = await pieces.next()) await writer.write(piece.value);
  } finally {
    writer.releaseLock();
    await pieces.return();
  }
}

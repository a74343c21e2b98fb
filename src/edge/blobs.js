// Blobs in R2. Sealed ones are messages of C2SP chunked encryption as in src/base/cobblestone.rs, by the platform's
// cipher: keys come derived from Rust, what is done here is the chunks.

const CHUNK = 16_384;
const TAG = 16;
const SEALED = CHUNK + TAG;
/** Chunks that are opened together: 64 × 16 KiB = 1 MiB in memory for each download. */
const AT_ONCE = 64;
/** The next blob is opened when so much of this one is left: 1 MiB = 64 × 16 KiB. Earlier it would wait long for a slow client. */
const AHEAD = AT_ONCE * CHUNK;

const importKey = (raw, use) => crypto.subtle.importKey("raw", raw, "AES-GCM", false, [use]);

/**
 * Gives the nonce of a chunk: that of chunk 0, XOR its number as a big-endian integer. It is always the same array, of
 * which the cipher takes a copy when it is called.
 */
function nonces(base) {
  const nonce = base.slice();
  const [from, to] = [new DataView(base.buffer, base.byteOffset), new DataView(nonce.buffer)];
  return (chunk) => {
    to.setUint32(8, from.getUint32(8) ^ (chunk % 2 ** 32));
    to.setUint32(4, from.getUint32(4) ^ Math.floor(chunk / 2 ** 32));
    return nonce;
  };
}

/** A whole message: its header, then every chunk with its tag, the last one shorter than the others. */
export async function seal(raw, base, header, plain) {
  const key = await importKey(raw, "encrypt");
  const nonce = nonces(base);
  const chunks = Math.floor(plain.length / CHUNK) + 1;
  const sealed = new Uint8Array(header.length + plain.length + chunks * TAG);
  sealed.set(header);
  let at = header.length;
  for (let first = 0; first < chunks; first += AT_ONCE) {
    const parts = [];
    for (let chunk = first; chunk < Math.min(first + AT_ONCE, chunks); chunk += 1) {
      const part = plain.subarray(chunk * CHUNK, (chunk + 1) * CHUNK);
      parts.push(crypto.subtle.encrypt({ name: "AES-GCM", iv: nonce(chunk) }, key, part));
    }
    for (const bytes of await Promise.all(parts)) {
      sealed.set(new Uint8Array(bytes), at);
      at += bytes.byteLength;
    }
  }
  return sealed;
}

/** What was sealed does not open: it was changed, cut off or put in another's place. */
function forged() {
  const error = new Error("a sealed blob does not open");
  error.name = "Forged";
  return error;
}

/** Opens chunks that lie one after the other, the first of which has that number, into the buffer. */
async function openChunks(key, nonce, first, sealed, buffer) {
  const parts = [];
  for (let from = 0; from < sealed.length; from += SEALED) {
    const part = sealed.subarray(from, from + SEALED);
    parts.push(crypto.subtle.decrypt({ name: "AES-GCM", iv: nonce(first + parts.length) }, key, part));
  }
  const opened = await Promise.all(parts).catch(() => {
    throw forged();
  });
  const plain = new Uint8Array(buffer, 0, sealed.length - TAG * opened.length);
  let at = 0;
  for (const chunk of opened) {
    plain.set(new Uint8Array(chunk), at);
    at += chunk.byteLength;
  }
  return plain;
}

/** Fills the buffer from a byte stream's reader, as far as the stream goes; the bytes lie in a buffer in its place. */
async function fill(reader, buffer) {
  const size = buffer.byteLength;
  let have = 0;
  while (have < size) {
    const { done, value } = await reader.readAtLeast(size - have, new Uint8Array(buffer, have, size - have));
    if (value) buffer = value.buffer;
    if (done) break;
    have += value.byteLength;
  }
  return new Uint8Array(buffer, 0, have);
}

/**
 * The plain bytes of some chunks, in pieces of up to 1 MiB, each given only once all of it has opened: `length` bytes
 * after the first `skip`. `last` says that the last chunk is the message's last, which is shorter than the others. A piece
 * is to be used up before the next one is asked for: they share their memory.
 */
async function* openStream(body, raw, base, first, skip, length, last) {
  const key = await importKey(raw, "decrypt");
  const nonce = nonces(base);
  const reader = body.getReader({ mode: "byob" });
  // One more than there are, so that the end is seen at once.
  const atOnce = Math.min(AT_ONCE, Math.ceil((skip + length) / CHUNK) + 1);
  const opened = new ArrayBuffer(atOnce * CHUNK);
  let buffer = new ArrayBuffer(atOnce * SEALED);
  let [chunk, from, left] = [first, skip, length];
  try {
    for (;;) {
      const sealed = await fill(reader, buffer);
      buffer = sealed.buffer;
      const ends = sealed.length < atOnce * SEALED;
      const rest = sealed.length % SEALED;
      // A message's last chunk is there, and nowhere but at its end.
      if (ends && (last ? rest < TAG : rest !== 0)) throw forged();
      if (sealed.length > 0) {
        const plain = (await openChunks(key, nonce, chunk, sealed, opened)).subarray(from, from + left);
        [chunk, from, left] = [chunk + atOnce, 0, left - plain.length];
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

/** Writes a sealed blob; what it is made of goes on with the hash, where there is one. */
export async function putSealed(bucket, key, raw, base, header, plain, hash) {
  await hash?.writer.write(plain);
  await bucket.put(key, await seal(raw, base, header, plain));
}

/** Begins a SHA-256. */
export function newHash() {
  const stream = new crypto.DigestStream("SHA-256");
  return { stream, writer: stream.getWriter() };
}

/** Goes on with these bytes. */
export const updateHash = ({ writer }, bytes) => writer.write(bytes);

/** What all of it came to. */
export async function finishHash({ stream, writer }) {
  await writer.close();
  return stream.digest;
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
  const expectedLength = parts.reduce((sum, [, , length, sealed]) => sum + (sealed ? sealed[4] : length), 0);
  if (expectedLength === 0) return new Response("").body ?? undefined;
  const first = open(bucket, parts[0]);
  if (!(await first)) return undefined;
  const pieces = piecesOf(bucket, parts, first);
  const source = {
    // The platform's own: the answer has a Content-Length, and is broken off rather than ended where bytes are missing.
    expectedLength,
    async pull(controller) {
      try {
        const { done, value } = await pieces.next();
        if (done) controller.close();
        else controller.enqueue(value);
      } catch (error) {
        if (error.name === "Forged") console.error("blob", String(error));
        throw error;
      }
    },
    async cancel() {
      await pieces.return();
      // Nothing was asked for yet, so that there was nothing to return from.
      drop(await first);
    },
  };
  // A piece is asked for when the one before has been sent and not earlier: they share their memory.
  return new ReadableStream(source, { highWaterMark: 0 });
}

/** A blob that is read: its body, or what of it is opened, of which the first piece is there; undefined when it is gone. */
async function open(bucket, part) {
  const blob = await get(bucket, part);
  if (!blob || !part[3]) return blob && { body: blob.body };
  const pieces = openStream(blob.body, ...part[3]);
  return { pieces, first: await pieces.next() };
}

/** The pieces of blobs one after the other, the first of which is on its way. */
async function* piecesOf(bucket, parts, next) {
  try {
    for (const [i, part] of parts.entries()) {
      const blob = await next;
      // A missing piece cuts the body short: the client sees a broken transfer, never a shorter document.
      if (!blob) throw new Error(`blob ${part[0]} is gone`);
      next = undefined;
      const ahead = () => {
        next = parts[i + 1] && open(bucket, parts[i + 1]);
        next?.catch(() => {});
      };
      if (blob.pieces) yield* opened(blob, part[3][4], ahead);
      else {
        yield* blob.body;
        ahead();
      }
    }
  } finally {
    next?.then(drop, () => {});
  }
}

/** A blob is not read any further. */
function drop(blob) {
  const gone = blob?.pieces ? blob.pieces.return() : blob?.body.cancel();
  gone?.catch(() => {});
}

/** The pieces of an opened blob, `left` bytes in all; calls `ahead` once when little is left. */
async function* opened({ pieces, first }, left, ahead) {
  let told = false;
  try {
    for (let piece = first; !piece.done; piece = await pieces.next()) {
      left -= piece.value.length;
      if (left <= AHEAD && !told) {
        told = true;
        ahead();
      }
      yield piece.value;
    }
  } finally {
    await pieces.return();
  }
}

// The puzzle of a new session, solved beside the page: a number so that SHA-256 of `<challenge>.<number>` begins with
// enough zero bits. `crypto.subtle` answers each hash by a promise, which is too slow for tens of thousands; so the hash
// stands here (FIPS 180-4).

/** Numbers tried between two words on the progress. */
const STEP = 8192;

/** The first 32 bits of the fractions of the roots of the first primes: of square roots to begin with, of cube roots for each round. */
const { BEGIN, ROUNDS } = constants();

function constants() {
  const primes = [];
  for (let n = 2; primes.length < 64; n += 1) if (primes.every((prime) => n % prime !== 0)) primes.push(n);
  const fraction = (root) => ((root % 1) * 2 ** 32) | 0;
  return {
    BEGIN: primes.slice(0, 8).map((prime) => fraction(Math.sqrt(prime))),
    ROUNDS: Int32Array.from(primes, (prime) => fraction(Math.cbrt(prime))),
  };
}

const words = new Int32Array(64);
const turned = (word, by) => (word >>> by) | (word << (32 - by));

/** The state after a block of 64 bytes. */
function compress(state, block, at) {
  for (let i = 0; i < 16; i += 1) words[i] = block.getInt32(at + 4 * i);
  for (let i = 16; i < 64; i += 1) {
    const x = words[i - 15];
    const y = words[i - 2];
    const low = turned(x, 7) ^ turned(x, 18) ^ (x >>> 3);
    const high = turned(y, 17) ^ turned(y, 19) ^ (y >>> 10);
    words[i] = words[i - 16] + low + words[i - 7] + high;
  }
  let [a, b, c, d, e, f, g, h] = state;
  for (let i = 0; i < 64; i += 1) {
    const one = (h + (turned(e, 6) ^ turned(e, 11) ^ turned(e, 25)) + ((e & f) ^ (~e & g)) + ROUNDS[i] + words[i]) | 0;
    const two = ((turned(a, 2) ^ turned(a, 13) ^ turned(a, 22)) + ((a & b) ^ (a & c) ^ (b & c))) | 0;
    h = g;
    g = f;
    f = e;
    e = (d + one) | 0;
    d = c;
    c = b;
    b = a;
    a = (one + two) | 0;
  }
  return [a, b, c, d, e, f, g, h].map((word, i) => (word + state[i]) | 0);
}

/**
 * Gives the digests, as eight words, of texts that begin alike: whole blocks of the beginning are hashed once.
 *
 * @param {string} prefix ASCII, as are the ends.
 */
export function digests(prefix) {
  const bytes = new TextEncoder().encode(prefix);
  const whole = bytes.length - (bytes.length % 64);
  const kept = bytes.subarray(whole);
  let start = BEGIN;
  for (let at = 0; at < whole; at += 64) start = compress(start, new DataView(bytes.buffer), at);
  const tail = new Uint8Array(192);
  const view = new DataView(tail.buffer);
  return (end) => {
    tail.fill(0);
    tail.set(kept);
    for (let i = 0; i < end.length; i += 1) tail[kept.length + i] = end.charCodeAt(i);
    const length = kept.length + end.length;
    tail[length] = 0x80;
    const blocks = Math.ceil((length + 9) / 64);
    view.setUint32(64 * blocks - 4, (whole + length) * 8);
    let state = start;
    for (let i = 0; i < blocks; i += 1) state = compress(state, view, 64 * i);
    return state;
  };
}

function zeros(digest) {
  const at = digest.findIndex((word) => word !== 0);
  return at < 0 ? 256 : 32 * at + Math.clz32(digest[at]);
}

/**
 * The number that solves a challenge.
 *
 * @param {(tries: number) => void} tell Hears of the progress now and then.
 */
export function solve(challenge, bits, tell) {
  const digest = digests(`${challenge}.`);
  for (let n = 0; ; n += 1) {
    if (zeros(digest(String(n))) >= bits) return String(n);
    if (n % STEP === STEP - 1) tell(n + 1);
  }
}

globalThis.onmessage = ({ data: { challenge, bits } }) => {
  const nonce = solve(challenge, bits, (tries) => postMessage({ tries }));
  postMessage({ nonce });
};

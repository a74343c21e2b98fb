// Codes of an authenticator (RFC 6238: SHA-1, six digits, thirty seconds).

import { createHmac } from "node:crypto";
import { setTimeout as pause } from "node:timers/promises";

const STEP_MS = 30_000;

/** Base32 (RFC 4648 §6), spaces left out. */
export function fromBase32(text) {
  const bits = [...text.replace(/[\s=]/g, "")].map((c) => "ABCDEFGHIJKLMNOPQRSTUVWXYZ234567".indexOf(c).toString(2).padStart(5, "0")).join("");
  return Buffer.from(bits.match(/.{8}/g).map((byte) => Number.parseInt(byte, 2)));
}

/** The code of a step. */
export function codeAt(secret, step) {
  const counter = Buffer.alloc(8);
  counter.writeBigUInt64BE(BigInt(step));
  const digest = createHmac("sha1", fromBase32(secret)).update(counter).digest();
  const offset = digest.at(-1) & 15;
  return String((digest.readUInt32BE(offset) & 0x7fffffff) % 1_000_000).padStart(6, "0");
}

/**
 * An authenticator whose codes are new each time. A house takes each step once, and one step early: the first codes come at once, the
 * later ones when their step has nearly begun.
 */
export function authenticator(secret) {
  let last = 0;
  return {
    async code() {
      const now = () => Math.floor(Date.now() / STEP_MS);
      const step = Math.max(last + 1, now() - 1);
      while (step > now() + 1) await pause(200);
      last = step;
      return codeAt(secret, step);
    },
  };
}

// A key management service on 127.0.0.1 as docs/operators.md asks for one, which can be down and can misbehave.

import { createCipheriv, createDecipheriv, randomBytes } from "node:crypto";
import { createServer } from "node:http";
import { setTimeout as pause } from "node:timers/promises";

/** What a test's house has as `KMS_TOKEN`. */
export const KMS_TOKEN = "canary-kms-token-4e02";

const JSON_TYPE = { "content-type": "application/json" };
const base64 = (bytes) => bytes.toString("base64");

/** How it can answer; each gets `{ response, right, path, url }`, where `right` is the right answer. */
const MANNERS = {
  good: ({ response, right }) => response.writeHead(200, JSON_TYPE).end(JSON.stringify(right)),
  error: ({ response }) => response.writeHead(500, JSON_TYPE).end('{"error":"no"}'),
  denied: ({ response }) => response.writeHead(403, JSON_TYPE).end('{"error":"no"}'),
  page: ({ response }) => response.writeHead(200, { "content-type": "text/html" }).end("<html>Sign in</html>"),
  list: ({ response, right }) => response.writeHead(200, JSON_TYPE).end(JSON.stringify([right])),
  empty: ({ response }) => response.writeHead(200, JSON_TYPE).end(),
  torn: ({ response, right }) => response.writeHead(200, JSON_TYPE).end(JSON.stringify(right).slice(0, -5)),
  cut: ({ response, right }) => {
    response.writeHead(200, { ...JSON_TYPE, "content-length": 500 }).write(JSON.stringify(right).slice(0, 10));
    setTimeout(() => response.destroy(), 50);
  },
  /** A right answer that is longer than any. */
  long: ({ response, right }) => response.writeHead(200, JSON_TYPE).end(JSON.stringify({ ...right, more: "x".repeat(20_000) })),
  /** Of the right form, but one byte short of a key, or of a ciphertext with its tag. */
  short: ({ response, right }) => response.writeHead(200, JSON_TYPE).end(JSON.stringify({ ...right, ...other(right, -1) })),
  /** Of the right form and length, and other bytes. */
  wrong: ({ response, right }) => response.writeHead(200, JSON_TYPE).end(JSON.stringify({ ...right, ...other(right, 0) })),
  /** The right answer at another address. */
  redirect: ({ response, path, url }) => response.writeHead(307, { location: `${url}/moved${path}` }).end(),
  /** The right answer, later than it may come. */
  slow: async ({ response, right }) => {
    await pause(13_000);
    response.writeHead(200, JSON_TYPE).end(JSON.stringify(right));
  },
};

/** The bytes of an answer exchanged for random ones. */
function other(right, longer) {
  const [name, length] = right.plaintext ? ["plaintext", 32] : ["ciphertext", longer < 0 ? 33 : 60];
  return { [name]: base64(randomBytes(length + longer)) };
}

/**
 * Starts the service on a free port.
 *
 * @returns {Promise<object>} `url`; `manner`, one of the above, to be set; `calls`, the paths that were asked; `down()` and
 *   `up()` at the same address; `stop()`.
 */
export async function startKms() {
  const root = randomBytes(32);
  const calls = [];
  const kms = { manner: "good", calls };
  let server;

  /** The right answer; `undefined` for what the service refuses. */
  function right(path, { plaintext, ciphertext, key_id: key, context }) {
    const aad = Buffer.from(JSON.stringify(Object.entries(context).sort()));
    if (path === "/wrap") {
      const nonce = randomBytes(12);
      const cipher = createCipheriv("aes-256-gcm", root, nonce).setAAD(aad);
      const sealed = Buffer.concat([nonce, cipher.update(plaintext, "base64"), cipher.final(), cipher.getAuthTag()]);
      return { ciphertext: base64(sealed), key_id: "test/1" };
    }
    if (key !== "test/1") return undefined;
    const sealed = Buffer.from(ciphertext, "base64");
    try {
      const decipher = createDecipheriv("aes-256-gcm", root, sealed.subarray(0, 12)).setAAD(aad).setAuthTag(sealed.subarray(-16));
      return { plaintext: base64(Buffer.concat([decipher.update(sealed.subarray(12, -16)), decipher.final()])) };
    } catch {
      return undefined;
    }
  }

  async function answer(request, response) {
    const parts = [];
    for await (const part of request) parts.push(part);
    const path = request.url;
    calls.push(path);
    const refuse = (status) => response.writeHead(status, JSON_TYPE).end('{"error":"refused"}');
    if (request.headers.authorization !== `Bearer ${KMS_TOKEN}`) return refuse(401);
    const asked = path.startsWith("/moved") ? path.slice("/moved".length) : path;
    const given = right(asked, JSON.parse(Buffer.concat(parts)));
    if (given === undefined) return refuse(400);
    await (path === asked ? MANNERS[kms.manner] : MANNERS.good)({ response, right: given, path, url: kms.url });
  }

  const listen = (port) =>
    new Promise((resolve, reject) => {
      server = createServer({ keepAliveTimeout: 600_000 }, (request, response) => {
        answer(request, response).catch((error) => response.destroy(error));
      });
      server.on("error", reject);
      server.listen(port, "127.0.0.1", () => resolve(server.address().port));
    });
  const port = await listen(0);
  kms.url = `http://127.0.0.1:${port}`;
  kms.down = () =>
    new Promise((resolve) => {
      server.close(resolve);
      server.closeAllConnections();
    });
  kms.up = () => listen(port);
  kms.stop = kms.down;
  return kms;
}

/** Every manner in which it does not answer rightly. */
export const BAD = Object.keys(MANNERS).filter((manner) => manner !== "good");

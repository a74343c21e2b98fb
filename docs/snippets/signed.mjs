import { createHash, createPrivateKey, randomBytes, sign } from "node:crypto";

/**
 * Headers that sign a request (RFC 9421) with an Ed25519 key in PEM. `keyid` is `<id of the API key>/<kid>`; `headers` (names in lower
 * case) are covered by the signature too.
 */
export function signed({ method, url, body = "", headers = {}, keyid, privateKey }) {
  const { host, pathname, search } = new URL(url);
  const created = Math.floor(Date.now() / 1000);
  const names = ["@method", "@authority", "@path", "@query", "content-digest", ...Object.keys(headers)];
  const parameters =
    `(${names.map((name) => `"${name}"`).join(" ")})` +
    `;created=${created};expires=${created + 60};nonce="${randomBytes(16).toString("hex")}"` +
    `;keyid="${keyid}";alg="ed25519";tag="gatehouse"`;
  const digest = `sha-256=:${createHash("sha256").update(body).digest("base64")}:`;
  const base = [
    `"@method": ${method}`,
    `"@authority": ${host}`,
    `"@path": ${pathname}`,
    `"@query": ${search || "?"}`,
    `"content-digest": ${digest}`,
    ...Object.entries(headers).map(([name, value]) => `"${name}": ${value}`),
    `"@signature-params": ${parameters}`,
  ].join("\n");
  const signature = sign(null, Buffer.from(base), createPrivateKey(privateKey)).toString("base64");
  return {
    ...headers,
    "content-digest": digest,
    "signature-input": `sig=${parameters}`,
    signature: `sig=:${signature}:`,
  };
}

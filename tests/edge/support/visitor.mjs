// Visitors who keep documents, each with the cookie jar of a browser.

import { readdirSync } from "node:fs";
import { join } from "node:path";

import { call } from "./client.mjs";

export const MIB = 1_048_576;

let networks = 0;

/** A visitor of that house, in a network of their own unless an address is given. */
export function visitor(house, address = `100.65.${(networks += 1)}.1`) {
  const jar = { cookie: undefined, set: [] };
  const ask = async (path, options = {}) => {
    const answer = await call(house.worker.url, { path, address, ...options, headers: { cookie: jar.cookie, ...options.headers } });
    for (const cookie of answer.headers["set-cookie"] ?? []) {
      jar.set.push(cookie);
      jar.cookie = cookie.split(";")[0];
    }
    return answer;
  };
  return { jar, address, host: () => new URL(house.worker.url).host, ask, upload: (content, more) => ask("/v1/files", form(content, more)) };
}

export const BOUNDARY = "----test-boundary-7MA4YWxk";

/** A multipart form as browsers send it. */
export function form(content, { filename = "notes.txt", type = "text/plain", purpose = "user_data", chunked, headers } = {}) {
  const body = Buffer.concat([
    Buffer.from(`--${BOUNDARY}\r\ncontent-disposition: form-data; name="purpose"\r\n\r\n${purpose}\r\n`),
    Buffer.from(`--${BOUNDARY}\r\ncontent-disposition: form-data; name="file"; filename="${filename}"\r\ncontent-type: ${type}\r\n\r\n`),
    Buffer.from(content),
    Buffer.from(`\r\n--${BOUNDARY}--\r\n`),
  ]);
  return { body, chunked, headers: { "content-type": `multipart/form-data; boundary=${BOUNDARY}`, ...headers } };
}

/** The head of an upload that is sent by hand. */
export function uploadHead(who, length, more = {}) {
  const lines = [
    "POST /v1/files HTTP/1.1",
    `host: ${who.host()}`,
    `content-type: multipart/form-data; boundary=${BOUNDARY}`,
    `content-length: ${length}`,
    `cookie: ${who.jar.cookie}`,
    `cf-connecting-ip: ${who.address}`,
    ...Object.entries(more).map(([name, value]) => `${name}: ${value}`),
  ];
  return Buffer.from(`${lines.join("\r\n")}\r\n\r\n`);
}

/** A page of the visitor's documents. */
export const list = async (who, query = "") => (await who.ask(`/v1/files${query}`)).json();

/** The files of every blob in the house's bucket. */
export function blobs(house) {
  const folder = join(house.worker.folder, "v3/r2/gatehouse-documents-test/blobs");
  try {
    return readdirSync(folder).map((name) => join(folder, name));
  } catch {
    return [];
  }
}

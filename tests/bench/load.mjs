// The load: requests as the OpenAI SDK sends them, from many client addresses, each answer checked.

import { Agent, request } from "node:http";

/** What the SDK puts on every request. */
const SDK_HEADERS = {
  accept: "application/json",
  "content-type": "application/json",
  "user-agent": "OpenAI/JS 7.55.0",
  "x-stainless-retry-count": "0",
  "x-stainless-lang": "js",
  "x-stainless-package-version": "7.55.0",
  "x-stainless-os": "Linux",
  "x-stainless-arch": "x64",
  "x-stainless-runtime": "node",
  "x-stainless-runtime-version": "v24.21.0",
  authorization: "Bearer visitor",
};

const LONGEST_MS = 20_000;

/** Client addresses, one after the other: `count` of them, evenly over `networks` networks (IPv4 /24). */
export function addresses(count, networks) {
  const list = Array.from({ length: count }, (_, i) => {
    const network = i % networks;
    return `10.${network >> 8}.${network & 255}.${1 + Math.floor(i / networks)}`;
  });
  let next = 0;
  return () => list[next++ % count];
}


/** For each call an address in a network that was never there before. */
export function strangers() {
  let next = 0;
  return () => {
    const network = next++;
    return `${100 + (network >> 16)}.${(network >> 8) & 255}.${network & 255}.1`;
  };
}

/** One system as a client sees it. */
export class Client {
  constructor(server, { headers = {}, keys = {}, nextAddress, gatehouse = false }) {
    this.server = server;
    this.headers = headers;
    this.keys = keys;
    this.nextAddress = nextAddress;
    this.gatehouse = gatehouse;
    this.agent = new Agent({ keepAlive: true, maxSockets: 64 });
  }

  close() {
    this.agent.destroy();
  }

  /** Sends one request and reads the answer: times in ms. An answer that is not as it must be ends the benchmark. */
  send(scenario) {
    const body = Buffer.from(JSON.stringify(scenario.body()));
    const headers = { ...SDK_HEADERS, ...this.headers, ...scenario.headers, ...this.keys[scenario.key], "content-length": body.length, "cf-connecting-ip": (scenario.nextAddress ?? this.nextAddress)() };
    return new Promise((resolve, reject) => {
      const fail = (what) => reject(new Error(`${this.server.name}, ${scenario.name}: ${what}`));
      const began = performance.now();
      let answered = false;
      const call = request({ port: this.server.port, host: "127.0.0.1", method: "POST", path: scenario.path, headers, agent: this.agent });
      call.setTimeout(LONGEST_MS, () => call.destroy(new Error("no answer")));
      call.on("error", (error) => {
        // The server had closed an idle connection just when it was to be used again.
        if (call.reusedSocket && error.code === "ECONNRESET" && !answered) resolve(this.send(scenario));
        else fail(error.message);
      });
      call.on("response", (response) => {
        answered = true;
        let first;
        const parts = [];
        response.on("data", (part) => {
          first ??= performance.now() - began;
          parts.push(part);
        });
        response.on("error", (error) => fail(error.message));
        response.on("end", () => {
          const total = performance.now() - began;
          const wrong = this.wrong(scenario, response, Buffer.concat(parts));
          if (wrong) fail(wrong);
          else resolve({ first, total });
        });
      });
      call.end(body);
    });
  }

  /** What is wrong with an answer, if anything. */
  wrong(scenario, response, bytes) {
    if (response.statusCode !== (scenario.status ?? 200)) return `status ${response.statusCode}: ${bytes.subarray(0, 300)}`;
    if (!scenario.isWhole(bytes)) return `not the whole answer: ${bytes.subarray(0, 200)}…`;
    if (!this.gatehouse || scenario.status) return undefined;
    for (const name of ["ratelimit", "ratelimit-policy", "x-ratelimit-limit", "x-ratelimit-remaining", "x-request-id"]) {
      if (response.headers[name] === undefined) return `the header ${name} is missing`;
    }
    const cache = response.headers["x-cache"];
    return cache === scenario.cache ? undefined : `x-cache is ${cache} and must be ${scenario.cache}`;
  }

  /** Keeps `concurrency` requests under way for `ms`; resolves with the times of all of them. */
  async run(scenario, concurrency, ms) {
    const seen = { first: [], total: [] };
    const end = performance.now() + ms;
    const lane = async () => {
      do {
        const { first, total } = await this.send(scenario);
        seen.first.push(first);
        seen.total.push(total);
      } while (performance.now() < end);
    };
    await Promise.all(Array.from({ length: concurrency }, lane));
    return seen;
  }

  /** Sends that many requests. */
  async count(scenario, concurrency, number) {
    let left = number;
    const lane = async () => {
      while (left-- > 0) await this.send(scenario);
    };
    await Promise.all(Array.from({ length: concurrency }, lane));
  }
}

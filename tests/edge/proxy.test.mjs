// The model proxy against a provider that behaves and one that does not, in both protocols, streamed and not.

import assert from "node:assert/strict";
import { after, before, describe, test } from "node:test";

import { call, events, leaks, open, prompt, question, secretsIn } from "./support/client.mjs";
import { CANARIES, DEADLINES, ONCE } from "./support/config.mjs";
import { assertDressed, assertRefused, codeInBand, startHouse } from "./support/house.mjs";
import { until, within } from "./support/wait.mjs";

const SYSTEM = "You are the test house's assistant.";
const PINNED = { public: true, system: SYSTEM, max_output_tokens: 50, max_temperature: 0.5, max_input_bytes: 2000 };

let house;
let url;
let provider;
before(async () => {
  house = await startHouse({
    retry: ONCE,
    aliases: [
      { name: "pinned", ...PINNED, target: [{ provider: "openai", model: "good" }] },
      { name: "claude-pinned", ...PINNED, target: [{ provider: "anthropic", model: "good" }] },
      // Its idle deadline is far shorter than the pause of a slow client.
      { name: "brisk", public: true, deadlines: { first_token_ms: 5000, idle_ms: 400, total_ms: 60_000 }, target: [{ provider: "openai", model: "huge" }] },
      { name: "status_401-again", public: true, target: [{ provider: "openai", model: "status_401:again" }] },
      { name: "claude-status_401-again", public: true, target: [{ provider: "anthropic", model: "status_401:again" }] },
      { name: "dead", public: true, target: [{ provider: "nowhere", model: "good" }] },
    ],
    providers: [{ name: "nowhere", kind: "openai", base_url: "http://127.0.0.1:9/v1" }],
    prices: [{ model: "good", input: 1000, output: 2000 }],
  });
  ({ provider } = house);
  url = house.worker.url;
});
after(() => house?.stop());

/**
 * The two protocols: path, body, and the name under which an alias of a behaviour is found. `native` asks for a stream
 * that passes byte for byte: OpenAI's does when the caller asks for the usage that Gatehouse asks for anyway.
 */
const PROTOCOLS = {
  openai: {
    dialect: "openai",
    path: "/v1/chat/completions",
    body: question,
    alias: (name) => name,
    native: { stream: true, stream_options: { include_usage: true } },
  },
  anthropic: { dialect: "anthropic", path: "/v1/messages", body: prompt, alias: (name) => `claude-${name}`, native: { stream: true } },
};

/** The data of every event, comments and line ends aside. */
const datas = (bytes) => events(bytes.toString("utf8")).map(({ data }) => data);

const ask = ({ path, body, alias }, name, more, options) => call(url, { path, json: body(alias(name), more), ...options });
/** The last request for a model at the protocol's endpoint. */
const last = ({ path }, model) => provider.of(model).filter((seen) => seen.path === path).at(-1);

for (const [name, protocol] of Object.entries(PROTOCOLS)) {
  describe(name, () => {
    test("a whole answer comes back as the provider sent it", async () => {
      const answer = await ask(protocol, "good");
      assert.equal(answer.status, 200);
      assertDressed(answer);
      assert.equal(answer.headers["content-type"], "application/json");
      assert.deepEqual(answer.bytes, last(protocol, "good").sent());
    });

    test("a streamed answer is the provider's, byte for byte", async () => {
      for (const behaviour of ["good", "cr", "crlf", "bom", "comments", "split_bytes", "many_events", "ceiling"]) {
        const answer = await ask(protocol, behaviour, protocol.native);
        assert.equal(answer.status, 200);
        assertDressed(answer);
        assert.match(answer.headers["content-type"], /^text\/event-stream/);
        assert.match(answer.headers["cache-control"], /no-transform/);
        assert.equal(answer.headers["content-length"], undefined);
        const sent = last(protocol, behaviour).sent();
        assert.ok(answer.bytes.equals(sent), `${behaviour}: ${answer.bytes.length} bytes for ${sent.length}`);
        const line = await house.worker.log(answer.headers["x-request-id"]);
        assert.equal(line.code, undefined, behaviour);
      }
    });

    test("a usage chunk that only we asked for does not reach the caller, and every other event does as it was", async () => {
      for (const behaviour of ["good", "cr", "crlf", "bom", "comments", "split_bytes", "many_events", "ceiling"]) {
        const answer = await ask(protocol, behaviour, { stream: true });
        const sent = last(protocol, behaviour);
        const wanted = datas(sent.sent()).filter((data) => !(name === "openai" && data.includes('"choices":[]')));
        assert.deepEqual(datas(answer.bytes), wanted, behaviour);
        if (name === "openai") {
          assert.equal(sent.body.stream_options.include_usage, true);
          assert.ok(datas(sent.sent()).length > wanted.length, "the provider sent usage");
        }
        const line = await house.worker.log(answer.headers["x-request-id"]);
        assert.deepEqual([line.code, line.tokens_estimated], [undefined, undefined], behaviour);
        assert.ok(line.tokens_out > 0);
      }
    });

    test("the first event arrives while the provider is still at it", async () => {
      const arrived = provider.next("held");
      const answer = await open(url, { path: protocol.path, json: protocol.body(protocol.alias("held"), protocol.native) });
      const seen = await arrived;
      const parts = [];
      answer.response.on("data", (part) => parts.push(part));
      await until(() => Buffer.concat(parts).equals(seen.sent()), "the first events");
      seen.release();
      await within(new Promise((resolve) => answer.response.on("end", resolve)), "the end of the stream");
      assert.deepEqual(Buffer.concat(parts), seen.sent());
    });

    test("the alias pins model, system prompt and ceilings", async () => {
      const answer = await ask(protocol, "pinned", { max_tokens: 900, temperature: 1.5, unknown_field: { kept: [1] } });
      assert.equal(answer.status, 200);
      const { body } = last(protocol, "good");
      assert.equal(body.model, "good");
      assert.equal(body.max_tokens, 50);
      assert.equal(body.temperature, 0.5);
      assert.deepEqual(body.unknown_field, { kept: [1] }, "what is not known passes through");
      if (name === "openai") assert.deepEqual(body.messages[0], { role: "system", content: SYSTEM });
      else assert.equal(body.system, SYSTEM);
      await ask(protocol, "pinned", { max_tokens: 7, temperature: 0.25 });
      assert.deepEqual([last(protocol, "good").body.max_tokens, last(protocol, "good").body.temperature], [7, 0.25]);
      const long = await ask(protocol, "pinned", { messages: [{ role: "user", content: "x".repeat(3000) }] });
      assertRefused(long, protocol.dialect, 400, "input_too_long");
    });

    test("nothing of the caller's headers goes up", async () => {
      const mine = {
        authorization: "Bearer visitor",
        cookie: "gatehouse=v1.mine",
        "x-forwarded-for": "203.0.113.9",
        forwarded: "for=203.0.113.9",
        "x-real-ip": "203.0.113.9",
        traceparent: "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01",
        tracestate: "a=b",
        referer: "https://house.example/private",
        "x-stainless-lang": "js",
        "openai-organization": "org-mine",
        "x-custom": "mine",
        "user-agent": "mine/1",
        "x-request-id": "mine-12345678",
      };
      for (const stream of [false, true]) await ask(protocol, "good", { stream }, { headers: mine, address: "203.0.113.9" });
      const { headers } = last(protocol, "good");
      // `cf-worker` is the runtime's own and cannot be left out.
      const known = ["accept", "accept-encoding", "content-length", "content-type", "host", "user-agent", "cf-worker", "connection", "transfer-encoding"];
      const key = name === "openai" ? ["authorization"] : ["x-api-key", "anthropic-version"];
      assert.deepEqual(Object.keys(headers).filter((header) => !known.includes(header)).sort(), key.sort());
      assert.ok(!Object.values(headers).some((value) => /mine|203\.0\.113|4bf92f35|visitor/.test(value)));
      const secret = name === "openai" ? headers.authorization : headers["x-api-key"];
      assert.equal(secret.replace("Bearer ", ""), name === "openai" ? CANARIES.CANARY_OPENAI_KEY : CANARIES.CANARY_ANTHROPIC_KEY);
    });

    test("nothing of the provider's headers comes back", async () => {
      for (const stream of [false, true]) {
        const { headers } = await ask(protocol, "good", { stream });
        for (const hidden of ["set-cookie", "server", "openai-organization", "openai-processing-ms", "cf-ray", "access-control-allow-origin"]) {
          assert.equal(headers[hidden], undefined, hidden);
        }
        assert.notEqual(headers["x-request-id"], "req_upstream");
        assert.notEqual(headers["x-ratelimit-limit-requests"], "777");
      }
    });

    test("what comes before the first token is held back until there is one", async () => {
      const answer = await ask(protocol, "preamble_only", { stream: true });
      assertRefused(answer, protocol.dialect, 504, "upstream_timeout");
      await last(protocol, "preamble_only").closed();
    });

    test("tokens and cost are logged, also for a stream", async () => {
      const tokens = name === "openai" ? [11, 7, 11 * 1000 + 7 * 2000] : [13, 5, 13 * 1000 + 5 * 2000];
      for (const more of [{}, { stream: true }, protocol.native]) {
        const answer = await ask(protocol, "good", more);
        const line = await house.worker.log(answer.headers["x-request-id"]);
        assert.deepEqual([line.tokens_in, line.tokens_out, line.cost_micros], tokens);
        assert.equal(line.tokens_estimated, undefined);
        assert.equal(line.stream, more.stream ?? false);
      }
    });

    test("a provider that fails before it answers is refused for what it did", async () => {
      const cases = [
        ["slow_head", 504, "upstream_timeout"],
        ["reset_at_once", 502, "upstream_unreachable"],
        ["html", 502, "upstream_protocol"],
        ["error_200", 502, "upstream_error"],
        ["redirect_302", 502, "upstream_redirect"],
        ["redirect_307", 502, "upstream_redirect"],
        ["wait_seconds", 503, "upstream_rate_limited"],
        ["wait_date", 503, "upstream_rate_limited"],
        ["wait_absurd", 503, "upstream_rate_limited"],
        ["status_500", 502, "upstream_error"],
        ["status_503", 502, "upstream_error"],
        ["status_401", 502, "upstream_auth"],
        ["status_400", 400, "upstream_rejected"],
      ];
      await Promise.all(
        cases.flatMap(([behaviour, status, code]) =>
          [false, true].map(async (stream) => {
            // A refused key opens the breaker at once, so that a second call would not reach the provider.
            const model = behaviour === "status_401" && stream ? "status_401-again" : behaviour;
            const answer = await ask(protocol, model, { stream });
            assertRefused(answer, protocol.dialect, status, code);
            for (const hidden of ["org-canary", "Sign in", "status 500", "retry-after: 864000"]) assert.ok(!answer.text.includes(hidden), hidden);
            const line = await house.worker.log(answer.headers["x-request-id"]);
            assert.equal(line.code, code);
            await last(protocol, behaviour).closed();
          }),
        ),
      );
      assert.deepEqual(provider.second.requests, [], "redirects are never followed");
    });

    test("a whole answer that breaks, lies about its length or never comes is refused", async () => {
      const cases = [
        ["slow_body", 504, ["upstream_timeout", "upstream_deadline"]],
        ["gzip_bomb", 502, ["upstream_too_large"]],
        ["too_short", 502, ["upstream_disconnected"]],
        ["too_long", 502, ["upstream_protocol"]],
        ["empty", 502, ["upstream_protocol"]],
      ];
      await Promise.all(
        cases.map(async ([behaviour, status, codes]) => {
          const answer = await ask(protocol, behaviour);
          const code = answer.json().error.gatehouse.code;
          assert.ok(codes.includes(code), `${behaviour}: ${code}`);
          assertRefused(answer, protocol.dialect, status, code);
          await last(protocol, behaviour).closed();
        }),
      );
      assert.equal((await ask(protocol, "good")).status, 200);
    });

    test("a stream that never begins is refused", async () => {
      for (const [behaviour, status, code] of [
        ["slow_body", 504, "upstream_timeout"],
        ["empty", 502, "upstream_protocol"],
      ]) {
        const answer = await ask(protocol, behaviour, { stream: true });
        assertRefused(answer, protocol.dialect, status, code);
        await last(protocol, behaviour).closed();
      }
    });

    test("a stream that goes wrong part-way ends with an error event and without an end mark", async () => {
      const cases = [
        ["stall", "upstream_stalled"],
        ["drip", "upstream_deadline"],
        ["reset", "upstream_disconnected"],
        ["no_end", "upstream_protocol"],
        ["cut_event", "upstream_protocol"],
        ["too_long", "upstream_protocol"],
        ["garbled", "upstream_protocol"],
        ["bad_json", "upstream_protocol"],
      ];
      const ways = [{ stream: true }, ...(name === "openai" ? [protocol.native] : [])];
      await Promise.all(
        cases.flatMap((row) => ways.map((way) => [...row, way])).map(async ([behaviour, code, way]) => {
          const answer = await ask(protocol, behaviour, way);
          assert.equal(answer.status, 200, behaviour);
          assert.equal(answer.broken, false, `${behaviour}: the stream itself ends in order`);
          const seen = events(answer.text);
          assert.equal(codeInBand(seen.at(-1)), code, behaviour);
          assert.equal(seen.at(-1).event, name === "openai" ? "message" : "error", behaviour);
          const error = JSON.parse(seen.at(-1).data);
          assert.equal(error.error.gatehouse.request_id, answer.headers["x-request-id"], behaviour);
          const line = await house.worker.log(answer.headers["x-request-id"]);
          assert.equal(line.code, code, behaviour);
          if (!["garbled", "bad_json", "too_long"].includes(behaviour)) {
            assert.ok(!seen.some(({ event, data }) => data === "[DONE]" || event === "message_stop"), behaviour);
          }
          await last(protocol, behaviour).closed();
        }),
      );
    });

    test("a line without an end does not swallow the error event that follows it", async () => {
      for (const behaviour of ["giant_line", "gzip_bomb"]) {
        const answer = await ask(protocol, behaviour, protocol.native);
        const seen = events(answer.text);
        assert.ok(seen.length > 0, `${behaviour}: ${answer.text.slice(-400).trimStart()}`);
        assert.equal(codeInBand(seen.at(-1)), "upstream_protocol", behaviour);
        await last(protocol, behaviour).closed();
      }
    });

    test("an error that the provider sends inside a stream passes once and nothing is added", async () => {
      const answer = await ask(protocol, "failed_inside", protocol.native);
      assert.deepEqual(answer.bytes, last(protocol, "failed_inside").sent());
      const line = await house.worker.log(answer.headers["x-request-id"]);
      assert.equal(line.code, "upstream_error");
    });

    test("an inspected stream in which the provider reports an error ends with one error of ours", async () => {
      if (name !== "openai") return; // this caller's streams are inspected only where something is changed in them
      const answer = await ask(protocol, "failed_inside", { stream: true });
      const errors = events(answer.text).filter(({ data }) => data.startsWith('{"error"'));
      assert.equal(errors.length, 1);
      assert.equal(codeInBand(errors[0]), "upstream_error");
      assert.ok(!answer.text.includes("[DONE]"));
    });

    test("a stream with its end mark is whole, even when the connection then breaks", async () => {
      const answer = await ask(protocol, "too_short", { stream: true });
      const seen = events(answer.text);
      assert.ok(seen.at(-1).data === "[DONE]" || seen.at(-1).event === "message_stop", answer.text.slice(-300));
      assert.equal(answer.broken, false);
    });

    test("a client that leaves closes the upstream within two seconds", async () => {
      const arrived = provider.next("drip");
      const answer = await open(url, { path: protocol.path, json: protocol.body(protocol.alias("drip"), { stream: true }) });
      const seen = await arrived;
      answer.response.once("data", () => answer.abort());
      const began = Date.now();
      await seen.closed();
      const took = Date.now() - began;
      assert.ok(took < Math.min(2000, DEADLINES.total_ms), `closed after ${took} ms`);
      const line = await house.worker.log(answer.headers["x-request-id"]);
      assert.deepEqual([line.code, line.cause], [undefined, "the client went away"]);
      assert.ok(line.tokens_out > 0, "what was produced is counted");
    });

    test("a wait is passed on, but never an absurd one", async () => {
      for (const [behaviour, least, most] of [
        ["wait_seconds", 3, 3],
        ["wait_date", 15, 21],
        ["wait_absurd", 60, 60],
      ]) {
        const { headers } = await ask(protocol, behaviour);
        const seconds = Number(headers["retry-after"]);
        assert.ok(seconds >= least && seconds <= most, `${behaviour}: ${seconds}`);
        assert.ok(Math.abs(Number(headers["retry-after-ms"]) - seconds * 1000) < 1000);
      }
    });
  });
}

test("a provider that cannot be reached is a 502", async () => {
  assertRefused(await call(url, { path: "/v1/chat/completions", json: question("dead") }), "openai", 502, "upstream_unreachable");
});

test("a client that reads slowly is not taken for a provider that stalls", async () => {
  const answer = await open(url, { path: "/v1/chat/completions", json: question("brisk", PROTOCOLS.openai.native) });
  const parts = [];
  // Three pauses, each longer than the idle deadline, while the rest waits behind full buffers.
  for (let pause = 0; pause < 3; pause += 1) {
    await new Promise((resolve) => setTimeout(resolve, 1200));
    parts.push(answer.response.read() ?? Buffer.alloc(0));
  }
  answer.response.on("data", (part) => parts.push(part));
  await within(new Promise((resolve) => answer.response.on("end", resolve)), "the end of the stream");
  const bytes = Buffer.concat(parts);
  const sent = provider.of("huge").at(-1).sent();
  assert.ok(bytes.equals(sent), `${bytes.length} of ${sent.length} bytes, ending ${bytes.subarray(-200)}`);
});

test("embeddings pass through with the real model put in", async () => {
  const answer = await call(url, { path: "/v1/embeddings", json: { model: "embed", input: ["one", "three"], encoding_format: "float" } });
  assert.equal(answer.status, 200);
  const seen = provider.of("embedder").at(-1);
  assert.deepEqual(answer.bytes, seen.sent());
  assert.deepEqual([seen.path, seen.body.input], ["/v1/embeddings", ["one", "three"]]);
  for (const input of ["", [], [1.5], {}, undefined]) {
    const refused = await call(url, { path: "/v1/embeddings", json: { model: "embed", input } });
    assert.equal(refused.status, 400, JSON.stringify(input));
  }
});

test("what costs more than an answer is not carried unless the alias says so", async () => {
  const before = provider.requests.length;
  for (const [more, param] of [
    [{ n: 4 }, "n"],
    [{ store: true }, "store"],
    [{ service_tier: "priority" }, "service_tier"],
    [{ web_search_options: {} }, "web_search_options"],
    [{ tools: [{ type: "web_search" }] }, "tools[0].type"],
    [{ messages: [{ role: "user", content: [{ type: "image_url", image_url: { url: "https://x.example/a.png" } }] }] }, "messages[0].content[0]"],
  ]) {
    const answer = await call(url, { path: "/v1/chat/completions", json: question("good", more) });
    assertRefused(answer, "openai", 400, "unsupported_parameter");
    assert.equal(answer.json().error.param, param);
  }
  assert.equal(provider.requests.length, before);
  assert.equal((await call(url, { path: "/v1/chat/completions", json: question("good", { tools: [{ type: "function", function: { name: "f" } }] }) })).status, 200);
});

test("no secret stood in any answer or in the log", () => {
  assert.deepEqual(leaks, []);
  assert.deepEqual(secretsIn(house.worker.output()), []);
});

// What the SDKs make of failures: their own classes, their own retries. Each API over a provider of every dialect.

import assert from "node:assert/strict";
import { after, before, describe, test } from "node:test";

import Anthropic from "@anthropic-ai/sdk";
import OpenAI from "openai";

import { DIALECTS } from "./support/sdk-provider.mjs";
import { QUESTION, startSdkHouse } from "./support/sdk-house.mjs";

/** A place comes free every two seconds. */
const BURST = { requests: 6, seconds: 12 };
const messages = [{ role: "user", content: QUESTION }];

let house;
before(async () => {
  house = await startSdkHouse({ limits: { chat: { burst: BURST } } });
});
after(() => house?.stop());

/** A client whose requests are counted, and which has an address of its own. */
function watched(Sdk, path, address, options) {
  const sent = [];
  const watching = async (...args) => {
    const answer = await fetch(...args);
    sent.push({ status: answer.status, at: Date.now(), headers: answer.headers });
    return answer;
  };
  const given = { baseURL: `${house.url}${path}`, apiKey: "visitor", defaultHeaders: { "cf-connecting-ip": address }, fetch: watching };
  return { client: new Sdk({ ...given, ...options }), sent };
}

async function all(stream) {
  for await (const part of await stream) assert.ok(part);
}

const CALLERS = {
  chat: {
    Sdk: OpenAI,
    path: "/v1",
    whole: (client, model, options) => client.chat.completions.create({ model, messages }, options),
    stream: (client, model) => all(client.chat.completions.create({ model, messages, stream: true })),
    code: (error) => error.code,
  },
  responses: {
    Sdk: OpenAI,
    path: "/v1",
    whole: (client, model, options) => client.responses.create({ model, input: QUESTION }, options),
    stream: (client, model) => all(client.responses.create({ model, input: QUESTION, stream: true })),
    code: (error) => error.code,
  },
  messages: {
    Sdk: Anthropic,
    path: "",
    whole: (client, model, options) => client.messages.create({ model, max_tokens: 100, messages }, options),
    stream: (client, model) => all(client.messages.stream({ model, max_tokens: 100, messages })),
    code: (error) => error.error.error.gatehouse.code,
  },
};

let networks = 0;
const address = () => `100.70.${(networks += 1)}.1`;

for (const [name, caller] of Object.entries(CALLERS)) {
  const { Sdk, path } = caller;
  const start = (options) => watched(Sdk, path, address(), options);

  describe(`${Sdk.name}'s SDK at ${name}`, () => {
    for (const provider of DIALECTS) {
      const model = (fault) => `${provider}-${fault}--${name}`;
      const asked = (fault) => house.provider.of(provider, `${fault}--${name}`).length;

      test(`what is wrong with the request is a BadRequestError and is asked once (${provider})`, async () => {
        const { client, sent } = start();
        await assert.rejects(caller.whole(client, model("bad_request")), (error) => {
          assert.ok(error instanceof Sdk.BadRequestError, error.constructor.name);
          assert.match(error.message, /seed must be a number/);
          assert.match(error.requestID, /^req_/);
          return true;
        });
        await assert.rejects(caller.whole(client, model("too_long")), (error) => {
          assert.ok(error instanceof Sdk.BadRequestError, error.constructor.name);
          assert.ok(["context_length_exceeded", "input_too_long"].includes(caller.code(error)), caller.code(error));
          return true;
        });
        assert.deepEqual(sent.map(({ status }) => status), [400, 400]);
        assert.deepEqual([asked("bad_request"), asked("too_long")], [1, 1]);
      });

      test(`a refused provider key is never the caller's AuthenticationError, and waiting does not mend it (${provider})`, async () => {
        const { client, sent } = start();
        await assert.rejects(caller.whole(client, model("bad_key")), (error) => {
          assert.ok(error instanceof Sdk.InternalServerError, error.constructor.name);
          assert.equal(caller.code(error), "upstream_auth");
          return true;
        });
        assert.deepEqual(sent.map(({ status, headers }) => [status, headers.get("x-should-retry")]), [[502, "false"]]);
      });

      test(`a failing provider is an InternalServerError that the SDK retries as often as it is told (${provider})`, async () => {
        const { client, sent } = start({ maxRetries: 1 });
        await assert.rejects(caller.whole(client, model("down")), (error) => error instanceof Sdk.InternalServerError);
        assert.equal(sent.length, 2);
        assert.ok(sent.every(({ status, headers }) => status >= 500 && headers.get("x-should-retry") !== "false"));
      });

      test(`one failure is mended before the SDK sees it (${provider})`, async () => {
        const { client, sent } = start({ maxRetries: 0 });
        await caller.whole(client, model("down_once"));
        assert.deepEqual(sent.map(({ status }) => status), [200]);
        assert.equal(sent[0].headers.get("x-gatehouse-attempts"), "2");
        assert.equal(asked("down_once"), 2);
      });

      test(`a provider's wait reaches the SDK, which keeps it and succeeds (${provider})`, async () => {
        const { client, sent } = start();
        await caller.whole(client, model("limited_once"));
        assert.deepEqual(sent.map(({ status }) => status), [503, 200]);
        assert.ok(Number(sent[0].headers.get("retry-after")) >= 1);
        assert.ok(sent[1].at - sent[0].at >= 990, `waited ${sent[1].at - sent[0].at} ms`);
      });

      test(`an error inside a stream is thrown as an APIError (${provider})`, async () => {
        const { client, sent } = start();
        for (const fault of ["failed_inside", "cut"]) {
          await assert.rejects(caller.stream(client, model(fault)), (error) => error instanceof Sdk.APIError, fault);
        }
        assert.deepEqual(sent.map(({ status }) => status), [200, 200]);
      });

      test(`the SDK's own deadline is an APIConnectionTimeoutError (${provider})`, async () => {
        const { client } = start({ maxRetries: 0 });
        const waiting = caller.whole(client, model("silent"), { timeout: 700 });
        await assert.rejects(waiting, Sdk.APIConnectionTimeoutError);
        assert.equal(asked("silent"), 1);
      });
    }

    test("the site's own limit is a RateLimitError whose wait the SDK keeps", async () => {
      const { client, sent } = start({ maxRetries: 0 });
      const call = (options) => caller.whole(client, "chat-text", options);
      await Promise.all(Array.from({ length: BURST.requests }, () => call()));
      await assert.rejects(call(), (error) => {
        assert.ok(error instanceof Sdk.RateLimitError, error.constructor.name);
        assert.ok(Number(error.headers.get("retry-after")) >= 1);
        return true;
      });
      sent.length = 0;
      await call({ maxRetries: 1 });
      assert.deepEqual(sent.map(({ status }) => status), [429, 200]);
    });

    test("an unknown key is an AuthenticationError, an unknown alias a NotFoundError, no server an APIConnectionError", async () => {
      const stranger = start({ apiKey: "sk-unknown" });
      await assert.rejects(caller.whole(stranger.client, "chat-text"), Sdk.AuthenticationError);
      assert.equal(stranger.sent.length, 1);
      const known = start();
      await assert.rejects(caller.whole(known.client, "nobody"), Sdk.NotFoundError);
      assert.equal(known.sent.length, 1);
      const nowhere = new Sdk({ baseURL: "http://127.0.0.1:9", apiKey: "visitor", maxRetries: 0 });
      await assert.rejects(caller.whole(nowhere, "chat-text"), Sdk.APIConnectionError);
    });
  });
}

// Stored answers through OpenAI's SDK: retrieve, attach again, cancel, delete, list the input. Over a provider of every
// dialect.

import assert from "node:assert/strict";
import { after, before, describe, test } from "node:test";

import OpenAI from "openai";

import { DIALECTS, said } from "./support/sdk-provider.mjs";
import { QUESTION, startSdkHouse } from "./support/sdk-house.mjs";
import { until } from "./support/wait.mjs";

let house;
let openai;
before(async () => {
  house = await startSdkHouse();
  openai = new OpenAI({ baseURL: `${house.url}/v1`, apiKey: "visitor", maxRetries: 0 });
});
after(() => house?.stop());

async function all(stream) {
  const list = [];
  for await (const part of stream) list.push(part);
  return list;
}

const words = (events) => events.map((event) => (event.type === "response.output_text.delta" ? event.delta : "")).join("");

for (const provider of DIALECTS) {
  const held = `${provider}-held--responses`;
  const heldRequest = async (count) => {
    const of = () => house.provider.of(provider, "held--responses");
    await until(() => of().length >= count, "the provider to be asked");
    return of()[count - 1];
  };
  const countHeld = () => house.provider.of(provider, "held--responses").length;

  describe(`stored responses from a provider that speaks ${provider}`, () => {
    test("retrieve gives what create gave, whole or streamed", async () => {
      const whole = await openai.responses.create({ model: `${provider}-tools`, input: QUESTION });
      const again = await openai.responses.retrieve(whole.id);
      assert.deepEqual(again.output, whole.output);
      assert.deepEqual([again.id, again.status, again.usage], [whole.id, "completed", whole.usage]);
      const events = await all(await openai.responses.create({ model: `${provider}-text`, input: QUESTION, stream: true }));
      const last = events.at(-1).response;
      const streamed = await openai.responses.retrieve(last.id);
      assert.equal(streamed.output_text, said(provider, "text").text);
      assert.deepEqual(streamed.output, last.output);
    });

    test("a finished stream is read again from behind every event", async () => {
      const events = await all(await openai.responses.create({ model: `${provider}-text`, input: QUESTION, stream: true }));
      const { id } = events[0].response;
      for (let after = 0; after < events.length; after += 1) {
        const rest = await all(await openai.responses.retrieve(id, { stream: true, starting_after: after }));
        assert.deepEqual(rest, events.slice(after + 1), `after ${after}`);
      }
      assert.deepEqual(await all(await openai.responses.retrieve(id, { stream: true })), events);
    });

    test("a stream that is cut goes on elsewhere while it is being made", async () => {
      const nth = countHeld() + 1;
      const stream = await openai.responses.create({ model: held, input: QUESTION, stream: true });
      const before = [];
      for await (const event of stream) {
        before.push(event);
        if (event.type === "response.output_text.delta") break;
      }
      const { id } = before[0].response;
      assert.equal((await openai.responses.retrieve(id)).status, "in_progress");
      const attached = await openai.responses.retrieve(id, { stream: true, starting_after: before.at(-1).sequence_number });
      (await heldRequest(nth)).release();
      const after = await all(attached);
      assert.equal(words([...before, ...after]), said(provider, "tool_results").text);
      const numbers = [...before, ...after].map((event) => event.sequence_number);
      assert.deepEqual(numbers, numbers.map((_, i) => i));
      assert.equal(after.at(-1).type, "response.completed");
      assert.equal(countHeld(), nth, "the provider was asked once");
    });

    test("cancel stops the provider; what there was can still be read", async () => {
      const nth = countHeld() + 1;
      const stream = await openai.responses.create({ model: held, input: QUESTION, stream: true });
      let id;
      for await (const event of stream) {
        id ??= event.response?.id;
        if (event.type === "response.output_text.delta") break;
      }
      const cancelled = await openai.responses.cancel(id);
      assert.deepEqual([cancelled.id, cancelled.status], [id, "cancelled"]);
      await (await heldRequest(nth)).closed();
      assert.equal((await openai.responses.retrieve(id)).status, "cancelled");
    });

    test("in the background: asked for until it is there", async () => {
      const nth = countHeld() + 1;
      const queued = await openai.responses.create({ model: held, input: QUESTION, background: true });
      assert.ok(["queued", "in_progress"].includes(queued.status), queued.status);
      (await heldRequest(nth)).release();
      const done = await until(async () => {
        const now = await openai.responses.retrieve(queued.id);
        return !["queued", "in_progress"].includes(now.status) && now;
      }, "the answer in the background");
      assert.deepEqual([done.id, done.status, done.output_text], [queued.id, "completed", said(provider, "tool_results").text]);
    });

    test("the input is listed, and a deleted response is gone", async () => {
      const input = [
        { role: "developer", content: "Be brief." },
        { role: "user", content: [{ type: "input_text", text: QUESTION }] },
      ];
      const { id } = await openai.responses.create({ model: `${provider}-text`, input });
      const items = await all(openai.responses.inputItems.list(id));
      assert.deepEqual(items.map(({ type, role }) => [type, role]), [["message", "user"], ["message", "developer"]]);
      assert.deepEqual(items.map(({ content }) => content[0].text), [QUESTION, "Be brief."]);
      assert.equal(new Set(items.map((item) => item.id)).size, 2);
      await openai.responses.delete(id);
      await assert.rejects(openai.responses.retrieve(id), OpenAI.NotFoundError);
      await assert.rejects(openai.responses.retrieve(id, { stream: true }), OpenAI.NotFoundError);
    });

    test("what must not be stored is not", async () => {
      const { id } = await openai.responses.create({ model: `${provider}-text`, input: QUESTION, store: false });
      await assert.rejects(openai.responses.retrieve(id), OpenAI.NotFoundError);
    });
  });
}

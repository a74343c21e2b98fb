// Where a continued answer is joined: behind the end of a text that is not the end of its item, and at short repetitions.

import assert from "node:assert/strict";
import { after, before, test } from "node:test";

import { LONG, LONG_TEXT } from "./support/behaviours.mjs";
import { call, events, leaks, secretsIn } from "./support/client.mjs";
import { startHouse } from "./support/house.mjs";
import { CALLERS, read } from "./support/read.mjs";

const PROVIDER = { chat: "openai", messages: "anthropic", responses: "responses" };
const DEADLINES = { first_token_ms: 5000, idle_ms: 2000, total_ms: 20_000 };
const BEGUN = LONG.slice(0, 40);
/** The event of a Responses stream behind which the provider's connection is reset. */
const CUTS = ["output_text.done", "content_part.done", "output_item.done"];
/** How many bytes of its last words the next target says once more; less than 24 are not taken for a repetition. */
const AGAIN = [8, 23, 24];

const WAYS = Object.keys(CALLERS).flatMap((caller) =>
  Object.keys(PROVIDER).flatMap((next) => [true, false].map((prefill) => ({ caller, next, prefill }))),
);
const aliases = [];
function rescued(name, first, target) {
  aliases.push({ name, public: true, rescue: true, deadlines: DEADLINES, target: [{ provider: "responses", model: `${first}:${name}` }, target] });
  return name;
}
const cut = CUTS.flatMap((behind, at) =>
  WAYS.map(({ caller, next, prefill }) => {
    const name = rescued(`cut-${at}-${caller}-${next}-${prefill}`, "cut_behind", { provider: PROVIDER[next], model: `goes_on:${at}-${caller}-${next}-${prefill}`, prefill });
    return { name, caller, behind };
  }),
);
const repeated = Object.keys(CALLERS).flatMap((caller) =>
  AGAIN.map((bytes) => ({ caller, bytes, name: rescued(`again-${bytes}-${caller}`, "cut_mid", { provider: "openai", model: `again:${bytes}-${caller}` }) })),
);

let house;
before(async () => {
  house = await startHouse({ aliases, retry: { attempts_per_target: 1, attempts: 3 } });
  Object.assign(house.provider.own, {
    /** Resets the connection behind the event that the alias's number names. */
    async cut_behind({ say, body, response, socket, wait }) {
      const blocks = say.events(body.model, BEGUN);
      const behind = `event: response.${CUTS[Number(body.model.split("-")[1])]}`;
      response.writeHead(200, { "content-type": "text/event-stream" });
      response.write(blocks.slice(0, blocks.findIndex((block) => block.startsWith(behind)) + 1).join(""));
      await wait(60);
      socket.resetAndDestroy();
    },
    /** Goes on, but says so many bytes of the last words first. */
    again({ say, body, response }) {
      const text = say.turns(body).findLast(({ role }) => role === "assistant").text;
      const again = text.slice(-Number(body.model.split(/[:-]/)[1]));
      response.writeHead(200, { "content-type": "text/event-stream" });
      response.end(say.events(body.model, [again, LONG_TEXT.slice(text.length)]).join(""));
    },
  });
});
after(() => house?.stop());

async function ask({ name, caller }) {
  const json = CALLERS[caller].body(name, undefined, { stream: true, ...(caller === "responses" && { store: false }) });
  const answer = await call(house.worker.url, { path: CALLERS[caller].path, json });
  assert.equal(answer.status, 200, `${name}: ${answer.text}`);
  try {
    return { answer, ...read(CALLERS[caller], answer, true) };
  } catch (error) {
    error.message = `${name}: ${error.message}`;
    throw error;
  }
}

for (const behind of CUTS) {
  test(`an answer cut behind ${behind} goes on, and no end of a text is told twice`, async () => {
    await Promise.all(
      cut.filter((way) => way.behind === behind).map(async (way) => {
        const said = await ask(way);
        assert.deepEqual([said.text, said.error, said.finish, said.ended], [LONG_TEXT, undefined, "stop", true], way.name);
        if (way.caller !== "responses") return;
        const list = events(said.answer.text).map(({ data }) => JSON.parse(data));
        // Every part is added once, done once with all that it said, and stands so in its item.
        const of = (type) => list.filter((event) => event.type === `response.${type}`);
        const added = of("content_part.added").map((event) => [event.item_id, event.content_index]);
        assert.deepEqual(of("output_text.done").map((event) => [event.item_id, event.content_index]), added, way.name);
        assert.deepEqual(of("content_part.done").map((event) => [event.item_id, event.content_index]), added, way.name);
        for (const done of of("output_text.done")) {
          const deltas = of("output_text.delta").filter((event) => event.item_id === done.item_id && event.content_index === done.content_index);
          assert.equal(deltas.map(({ delta }) => delta).join(""), done.text, way.name);
        }
        const items = of("output_item.done").map(({ item }) => item);
        assert.deepEqual(items.flatMap(({ content }) => content.map(({ text }) => text)), of("output_text.done").map(({ text }) => text), way.name);
        assert.deepEqual(list.at(-1).response.output, items, way.name);
      }),
    );
  });
}

test("a repetition at the seam is removed from 24 bytes on; a shorter one stays, so that nothing that was meant is lost", async () => {
  const begun = BEGUN.join("");
  await Promise.all(
    repeated.map(async (way) => {
      const said = await ask(way);
      const twice = way.bytes < 24 ? begun.slice(-way.bytes) : "";
      assert.deepEqual([said.text, said.finish, said.ended], [begun + twice + LONG_TEXT.slice(begun.length), "stop", true], way.name);
    }),
  );
});

test("no secret stood in any answer or in the log", () => {
  assert.deepEqual(leaks, []);
  assert.deepEqual(secretsIn(house.worker.output()), []);
});

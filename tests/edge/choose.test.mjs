// Which target answers, and what becomes of a conversation that does not fit.

import assert from "node:assert/strict";
import { after, before, test } from "node:test";

import { call, leaks, question, secretsIn } from "./support/client.mjs";
import { assertRefused, startHouse } from "./support/house.mjs";

let house;
let url;
let provider;
before(async () => {
  const target = (model, more) => ({ provider: "openai", model, ...more });
  house = await startHouse({
    aliases: [
      {
        name: "auto",
        public: true,
        choose: "auto",
        target: [target("good:small", { tier: "small" }), target("good:medium", { tier: "medium" }), target("good:large", { tier: "large" })],
      },
      { name: "fits", public: true, max_output_tokens: 100, target: [target("good:narrow", { context_tokens: 600 }), target("good:wide", { context_tokens: 100_000 })] },
      { name: "narrow", public: true, max_output_tokens: 100, target: [target("good:only", { context_tokens: 600 })] },
      { name: "trims", public: true, max_output_tokens: 100, on_overflow: "trim", target: [target("good:trimmed", { context_tokens: 600 })] },
      { name: "compacts", public: true, compact: true, target: [target("good:compacted")] },
      { name: "blind", public: true, allow_parameters: ["images"], target: [target("good:blind", { capabilities: ["streaming"] }), target("good:sighted")] },
    ],
  });
  ({ provider } = house);
  url = house.worker.url;
});
after(() => house?.stop());

const ask = (model, more, options) => call(url, { path: "/v1/chat/completions", json: question(model, more), ...options });
const targetOf = (answer) => answer.headers["x-gatehouse-target"]?.split(":")[1];
const say = (...texts) => ({ messages: texts.map((content, i) => ({ role: i % 2 === 0 ? "user" : "assistant", content })) });

const PROSE = "The quick brown fox jumps over the lazy dog. ";
const CODE = `\`\`\`js\n${"function add(a, b) {\n  return a + b;\n}\n".repeat(30)}\`\`\``;
const TOOLS = { tools: [{ type: "function", function: { name: "f", parameters: { type: "object" } } }] };

test("an alias that chooses takes the model by what is asked, and tells why", async () => {
  for (const [more, tier] of [
    [say("Hi."), "small"],
    [{ ...say("Hi."), ...TOOLS }, "medium"],
    [say(CODE), "medium"],
    [{ ...say(PROSE.repeat(300), "Yes.", CODE.repeat(5)), ...TOOLS }, "large"],
  ]) {
    const answer = await ask("auto", more);
    assert.equal(answer.status, 200, answer.text);
    assert.equal(targetOf(answer), tier, answer.headers["x-gatehouse-choice"]);
    assert.match(answer.headers["x-gatehouse-choice"], new RegExp(tier));
  }
});

test("the caller's preference moves the choice, and a word that is none is refused", async () => {
  const more = { ...say("Hi."), ...TOOLS };
  for (const [prefer, tier] of [["quality", "medium"], ["latency", "small"], ["cost", "small"]]) {
    const answer = await ask("auto", more, { headers: { "x-gatehouse-prefer": prefer } });
    assert.equal(targetOf(answer), tier, prefer);
  }
  const refused = await ask("auto", more, { headers: { "x-gatehouse-prefer": "luck" } });
  assertRefused(refused, "openai", 400, "invalid_parameter");
  assert.equal(refused.json().error.param, "x-gatehouse-prefer");
});

test("a conversation goes to the first target into which it fits", async () => {
  assert.equal(targetOf(await ask("fits", say("Hi."))), "narrow");
  assert.equal(targetOf(await ask("fits", say(PROSE.repeat(100)))), "wide");
  assert.equal((await ask("fits", say("Hi."))).headers["x-gatehouse-choice"], undefined, "a plain chain needs no reason");
});

test("what fits nowhere is refused with both numbers, and nothing goes up", async () => {
  const before = provider.requests.length;
  const answer = await ask("narrow", say(PROSE.repeat(100)));
  assertRefused(answer, "openai", 400, "input_too_long");
  const [needed, limit] = answer.json().error.gatehouse.detail.match(/\d+/g).map(Number);
  assert.equal(limit, 600);
  assert.ok(needed > 1000 && needed < 2000, String(needed));
  assert.equal(answer.json().error.param, "messages");
  assert.equal(provider.requests.length, before);
});

test("where the alias trims, the oldest goes and the question stays", async () => {
  const old = PROSE.repeat(80);
  const answer = await ask("trims", {
    messages: [{ role: "system", content: "Be brief." }, { role: "user", content: old }, { role: "assistant", content: "Yes." }, { role: "user", content: "The question." }],
  });
  assert.equal(answer.status, 200, answer.text);
  const sent = provider.of("good:trimmed").at(-1).body.messages;
  assert.deepEqual(sent.map(({ role, content }) => [role, typeof content === "string" ? content : content[0].text]), [["system", "Be brief."], ["user", "The question."]]);
  assert.match(answer.headers["x-gatehouse-saved"], /^turns=\d+;bytes=\d+;tokens=\d+$/);
  const short = await ask("trims", say("Hi."));
  assert.equal(short.headers["x-gatehouse-saved"], undefined, "nothing is said where nothing was done");
  assertRefused(await ask("trims", say(PROSE.repeat(100))), "openai", 400, "input_too_long");
});

test("a conversation is compacted by rule, and what that saved is told", async () => {
  const block = PROSE.repeat(10);
  const answer = await ask("compacts", say(block, "Yes.", `${block}\n\n\n\n\nAnd?`, "No.", "And    now?"));
  assert.equal(answer.status, 200, answer.text);
  const sent = JSON.stringify(provider.of("good:compacted").at(-1).body.messages);
  assert.match(answer.headers["x-gatehouse-saved"] ?? "", /^turns=0;bytes=[1-9]\d*/, sent);
  assert.ok(sent.includes("And    now?"), "the question stays as it is");
});

test("a target that cannot carry what is asked is passed over", async () => {
  const image = { messages: [{ role: "user", content: [{ type: "text", text: "?" }, { type: "image_url", image_url: { url: "data:image/png;base64,iVBORw0KGgo=" } }] }] };
  assert.equal(targetOf(await ask("blind", say("Hi."))), "blind");
  assert.equal(targetOf(await ask("blind", image)), "sighted");
});

test("no secret stood in any answer or in the log", () => {
  assert.deepEqual(leaks, []);
  assert.deepEqual(secretsIn(house.worker.output()), []);
});

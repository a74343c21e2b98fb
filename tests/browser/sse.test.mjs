// The stream decoder, fed in every way that a network can cut it.

import assert from "node:assert/strict";
import test from "node:test";

import { decoder } from "../../tools/site/pages/js/sse.js";

const SAMPLE =
  ": comment\r\nevent: one\r\ndata: first\r\ndata:  second é 中 🙂\r\n\r\ndata\rdata:x\r\rid: 7\nretry: 1\ndata: {\"a\":1}\n\nevent: without data\n\n\ndata: never ended";

const EXPECTED = [
  { type: "one", data: "first\n second é 中 🙂", id: undefined },
  { type: "message", data: "\nx", id: undefined },
  { type: "message", data: "{\"a\":1}", id: "7" },
];

function decoded(chunks) {
  const events = [];
  const stream = decoder((event) => events.push(event));
  for (const chunk of chunks) stream.push(chunk);
  return events;
}

const bytes = new TextEncoder().encode(SAMPLE);

test("a whole stream gives its events, and none for what has no end", () => {
  assert.deepEqual(decoded([bytes]), EXPECTED);
});

test("a cut at any byte changes nothing, in the middle of a character or of CR LF too", () => {
  for (let at = 0; at <= bytes.length; at += 1) {
    assert.deepEqual(decoded([bytes.slice(0, at), bytes.slice(at)]), EXPECTED, `cut at ${at}`);
  }
});

test("bytes that come one by one change nothing", () => {
  assert.deepEqual(decoded([...bytes].map((byte) => Uint8Array.of(byte))), EXPECTED);
});

test("a byte order mark at the start is not part of the first field", () => {
  const marked = new Uint8Array([0xef, 0xbb, 0xbf, ...new TextEncoder().encode("data: x\n\n")]);
  assert.deepEqual(decoded([marked]), [{ type: "message", data: "x", id: undefined }]);
});

test("an event's type and number last for one event", () => {
  const text = "event: a\nid: 0\ndata: 1\n\ndata: 2\n\nid\ndata: 3\n\nid: a\0b\ndata: 4\n\n";
  assert.deepEqual(decoded([new TextEncoder().encode(text)]), [
    { type: "a", data: "1", id: "0" },
    { type: "message", data: "2", id: undefined },
    { type: "message", data: "3", id: "" },
    { type: "message", data: "4", id: undefined },
  ]);
});

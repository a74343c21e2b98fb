// Where a link in an answer may lead.

import assert from "node:assert/strict";
import test from "node:test";

import { address } from "../../tools/site/pages/js/markdown.js";

test("links lead to http, https, mailto and this site", () => {
  for (const allowed of ["https://example.org/a?b#c", "HTTP://example.org", "mailto:a@example.org", "/docs/limits#waits", "/", "#here"]) {
    assert.equal(address(allowed), allowed);
  }
});

test("a title is not part of the address", () => {
  assert.equal(address('https://example.org/ "a title"'), "https://example.org/");
  assert.equal(address("/docs/ 'a title'"), "/docs/");
  assert.equal(address('javascript:alert(1) "https://example.org"'), undefined);
});

test("nothing else is a link", () => {
  const refused = [
    "javascript:alert(1)",
    " JaVaScRiPt:alert(1)",
    "java\nscript:alert(1)",
    "java\tscript:alert(1)",
    "data:text/html,x",
    "vbscript:x",
    "blob:https://example.org/1",
    "//evil.example/x",
    "/\\evil.example",
    "\\\\evil.example",
    "/\t/evil.example",
    "https:",
    "https:// evil.example",
    "relative",
    "",
  ];
  for (const value of refused) assert.equal(address(value), undefined, JSON.stringify(value));
});

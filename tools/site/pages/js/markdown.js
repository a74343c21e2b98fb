// Markdown from a model, drawn as it arrives. Elements come from an allow-list and text is only ever text: no HTML is
// parsed, no image is loaded, and a link goes only where `address` allows.

import * as smd from "streaming-markdown";

const ELEMENTS = new Map([
  [smd.PARAGRAPH, "p"],
  [smd.HEADING_1, "h3"],
  [smd.HEADING_2, "h3"],
  [smd.HEADING_3, "h4"],
  [smd.HEADING_4, "h4"],
  [smd.HEADING_5, "h4"],
  [smd.HEADING_6, "h4"],
  [smd.CODE_INLINE, "code"],
  [smd.ITALIC_AST, "em"],
  [smd.ITALIC_UND, "em"],
  [smd.STRONG_AST, "strong"],
  [smd.STRONG_UND, "strong"],
  [smd.STRIKE, "s"],
  [smd.BLOCKQUOTE, "blockquote"],
  [smd.LINE_BREAK, "br"],
  [smd.RULE, "hr"],
  [smd.LIST_UNORDERED, "ul"],
  [smd.LIST_ORDERED, "ol"],
  [smd.LIST_ITEM, "li"],
  [smd.LINK, "a"],
  [smd.RAW_URL, "a"],
  [smd.IMAGE, "a"],
  [smd.CHECKBOX, "span"],
  [smd.EQUATION_BLOCK, "code"],
  [smd.EQUATION_INLINE, "code"],
]);

/**
 * The address a link may have, or nothing. Allowed: http, https, mailto, and paths and fragments of this site.
 *
 * @param {string} value As the model wrote it.
 */
export function address(value) {
  // The parser leaves a title in: `https://example.org "Title"`.
  const text = value.trim().replace(/\s+("[^"]*"|'[^']*'|\([^()]*\))$/, "");
  // Browsers drop tabs and line ends inside an address and read `\` as `/`; nobody writes them honestly.
  if (/[\u0000-\u001f\u007f\\]/.test(text)) return undefined;
  if (/^(https?:\/\/|mailto:)[^\s]+$/i.test(text)) return text;
  if (/^(\/(?!\/)|#)/.test(text)) return text;
  return undefined;
}

/**
 * Draws Markdown into `root`.
 *
 * @param {HTMLElement} root
 * @returns {{write(text: string): void, end(): void}}
 */
export function drawing(root) {
  const open = [root];
  const top = () => open[open.length - 1];

  function add(type) {
    if (type === smd.DOCUMENT) return;
    if (type === smd.CODE_FENCE || type === smd.CODE_BLOCK) {
      const pre = document.createElement("pre");
      pre.tabIndex = 0;
      top().append(pre);
      open.push(pre.appendChild(document.createElement("code")));
    } else if (type === smd.TABLE) {
      const frame = document.createElement("div");
      frame.className = "scroll";
      frame.tabIndex = 0;
      top().append(frame);
      open.push(frame.appendChild(document.createElement("table")));
    } else if (type === smd.TABLE_ROW) {
      const table = top();
      const part = table.tHead ? (table.tBodies[0] ?? table.createTBody()) : table.createTHead();
      open.push(part.appendChild(document.createElement("tr")));
    } else if (type === smd.TABLE_CELL) {
      const cell = document.createElement(top().parentElement.tagName === "THEAD" ? "th" : "td");
      open.push(top().appendChild(cell));
    } else {
      const element = document.createElement(ELEMENTS.get(type) ?? "span");
      if (type === smd.IMAGE) element.className = "image";
      if (type === smd.CHECKBOX) element.textContent = "☐ ";
      open.push(top().appendChild(element));
    }
  }

  const parser = smd.parser({
    data: null,
    add_token: (_, type) => add(type),
    end_token: () => {
      if (open.length > 1) open.pop();
    },
    add_text: (_, text) => top().append(text),
    set_attr: (_, name, value) => {
      const element = top();
      if (name === smd.HREF || name === smd.SRC) {
        const allowed = element.tagName === "A" ? address(value) : undefined;
        if (allowed === undefined) return;
        element.setAttribute("href", allowed);
        element.setAttribute("rel", "noopener nofollow ugc");
      } else if (name === smd.LANG) {
        element.parentElement?.setAttribute("data-language", value.slice(0, 20));
      } else if (name === smd.CHECKED) {
        element.textContent = "☑ ";
      } else if (name === smd.START && element.tagName === "OL" && /^\d{1,9}$/.test(value)) {
        element.setAttribute("start", value);
      }
    },
  });

  return {
    write: (text) => smd.parser_write(parser, text),
    end: () => smd.parser_end(parser),
  };
}

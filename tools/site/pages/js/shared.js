// The page of a link: what it opens, and a passphrase where it wants one. The link's secret stands behind `#` in the
// address, which browsers send to nobody.

import { call, dateOf, reach, size } from "./files.js";
import { Failure, unreachable, view } from "./problems.js";
import { make, say as common, speaker } from "./texts.js";

const say = speaker({
  en: {
    opening: "Opening …",
    opened: "It is open.",
    incompleteTitle: "This address is not complete",
    incompleteFix: "Ask for the link once more, and copy all of it.",
    goneTitle: "This link opens nothing any more",
    goneFix: "It has expired or was closed, or its document was deleted. Ask for a new one.",
    passphraseWanted: "This document opens with a passphrase.",
    passphrase: "Passphrase",
    open: "Open",
    wrong: "That is not the passphrase. After ten wrong ones the link stays closed for a while.",
    missing: "Write the passphrase first.",
    closedTitle: "This link is closed for a while",
    closedFix: "Too many passphrases were wrong. It then opens to nobody, not even with the right one.",
    type: "Type",
    until: "Removed on",
    fetching: "Downloading {0} …",
    fetched: "{0} was downloaded.",
  },
  zh: {
    opening: "正在打开……",
    opened: "已打开。",
    incompleteTitle: "此地址不完整",
    incompleteFix: "请再次索取链接，并完整复制。",
    goneTitle: "此链接已无法打开任何内容",
    goneFix: "链接已过期或已关闭，或者文档已被删除。请索取新的链接。",
    passphraseWanted: "此文档需要口令才能打开。",
    passphrase: "口令",
    open: "打开",
    wrong: "口令不正确。错误十次之后，链接会关闭一段时间。",
    missing: "请先输入口令。",
    closedTitle: "此链接暂时关闭",
    closedFix: "口令错误次数过多。在此期间，即使口令正确也无法打开。",
    type: "类型",
    until: "删除时间",
    fetching: "正在下载 {0}……",
    fetched: "{0} 已下载。",
  },
});

const TOKEN = /^[\w-]{43}$/;

const page = document.querySelector(".gatehouse-shared");
const heading = document.querySelector("main h1");
const status = page.querySelector(".status");
const place = page.querySelector(".opened");
const title = heading.textContent;

let token;
/** What was said last and was right. */
let passphrase;
let isAsking = false;

const announce = (text) => {
  status.textContent = text;
};

/** Where the document is. The token goes in a header: paths are what logs keep. */
const PATH = "/v1/shared/link";
const headers = (said) => ({ "x-gatehouse-link": token, ...(said === undefined ? {} : { "x-gatehouse-passphrase": encoded(said) }) });

/** A header is bytes: the passphrase goes as UTF-8. */
const encoded = (text) => String.fromCharCode(...new TextEncoder().encode(text));

/** Shows one state of the page in place of the last one. Who was in the last one is taken along. */
function put(...parts) {
  const isInside = place.contains(document.activeElement);
  place.replaceChildren(...parts);
  if (isInside) (place.querySelector("button, input") ?? heading).focus();
}

async function begin() {
  token = location.hash.slice(1);
  passphrase = undefined;
  heading.textContent = title;
  // The page in the other language opens the same link.
  for (const other of document.querySelectorAll("header.site a[hreflang]")) other.hash = location.hash;
  if (!TOKEN.test(token)) {
    announce("");
    return put(view({ title: say("incompleteTitle"), fix: say("incompleteFix") }, undefined, announce));
  }
  announce(say("opening"));
  await attempt(undefined);
}

/** Opens the link, and shows what comes of it. */
async function attempt(said) {
  if (isAsking) return;
  isAsking = true;
  const mine = token;
  try {
    const file = await call(PATH, { headers: headers(said) });
    if (mine !== token) return;
    passphrase = said;
    show(file);
  } catch (error) {
    if (mine === token) refuse(error, said);
  } finally {
    isAsking = false;
    if (mine !== token) begin();
  }
}

/** What was refused, in words for who has nothing but the link. */
function refuse(error, said) {
  const { problem } = error instanceof Failure ? error : unreachable();
  if (problem.code === "passphrase_required") return ask(said);
  const words = {
    document_not_found: { title: say("goneTitle"), fix: say("goneFix"), docs: undefined },
    too_many_attempts: { title: say("closedTitle"), fix: say("closedFix"), docs: undefined, detail: undefined },
  }[problem.code];
  const isGone = problem.code === "document_not_found";
  announce("");
  put(view({ ...problem, ...words }, isGone ? undefined : () => attempt(said), announce));
}

/** Asks for the passphrase; `said` was wrong. */
function ask(said) {
  announce("");
  const wrong = make("p", { id: "wrong", class: "wrong", role: "alert" });
  const input = make("input", { id: "passphrase", type: "password", autocomplete: "off", required: true, "aria-describedby": "wrong" });
  const form = make(
    "form",
    { class: "stack", novalidate: true },
    make("p", { text: say("passphraseWanted") }),
    make("div", { class: "field" }, make("label", { for: input.id, text: say("passphrase") }), input, wrong),
    make("div", { class: "row" }, make("button", { type: "submit", text: say("open") })),
  );
  form.addEventListener("submit", (event) => {
    event.preventDefault();
    const said = input.value.trim().normalize("NFC");
    if (said === "") {
      wrong.textContent = say("missing");
      return input.focus();
    }
    announce(say("opening"));
    attempt(said);
  });
  put(form);
  if (said !== undefined) {
    input.setAttribute("aria-invalid", "true");
    wrong.textContent = say("wrong");
  }
  input.focus();
}

/** Shows what the link opens. */
function show(file) {
  heading.textContent = file.filename;
  const facts = [
    [common("size"), size(file.bytes)],
    [say("type"), file.gatehouse.content_type],
    [say("until"), dateOf(file.expires_at)],
  ];
  const list = make("dl", { class: "facts" }, ...facts.flatMap(([name, value]) => [make("dt", { text: name }), make("dd", { text: value })]));
  const button = make("button", { type: "button", text: common("download"), "aria-label": `${common("download")}: ${file.filename}` });
  button.addEventListener("click", () => download(file, button));
  put(list, make("div", { class: "row" }, button));
  announce(say("opened"));
}

/** The script downloads it: a link of the browser's could say neither token nor passphrase in a header. */
async function download(file, button) {
  if (button.getAttribute("aria-disabled") === "true") return;
  button.setAttribute("aria-disabled", "true");
  announce(say("fetching", file.filename));
  try {
    const response = await reach(`${PATH}/content`, { headers: headers(passphrase) });
    const content = await response.blob().catch(() => {
      throw unreachable();
    });
    const address = URL.createObjectURL(content);
    save(address, file.filename);
    // The browser has begun to read it by then: a minute.
    setTimeout(() => URL.revokeObjectURL(address), 60_000);
    announce(say("fetched", file.filename));
  } catch (error) {
    refuse(error, passphrase);
  } finally {
    button.removeAttribute("aria-disabled");
  }
}

function save(address, name) {
  const link = make("a", { href: address, download: name, hidden: true });
  document.body.append(link);
  link.click();
  link.remove();
}

window.addEventListener("hashchange", begin);
begin();

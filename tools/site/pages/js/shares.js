// With whom a document is shared: given, listed and ended.

import { say } from "./details-texts.js";
import { call, copyButton, dateOf, post } from "./files.js";
import { Panel, confirmed, field, fromField } from "./panel.js";
import { make } from "./texts.js";

/** Whom a document can be shared with, in the order of the form: what is sent, and what can be said with it. */
const KINDS = {
  withPrincipal: { with: "principal", needs: "principal", rights: ["view", "comment", "edit"] },
  withLink: { with: "link", needs: "passphrase", rights: ["view"] },
  withVisitors: { with: "role", id: "visitor", rights: ["view", "comment", "edit"] },
  withKeys: { with: "role", id: "key", rights: ["view", "comment", "edit"] },
  withTier: { with: "role", needs: "tier", rights: ["view", "comment", "edit"] },
  withPublic: { with: "public", rights: ["view", "comment"] },
};

/** @param {import("./panel.js").Opened} opened */
export function shares(opened) {
  const panel = new Panel(say("sharing"), opened.announce);
  const list = make("ul", { class: "rows" });
  const told = make("div", { class: "told-once" });
  const form = giver(opened, panel, told);
  panel.body.append(list, told, form);

  const read = async () => {
    const { data } = await call(`${opened.path}/shares`);
    const rows = data.map((share) => row(opened, panel, share));
    list.replaceChildren(...(rows.length > 0 ? rows : [make("li", { class: "none", text: say("private") })]));
  };
  return { element: panel.element, draw: () => panel.doing(read) };
}

/** With whom, as the list shows it. */
function nameOf({ with: { type, id }, has_passphrase: hasPassphrase }) {
  if (type === "principal") return make("code", { text: id });
  if (type === "link") return hasPassphrase ? say("linkProtected") : say("withLink");
  if (type === "public") return say("withPublic");
  if (id === "visitor") return say("withVisitors");
  return id === "key" ? say("withKeys") : say("tierNamed", id.replace(/^tier:/, ""));
}

function row(opened, panel, share) {
  const name = nameOf(share);
  const subject = [name.textContent ?? name, say(share.right)].join(" · ");
  const end = make("button", { type: "button", class: "quiet", text: say("end"), "aria-label": `${say("end")}: ${subject}` });
  end.addEventListener("click", async () => {
    if (!(await confirmed(say("endShare"), subject, say("end")))) return;
    const gone = await panel.doing(async () => {
      await call(`${opened.path}/shares/${share.id}`, { method: "DELETE" });
      await opened.refresh();
    });
    if (gone) opened.announce(say("ended"));
    panel.body.querySelector("select").focus();
  });
  const until = share.expires_at ? ` · ${say("untilDate", dateOf(share.expires_at))}` : "";
  return make("li", {}, make("span", { class: "told" }, name, ` · ${say(share.right)}${until}`), make("span", { class: "deeds" }, end));
}

/** The form that shares it. */
function giver(opened, panel, told) {
  const kind = make("select", { name: "with" }, ...Object.keys(KINDS).map((name) => new Option(say(name), name)));
  const right = make("select", { name: "right" });
  const until = make("input", { name: "expires_at", type: "datetime-local" });
  const said = {
    principal: make("input", { name: "id", autocomplete: "off", spellcheck: "false" }),
    tier: make("input", { name: "tier", autocomplete: "off", spellcheck: "false" }),
    passphrase: make("input", { name: "passphrase", autocomplete: "off", spellcheck: "false", minlength: "8", maxlength: "256" }),
  };
  const fields = {
    principal: field(say("principal"), said.principal, say("principalHint")),
    tier: field(say("tier"), said.tier),
    passphrase: field(say("passphrase"), said.passphrase, say("passphraseHint")),
  };
  const rights = field(say("right"), right);
  const element = make(
    "form",
    { class: "stack" },
    field(say("shareWith"), kind),
    ...Object.values(fields),
    rights,
    field(say("until"), until, say("untilHint")),
    make("div", { class: "row" }, make("button", { type: "submit", text: say("share") })),
  );

  /** Shows what can be said with this kind, and nothing else. */
  const fit = () => {
    const { needs, rights: given } = KINDS[kind.value];
    for (const [name, part] of Object.entries(fields)) {
      part.hidden = name !== needs;
      said[name].disabled = name !== needs;
      said[name].required = name === needs && name !== "passphrase";
    }
    const before = right.value;
    right.replaceChildren(...given.map((name) => new Option(say(name), name)));
    if (given.includes(before)) right.value = before;
    rights.hidden = given.length === 1;
  };
  kind.addEventListener("change", fit);
  fit();

  const wanted = () => {
    const { with: type, id, needs } = KINDS[kind.value];
    const ids = { principal: said.principal.value.trim(), tier: `tier:${said.tier.value.trim()}` };
    return {
      with: type,
      id: id ?? ids[needs],
      right: right.value,
      expires_at: until.value === "" ? undefined : fromField(until.value),
      passphrase: (needs === "passphrase" && said.passphrase.value.trim().normalize("NFC")) || undefined,
    };
  };
  element.addEventListener("submit", (event) => {
    event.preventDefault();
    panel.doing(async () => {
      told.replaceChildren();
      const share = await post(`${opened.path}/shares`, wanted());
      await opened.refresh();
      for (const input of [...Object.values(said), until]) input.value = "";
      opened.announce(say("shared"));
      if (share.token) tell(told, say("linkTitle"), addressOf(share.token), say("linkHint"), opened.announce);
      else if (share.with.type === "public") tell(told, say("publicTitle"), new URL(`${opened.path}/content`, location.href).href, undefined, opened.announce);
    });
  });
  return element;
}

/** The page that opens a link, in the language of this one. What stands behind `#` is sent to no server. */
const addressOf = (token) => new URL(`${location.pathname.startsWith("/zh/") ? "/zh" : ""}/shared#${token}`, location.href).href;

/** Shows an address to be copied, and goes there. */
function tell(told, title, address, hint, announce) {
  const input = make("input", { readonly: true, value: address });
  input.addEventListener("focus", () => input.select());
  told.replaceChildren(field(title, input, hint), make("div", { class: "row" }, copyButton(address, say("copyLink"), announce)));
  input.focus();
}

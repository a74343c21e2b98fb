// A visitor's own documents beside a chat: where they want it, what they ask is looked up there, and the answer cites it.

import { call, whole } from "./api.js";
import { make, speaker } from "./texts.js";

const say = speaker({
  en: {
    look: "Look in my documents",
    none: "You have no documents yet.",
    add: "Add some",
    reading: "Reading your documents: {0} of {1} …",
    name: "My documents",
  },
  zh: {
    look: "查阅我的文档",
    none: "您还没有文档。",
    add: "添加文档",
    reading: "正在读取您的文档：{0}/{1}……",
    name: "我的文档",
  },
});

/** How the store of this page is told from others of the same visitor. */
const PAGE = "conversations";

/** Documents that are added together: what the server takes at most. */
const AT_ONCE = 100;

const ASK_AGAIN_MS = 500;

const KEPT = "gatehouse.own-documents";

/** The choice beside a chat, and the store that answers it. */
export class OwnDocuments {
  /**
   * @param {HTMLElement} place Where the choice stands.
   * @param {(text: string) => void} announce
   */
  constructor(place, announce) {
    this.announce = announce;
    /** Ids of files that could not be read for a passing reason, which were tried again on this page. */
    this.tried = new Set();
    this.box = make("input", { type: "checkbox", id: "own-documents", autocomplete: "off" });
    const pages = document.querySelector("header.site a[href$='/documents']")?.getAttribute("href") ?? "/documents";
    this.none = make("span", { class: "hint", hidden: true, text: `${say("none")} ` }, make("a", { href: pages, text: say("add") }));
    place.append(this.box, make("label", { for: this.box.id, text: say("look") }), this.none);
    this.box.checked = location.hash === `#${place.id}` || kept() === "yes";
    this.box.addEventListener("change", () => keep(this.box.checked ? "yes" : "no"));
    document.addEventListener("visibilitychange", () => document.visibilityState === "visible" && this.refresh());
    this.refresh();
  }

  /** Whoever has no documents cannot choose them. What goes wrong here is told when something is asked. */
  async refresh() {
    const page = await call("/v1/files?limit=1").catch(() => undefined);
    if (!page) return;
    this.none.hidden = page.data.length > 0;
    this.box.disabled = page.data.length === 0;
  }

  /**
   * The id of a store that has every document as it is now; nothing where it is not wanted, or there are none.
   *
   * @param {AbortSignal} signal
   * @throws {import("./problems.js").Failure}
   */
  async store(signal) {
    if (!this.box.checked || this.box.disabled) return undefined;
    const [documents, stores] = await Promise.all([whole("/v1/files", signal), whole("/v1/vector_stores", signal)]);
    if (documents.length === 0) return undefined;
    const mine = stores.find(({ metadata }) => metadata?.page === PAGE);
    const { id } = mine ?? (await call("/v1/vector_stores", "POST", { name: say("name"), metadata: { page: PAGE } }, signal));
    await this.fill(`/v1/vector_stores/${id}`, documents, signal);
    return id;
  }

  /** Adds what a store lacks, and waits until it is read. */
  async fill(path, documents, signal) {
    const state = `${path} ${documents.map(({ id, gatehouse }) => `${id}/${gatehouse.version}`).join(" ")}`;
    if (state === this.filled) return;
    const files = new Map((await whole(`${path}/files`, signal)).map((file) => [file.id, file]));
    const missing = documents.filter(({ id, gatehouse }) => this.lacks(files.get(id), gatehouse.version));
    for (let at = 0; at < missing.length; at += AT_ONCE) {
      const ids = missing.slice(at, at + AT_ONCE).map(({ id }) => id);
      let batch = await call(`${path}/file_batches`, "POST", { file_ids: ids }, signal);
      while (batch.status === "in_progress") {
        const done = batch.file_counts.total - batch.file_counts.in_progress;
        this.announce(say("reading", at + done, missing.length));
        await new Promise((resolve) => setTimeout(resolve, ASK_AGAIN_MS));
        batch = await call(`${path}/file_batches/${batch.id}`, "GET", undefined, signal);
      }
    }
    this.filled = state;
  }

  /** Has a store nothing of that version? What cannot be read, such as a picture, is there as failed, and stays so. */
  lacks(file, version) {
    if (!file || file.gatehouse.version !== version) return true;
    if (file.last_error?.code !== "server_error" || this.tried.has(file.id)) return false;
    this.tried.add(file.id);
    return true;
  }
}

// A browser that keeps nothing forgets the choice.
function kept() {
  try {
    return localStorage.getItem(KEPT);
  } catch {
    return null;
  }
}

function keep(choice) {
  try {
    localStorage.setItem(KEPT, choice);
  } catch {
    // As above.
  }
}

// Server-sent events over a fetch body (HTML Standard, section 9.2.6). EventSource cannot send a POST.

/**
 * Reads events from chunks of bytes, however they are cut.
 *
 * @param {(event: {type: string, data: string, id?: string}) => void} receive  `id` is the event's own; the standard's lastEventId
 *   would also be that of an earlier event.
 * @returns {{push(bytes: Uint8Array): void}} An event whose blank line never came is dropped, as the standard has it.
 */
export function decoder(receive) {
  const utf8 = new TextDecoder();
  let text = "";
  let type = "";
  let id;
  let data = [];
  let afterReturn = false;

  function line(content) {
    if (content === "") {
      if (data.length > 0) receive({ type: type || "message", data: data.join("\n"), id });
      type = "";
      id = undefined;
      data = [];
      return;
    }
    const colon = content.indexOf(":");
    if (colon === 0) return; // a comment
    const field = colon < 0 ? content : content.slice(0, colon);
    let value = colon < 0 ? "" : content.slice(colon + 1);
    if (value.startsWith(" ")) value = value.slice(1);
    if (field === "data") data.push(value);
    else if (field === "event") type = value;
    else if (field === "id" && !value.includes("\0")) id = value;
  }

  function lines(searched) {
    let start = 0;
    for (let at = searched; at < text.length; at += 1) {
      const mark = text.charCodeAt(at);
      // CR, LF and CR LF each end a line; the LF of a CR LF may come in the next chunk.
      if (mark === 10 && afterReturn) {
        start = at + 1;
      } else if (mark === 10 || mark === 13) {
        line(text.slice(start, at));
        start = at + 1;
      }
      afterReturn = mark === 13;
    }
    text = text.slice(start);
  }

  return {
    push(bytes) {
      const searched = text.length;
      text += utf8.decode(bytes, { stream: true });
      lines(searched);
    },
  };
}

/**
 * Events of a response body, in order.
 *
 * @param {ReadableStream<Uint8Array>} body
 * @param {object} [watch]
 * @param {AbortSignal} [watch.signal] Ends the reading like the end of the body.
 * @param {() => void} [watch.heard]   Called whenever bytes arrive, comments included.
 */
export async function* events(body, { signal, heard } = {}) {
  const queue = [];
  const stream = decoder((event) => queue.push(event));
  const reader = body.getReader();
  const leave = () => reader.cancel().catch(() => {});
  signal?.addEventListener("abort", leave);
  try {
    for (;;) {
      const { done, value } = await reader.read();
      if (done) break;
      heard?.();
      stream.push(value);
      while (queue.length > 0) yield queue.shift();
    }
  } finally {
    signal?.removeEventListener("abort", leave);
    leave();
  }
}

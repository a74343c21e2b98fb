// What an isolate holds, asked through the runtime's inspector.

import { createServer } from "node:net";

/** A port that is free now. */
export function freePort() {
  const server = createServer();
  return new Promise((resolve, reject) => {
    server.on("error", reject);
    server.listen(0, "127.0.0.1", () => {
      const { port } = server.address();
      server.close(() => resolve(port));
    });
  });
}

/**
 * Attaches to the inspector at that port.
 *
 * @returns {Promise<object>} `wasm()`: bytes of every WebAssembly memory of the Worker's isolate, which only ever grow;
 *   `close()`.
 */
export async function inspect(port) {
  const [target] = await (await fetch(`http://127.0.0.1:${port}/json`)).json();
  // The proxy before it takes a client that names itself and no origin for a page of somebody else.
  const socket = new WebSocket(target.webSocketDebuggerUrl, { headers: { origin: "http://localhost" } });
  const waiting = new Map();
  let context;
  const opened = new Promise((resolve, reject) => {
    socket.onopen = resolve;
    socket.onerror = () => reject(new Error("the inspector cannot be reached"));
  });
  const known = new Promise((resolve) => {
    socket.onmessage = ({ data }) => {
      const { id, method, params, result, error } = JSON.parse(data);
      if (method === "Runtime.executionContextCreated") resolve((context = params.context.id));
      const [done, failed] = waiting.get(id) ?? [];
      waiting.delete(id);
      if (error) failed?.(new Error(`${error.code} ${error.message}`));
      else done?.(result);
    };
  });
  let number = 0;
  const ask = (method, params) =>
    new Promise((done, failed) => {
      number += 1;
      waiting.set(number, [done, failed]);
      socket.send(JSON.stringify({ id: number, method, params }));
    });
  await opened;
  await ask("Runtime.enable", {});
  await known;
  let asked = 0;
  return {
    async wasm() {
      asked += 1;
      const group = { objectGroup: `heap-${asked}` };
      const { result } = await ask("Runtime.evaluate", { ...group, contextId: context, expression: "WebAssembly.Memory.prototype" });
      const { objects } = await ask("Runtime.queryObjects", { ...group, prototypeObjectId: result.objectId });
      const sum = "function () { return this.reduce((sum, memory) => sum + memory.buffer.byteLength, 0); }";
      const { result: bytes } = await ask("Runtime.callFunctionOn", { objectId: objects.objectId, functionDeclaration: sum, returnByValue: true });
      await ask("Runtime.releaseObjectGroup", group);
      return bytes.value;
    },
    close: () => socket.close(),
  };
}

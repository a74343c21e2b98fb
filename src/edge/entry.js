// The Worker's entry: a thin shell around the Rust module.
//
// It exists for two things that Rust cannot do by itself: classes that extend DurableObject (so that objects answer
// RPC, at about a fifth of a fetch's cost), and a guard that turns a panic into an error instead of a request that
// hangs: a panic ends the wasm instance, and with it every future that Rust was driving.

import { DurableObject } from "cloudflare:workers";
import * as house from "../../build/index.js";

const waiting = new Set();

addEventListener("error", (event) => {
  if (event.error instanceof WebAssembly.RuntimeError) instanceLost(event.error);
});

function instanceLost(error) {
  for (const reject of waiting) reject(error);
  waiting.clear();
}

/** Settles as `promise` does, or rejects when the wasm instance is lost. */
function guard(promise) {
  let lost;
  const loss = new Promise((_, reject) => waiting.add((lost = reject)));
  return Promise.race([promise, loss]).finally(() => waiting.delete(lost));
}

export default {
  async fetch(request, env, ctx) {
    try {
      return await guard(new house.default(ctx, env).fetch(request));
    } catch (error) {
      console.error("panic", String(error?.stack ?? error));
      // The next call starts a fresh instance; it renders the catalogue's `internal` in the caller's dialect.
      return new house.default(ctx, env).panicked(request, env);
    }
  },
  scheduled(event, env, ctx) {
    return guard(new house.default(ctx, env).scheduled(event));
  },
};

/** A Durable Object whose machine lives in Rust: one synchronous call in, one reply out. */
function machine(name) {
  return class extends DurableObject {
    constructor(ctx, env) {
      super(ctx, env);
      this.inner = new house[name](ctx);
    }
    call(command) {
      return this.inner.call(command);
    }
    alarm() {
      return this.inner.alarm();
    }
    /** The next session is to begin as the object was at that time. */
    async rewind(time) {
      const { storage } = this.ctx;
      await storage.onNextSessionRestoreBookmark(await storage.getBookmarkForTime(time));
    }
    restart() {
      this.ctx.abort("it is taken back to an earlier time");
    }
  };
}

export class Limiter extends machine("Limiter") {}
export class Ledger extends machine("Ledger") {}
export class Owner extends machine("Owner") {}
export class Directory extends machine("Directory") {}
export class Target extends machine("Target") {}
export class Keyring extends machine("Keyring") {}
export class AuditLog extends machine("AuditLog") {}

/** The object that runs a call and keeps its answer. */
export class Stream extends DurableObject {
  constructor(ctx, env) {
    super(ctx, env);
    this.inner = new house.Stream(ctx, env);
  }
  open(command) {
    return guard(this.inner.open(command));
  }
  alarm() {
    return guard(this.inner.alarm());
  }
}

// Declared now, so that later versions need no migration: a new class cannot be rolled out gradually.
class Reserved extends DurableObject {}
export class Jobs extends Reserved {}

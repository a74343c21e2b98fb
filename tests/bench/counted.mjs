// Gatehouse as it is, with a count of the calls to the two classes of objects that limits need. It costs an addition
// for each call and a look at the end of each URL.

import whole, * as gatehouse from "./entry.js";

export * from "./entry.js";

const calls = { Limiter: 0, Ledger: 0 };

const counted = (name) =>
  class extends gatehouse[name] {
    call(command) {
      calls[name] += 1;
      return super.call(command);
    }
  };

export class Limiter extends counted("Limiter") {}
export class Ledger extends counted("Ledger") {}

export default {
  fetch: (request, env, ctx) => (request.url.endsWith("/object-calls") ? Response.json(calls) : whole.fetch(request, env, ctx)),
};

// What the limits of an API key cost: the same chat call by keys with different allowances. Beyond them there is always
// the limit of the client and its network, one object call for each request.

import { call } from "../edge/support/client.mjs";
import { ADMIN_TOKEN, claimHouse } from "../edge/support/operator.mjs";
import { addresses } from "./load.mjs";
import { SCENARIOS, gatehouseVars } from "./scenarios.mjs";

const PLAIN = SCENARIOS[0];

/** The most that a window can hold, so that nothing but `SPENT` is ever reached. */
const REQUESTS = { requests: [{ class: "chat", burst: { requests: 1_000_000, seconds: 60 }, sustained: { requests: 1_000_000, seconds: 3600 } }] };
const BUDGET = { budget: { day_usd: 1_000_000 } };
const SPENT = { requests: [{ class: "chat", burst: { requests: 1, seconds: 86_400 } }] };

/** A tenant of its own: the default one has no allowance in the configuration. */
const TENANT = "bench";
const HOST = "bench.test";
const TIER = "bench";

/** The configuration of a house in which the key's tier, the alias, the tenant and all tenants together have an allowance. */
const everywhere = (allowance) => ({
  tier: [{ name: TIER, allowance }],
  aliasAllowance: allowance,
  tenantAllowance: allowance,
  global: allowance,
  keys: { own: { tier: TIER } },
});

/**
 * The houses, by the name of their system: each is a process, because an allowance for all tenants holds for whatever a
 * house is asked. `keys`: what each key is created with. Watching for unusual use, which is on by default, makes an
 * account of every key; where it is on here, nothing counts as unusual.
 */
const HOUSES = {
  "gatehouse-keys": { keys: { none: {}, leased: { allowance: REQUESTS }, budget: { allowance: BUDGET }, both: { allowance: { ...REQUESTS, ...BUDGET } }, spent: { allowance: SPENT } } },
  "gatehouse-watched": { keys: { none: {} }, abuse: { enabled: true, rate_floor: 1_000_000 } },
  "gatehouse-4-leases": everywhere(REQUESTS),
  "gatehouse-4-budgets": everywhere(BUDGET),
};

export const isHouse = (name) => name in HOUSES;

/** A house's variables: those of the other scenarios, and its allowances. */
export function houseVars(name, upstream) {
  const { abuse = { enabled: false }, tier = [], aliasAllowance = {}, tenantAllowance = {}, global = {} } = HOUSES[name];
  const vars = gatehouseVars(upstream, 256);
  const config = JSON.parse(vars.GATEHOUSE_CONFIG);
  config.alias.find((alias) => alias.name === "bench").allowance = aliasAllowance;
  Object.assign(config, { abuse, tier, global, tenant: [{ name: TENANT, hosts: [HOST], allowance: tenantAllowance }] });
  return { ...vars, ADMIN_TOKEN, GATEHOUSE_CONFIG: JSON.stringify(config) };
}

/** Makes the keys of a house as an operator does; by name, each with the headers that go with every request. */
export async function keysOf(name, { port }) {
  const url = `http://127.0.0.1:${port}`;
  const owner = await claimHouse({ url }, { host: HOST });
  const scopes = { aliases: ["bench"], endpoints: "all", stores: "none" };
  const headers = {};
  for (const [key, given] of Object.entries(HOUSES[name].keys)) {
    const made = await owner.do("POST", "/keys", { name: key, scopes, ...given });
    headers[key] = { host: HOST, authorization: `Bearer ${made.key}` };
    // Its only request; from here on it is refused.
    if (given.allowance === SPENT) await call(url, { path: PLAIN.path, json: PLAIN.body(), headers: headers[key] });
  }
  return headers;
}

const isRefusal = (bytes) => JSON.parse(bytes).error.gatehouse.code === "rate_limited";

/** A key is used from a few servers, not by a thousand visitors. */
const nextAddress = addresses(10, 10);
const BASE = "limit: none";
const limit = (name, house, key, more) => ({ ...PLAIN, name, systems: ["passthrough", house], base: BASE, key, nextAddress, target: undefined, limit: true, ...more });

/** As SCENARIOS, with `key`: whose request it is; `limit`: it stands in the table of limits. */
export const LIMITS = [
  limit(BASE, "gatehouse-keys", "none"),
  limit("limit: none, but watched", "gatehouse-watched", "none"),
  limit("limit: requests", "gatehouse-keys", "leased"),
  limit("limit: budget", "gatehouse-keys", "budget"),
  limit("limit: requests and budget", "gatehouse-keys", "both"),
  limit("limit: requests, 4 accounts", "gatehouse-4-leases", "own"),
  limit("limit: budget, 4 accounts", "gatehouse-4-budgets", "own"),
  // (a) refuses nobody.
  limit("limit: refused", "gatehouse-keys", "spent", { systems: ["gatehouse-keys"], status: 429, isWhole: isRefusal, cache: undefined }),
];

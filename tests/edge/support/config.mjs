// A whole configuration for environment `test`, as `GATEHOUSE_CONFIG` carries it.

import { BEHAVIOURS } from "./behaviours.mjs";

/** Keys that must never be seen anywhere but at the provider. */
export const CANARIES = {
  CANARY_OPENAI_KEY: "sk-canary-openai-7f3a9c",
  CANARY_ANTHROPIC_KEY: "sk-ant-canary-2b8e41",
  MASTER_KEY: "Y2FuYXJ5LWNhbmFyeS1jYW5hcnktY2FuYXJ5LTAwMDA",
};

/** What a test's house has as `ADMIN_TOKEN`. */
export const ADMIN_TOKEN = "canary-admin-token-5d1c77e0";

/** What a test's house has as `TURNSTILE_SECRET`. */
export const TURNSTILE_SECRET = "canary-turnstile-secret";

/** Secrets that not every house has, and that no answer may hold either. */
export const SECRETS = { ...CANARIES, ADMIN_TOKEN, TURNSTILE_SECRET };

/** Of every behaviour: short enough for tests, long enough for a busy machine. */
export const DEADLINES = { first_token_ms: 1500, idle_ms: 1200, total_ms: 3000 };

const PLENTY = { requests: 100_000, seconds: 60 };

/** One attempt and no more, for tests whose subject is not the retry. */
export const ONCE = { attempts_per_target: 1, attempts: 1 };

/** A limit of one class; what is not given does not bind. */
export function limit(kind, windows = {}) {
  return { class: kind, burst: PLENTY, sustained: PLENTY, ...windows };
}

/** Every behaviour under its own name, and with `claude-` before it in the other protocol. */
function behaviourAliases() {
  return Object.keys(BEHAVIOURS).flatMap((model) => [
    { name: model, public: true, deadlines: DEADLINES, target: [{ provider: "openai", model }] },
    { name: `claude-${model}`, public: true, deadlines: DEADLINES, target: [{ provider: "anthropic", model }] },
  ]);
}

/**
 * The configuration; sections that are given replace those here field by field.
 *
 * @param {{url: string}} provider The fake provider.
 * @param {object} sections `server`, `access`, `cache`, `documents`, `retry`, `streams`, `session`, `admin`, `keyring`, `abuse`, `audit`, `global`; `tiers`, `tenants`; `limits` by class; `providers`, `aliases`
 *   and `prices` to add.
 */
export function config(provider, { limits = {}, providers = [], aliases = [], prices = [], ...sections } = {}) {
  return {
    site: { title: "Test house" },
    retry: { ...sections.retry },
    streams: { ...sections.streams },
    server: { ...sections.server },
    access: { ...sections.access },
    cache: { ...sections.cache },
    documents: { ...sections.documents },
    session: { ...sections.session },
    admin: { ...sections.admin },
    keyring: { ...sections.keyring },
    abuse: { ...sections.abuse },
    audit: { ...sections.audit },
    global: { ...sections.global },
    tier: sections.tiers ?? [],
    tenant: sections.tenants ?? [],
    provider: [
      { name: "openai", kind: "openai", base_url: `${provider.url}/v1`, key: "CANARY_OPENAI_KEY" },
      { name: "anthropic", kind: "anthropic", base_url: provider.url, key: "CANARY_ANTHROPIC_KEY" },
      { name: "responses", kind: "openai_responses", base_url: `${provider.url}/v1`, key: "CANARY_OPENAI_KEY" },
      { name: "builtin", kind: "builtin" },
      ...providers,
    ],
    alias: [
      { name: "builtin", public: true, target: [{ provider: "builtin" }] },
      { name: "embed", public: true, serves: "embeddings", target: [{ provider: "openai", model: "embedder" }] },
      { name: "private", target: [{ provider: "openai", model: "good" }] },
      ...behaviourAliases(),
      ...aliases,
    ],
    price: prices,
    limit: ["read", "chat", "embeddings", "upload"].map((kind) => limit(kind, limits[kind])),
  };
}

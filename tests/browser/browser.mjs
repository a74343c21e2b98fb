// A browser for the tests: a Chromium of the machine, else the one that npm brings.

import { existsSync, mkdirSync } from "node:fs";
import { dirname, join } from "node:path";
import { fileURLToPath } from "node:url";

import { chromium } from "playwright-core";

import { startWorker } from "../edge/support/worker.mjs";

/** Screenshots; git ignores the folder. */
export const OUT = join(dirname(fileURLToPath(import.meta.url)), "out");

const PLACES = ["/usr/bin/chromium", "/usr/bin/chromium-browser", "/usr/bin/google-chrome", "/usr/bin/google-chrome-stable"];

/** Without these Chromium looks for its makers' servers at every start. */
const QUIET = ["--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking", "--disable-component-update", "--disable-sync"];

async function program() {
  const named = process.env.CHROMIUM_BIN ?? PLACES.find((place) => existsSync(place));
  if (named) return named;
  // Its own list of flags is not used: it turns web security off and puts everything into one process.
  const { default: packed } = await import("@sparticuz/chromium");
  return packed.executablePath();
}

/** Starts the browser. The sandbox cannot run for root. */
export async function startBrowser() {
  mkdirSync(OUT, { recursive: true });
  const args = process.getuid?.() === 0 ? [...QUIET, "--no-sandbox"] : QUIET;
  return chromium.launch({ executablePath: await program(), args, headless: true });
}

/**
 * A fresh page that records what must not happen: policy violations, script errors, layout shifts.
 *
 * @param {import("playwright-core").Browser} browser
 * @param {string} url Where the site is served.
 */
export async function openPage(browser, url, { theme = "light", width = 1280, height = 800, scripts = true, permissions = [] } = {}) {
  const context = await browser.newContext({ baseURL: url, colorScheme: theme, viewport: { width, height }, javaScriptEnabled: scripts, permissions });
  const page = await context.newPage();
  const faults = [];
  page.on("pageerror", (error) => faults.push(`script error: ${error.message}`));
  page.on("console", (message) => {
    if (/Content Security Policy|TrustedHTML|TrustedScript/.test(message.text())) faults.push(message.text());
  });
  if (scripts) await page.addInitScript(watch);
  return { page, context, faults, shift: () => page.evaluate(() => window.__shift), violations: () => page.evaluate(() => window.__violations) };
}

/** Runs in the page, before its own scripts. */
function watch() {
  window.__shift = 0;
  window.__violations = [];
  new PerformanceObserver((list) => {
    for (const entry of list.getEntries()) if (!entry.hadRecentInput) window.__shift += entry.value;
  }).observe({ type: "layout-shift", buffered: true });
  document.addEventListener("securitypolicyviolation", (event) => window.__violations.push(`${event.violatedDirective} ${event.blockedURI}`));
}

/** The real Worker, as a newcomer starts it: the shipped configuration and no key. `GATEHOUSE_URL` names a running one. */
export async function realSite(vars = {}) {
  const given = process.env.GATEHOUSE_URL;
  if (given) return { url: given.replace(/\/$/, ""), stop: async () => {} };
  return startWorker({}, { GATEHOUSE_CONFIG: undefined, CANARY_OPENAI_KEY: undefined, CANARY_ANTHROPIC_KEY: undefined, ...vars });
}

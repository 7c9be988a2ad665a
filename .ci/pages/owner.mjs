// Checks the owner's page of `drillfold serve` in a browser, with real servers. What it looks for is in README.md beside it.
import { spawn } from "node:child_process";
import { mkdir, readFile, readdir, rm } from "node:fs/promises";
import http from "node:http";
import { createRequire } from "node:module";
import path from "node:path";
import readline from "node:readline";
import { parseArgs } from "node:util";
import { CannotCheck, launch } from "./checker.mjs";

const USAGE = `usage: node .ci/pages/owner.mjs [--screenshots DIR] [--page DIR] PROGRAM

PROGRAM is the built drillfold. Run it in the project's folder.
  --screenshots DIR  writes a picture of each drill's page in each view to DIR
  --page DIR         serves page.html, page.css and page.js from DIR, for work on the page without a build
Exits with 0 if all is well, 1 if there are findings, 2 if something could not be checked.`;

const TAGS = ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa", "wcag22a", "wcag22aa", "best-practice"];
const VIEWS = [
  { name: "desktop", viewport: { width: 1280, height: 720 }, colorScheme: "light" },
  { name: "desktop-dark", viewport: { width: 1280, height: 720 }, colorScheme: "dark" },
  { name: "phone", viewport: { width: 390, height: 844 }, colorScheme: "light", isMobile: true, hasTouch: true },
  { name: "phone-dark", viewport: { width: 390, height: 844 }, colorScheme: "dark", isMobile: true, hasTouch: true },
  { name: "small", viewport: { width: 360, height: 640 }, colorScheme: "light", isMobile: true, hasTouch: true },
  { name: "forced", viewport: { width: 1280, height: 720 }, colorScheme: "dark", forcedColors: "active" },
];
const PATIENCE_MS = 30_000;
// What the page promises: a loss is shown within two seconds.
const LOSS_MS_MAX = 2000;

const axeScript = await readFile(createRequire(import.meta.url).resolve("axe-core/axe.min.js"), "utf8");

// ---- Servers

const children = new Set();

// Starts `drillfold serve` and waits until it is where it should be.
async function serve(program, scenario, { pauseAt = null, port = 0, speed = "max" } = {}) {
  const pause = pauseAt === null ? [] : ["--pause-at", pauseAt];
  const args = ["serve", scenario, "--listen", `127.0.0.1:${port}`, "--speed", speed, ...pause];
  const child = spawn(program, args, { stdio: ["ignore", "pipe", "inherit"] });
  children.add(child);
  const ended = new Promise((resolve) => child.once("close", resolve));
  ended.then(() => children.delete(child));
  let address = null;
  for await (const line of readline.createInterface({ input: child.stdout })) {
    address ??= line.match(/http:\/\/([^/]+)\//)?.[1];
    if (pauseAt === null || line.startsWith("paused at ")) break;
  }
  if (!address) throw new CannotCheck(`${program} ${args.join(" ")} does not serve`);
  const stop = (signal = "SIGKILL") => {
    child.kill(signal);
    return ended;
  };
  return { url: `http://${address}`, port: Number(address.split(":")[1]), child, stop };
}

// Stands between page and server: passes everything on, and spoils the stream's messages where it is told to.
async function between(target, { files = null } = {}) {
  const spoilt = { message: null, answer: null };
  const types = { "/": "page.html", "/page.css": "page.css", "/page.js": "page.js" };
  const server = http.createServer(async (request, response) => {
    const wrong = spoilt.answer?.(request.url);
    if (wrong) {
      response.writeHead(wrong, { "content-type": "application/json" }).end("{}");
      return;
    }
    const passed = http.get(target() + request.url, async (answer) => {
      const headers = { ...answer.headers };
      delete headers["content-length"];
      response.writeHead(answer.statusCode, headers);
      if (files && types[request.url]) {
        response.end(await readFile(path.join(files, types[request.url])));
        answer.destroy();
        return;
      }
      if (request.url !== "/api/v1/stream") {
        answer.pipe(response);
        return;
      }
      let waiting = "";
      answer.setEncoding("utf8");
      answer.on("data", (text) => {
        waiting += text;
        const events = waiting.split("\n\n");
        waiting = events.pop();
        for (const event of events) {
          const message = event.split("\n").map((line) => line.slice("data:".length)).join("\n");
          const sent = spoilt.message ? spoilt.message(message) : message;
          response.write(`${sent.split("\n").map((line) => `data:${line}`).join("\n")}\n\n`);
        }
      });
      answer.on("close", () => response.destroy());
    });
    passed.on("error", () => response.destroy());
    response.on("close", () => passed.destroy());
  });
  await new Promise((resolve) => server.listen(0, "127.0.0.1", resolve));
  const close = () => {
    server.closeAllConnections();
    server.close();
  };
  return { url: `http://127.0.0.1:${server.address().port}`, spoilt, close };
}

// The drills with their snapshots, as their files have them; those of variants have a header of their own.
async function drills() {
  const found = [];
  for (const name of (await readdir("scenarios")).filter((name) => /^drill_.*\.toml$/.test(name)).sort()) {
    const text = await readFile(path.join("scenarios", name), "utf8");
    const snapshots = [...text.matchAll(/^\[\[snapshot\]\]\s*\nname = "([^"]+)"/gm)].map((match) => match[1]);
    if (snapshots.length === 0) throw new CannotCheck(`scenarios/${name} has no snapshot`);
    found.push({ name: name.replace(".toml", ""), file: `scenarios/${name}`, snapshots });
  }
  if (found.length !== 8) throw new CannotCheck(`the checklist has eight drills; scenarios/ has ${found.length}`);
  return found;
}

// ---- What is looked for

const findings = [];
function finding(where, rule, what) {
  findings.push({ where, rule, what });
}

// Opens a page in a view; whatever it asks for elsewhere or complains of is kept.
async function openPage(browser, view, url, { bypassCSP = false } = {}) {
  const { name, ...options } = view;
  const context = await browser.newContext({ ...options, reducedMotion: "reduce", bypassCSP });
  const page = await context.newPage();
  page.wrong = [];
  page.on("request", (request) => {
    const asked = new URL(request.url());
    if (asked.protocol !== "data:" && asked.origin !== url) page.wrong.push(["network", `asks for ${request.url()}`]);
  });
  page.on("console", (message) => {
    if (["error", "warning"].includes(message.type())) page.wrong.push(["console", `the browser says: ${message.text()}`]);
  });
  page.on("pageerror", (error) => page.wrong.push(["console", `the page fails: ${error.message}`]));
  // When the page came to show what it shows, on the clock of this machine, which the servers are killed by.
  await page.addInitScript(() => {
    window.changes = [];
    new MutationObserver(() => {
      const state = document.documentElement?.dataset.state;
      if (window.changes.at(-1)?.state !== state) window.changes.push({ state, at: Date.now() });
    }).observe(document, { subtree: true, attributes: true, attributeFilter: ["data-state"] });
  });
  await page.goto(url);
  return page;
}

const close = (page) => page.context().close();

async function until(page, state) {
  await page.waitForFunction((state) => document.documentElement.dataset.state === state, state, {
    timeout: PATIENCE_MS,
    polling: 20,
  });
}

// What an owner reads at a glance, and whether it can be read: evaluated in the page.
function glance(wanted) {
  const wrong = [];
  const text = (element) => element.textContent.replace(/\s+/g, " ").trim();
  for (const [id, expected] of Object.entries(wanted)) {
    const element = document.getElementById(id);
    if (!element.checkVisibility({ visibilityProperty: true, opacityProperty: true })) {
      wrong.push(["glance", `#${id} is not to be seen`]);
      continue;
    }
    const matches = expected.startsWith("/") ? new RegExp(expected.slice(1, -1)).test(text(element)) : text(element) === expected;
    if (!matches) wrong.push(["text", `#${id} says ${JSON.stringify(text(element))}, not ${JSON.stringify(expected)}`]);
    const range = document.createRange();
    range.selectNodeContents(element);
    for (const box of range.getClientRects()) {
      if (box.width === 0 || box.height === 0) continue;
      const inside = box.left >= 0 && box.top >= 0 && box.right <= innerWidth + 0.5 && box.bottom <= innerHeight + 0.5;
      if (!inside) {
        wrong.push(["glance", `#${id} is not on the first screen: ${Math.round(box.left)},${Math.round(box.top)} to ${Math.round(box.right)},${Math.round(box.bottom)} of ${innerWidth}x${innerHeight}`]);
        break;
      }
      const top = document.elementFromPoint(box.left + box.width / 2, box.top + box.height / 2);
      if (!element.contains(top)) wrong.push(["glance", `#${id} is covered by ${top?.localName}`]);
    }
  }
  const mode = document.getElementById("mode");
  const largest = parseFloat(getComputedStyle(mode).fontSize);
  const walker = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
  while (walker.nextNode()) {
    const element = walker.currentNode.parentElement;
    if (!walker.currentNode.data.trim() || mode.contains(element) || !element.checkVisibility()) continue;
    const size = parseFloat(getComputedStyle(element).fontSize);
    if (size >= largest) wrong.push(["largest", `${element.localName} "${text(element).slice(0, 30)}" is ${size} px, the mode ${largest} px`]);
  }
  const signs = [...document.querySelectorAll("#answer g")].filter((sign) => getComputedStyle(sign).display !== "none");
  const sign = `of-${document.documentElement.dataset.state}`;
  if (signs.length !== 1 || !signs[0].classList.contains(sign)) wrong.push(["sign", `there is no sign ${sign}, or another one`]);
  if (scrollY !== 0) wrong.push(["glance", "the page is scrolled"]);
  const wide = document.documentElement.scrollWidth;
  if (wide > innerWidth) wrong.push(["overflow", `the page is ${wide} px wide on a screen of ${innerWidth} px`]);
  return wrong;
}

async function axe(page) {
  // As an expression, which the page's own policy does not concern.
  await page.evaluate(`${axeScript}; null`);
  const { violations } = await page.evaluate(
    (tags) => window.axe.run(document, { runOnly: { type: "tag", values: tags }, resultTypes: ["violations"] }),
    TAGS,
  );
  return violations.flatMap(({ id, impact, nodes }) =>
    nodes.map((node) => ["axe", `${id} (${impact}): ${node.target.join(" ")}: ${node.failureSummary?.split("\n").at(-1)?.trim()}`]));
}

// What a state that is known must look like, from the status document alone.
function wantedOf(status, message) {
  const mayOpen = status.trading_mode === "Active";
  const [first, ...others] = status.owner_view.unblock;
  const since = new Date(message.view.since.at_ms).toISOString().slice(11, 23);
  const wanted = {
    mode: status.trading_mode,
    "answer-text": mayOpen ? "Yes. New risk may be opened." : "No. Do not open new risk.",
    sentence: status.owner_view.owner_message,
    since: `/^Since ${since.replace(".", "\\.")} UTC(, \\d+ [A-Z][a-z]+ \\d{4})?, for /`,
    condition: first ? first.condition : "Nothing. Nothing blocks.",
    "scene-text": "/Not live trading\\.$/",
  };
  if (first) Object.assign(wanted, { current: first.current, target: first.target });
  if (others.length > 0) wanted.more = `and ${others.length} more`;
  return wanted;
}

const UNKNOWN = { mode: "Unknown", "answer-text": "No. Do not open new risk: state unknown." };

// Whether the page says, and looks, as it must where the state is not known.
async function unknownIsShown(page, says) {
  const wrong = await page.evaluate(glance, { ...UNKNOWN, sentence: `/${says}/` });
  const looks = await page.evaluate(() => ({
    state: document.documentElement.dataset.state,
    check: getComputedStyle(document.querySelector(".of-open")).display !== "none",
    texts: ["condition", "current", "reasons", "raw"].map((id) => document.getElementById(id).checkVisibility()),
    rest: document.body.innerText,
  }));
  if (looks.state !== "unknown") wrong.push(["closed", `the state is ${looks.state}`]);
  if (looks.check) wrong.push(["closed", "the sign for yes is shown"]);
  if (/may be opened|Active/.test(looks.rest)) wrong.push(["closed", `something of another state is left: ${looks.rest}`]);
  return wrong;
}

const report = (where, wrong) => wrong.forEach(([rule, what]) => finding(where, rule, what));
const json = async (url) => (await fetch(url)).json();

async function firstMessage(url) {
  const control = new AbortController();
  const answer = await fetch(`${url}/api/v1/stream`, { signal: control.signal });
  let text = "";
  for await (const part of answer.body.pipeThrough(new TextDecoderStream())) {
    text += part;
    if (text.includes("\n\n")) break;
  }
  control.abort();
  return JSON.parse(text.split("\n\n")[0].split("\n").map((line) => line.slice("data:".length)).join("\n"));
}

// ---- The parts

async function checkDrills(browser, options) {
  let states = 0;
  let pictures = 0;
  for (const drill of await drills()) {
    for (const snapshot of drill.snapshots) {
      const server = await serve(options.program, drill.file, { pauseAt: snapshot });
      const proxy = options.page ? await between(() => server.url, { files: options.page }) : null;
      const url = proxy?.url ?? server.url;
      const status = await json(`${url}/api/v1/status`);
      const wanted = wantedOf(status, await firstMessage(url));
      const state = { Active: "open", ReduceOnly: "limited", Kill: "kill" }[status.trading_mode];
      for (const view of VIEWS) {
        const where = `${drill.name} ${snapshot} ${view.name}`;
        const page = await openPage(browser, view, url);
        await until(page, state);
        report(where, await page.evaluate(glance, wanted));
        report(where, await axe(page));
        if (options.screenshots) {
          const name = path.join(options.screenshots, `${drill.name}.${snapshot}.${view.name}`);
          await page.screenshot({ path: `${name}.png` });
          await page.screenshot({ path: `${name}.full.png`, fullPage: true });
          pictures += 2;
        }
        await page.evaluate(() => (document.getElementById("raw-part").open = true));
        const raw = JSON.parse(await page.textContent("#raw"));
        if (JSON.stringify(raw) !== JSON.stringify(status)) finding(where, "text", "the status document on the page is another one");
        report(where, await axe(page));
        report(where, (await page.evaluate(glance, {})).filter(([rule]) => rule !== "glance"));
        if (await page.evaluate(() => document.documentElement.dataset.live !== "no")) finding(where, "sign", "a drill has a lit lamp");
        report(where, page.wrong);
        await close(page);
        states += 1;
      }
      proxy?.close();
      await server.stop();
    }
  }
  console.log(`drills: ${states} pages (each snapshot in ${VIEWS.length} views), ${pictures} pictures`);
}

// A server that is killed, that hangs, and that comes back.
async function checkLoss(browser, options) {
  const scenario = "scenarios/drill_2_market_data_stale.toml";
  let server = await serve(options.program, scenario, { pauseAt: "baseline" });
  const proxy = options.page ? await between(() => server.url, { files: options.page }) : null;
  const url = proxy?.url ?? server.url;
  for (const view of [VIEWS[0], VIEWS[2]]) {
    const page = await openPage(browser, view, url);
    await until(page, "open");

    const shownAfter = async (began) => {
      await until(page, "unknown");
      const change = await page.evaluate(() => window.changes.at(-1));
      return change.at - began;
    };
    let began = Date.now();
    server.child.kill("SIGSTOP");
    const hung = await shownAfter(began);
    if (hung > LOSS_MS_MAX) finding(`a server that hangs, ${view.name}`, "loss", `was shown after ${hung} ms`);
    report(`a server that hangs, ${view.name}`, await unknownIsShown(page, "silent"));
    report(`a server that hangs, ${view.name}`, await axe(page));
    server.child.kill("SIGCONT");
    await until(page, "open");

    began = Date.now();
    await server.stop("SIGKILL");
    const killed = await shownAfter(began);
    if (killed > LOSS_MS_MAX) finding(`a server that is killed, ${view.name}`, "loss", `was shown after ${killed} ms`);
    report(`a server that is killed, ${view.name}`, await unknownIsShown(page, "reached|ended"));
    if (options.screenshots) await page.screenshot({ path: path.join(options.screenshots, `lost.${view.name}.png`) });
    began = Date.now();
    server = await serve(options.program, scenario, { pauseAt: "tripped", port: server.port });
    await until(page, "limited");
    report(`a server that is back, ${view.name}`, await page.evaluate(glance, { mode: "ReduceOnly" }));
    console.log(`loss, ${view.name}: a hang is shown after ${hung} ms, a kill after ${killed} ms; back after ${Date.now() - began} ms`);
    await server.stop();
    server = await serve(options.program, scenario, { pauseAt: "baseline", port: server.port });
    await close(page);
  }
  await server.stop();
  proxy?.close();
}

// Messages as a broken server, or someone in between, might send them; each of a state that would be shown green.
const SPOILT = [
  ["a mode that is not known", "mode is not known", (of) => { of.status.trading_mode = of.view.mode = "Sideways"; }],
  ["a mode that only the view has", "contradict", (of) => { of.view.mode = "Sideways"; }],
  ["a reason that is not known", "not known: REDUCEONLY_NEW", (of) => {
    of.status.mode_reasons = ["REDUCEONLY_NEW"];
    of.view.reasons = [{ token: "REDUCEONLY_NEW", text: "New." }];
  }],
  ["a code that is not known", "not known: NEW_CODE", (of) => { of.status.open_permission_reason_codes = ["NEW_CODE"]; }],
  ["a key that is missing", "lacks mode_reasons", (of) => { delete of.status.mode_reasons; }],
  ["a key too many", "should not have: extra", (of) => { of.status.extra = 1; }],
  ["a latch that is set", "contradict", (of) => { of.status.open_permission_blocked_latch = true; }],
  ["a permission that the document does not give", "contradict", (of) => {
    of.status.wal_queue_depth = of.status.wal_queue_capacity;
  }],
  ["another sentence", "contradict", (of) => { of.view.sentence = "All is well."; }],
  ["no document", "no status document", (of) => { of.status = null; }],
  ["no view", "incomplete", (of) => { delete of.view; }],
  ["no time", "no time", (of) => { of.at_ms = "now"; }],
  ["a stage that is not known", "stage", (of) => { of.stage = "resting"; }],
  ["another version", "does not know", (of) => { of.schema = "drillfold/stream/v2"; }],
  ["a timeline that is none", "incomplete", (of) => { of.view.timeline = 7; }],
  ["what the server itself refuses", "As the server says", (of) => {
    of.view = { fail_closed: true, may_open: false, sentence: "As the server says.", findings: ["[ENUM] this"], timeline: of.view.timeline };
    of.view.timeline.changes = [];
    of.status = null;
  }],
  ["broken JSON", "can't be read", (of, text) => text.slice(0, -5)],
  ["an empty message", "can't be read", () => ""],
];

async function checkSpoilt(browser, options) {
  const server = await serve(options.program, "scenarios/drill_2_market_data_stale.toml", { pauseAt: "baseline" });
  const proxy = await between(() => server.url, { files: options.page });
  const page = await openPage(browser, VIEWS[0], proxy.url);
  let seq = 1000;
  // As if it went on, so that all that is green may be.
  const live = (text) => {
    const message = JSON.parse(text);
    message.stage = "running";
    message.seq = seq += 1;
    message.source = { kind: "log", name: "system.wal" };
    return message;
  };
  const well = (text) => JSON.stringify(live(text));
  proxy.spoilt.message = well;
  const lit = () => page.waitForFunction(() => document.documentElement.dataset.live === "yes" && document.documentElement.dataset.state === "open", null, { timeout: PATIENCE_MS });
  await lit();
  if (options.screenshots) await page.screenshot({ path: path.join(options.screenshots, "live.desktop.png") });
  for (const [name, says, spoil] of SPOILT) {
    proxy.spoilt.message = (text) => {
      const message = live(text);
      return spoil(message, text) ?? JSON.stringify(message);
    };
    await until(page, "unknown");
    report(name, await unknownIsShown(page, says));
    if (options.screenshots && name === "a key that is missing") await page.screenshot({ path: path.join(options.screenshots, "invalid.desktop.png") });
    proxy.spoilt.message = well;
    await lit();
  }
  // A layer that takes no events, while its server goes on.
  proxy.spoilt.message = (text) => JSON.stringify({ ...live(text), seq: 7 });
  await until(page, "unknown");
  report("a layer that has stopped", await unknownIsShown(page, "no event for a while"));
  proxy.spoilt.message = well;
  await lit();
  report("spoilt messages", page.wrong);
  await close(page);

  const refusals = [
    ["the stream answered with 500", 500, "/api/v1/stream", "answers 500"],
    ["the stream answered with 503", 503, "/api/v1/stream", "answers 503: too many"],
    ["the vocabulary answered with 500", 500, "/api/v1/vocabulary", "answers 500"],
  ];
  for (const [name, code, refused, says] of refusals) {
    const page = await openPage(browser, VIEWS[2], proxy.url);
    await until(page, "open");
    proxy.spoilt.answer = (asked) => (asked === refused ? code : null);
    server.child.kill("SIGSTOP");
    await until(page, "unknown");
    server.child.kill("SIGCONT");
    await page.waitForFunction((says) => document.getElementById("sentence").textContent.includes(says), says.split(":")[0], { timeout: PATIENCE_MS });
    report(name, await unknownIsShown(page, says));
    proxy.spoilt.answer = null;
    await until(page, "open");
    await close(page);
  }
  proxy.close();
  await server.stop();
  console.log(`spoilt: ${SPOILT.length + 1} kinds of messages and ${refusals.length} answers, none shown as a state`);
}

// Whether the checks can fail: the page is spoilt, and just this has to be found.
async function checkChecks(browser, options) {
  const server = await serve(options.program, "scenarios/drill_2_market_data_stale.toml", { pauseAt: "tripped" });
  const proxy = options.page ? await between(() => server.url, { files: options.page }) : null;
  const url = proxy?.url ?? server.url;
  const wanted = wantedOf(await json(`${url}/api/v1/status`), await firstMessage(url));
  const cases = [
    ["nothing", null, ""],
    ["a sentence larger than the mode", null, "#sentence { font-size: 150px }", "largest"],
    ["a step below the first screen", null, "#step { margin-top: 800px }", "glance"],
    ["an answer that can't be seen", null, "#answer-text { visibility: hidden }", "glance"],
    ["something over the mode", null, "#step { position: fixed; inset: 0; margin: 0 }", "glance"],
    ["a page that is too wide", null, "main { min-width: 3000px }", "overflow"],
    ["grey on grey", null, "#sentence { color: #888; background: #777 }", "axe"],
    ["no sign", null, "#answer svg g { display: none !important }", "sign"],
    ["another mode", () => { document.getElementById("mode").textContent = "Active"; }, "", "text"],
    ["another step", () => { document.getElementById("current").textContent = "ws_event_lag_ms=1"; }, "", "text"],
    ["a complaint", () => console.error("broken"), "", "console"],
    ["another server", () => { new Image().src = "http://203.0.113.1/seen.png"; }, "", "network"],
  ];
  for (const [name, script, style, ...rules] of cases) {
    const page = await openPage(browser, VIEWS[0], url, { bypassCSP: true });
    await until(page, "limited");
    if (style) await page.addStyleTag({ content: style });
    if (script) await page.evaluate(script);
    const wrong = [...(await page.evaluate(glance, wanted)), ...(await axe(page)), ...page.wrong].map(([rule]) => rule);
    const missed = rules.filter((rule) => !wrong.includes(rule));
    if (missed.length > 0) finding(`self-test: ${name}`, "self-test", `${missed} was not found, only: ${wrong.join(", ")}`);
    if (rules.length === 0 && wrong.length > 0) finding(`self-test: ${name}`, "self-test", `found ${wrong.join(", ")}`);
    await close(page);
  }
  const page = await openPage(browser, VIEWS[0], url);
  await until(page, "limited");
  if ((await unknownIsShown(page, "Unknown")).length < 3) finding("self-test: a known state", "self-test", "passes for an unknown one");
  await close(page);
  proxy?.close();
  await server.stop();
  console.log(`self-test of the checks: ${cases.length + 1} pages`);
}

async function main() {
  let parsed;
  try {
    parsed = parseArgs({ allowPositionals: true, options: { screenshots: { type: "string" }, page: { type: "string" }, only: { type: "string" } } });
    if (parsed.positionals.length !== 1) throw new Error("PROGRAM is not given");
  } catch (error) {
    throw new CannotCheck(`${error.message}\n${USAGE}`);
  }
  const options = { program: parsed.positionals[0], ...parsed.values };
  if (options.screenshots) {
    await rm(options.screenshots, { recursive: true, force: true });
    await mkdir(options.screenshots, { recursive: true });
  }
  const began = performance.now();
  const browser = await launch({ reach: "127.0.0.1" });
  try {
    for (const part of [checkChecks, checkDrills, checkLoss, checkSpoilt]) {
      if (!options.only || part.name === options.only) await part(browser, options);
    }
  } finally {
    for (const child of children) child.kill("SIGKILL");
    await browser.close();
  }
  for (const { where, rule, what } of findings) console.log(`FAIL ${where}: ${rule}: ${what}`);
  console.log(`the owner's page in ${browser.version()}: ${findings.length} findings, ${((performance.now() - began) / 1000).toFixed(1)} s`);
  return findings.length === 0 ? 0 : 1;
}

try {
  process.exitCode = await main();
} catch (error) {
  console.error(error instanceof CannotCheck ? `could not check: ${error.message}` : error);
  process.exitCode = 2;
}

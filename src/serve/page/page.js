// The owner's page. It shows what the stream's last message says, and says that the state is unknown in every other case:
// no message for a while, one that can't be read, one that contradicts itself or has a word that is not in the vocabulary.
"use strict";

const SCHEMA = "drillfold/stream/v1";
// The server sends twice a second; silence for so long is a loss.
const LOST_AFTER_MS = 1500;
// A layer at work takes several events a second. One that takes none for so long is not at work.
const STILL_AFTER_MS = 3000;
const CONNECT_MS_MAX = 5000;
const RETRY_MS = 500;
const EVENT_CHARS_MAX = 1 << 20;

// How the modes look; a mode that is not here is not shown.
const STATES = new Map([["Active", "open"], ["ReduceOnly", "limited"], ["Kill", "kill"]]);
const STAGES = ["running", "paused", "silent", "ended"];
const SOURCES = { drill: "Drill", replay: "Replay", log: "Log", feed: "Feed" };
const MONTHS = ["January", "February", "March", "April", "May", "June", "July", "August", "September", "October",
  "November", "December"];

const element = (id) => document.getElementById(id);

// Why a message is not shown, in words for the owner.
class Refusal extends Error {}

function demand(holds, says) {
  if (!holds) throw new Refusal(says);
}

const isObject = (value) => value !== null && typeof value === "object" && !Array.isArray(value);
const isText = (value) => typeof value === "string";
const isTexts = (value) => Array.isArray(value) && value.every(isText);
const alike = (one, other) => JSON.stringify(one) === JSON.stringify(other);

// ---- What is believed

function readVocabulary(found) {
  demand(isObject(found) && found.schema === SCHEMA, "The server speaks another version than this page. Reload the page.");
  for (const list of ["trading_mode", "mode_reasons", "open_permission_reason_codes", "keys"]) {
    demand(isTexts(found[list]) && found[list].length > 0, "The server does not say which words it uses.");
  }
  return found;
}

// Checks a message as if the server had checked nothing; returns it, or refuses.
function judge(text, vocabulary) {
  let message;
  try {
    message = JSON.parse(text);
  } catch {
    throw new Refusal("The server's message can't be read.");
  }
  demand(isObject(message) && message.schema === SCHEMA, "The server's message is of a kind that this page does not know.");
  demand(STAGES.includes(message.stage), `The server names a stage that this page does not know: ${message.stage}.`);
  const { view, status } = message;
  demand(isObject(view) && typeof view.fail_closed === "boolean" && isText(view.sentence), "The server's message is incomplete.");
  checkTimeline(view.timeline, vocabulary);
  if (view.fail_closed) return message;
  demand(message.stage !== "silent", "The server shows a state although no events come.");
  demand(Number.isSafeInteger(message.seq) && Number.isSafeInteger(message.at_ms), "The state has no time.");
  demand(isObject(message.limits) && Object.values(message.limits).every(isText), "The server's message is incomplete.");
  checkStatus(status, vocabulary);
  checkView(view, status);
  return message;
}

function checkStatus(status, vocabulary) {
  demand(isObject(status), "There is no status document.");
  const missing = vocabulary.keys.filter((key) => !Object.hasOwn(status, key));
  demand(missing.length === 0, `The status document lacks ${missing.join(", ")}.`);
  const extra = Object.keys(status).filter((key) => !vocabulary.keys.includes(key));
  demand(extra.length === 0, `The status document has keys that it should not have: ${extra.join(", ")}.`);
  const mode = status.trading_mode;
  demand(vocabulary.trading_mode.includes(mode) && STATES.has(mode), `The mode is not known: ${mode}.`);
  for (const list of ["mode_reasons", "open_permission_reason_codes"]) {
    demand(isTexts(status[list]), `${list} is no list of words.`);
    const unknown = status[list].filter((token) => !vocabulary[list].includes(token));
    demand(unknown.length === 0, `${list} has a word that is not known: ${unknown.join(", ")}.`);
  }
  demand((mode === "Active") === (status.mode_reasons.length === 0), "Mode and reasons contradict each other.");
  const latch = status.open_permission_blocked_latch;
  demand(latch === (status.open_permission_reason_codes.length > 0), "The latch and its codes contradict each other.");
  demand(!latch || mode !== "Active", "The latch is set and the mode is Active, which contradict each other.");
}

function checkView(view, status) {
  const owner = status.owner_view;
  const tokens = (list) => Array.isArray(list) && list.map((entry) => entry?.token);
  const agrees = isObject(owner) && isText(owner.owner_message) && Array.isArray(owner.unblock) &&
    view.mode === status.trading_mode && view.sentence === owner.owner_message && alike(view.unblock, owner.unblock) &&
    alike(tokens(view.reasons), status.mode_reasons) && isObject(view.latch) &&
    view.latch.set === status.open_permission_blocked_latch &&
    alike(tokens(view.latch.codes), status.open_permission_reason_codes);
  demand(agrees, "What the server shows and its status document contradict each other.");
  const steps = owner.unblock.every((step) => isObject(step) && ["type", "condition", "current", "target"].every((key) => isText(step[key])));
  demand(steps && (owner.unblock.length > 0 || view.mode === "Active"), "What has to happen is not said.");
  const mayOpen = status.trading_mode === "Active" && status.open_permission_blocked_latch === false &&
    status.wal_queue_depth < status.wal_queue_capacity;
  demand(view.may_open === mayOpen, "What the server allows and its status document contradict each other.");
  demand(view.since === null || Number.isSafeInteger(view.since?.at_ms), "The state has no time.");
}

function checkTimeline(timeline, vocabulary) {
  demand(isObject(timeline) && Array.isArray(timeline.changes), "The server's message is incomplete.");
  for (const { mode, at_ms: at } of timeline.changes) {
    demand(Number.isSafeInteger(at), "The timeline has an entry without a time.");
    demand(mode === null || (vocabulary.trading_mode.includes(mode) && STATES.has(mode)), `The timeline has a mode that is not known: ${mode}.`);
  }
}

// ---- What is shown

function write(id, text) {
  const found = element(id);
  if (found.textContent !== text) found.textContent = text;
}

function hide(...ids) {
  for (const id of ids) element(id).hidden = true;
}

function writeOrHide(id, text) {
  element(id).hidden = !text;
  write(id, text ?? "");
}

// Text that may be broken after the marks in it, so that long words fit a phone.
function broken(text) {
  return text.split(/(?<=[_=,])/).flatMap((part, place) => (place === 0 ? [part] : [document.createElement("wbr"), part]));
}

function make(name, ...parts) {
  const made = document.createElement(name);
  made.append(...parts);
  return made;
}

// Lists are made anew only when they have changed, so that what somebody reads or marks stays where it is.
const made = new Map();
function fill(id, items, build) {
  const key = JSON.stringify(items);
  if (made.get(id) === key) return;
  made.set(id, key);
  element(id).replaceChildren(...items.map(build));
}

const clockOf = (ms) => new Date(ms).toISOString().slice(11, 23);
function dayOf(ms) {
  const at = new Date(ms);
  return `${at.getUTCDate()} ${MONTHS[at.getUTCMonth()]} ${at.getUTCFullYear()}`;
}

function lasting(ms) {
  if (ms < 60_000) return `${(ms / 1000).toFixed(1)} s`;
  const minutes = Math.floor(ms / 60_000);
  if (minutes < 60) return `${minutes} min ${Math.floor((ms % 60_000) / 1000)} s`;
  return minutes < 2880 ? `${Math.floor(minutes / 60)} h ${minutes % 60} min` : `${Math.floor(minutes / 1440)} days`;
}

function sinceOf(since, now) {
  const day = dayOf(since) === dayOf(now) ? "" : `, ${dayOf(since)}`;
  return `Since ${clockOf(since)} UTC${day}, for ${lasting(Math.max(0, now - since))}`;
}

// Says where the state comes from; returns whether it is one that goes on now, and is no drill.
function showScene(message) {
  const kind = message.source?.kind;
  const name = message.source?.name;
  const known = Object.hasOwn(SOURCES, kind ?? "");
  write("kind", known ? SOURCES[kind] : "Source unknown");
  const what = known ? name : "This state";
  const live = kind === "log" || kind === "feed";
  const texts = {
    running: live ? `${what}, as it goes on.` : `${what}.`,
    paused: `${what}, paused at “${message.paused_at}”.`,
    silent: `${what}, without events.`,
    ended: `${what}, over: this is its last state.`,
  };
  const still = message.stage === "paused" || message.stage === "ended";
  write("scene-text", `${texts[message.stage]}${live && !still ? "" : " Not live trading."}`);
  return live && message.stage === "running";
}

function showTimeline(timeline) {
  element("timeline-part").hidden = timeline.changes.length === 0;
  fill("timeline", timeline.changes, ({ at_ms: at, mode, sentence, seq }) => {
    const time = make("time", `${clockOf(at)} UTC`);
    time.dateTime = new Date(at).toISOString();
    const event = make("span", `event ${seq}`);
    event.className = "quiet";
    return make("li", time, make("strong", mode ?? "Down"), make("span", mode ? sentence ?? "" : "No process was up."), event);
  });
  writeOrHide("left-off", timeline.left_off > 0 ? `${timeline.left_off} earlier changes are no longer kept.` : "");
}

// The configured values that a step names, as "name=value".
function limitsOf({ condition, target }, limits) {
  const named = new Set(`${condition} ${target}`.match(/\w+/g));
  return [...named].filter((name) => Object.hasOwn(limits, name)).map((name) => `${name}=${limits[name]}`).join(", ");
}

function showSteps(steps, limits) {
  const [first, ...others] = steps;
  element("values").hidden = !first;
  hide("findings");
  if (!first) {
    write("condition", "Nothing. Nothing blocks.");
    write("who", "");
    hide("more");
  } else {
    fill("condition", [first.condition], (text) => make("span", ...broken(text)));
    fill("current", [first.current], (text) => make("span", ...broken(text)));
    fill("target", [first.target], (text) => make("span", ...broken(text)));
    const named = limitsOf(first, limits);
    element("limits-part").hidden = !named;
    fill("limits", [named], (text) => make("span", ...broken(text)));
    write("who", first.type === "MANUAL" ? ", by a person" : ", by itself");
    element("more").hidden = others.length === 0;
    const link = element("more").firstElementChild;
    link.textContent = `and ${others.length} more`;
  }
  element("steps-part").hidden = steps.length < 2;
  fill("steps", steps, ({ type, condition, current, target }) => {
    const row = (name, text) => [make("dt", name), make("dd", ...broken(text))];
    const named = limitsOf({ condition, target }, limits);
    const values = make("dl", ...row("Now", current), ...row("Needed", target), ...(named ? row("Where", named) : []));
    values.className = "values";
    return make("li", make("strong", ...broken(condition)), ` ${type === "MANUAL" ? "(a person)" : "(by itself)"}`, values);
  });
}

function showTokens(id, list) {
  fill(id, list, ({ token, text }) => make("li", make("code", ...broken(token)), text));
}

let said = "";
function say(text) {
  if (said !== text) {
    said = text;
    element("said").textContent = text;
  }
}

function show(message) {
  const { view, status } = message;
  const live = showScene(message);
  const state = view.mode === "Active" && !view.may_open ? "limited" : STATES.get(view.mode);
  const answer = view.may_open ? "Yes. New risk may be opened." : "No. Do not open new risk.";
  document.documentElement.dataset.state = state;
  document.documentElement.dataset.live = live ? "yes" : "no";
  write("mode", view.mode);
  write("answer-text", answer);
  write("sentence", view.sentence);
  writeOrHide("caveat", view.caveat);
  write("moment", `State of ${clockOf(message.at_ms)} UTC, ${dayOf(message.at_ms)}`);
  write("event", `, event ${message.seq}`);
  write("since", view.since ? sinceOf(view.since.at_ms, message.at_ms) : "Since when is not known.");
  element("since").hidden = false;
  showSteps(view.unblock, message.limits);
  write("mode-text", `${view.mode}: ${view.mode_text}`);
  showTokens("reasons", view.reasons);
  write("latch-text", view.latch.set ? "The latch is set: nothing may open until it is released." : "The latch is not set.");
  showTokens("codes", view.latch.codes);
  element("below").hidden = false;
  showTimeline(view.timeline);
  showRaw(status);
  document.title = `${view.mode}: ${view.may_open ? "new risk may be opened" : "do not open new risk"}`;
  say(`${view.mode}. ${answer} ${view.sentence}`);
}

function showRaw(status) {
  element("raw-part").hidden = status === null;
  write("raw", status === null ? "" : isText(status) ? status : JSON.stringify(status, null, 2));
}

// The one view of everything that is not known to be well: nothing of an earlier state stays.
function showUnknown(sentence, step, findings = []) {
  document.documentElement.dataset.state = "unknown";
  document.documentElement.dataset.live = "no";
  write("mode", "Unknown");
  write("answer-text", "No. Do not open new risk: state unknown.");
  write("sentence", sentence);
  write("moment", "No state");
  write("event", "");
  write("who", "");
  made.delete("condition");
  write("condition", step);
  hide("caveat", "since", "values", "more", "below", "timeline-part", "raw-part");
  element("findings").hidden = findings.length === 0;
  fill("findings", findings, (text) => make("li", ...broken(text)));
  document.title = "Unknown: do not open new risk";
  say(`State unknown. Do not open new risk. ${sentence}`);
}

// ---- The stream

// When a message came last, and since when the layer has taken no event: over connections, so that none makes it younger.
const last = { heard: 0, seq: null, moved: 0 };
let attempt = null;

function lost(sentence) {
  write("kind", "Not connected");
  write("scene-text", "The page tries again by itself.");
  showUnknown(sentence, "The connection to the server has to come back.");
}

function take(text, vocabulary) {
  const now = performance.now();
  last.heard = now;
  let message;
  try {
    message = judge(text, vocabulary);
    if (message.seq !== last.seq || message.stage !== "running") Object.assign(last, { seq: message.seq, moved: now });
    const still = now - last.moved > STILL_AFTER_MS;
    if (message.view.fail_closed) {
      showScene(message);
      const findings = isTexts(message.view.findings) ? message.view.findings : [];
      showUnknown(message.view.sentence, "The safety layer has to give a valid state.", findings);
      showTimeline(message.view.timeline);
      showRaw(message.status ?? null);
    } else if (still) {
      showScene(message);
      showUnknown("The safety layer has taken no event for a while; it may be gone.", "It has to take events again.");
    } else {
      show(message);
    }
  } catch (error) {
    const sentence = error instanceof Refusal ? error.message : `The page can't show the server's message: ${error.message}`;
    showUnknown(sentence, "The safety layer has to give a valid state.");
  }
}

async function fetched(path, signal) {
  const answer = await fetch(path, { signal, cache: "no-store" });
  demand(answer.ok, `The server answers ${answer.status}${answer.status === 503 ? ": too many pages are open" : ""}.`);
  return answer;
}

// Follows the stream until it ends, one way or the other.
async function follow(signal) {
  const vocabulary = readVocabulary(await (await fetched("/api/v1/vocabulary", signal)).json());
  const answer = await fetched("/api/v1/stream", signal);
  last.heard = performance.now();
  attempt.connected = true;
  const reader = answer.body.pipeThrough(new TextDecoderStream("utf-8", { fatal: true })).getReader();
  let waiting = "";
  for (;;) {
    const { done, value } = await reader.read();
    if (done) throw new Refusal("The server has ended the connection.");
    waiting += value;
    const events = waiting.split("\n\n");
    waiting = events.pop();
    demand(waiting.length <= EVENT_CHARS_MAX, "The server's message does not end.");
    // Only the last state counts: those before it are over.
    const event = events.pop();
    if (event === undefined) continue;
    const lines = event.split("\n").filter((line) => line.startsWith("data:"));
    take(lines.map((line) => line.slice(5)).join("\n"), vocabulary);
  }
}

async function keepFollowing() {
  for (;;) {
    const control = new AbortController();
    attempt = { control, began: performance.now(), connected: false };
    try {
      await follow(control.signal);
    } catch (error) {
      const known = [error, control.signal.reason].find((reason) => reason instanceof Refusal);
      lost(known ? known.message : "The server can't be reached.");
    }
    control.abort();
    await new Promise((resolve) => setTimeout(resolve, RETRY_MS));
  }
}

function watch() {
  if (attempt === null || attempt.control.signal.aborted) return;
  const now = performance.now();
  const late = attempt.connected ? now - last.heard > LOST_AFTER_MS : now - attempt.began > CONNECT_MS_MAX;
  if (!late) return;
  const sentence = attempt.connected ? "The server has been silent for more than a second." : "The server does not answer.";
  attempt.control.abort(new Refusal(sentence));
  lost(sentence);
}

setInterval(watch, 100);
for (const name of ["visibilitychange", "pageshow", "focus"]) window.addEventListener(name, watch);
window.addEventListener("error", (event) => lost(`The page has failed: ${event.message}`));
keepFollowing();

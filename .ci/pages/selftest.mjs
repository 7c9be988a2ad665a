// Whether the checker notices what it is there for. Each case spoils the good page in one place and names all the rules that
// have to be broken by it, no more and no fewer; the good page itself has to pass. Then the command's exit codes.
import { spawn } from "node:child_process";
import { mkdir, mkdtemp, readFile, readdir, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import path from "node:path";
import { fileURLToPath } from "node:url";
import { CannotCheck, checkPage, launch, openDevices } from "./checker.mjs";

const WORKERS = 2;

const PIXEL = "data:image/gif;base64,R0lGODlhAQABAIAAAAAAAP///yH5BAEAAAAALAAAAAABAAEAAAIBRAA7";
const FIRST = '<p id="first">The first paragraph.</p>';
const STYLE_END = "</style>";
const LINK = '<a href="notes.txt">To a file of text</a>';

const after = (anchor, added) => [anchor, `${anchor}\n${added}`];
const style = (rules) => [STYLE_END, `${rules}\n${STYLE_END}`];
const link = (href) => ["notes.txt", href];

// Name, what is replaced by what, and the rules it breaks, each with the views it has to be seen in.
const ALL = "light dark forced-colors print phone-light phone-dark";
const SCREEN = "light dark phone-light phone-dark";
const CASES = [
  // What axe-core knows.
  [
    "a text that is hardly there",
    style("@media screen { #first { color: #777; background: #888 } }"),
    { "color-contrast": SCREEN },
  ],
  [
    "a text that is hardly there in the dark",
    style("@media screen and (prefers-color-scheme: dark) { #first { color: #444 } }"),
    { "color-contrast": "dark phone-dark" },
  ],
  [
    "a text that insists on its colour",
    style("@media (forced-colors: active) { #first { forced-color-adjust: none; color: #222; background: #333 } }"),
    { "text-contrast": "forced-colors" },
  ],
  ["a picture without a text", after(FIRST, `<img src="${PIXEL}">`), { "image-alt": ALL }],
  [
    "a heading that skips a level",
    ['<h2 id="rows">A table</h2>', '<h4 id="rows">A table</h4>'],
    { "heading-order": ALL },
  ],
  ["no language", [' lang="en"', ""], { "html-has-lang": ALL }],
  ["no title", ["<title>A page with nothing wrong</title>", ""], { "document-title": ALL }],
  ["a text outside of the landmarks", ["</main>", "</main><p>Left over.</p>"], { region: ALL }],

  // What axe-core leaves to others.
  [
    "a text in the colour of its background",
    style("@media screen { #first { color: var(--paper) } }"),
    { "text-contrast": SCREEN },
  ],
  [
    "a drawing's text that keeps black",
    style("@media screen { svg text { fill: #000 } }"),
    { "text-contrast": "dark forced-colors phone-dark" },
  ],
  [
    "a drawing's text on a shape",
    ['<text x="10" y="40">cancel</text>', '<text x="110" y="40" style="fill: #333">cancel</text>'],
    { "text-contrast": "light phone-light", "print-contrast": "print" },
  ],
  [
    "a drawing's text on another",
    ['<text x="10" y="90">', '<text x="30" y="46">'],
    { "text-overlap": "light dark forced-colors phone-light phone-dark" },
  ],
  [
    "words that a column takes apart",
    style("table { width: 1px } th, td { overflow-wrap: anywhere; white-space: normal }"),
    { "text-broken": ALL },
  ],
  [
    "a drawing's text over its edge",
    ['<text x="10" y="90">', '<text x="-40" y="90">'],
    { "text-cut": "light dark forced-colors phone-light phone-dark" },
  ],
  [
    "a page that is never dark",
    ["@media screen and (prefers-color-scheme: dark)", "@media screen and (min-width: 9000px)"],
    { scheme: "dark phone-dark", "text-contrast": "forced-colors" },
  ],
  [
    "a drawing without a name",
    [
      'role="img" aria-labelledby="chart-title">\n<title id="chart-title">Two durations in milliseconds: 40 and 90</title>',
      ">",
    ],
    { "svg-name": "document" },
  ],
  [
    "a state in a cell without a text",
    ['<td data-state="pass">holds</td></tr>\n<tr>', '<td data-state="pass"></td></tr>\n<tr>'],
    { "state-text": "document" },
  ],
  [
    "a state in a drawing without a text",
    ["<title>cancel, within its limit: 40 ms</title>", ""],
    { "state-text": "document" },
  ],
  [
    "a state without a value",
    ['<td data-state="pass">holds</td></tr>\n<tr>', '<td data-state="">holds</td></tr>\n<tr>'],
    { "state-text": "document" },
  ],
  ["two elements with one id", after(FIRST, '<p id="first">Again.</p>'), { "duplicate-id": "document" }],
  ["no doctype", ["<!doctype html>\n", ""], { doctype: "document" }],
  [
    "a path that can't be drawn",
    after('<text x="10" y="90">flatten</text>', '<path d="M 0 zero"></path>'),
    { console: "desktop phone no-script" },
  ],

  // Scripts.
  ["a script", after(FIRST, "<script>document.title += '';</script>"), { script: "file document" }],
  ["an event handler", ['<p id="first">', '<p id="first" onclick="void 0">'], { script: "document" }],
  ["an address that is a script", link("javascript:void(0)"), { script: "document", link: "document" }],
  [
    "a text for readers without scripts",
    after(FIRST, "<noscript><p>Please switch scripts on.</p></noscript>"),
    { "script-text": "no-script" },
  ],

  // The network and links.
  [
    "a picture from a server",
    after(FIRST, '<img alt="A logo" src="https://drillfold.invalid/logo.png">'),
    { network: "desktop phone no-script document" },
  ],
  [
    "a picture from a file",
    after(FIRST, '<img alt="A logo" src="logo.png">'),
    { network: "desktop phone no-script document" },
  ],
  [
    "a style sheet from a server",
    after('<meta charset="utf-8">', '<link rel="stylesheet" href="https://drillfold.invalid/a.css">'),
    { network: "desktop phone no-script document" },
  ],
  [
    "a background from a server, on paper only",
    style("@media print { h1 { background: url(https://drillfold.invalid/b.png) } }"),
    { network: "desktop document" },
  ],
  ["an imported style", ["<style>", '<style>@import "more.css";'], { network: "desktop phone no-script document" }],
  [
    "a connection made early",
    after('<meta charset="utf-8">', '<link rel="preconnect" href="https://drillfold.invalid">'),
    { network: "document" },
  ],
  ["a link to no file", link("missing.txt"), { link: "document" }],
  ["a link to a folder", link("."), { link: "document" }],
  ["a link to a server", link("https://drillfold.invalid/"), { link: "document" }],
  ["a link from the root", link("/etc/hostname"), { link: "document" }],
  ["a link to no id", link("#nowhere"), { link: "document" }],
  ["a link to no id of another page", ["other.html#part", "other.html#nowhere"], { link: "document" }],
  ["a link that is empty", link(""), { link: "document" }],
  [
    "a pattern that is not there",
    ['<rect class="bar" x="100" y="20"', '<rect class="bar" stroke="url(#none)" x="100" y="20"'],
    { link: "document" },
  ],

  // The keyboard.
  [
    "a focus that is not seen",
    style(":focus-visible { outline: none !important }"),
    { "focus-visible": "light phone-dark" },
  ],
  [
    "a focus that is hardly seen",
    style("a:focus-visible { outline: 1px solid color-mix(in srgb, var(--ink) 20%, var(--paper)) !important }"),
    { "focus-visible": "light phone-dark" },
  ],
  [
    "a focus off the screen",
    style('[href="notes.txt"] { position: absolute; left: -999px }'),
    { "focus-visible": "light phone-dark" },
  ],
  [
    "a focus under a bar",
    ["</main>", '<div style="position: fixed; inset: 0"></div></main>'],
    { "focus-obscured": "light phone-dark" },
  ],
  [
    "an order of its own",
    [LINK, LINK.replace("<a ", '<a tabindex="3" ')],
    { "focus-order": "light phone-dark", tabindex: ALL },
  ],
  [
    "a link that Tab passes by",
    [LINK, LINK.replace("<a ", '<a tabindex="-1" ')],
    { "focus-reach": "light phone-dark" },
  ],
  [
    "a folded link that Tab passes by",
    ['<a href="#first">', '<a tabindex="-1" href="#first">'],
    { "focus-reach": "light phone-dark" },
  ],
  [
    "a link that keeps the focus",
    after(
      FIRST,
      "<script>addEventListener('keydown', (event) => document.activeElement.matches('a') && event.preventDefault());</script>",
    ),
    { script: "file document", "focus-trap": "light phone-dark" },
  ],
  [
    "a link that sends the focus back",
    after(
      FIRST,
      "<script>addEventListener('focusin', (event) => event.target.matches('summary') && document.querySelectorAll('a')[1].focus());</script>",
    ),
    { script: "file document", "focus-trap": "light phone-dark" },
  ],

  // Size.
  [
    "a paragraph wider than any screen",
    style("@media screen { #first { width: 1400px } }"),
    { overflow: "light dark forced-colors phone-light phone-dark narrow" },
  ],
  [
    "a table wider than a phone",
    style("@media screen { .region { overflow: visible } }"),
    { overflow: "phone-light phone-dark narrow" },
  ],
  [
    "a region that scrolls and can't be reached",
    [' role="region" aria-label="Steps" tabindex="0"', ""],
    { "scroll-region": "phone-light phone-dark narrow", "scrollable-region-focusable": "phone-light phone-dark" },
  ],
  [
    "a region that scrolls and has no name",
    [' aria-label="Steps"', ""],
    { "scroll-region": "phone-light phone-dark narrow" },
  ],
  [
    "a page made for wide screens alone",
    ['<meta name="viewport" content="width=device-width, initial-scale=1">', ""],
    { overflow: "phone-light phone-dark" },
  ],

  // Paper.
  ["a paragraph that is not printed", style("@media print { #first { display: none } }"), { "print-hidden": "print" }],
  ["a chart that is not printed", style("@media print { svg { visibility: hidden } }"), { "print-hidden": "print" }],
  ["details that stay closed", ["details::details-content", "main::details-content"], { "print-details": "print" }],
  [
    "a table that is cut off",
    [
      "  .region { overflow: visible; }\n  th, td { white-space: normal;",
      "  .region { overflow: hidden; width: 10rem }\n  th, td { ",
    ],
    { "print-clipped": "print" },
  ],
  ["a table wider than paper", style("@media print { table { width: 60rem } }"), { "print-clipped": "print" }],
  ["paper that does not exist", style("@page { size: 100000cm 1cm }"), { pdf: "print" }],
  [
    "a page that is dark on paper",
    style("@media print { :root { --paper: #14181d; --ink: #e4e8ec; --link: #8ab8f0 } }"),
    { "print-background": "print", "print-contrast": "print" },
  ],
  [
    "a badge whose background is not printed",
    style("@media print { #first { color: #fff; background: #1b1f24 } }"),
    { "print-contrast": "print" },
  ],
];

// What is allowed and looks like what is not.
const FINE = [
  ["the good page", null],
  [
    "a long number in a narrow column",
    after(FIRST, `<p style="width: 12rem; overflow-wrap: anywhere">${"0123456789abcdef".repeat(4)}</p>`),
  ],
  [
    "a badge whose background insists",
    style("@media print { #first { color: #fff; background: #1b1f24; print-color-adjust: exact } }"),
  ],
  ["a picture that is in the page", after(FIRST, `<img alt="A dot" src="${PIXEL}">`)],
  ["a text that speaks of scripts", after(FIRST, "<p>It has no &lt;script&gt; and no javascript: in it.</p>")],
  [
    "a drawing that is decoration",
    after(
      FIRST,
      '<svg viewBox="0 0 9 9" width="9" height="9" aria-hidden="true"><circle cx="4" cy="4" r="4"></circle></svg>',
    ),
  ],
  [
    "a page that forbids itself everything",
    after(
      '<meta charset="utf-8">',
      `<meta http-equiv="Content-Security-Policy" content="default-src 'none'; style-src 'unsafe-inline'">`,
    ),
  ],
  [
    "a link that shows when it has the focus",
    style('[href="notes.txt"]:not(:focus) { position: absolute; left: -999px }'),
  ],
];

function spoil(good, edit) {
  if (!edit) return good;
  const [from, to] = edit;
  if (good.split(from).length !== 2) throw new Error(`the good page does not hold exactly once: ${from}`);
  return good.replace(from, () => to);
}

const listed = (rules) =>
  Object.entries(rules)
    .map(([rule, views]) => `${rule} [${views.split(" ").sort().join(" ")}]`)
    .sort()
    .join(", ");

function rulesOf(findings) {
  const views = {};
  for (const finding of findings) views[finding.rule] = [...(views[finding.rule] ?? []), ...finding.views];
  return Object.fromEntries(Object.entries(views).map(([rule, names]) => [rule, [...new Set(names)].join(" ")]));
}

// Does what there is to do with a few workers, each with what `prepare` gives it.
async function share(items, prepare, work) {
  const waiting = items.entries();
  const worker = async () => {
    const own = await prepare();
    for (const [index, item] of waiting) await work(item, index, own);
  };
  await Promise.all(Array.from({ length: WORKERS }, worker));
}

// Every rule of ours that README.md names has to be broken by a case.
async function checkRules(report) {
  const text = await readFile(new URL("README.md", import.meta.url), "utf8");
  const table = text.slice(text.indexOf("| Rule |")).split("\n\n")[0].split("\n").slice(2);
  const named = table.flatMap((line) => [...line.split("|")[1].matchAll(/`([^`]+)`/g)].map(([, rule]) => rule));
  const broken = new Set(CASES.flatMap(([, , rules]) => Object.keys(rules)));
  const idle = named.filter((rule) => !broken.has(rule));
  report(
    "every rule has a case",
    named.length > 0 && idle.length === 0,
    `no case breaks ${idle.join(", ") || "any rule"}`,
  );
}

async function checkCases(folder, good, report) {
  const cases = [...CASES, ...FINE.map(([name, edit]) => [name, edit, {}])];
  const browser = await launch();
  try {
    await share(
      cases,
      () => openDevices(browser),
      async ([name, edit, rules], index, devices) => {
        const file = path.join(folder, `case-${index}.html`);
        await writeFile(file, spoil(good, edit));
        const { findings } = await checkPage(devices, file);
        const [expected, found] = [listed(rules), listed(rulesOf(findings))];
        const seen = findings.map(
          ({ rule, views, where, what }) => `\n      [${views.join(" ")}] ${rule}: ${where}: ${what}`,
        );
        report(
          name,
          expected === found,
          `expected ${expected || "nothing"}\n    found    ${found || "nothing"}${seen.join("")}`,
        );
      },
    );
  } finally {
    await browser.close();
  }
}

// The command itself: arguments, what it says of it, and its exit code.
async function checkCommand(folder, good, report) {
  const at = (name) => path.join(folder, name);
  const pages = at("pages");
  const pictures = at("pictures");
  await mkdir(path.join(pages, "inner"), { recursive: true });
  await mkdir(at("empty"));
  await writeFile(at("minor.html"), spoil(good, ['<h2 id="rows">A table</h2>', '<h4 id="rows">A table</h4>']));
  await writeFile(
    path.join(pages, "index.html"),
    '<!doctype html><html lang="en"><title>Bad</title><main><p>No heading.</p></main>',
  );
  await writeFile(
    path.join(pages, "inner", "report.html"),
    good.replace("other.html#part", "../index.html").replace("notes.txt", "../index.html"),
  );
  const runs = [
    ["a folder with a bad page", ["--screenshots", pictures, pages], 1, /FAIL .*index\.html.* page-has-heading-one/],
    ["a moderate violation", [at("minor.html")], 1, /FAIL .* heading-order \(moderate\)/],
    [
      "a moderate violation that is allowed",
      ["--allow-minor", at("good.html"), at("minor.html")],
      0,
      /minor .* heading-order \(moderate\)/,
    ],
    ["no path", [], 2, /no PATH is given/],
    ["an option that does not exist", ["--fast", pages], 2, /could not check: .*--fast/],
    ["a path that does not exist", [at("nothing.html")], 2, /no such file or folder/],
    ["a folder without a page", [at("empty")], 2, /has no \*\.html in it/],
    ["two pages with the same pictures", [at("good.html"), at("good.html")], 2, /the same screenshots/],
    ["no browser", [at("good.html")], 2, /is on PATH/, { PATH: at("empty") }],
  ];
  await share(
    runs,
    () => null,
    async ([name, args, expected, said, env]) => {
      const { code, output } = await command(args, env);
      const holds = code === expected && said.test(output);
      report(`command: ${name}`, holds, `expected exit code ${expected} and ${said}, found ${code} and\n${output}`);
    },
  );
  const views =
    "achromatopsia dark deuteranopia forced-colors light phone-dark phone-light print protanopia tritanopia".split(" ");
  const expected = ["index", "inner-report"].flatMap((page) => views.map((view) => `${page}.${view}.png`)).join(" ");
  const found = (await readdir(pictures)).sort().join(" ");
  report("command: its screenshots", expected === found, `expected ${expected}\n    found    ${found}`);
}

function command(args, env = {}) {
  const script = fileURLToPath(new URL("check.mjs", import.meta.url));
  return new Promise((resolve, reject) => {
    const child = spawn(process.execPath, [script, ...args], { env: { ...process.env, ...env } });
    let output = "";
    child.stdout.on("data", (bytes) => (output += bytes));
    child.stderr.on("data", (bytes) => (output += bytes));
    child.on("error", reject);
    child.on("close", (code) => resolve({ code, output }));
  });
}

async function main() {
  const began = performance.now();
  const count = { passed: 0, failed: 0 };
  const report = (name, holds, otherwise) => {
    count[holds ? "passed" : "failed"] += 1;
    if (!holds) console.log(`FAIL ${name}\n    ${otherwise}`);
  };
  const good = await readFile(new URL("good.html", import.meta.url), "utf8");
  const folder = await mkdtemp(path.join(tmpdir(), "drillfold-pages-"));
  try {
    await writeFile(path.join(folder, "good.html"), good);
    await writeFile(
      path.join(folder, "other.html"),
      '<!doctype html><html lang="en"><title>Other</title><p id="part">A part.</p>',
    );
    await writeFile(path.join(folder, "notes.txt"), "Notes.\n");
    await checkRules(report);
    await checkCases(folder, good, report);
    await checkCommand(folder, good, report);
  } finally {
    await rm(folder, { recursive: true });
  }
  console.log(`self-test of the checker: ${((performance.now() - began) / 1000).toFixed(1)} s`);
  console.log(`${count.passed} passed, ${count.failed} failed`);
  return count.failed === 0 ? 0 : 1;
}

try {
  process.exitCode = await main();
} catch (error) {
  console.error(error instanceof CannotCheck ? `could not check: ${error.message}` : error);
  process.exitCode = 2;
}

// Checks pages in a browser: one Chromium for all of them, a fresh profile for each device a page is looked at on.
import { access, constants, readFile, stat, mkdir } from "node:fs/promises";
import path from "node:path";
import { createRequire } from "node:module";
import { fileURLToPath, pathToFileURL } from "node:url";
import { chromium } from "playwright-core";

const require = createRequire(import.meta.url);

/// The checker itself can't do its work: no browser, no file. Never a finding.
export class CannotCheck extends Error {}

const BROWSERS = ["chromium", "chromium-browser", "google-chrome", "google-chrome-stable"];

const TAGS = ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa", "wcag22a", "wcag22aa", "best-practice"];

// A4 with margins of 10 mm, in CSS pixels.
const PAPER = { width: 718, height: 1047 };
const DESKTOP = { width: 1280, height: 720 };
const PHONE = { width: 390, height: 844 };
// What a page has to do with when it is enlarged to 400 %. Source: WCAG 2.2, 1.4.10.
const NARROW = { width: 320, height: 256 };

const VIEWS = [
  { name: "light", device: "desktop", viewport: DESKTOP, scheme: "light" },
  { name: "dark", device: "desktop", viewport: DESKTOP, scheme: "dark" },
  { name: "forced-colors", device: "desktop", viewport: DESKTOP, scheme: "dark", forced: true },
  { name: "print", device: "desktop", viewport: PAPER, scheme: "light", print: true },
  { name: "phone-light", device: "phone", viewport: PHONE, scheme: "light" },
  { name: "phone-dark", device: "phone", viewport: PHONE, scheme: "dark" },
];

// The keyboard goes through a page once on each device, and once in each scheme.
const KEYBOARD_VIEWS = ["light", "phone-dark"];

const DEFICIENCIES = ["protanopia", "deuteranopia", "tritanopia", "achromatopsia"];

const DEVICES = {
  desktop: { viewport: DESKTOP, reducedMotion: "reduce" },
  phone: { viewport: PHONE, reducedMotion: "reduce", isMobile: true, hasTouch: true },
  "no-script": { viewport: DESKTOP, reducedMotion: "reduce", javaScriptEnabled: false },
};

// Chromium paints no picture higher than this.
const PICTURE_HEIGHT_MAX = 16384;

// A page that takes longer is not checked at all. The slowest report takes a few seconds.
const PAGE_MS_MAX = 180_000;

/// Starts the browser that is on PATH. No page reaches any host but `reach`, if one is named.
export async function launch({ reach = null } = {}) {
  const executablePath = await findBrowser();
  try {
    return await chromium.launch({
      executablePath,
      // The pages are our own and may fetch nothing; a container's root has no other way.
      chromiumSandbox: false,
      args: ["--disable-gpu", "--force-color-profile=srgb", `--host-resolver-rules=MAP * ~NOTFOUND${reach ? `, EXCLUDE ${reach}` : ""}`],
    });
  } catch (error) {
    throw new CannotCheck(`${executablePath} does not start: ${error.message}`);
  }
}

async function findBrowser() {
  for (const name of BROWSERS) {
    for (const folder of (process.env.PATH ?? "").split(path.delimiter)) {
      const file = path.join(folder, name);
      if (
        folder &&
        (await access(file, constants.X_OK).then(
          () => true,
          () => false,
        ))
      )
        return file;
    }
  }
  throw new CannotCheck(
    `none of ${BROWSERS.join(", ")} is on PATH; install one, for example with apt-get install chromium`,
  );
}

/// Opens a page on each device, for one check after the other.
export async function openDevices(browser) {
  const pages = {};
  for (const [name, options] of Object.entries(DEVICES))
    pages[name] = await (await browser.newContext(options)).newPage();
  return pages;
}

/// Checks one file. Answers with its findings, each with the views it was seen in, and with notes and counts.
/// `pictures` is the beginning of the names of its screenshots, or null for none.
export async function checkPage(devices, file, pictures = null) {
  const check = new PageCheck(devices, file, pictures);
  let timer;
  const late = new Promise((_, reject) => {
    timer = setTimeout(
      () => reject(new CannotCheck(`${file} takes longer than ${PAGE_MS_MAX / 1000} s to check`)),
      PAGE_MS_MAX,
    );
  });
  try {
    return await Promise.race([check.run(), late]);
  } finally {
    clearTimeout(timer);
  }
}

const axeScript = await readFile(require.resolve("axe-core/axe.min.js"), "utf8");
const insideScript = await readFile(new URL("inside.js", import.meta.url), "utf8");

async function show(page, view) {
  await page.setViewportSize(view.viewport);
  await page.emulateMedia({
    media: view.print ? "print" : "screen",
    colorScheme: view.scheme,
    forcedColors: view.forced ? "active" : "none",
  });
}

class PageCheck {
  constructor(devices, file, pictures) {
    this.devices = devices;
    this.file = path.resolve(file);
    this.url = pathToFileURL(this.file).href;
    this.pictures = pictures;
    this.found = new Map();
    this.counts = { stops: 0, states: 0, links: 0, pictures: 0, sheets: 0 };
  }

  async run() {
    const began = performance.now();
    const source = await readFile(this.file, "utf8").catch((error) => {
      throw new CannotCheck(`${this.file} can't be read: ${error.message}`);
    });
    this.checkSource(source);
    const texts = {};
    for (const device of Object.keys(DEVICES)) {
      await this.withDevice(device, async (page, open) => {
        await open();
        texts[device] = await page.evaluate(() => document.body.innerText);
        if (device === "desktop") await this.checkStructure(page);
        for (const view of VIEWS.filter((view) => view.device === device)) await this.checkView(page, view);
        for (const view of VIEWS.filter((view) => view.device === device && KEYBOARD_VIEWS.includes(view.name))) {
          await this.checkKeyboard(page, view, open);
        }
      });
    }
    if (texts["no-script"] !== texts.desktop) this.addDifference(texts.desktop, texts["no-script"]);
    const all = [...this.found.values()].map((entry) => ({ ...entry, views: [...entry.views] }));
    return {
      file: this.file,
      findings: all.filter((entry) => entry.level !== "note"),
      notes: all.filter((entry) => entry.level === "note"),
      counts: this.counts,
      seconds: (performance.now() - began) / 1000,
    };
  }

  // The same finding in several views is one finding.
  add(view, { rule, what, where, level = "serious" }) {
    const key = JSON.stringify([rule, what, where, level]);
    if (!this.found.has(key)) this.found.set(key, { rule, what, where, level, views: new Set() });
    this.found.get(key).views.add(view);
  }

  addDifference(scripted, still) {
    const [one, other] = [scripted.split("\n"), still.split("\n")];
    const index = one.findIndex((line, number) => line !== other[number]);
    const at = index < 0 ? one.length : index;
    const quoted = (line) => (line === undefined ? "nothing" : JSON.stringify(line.slice(0, 60)));
    const what = `reads differently without scripts: ${quoted(other[at])} in place of ${quoted(one[at])}`;
    this.add("no-script", { rule: "script-text", what, where: `line ${at + 1} of the text` });
  }

  checkSource(source) {
    source.split("\n").forEach((line, index) => {
      if (/<script\b/i.test(line)) {
        this.add("file", { rule: "script", what: "begins a script element", where: `line ${index + 1}` });
      }
    });
  }

  // Uses a device; `open` opens the file on it afresh. Whatever the file asks for or complains of meanwhile is a finding.
  async withDevice(name, use) {
    const page = this.devices[name];
    let opened = false;
    const onRequest = (request) => {
      const url = request.url();
      if (url === this.url || url.startsWith("data:")) return;
      this.add(name, { rule: "network", what: `asks for ${url}`, where: request.resourceType() });
    };
    const onConsole = (message) => {
      // What could not be fetched has been asked for, and is reported as that.
      const known = message.text().startsWith("Failed to load resource");
      if (opened || known || !["error", "warning"].includes(message.type())) return;
      this.add(name, { rule: "console", what: `the browser says: ${message.text()}`, where: "document" });
    };
    const open = async () => {
      opened = false;
      await page.goto(this.url, { waitUntil: "load" });
      opened = true;
      await page.evaluate(insideScript);
    };
    page.on("request", onRequest);
    page.on("console", onConsole);
    try {
      await page.setViewportSize(DEVICES[name].viewport);
      await page.emulateMedia({ media: "screen", colorScheme: "light", forcedColors: "none" });
      await use(page, open);
    } catch (error) {
      if (error instanceof CannotCheck) throw error;
      throw new CannotCheck(`${this.file} can't be checked (${name}): ${error.message}`);
    } finally {
      page.off("request", onRequest);
      page.off("console", onConsole);
    }
  }

  async checkStructure(page) {
    const { findings, states } = await page.evaluate(() => drillfoldPages.structure());
    for (const finding of findings) this.add("document", finding);
    this.counts.states = states;
    const { links, loads, ids } = await page.evaluate(() => drillfoldPages.references());
    for (const { value, name, where } of loads) {
      const inside = value.startsWith("#");
      if (inside && !ids.includes(decodeURIComponent(value.slice(1)))) {
        this.add("document", { rule: "link", what: `${name} "${value}" leads to no id of this page`, where });
      } else if (!inside && !value.trim().toLowerCase().startsWith("data:")) {
        this.add("document", { rule: "network", what: `${name} "${value}" has to be fetched`, where });
      }
    }
    this.counts.links = links.length;
    for (const { value, name, where } of links) {
      const wrong = await this.linkIsWrong(page, value, name, ids);
      if (wrong) this.add("document", { rule: "link", what: `${name} "${value}" ${wrong}`, where });
    }
  }

  // Why a link does not lead anywhere; null where it does.
  async linkIsWrong(page, href, name, ids) {
    if (name === "base") return "changes where all the other links lead";
    if (href.trim() === "") return "is empty";
    if (/^([a-z][a-z0-9+.-]*:|\/)/i.test(href)) return "is not relative";
    const [address, fragment] = href.split(/#(.*)/s);
    let decoded;
    try {
      decoded = decodeURIComponent(fragment ?? "");
      if (address === "") return decoded && !ids.includes(decoded) ? "leads to no id of this page" : null;
      const target = fileURLToPath(new URL(address.split("?")[0], this.url));
      const found = await stat(target).catch(() => null);
      if (!found) return `leads to ${target}, which does not exist`;
      if (!found.isFile()) return `leads to ${target}, which is not a file`;
      if (!decoded) return null;
      const others = await page.evaluate((text) => drillfoldPages.idsOf(text), await readFile(target, "utf8"));
      return others.includes(decoded) ? null : `leads to no id of ${target}`;
    } catch (error) {
      return `is no address: ${error.message}`;
    }
  }

  async checkView(page, view) {
    const report = (findings) => findings.forEach((finding) => this.add(view.name, finding));
    const { width } = view.viewport;
    if (view.print) await page.evaluate(() => drillfoldPages.remember());
    await show(page, view);
    await this.takePicture(page, view.name);
    if (view.name === "light") await this.takeDeficiencies(page);
    if (view.print) {
      report(await page.evaluate((width) => drillfoldPages.lost(width), width));
      await this.printSheets(page);
    }
    // What is folded away has to be as good as the rest.
    await page.evaluate(() => drillfoldPages.openDetails());
    await this.checkWithAxe(page, view);
    report(await page.evaluate(() => drillfoldPages.words()));
    if (!view.print) {
      report(await page.evaluate(() => drillfoldPages.contrast(false)));
      report(await page.evaluate(() => drillfoldPages.drawings()));
      report(await page.evaluate((width) => drillfoldPages.overflow(width), width));
      if (!view.forced) report(await page.evaluate((asked) => drillfoldPages.scheme(asked), view.scheme));
    }
    if (view.name === "light") await this.checkNarrow(page, view);
    await page.evaluate(() => drillfoldPages.closeDetails());
  }

  async checkNarrow(page, view) {
    await page.setViewportSize(NARROW);
    const findings = await page.evaluate((width) => drillfoldPages.overflow(width), NARROW.width);
    for (const finding of findings) this.add("narrow", finding);
    await page.setViewportSize(view.viewport);
  }

  async checkWithAxe(page, view) {
    if (!(await page.evaluate(() => "axe" in globalThis))) await page.evaluate(axeScript);
    const { rules, violations, undecided } = await page.evaluate(
      ({ tags, forced }) => drillfoldPages.axeFindings(tags, forced),
      { tags: TAGS, forced: view.forced },
    );
    if (rules === 0) throw new CannotCheck(`axe-core held no rule against ${this.file}`);
    for (const { impact, ...finding } of violations) this.add(view.name, { ...finding, level: impact ?? "serious" });
    for (const { impact, ...finding } of undecided) this.add(view.name, { ...finding, level: "note" });
  }

  // Goes through the page with Tab, with its details open: what they fold away then takes part, and all else does anyway.
  // The page is opened afresh, so that Tab begins at its top.
  async checkKeyboard(page, view, open) {
    await show(page, view);
    await open();
    await page.evaluate(() => drillfoldPages.openDetails());
    await this.walk(page, view.name);
  }

  async walk(page, name) {
    const stops = await page.evaluate(() => drillfoldPages.stops());
    this.counts.stops = Math.max(this.counts.stops, stops.length);
    const met = new Set();
    let first = null;
    let before = -1;
    // One more to leave the page with, and some for elements that the browser alone takes for stops.
    const stepsMax = stops.length * 2 + 16;
    for (let step = 0; ; step += 1) {
      if (step === stepsMax) {
        this.add(name, {
          rule: "focus-trap",
          what: `Tab does not leave the page in ${stepsMax} steps`,
          where: "document",
        });
        return;
      }
      await page.keyboard.press("Tab");
      const stop = await page.evaluate(() => drillfoldPages.stop());
      if (stop.stuck) {
        this.add(name, { rule: "focus-trap", what: "keeps the focus when Tab is pressed", where: stop.where });
        return;
      }
      // Behind the last stop some browsers go on with the first.
      if (stop.left || stop.index === first) break;
      if (met.has(stop.index)) {
        this.add(name, {
          rule: "focus-trap",
          what: "gets the focus again before Tab leaves the page",
          where: stop.where,
        });
        return;
      }
      for (const finding of stop.findings) this.add(name, finding);
      if (stop.index < 0) continue;
      if (stop.index < before) {
        const what = "is reached later than its place in the document says";
        this.add(name, { rule: "focus-order", what, where: stop.where });
      }
      first ??= stop.index;
      before = Math.max(before, stop.index);
      met.add(stop.index);
    }
    stops.forEach((where, index) => {
      if (!met.has(index)) this.add(name, { rule: "focus-reach", what: "is not reached with Tab", where });
    });
  }

  async printSheets(page) {
    try {
      const bytes = await page.pdf({ preferCSSPageSize: true, format: "A4" });
      this.counts.sheets = bytes.toString("latin1").match(/\/Type\s*\/Page\b/g)?.length ?? 0;
      if (this.counts.sheets === 0) throw new Error("there is no sheet in what was printed");
    } catch (error) {
      this.add("print", { rule: "pdf", what: `can't be printed: ${error.message}`, where: "document" });
    }
  }

  async takeDeficiencies(page) {
    if (!this.pictures) return;
    const session = await page.context().newCDPSession(page);
    for (const type of DEFICIENCIES) {
      await session.send("Emulation.setEmulatedVisionDeficiency", { type });
      await this.takePicture(page, type);
    }
    await session.send("Emulation.setEmulatedVisionDeficiency", { type: "none" });
    await session.detach();
  }

  async takePicture(page, name) {
    if (!this.pictures) return;
    const file = `${this.pictures}.${name}.png`;
    await mkdir(path.dirname(file), { recursive: true });
    const height = await page.evaluate(() => document.scrollingElement.scrollHeight);
    if (height > PICTURE_HEIGHT_MAX) {
      const what = `is ${height} px high; its screenshot is right down to ${PICTURE_HEIGHT_MAX} px only`;
      this.add(name, { rule: "screenshot", what, where: "document", level: "note" });
    }
    await page.screenshot({ path: file, fullPage: true, animations: "disabled" });
    this.counts.pictures += 1;
  }
}

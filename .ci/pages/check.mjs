// Checks HTML reports in a browser. What it looks for is in README.md beside it.
import { readdir, stat } from "node:fs/promises";
import path from "node:path";
import { parseArgs } from "node:util";
import { CannotCheck, checkPage, launch, openDevices } from "./checker.mjs";

const USAGE = `usage: node .ci/pages/check.mjs [--screenshots DIR] [--allow-minor] PATH...

PATH is an HTML file, or a folder in which all *.html are looked for.
  --screenshots DIR  writes a picture of each page in each view to DIR
  --allow-minor      prints violations that axe-core calls moderate or minor, and does not fail for them
Exits with 0 if all is well, 1 if there are findings, 2 if something could not be checked.`;

const WORKERS = 2;

// The pages to check, each with the name its pictures begin with: its path in the folder that was given.
async function collect(paths) {
  const pages = [];
  for (const given of paths) {
    const found = await stat(given).catch((error) => {
      throw new CannotCheck(`${given}: ${error.code === "ENOENT" ? "no such file or folder" : error.message}`);
    });
    if (!found.isDirectory()) {
      pages.push({ file: given, name: path.basename(given) });
      continue;
    }
    const inside = (await readdir(given, { recursive: true })).filter((file) => file.endsWith(".html")).sort();
    if (inside.length === 0) throw new CannotCheck(`${given} has no *.html in it; write the reports first`);
    pages.push(...inside.map((file) => ({ file: path.join(given, file), name: file })));
  }
  const names = new Map();
  for (const page of pages) {
    page.name = page.name.replace(/\.html$/, "").replaceAll(path.sep, "-");
    const other = names.get(page.name);
    if (other)
      throw new CannotCheck(`${other} and ${page.file} would have the same screenshots; check them one by one`);
    names.set(page.name, page.file);
  }
  return pages;
}

function options(args) {
  try {
    const parsed = parseArgs({
      args,
      allowPositionals: true,
      options: {
        screenshots: { type: "string" },
        "allow-minor": { type: "boolean", default: false },
        help: { type: "boolean", default: false },
      },
    });
    if (!parsed.values.help && parsed.positionals.length === 0) throw new Error("no PATH is given");
    return { ...parsed.values, paths: parsed.positionals };
  } catch (error) {
    throw new CannotCheck(`${error.message}\n${USAGE}`);
  }
}

function print(result, allowMinor) {
  const shown = path.relative("", result.file);
  let failed = 0;
  for (const { rule, what, where, level, views } of result.findings) {
    const fails = !allowMinor || level === "serious" || level === "critical";
    failed += fails ? 1 : 0;
    console.log(`${fails ? "FAIL" : "minor"} ${shown} [${views.join(" ")}] ${rule} (${level}): ${where}: ${what}`);
  }
  for (const { rule, what, where, views } of result.notes) {
    console.log(`note ${shown} [${views.join(" ")}] ${rule}: ${where}: ${what}`);
  }
  const { links, stops, states, sheets, pictures } = result.counts;
  console.log(
    `${failed === 0 ? "ok  " : "FAIL"} ${shown}: ${failed} findings; ${links} links, ${stops} stops of the keyboard, ` +
      `${states} states, ${sheets} sheets of paper, ${pictures} pictures; ${result.seconds.toFixed(1)} s`,
  );
  return failed;
}

async function main() {
  const began = performance.now();
  const { help, screenshots, paths, "allow-minor": allowMinor } = options(process.argv.slice(2));
  if (help) {
    console.log(USAGE);
    return 0;
  }
  const pages = await collect(paths);
  const browser = await launch();
  try {
    const results = new Array(pages.length);
    const waiting = pages.entries();
    const work = async () => {
      const devices = await openDevices(browser);
      for (const [index, { file, name }] of waiting) {
        results[index] = await checkPage(devices, file, screenshots ? path.join(screenshots, name) : null);
      }
    };
    await Promise.all(Array.from({ length: WORKERS }, work));
    const failed = results.reduce((sum, result) => sum + print(result, allowMinor), 0);
    const seconds = ((performance.now() - began) / 1000).toFixed(1);
    console.log(`${pages.length} pages in ${browser.version()}: ${failed} findings, ${seconds} s`);
    return failed === 0 ? 0 : 1;
  } finally {
    await browser.close();
  }
}

try {
  process.exitCode = await main();
} catch (error) {
  console.error(error instanceof CannotCheck ? `could not check: ${error.message}` : error);
  process.exitCode = 2;
}

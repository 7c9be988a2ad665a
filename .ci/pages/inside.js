// What runs inside a page. `check.mjs` evaluates this text in it once; the functions are then `drillfoldPages.NAME`. They
// return plain values, so that they cross to the checker; elements are named by `place`. The page has no script of its own
// that could be disturbed, and what a function changes it puts back.
(() => {
  // Where something is, for people: a selector that leads to it, and how its text begins.
  function place(element) {
    const path = [];
    for (let at = element; at && at !== document.documentElement; at = at.parentElement) {
      if (at.id) {
        path.unshift(`#${CSS.escape(at.id)}`);
        break;
      }
      const name = at.localName;
      const alike = at.parentElement ? [...at.parentElement.children].filter((other) => other.localName === name) : [];
      path.unshift(alike.length > 1 ? `${name}:nth-of-type(${alike.indexOf(at) + 1})` : name);
      if (at === document.body) break;
    }
    const text = element.textContent.replace(/\s+/g, " ").trim();
    const selector = path.join(" > ") || element.localName;
    return text ? `${selector} "${text.length > 40 ? `${text.slice(0, 40)}...` : text}"` : selector;
  }

  const isSvg = (element) => element.namespaceURI === "http://www.w3.org/2000/svg";

  const rendered = (element) => element.checkVisibility({ visibilityProperty: true, opacityProperty: true });

  // Text that is never painted where it stands, by the element it is in.
  const UNPAINTED = "script, style, noscript, template, title, desc, metadata, head";

  function textNodes(root) {
    const walker = document.createTreeWalker(root, NodeFilter.SHOW_TEXT);
    const nodes = [];
    while (walker.nextNode()) {
      const node = walker.currentNode;
      if (node.data.trim() && !node.parentElement.closest(UNPAINTED)) nodes.push(node);
    }
    return nodes;
  }

  function painted(node) {
    if (!rendered(node.parentElement)) return false;
    const range = document.createRange();
    range.selectNodeContents(node);
    return [...range.getClientRects()].some((box) => box.width > 0 && box.height > 0);
  }

  // Colours. The browser itself turns whatever notation a style uses into numbers, by painting one pixel with it.
  const pixel = new OffscreenCanvas(1, 1).getContext("2d", { willReadFrequently: true });
  const colours = new Map();

  function colour(text) {
    if (!colours.has(text)) {
      pixel.clearRect(0, 0, 1, 1);
      pixel.fillStyle = "rgba(0, 0, 0, 0)";
      pixel.fillStyle = text;
      pixel.fillRect(0, 0, 1, 1);
      const [red, green, blue, alpha] = pixel.getImageData(0, 0, 1, 1).data;
      colours.set(text, { red, green, blue, alpha: alpha / 255 });
    }
    return colours.get(text);
  }

  function over(top, alpha, below) {
    const mix = (a, b) => a * alpha + b * (1 - alpha);
    return {
      red: mix(top.red, below.red),
      green: mix(top.green, below.green),
      blue: mix(top.blue, below.blue),
      alpha: 1,
    };
  }

  // Relative luminance and contrast ratio. Source: WCAG 2.2, definitions of both.
  function luminance({ red, green, blue }) {
    const linear = (value) => (value / 255 <= 0.04045 ? value / 255 / 12.92 : ((value / 255 + 0.055) / 1.055) ** 2.4);
    return 0.2126 * linear(red) + 0.7152 * linear(green) + 0.0722 * linear(blue);
  }

  function ratio(one, other) {
    const [dark, light] = [luminance(one), luminance(other)].sort((a, b) => a - b);
    return (light + 0.05) / (dark + 0.05);
  }

  const hex = ({ red, green, blue }) =>
    `#${[red, green, blue].map((value) => Math.round(value).toString(16).padStart(2, "0")).join("")}`;

  const WHITE = { red: 255, green: 255, blue: 255, alpha: 1 };

  // What the browser paints where nothing has a background.
  function canvas() {
    const probe = document.createElement("div");
    probe.style.cssText = "position: fixed; background: Canvas";
    document.documentElement.append(probe);
    const found = colour(getComputedStyle(probe).backgroundColor);
    probe.remove();
    return found;
  }

  // What is behind an element's text: the backgrounds of the elements it stands in, on the canvas. On paper it is white, and
  // of the backgrounds only those are printed whose element insists. None where there is a picture among them.
  function backdrop(element, paper) {
    const layers = [];
    let base = paper ? WHITE : canvas();
    for (let at = element; at; at = at.parentElement) {
      const style = getComputedStyle(at);
      if (isSvg(at) && at.localName !== "svg") continue;
      if (paper && style.printColorAdjust !== "exact") continue;
      if (style.backgroundImage !== "none") return null;
      const layer = colour(style.backgroundColor);
      if (layer.alpha === 0) continue;
      if (layer.alpha === 1) {
        base = layer;
        break;
      }
      layers.unshift(layer);
    }
    return layers.reduce((below, layer) => over(layer, layer.alpha, below), base);
  }

  const SHAPES = "rect, circle, ellipse, polygon, path";

  // What is behind a text of a drawing: the filled shapes before it that its middle lies in, on what is behind the drawing.
  function drawnBackdrop(text, box, paper) {
    const drawing = outermost(text);
    let found = backdrop(drawing, paper);
    for (const shape of drawing.querySelectorAll(SHAPES)) {
      if (!(shape.compareDocumentPosition(text) & Node.DOCUMENT_POSITION_FOLLOWING)) break;
      if (!rendered(shape) || shape.closest("defs, symbol, clipPath, mask, marker, pattern")) continue;
      const style = getComputedStyle(shape);
      if (style.fill === "none") continue;
      const middle = new DOMPoint(box.left + box.width / 2, box.top + box.height / 2);
      if (!shape.isPointInFill(middle.matrixTransform(shape.getScreenCTM().inverse()))) continue;
      if (style.fill.startsWith("url(")) {
        found = null;
        continue;
      }
      const fill = colour(style.fill);
      const alpha = fill.alpha * Number(style.fillOpacity) * opacity(shape);
      if (alpha === 1 || found) found = over(fill, alpha, found ?? fill);
    }
    return found;
  }

  function outermost(element) {
    let drawing = element.closest("svg");
    while (drawing.parentElement?.closest("svg")) drawing = drawing.parentElement.closest("svg");
    return drawing;
  }

  function opacity(element) {
    let product = 1;
    for (let at = element; at; at = at.parentElement) product *= Number(getComputedStyle(at).opacity);
    return product;
  }

  // What axe-core has reported the contrast of.
  let covered = new Set();

  // Every text whose contrast with what is behind it is below what WCAG 2.2 asks for (1.4.3). axe-core does not decide about
  // the text of drawings, nor about text that has the very colour of its background.
  function contrast(paper) {
    const findings = [];
    const seen = new Set();
    for (const node of textNodes(document.body)) {
      const element = node.parentElement;
      if (seen.has(element) || (!paper && covered.has(element)) || !painted(node)) continue;
      seen.add(element);
      const style = getComputedStyle(element);
      const drawn = isSvg(element);
      const ink = drawn ? style.fill : style.color;
      const range = document.createRange();
      range.selectNodeContents(node);
      let behind = drawn ? drawnBackdrop(element, range.getBoundingClientRect(), paper) : backdrop(element, paper);
      if (ink.startsWith("url(")) behind = null;
      if (!behind) {
        const what = "has a contrast that can't be computed: there is a picture or a gradient behind it";
        findings.push({ rule: "text-contrast", what, where: place(element), level: "note" });
        continue;
      }
      const top = ink === "none" ? { ...behind, alpha: 0 } : colour(ink);
      const alpha = top.alpha * opacity(element) * (drawn ? Number(style.fillOpacity) : 1);
      const front = over(top, alpha, behind);
      const scale = drawn ? Math.abs(element.getScreenCTM().a) : 1;
      const size = parseFloat(style.fontSize) * scale;
      const large = size >= 24 || (size >= 18.66 && Number(style.fontWeight) >= 700);
      const found = ratio(front, behind);
      const asked = large ? 3 : 4.5;
      if (found < asked) {
        const ground = paper ? "paper" : "what is behind it";
        findings.push({
          rule: paper ? "print-contrast" : "text-contrast",
          what: `${hex(front)} on ${ground} (${hex(behind)}) has a contrast of ${found.toFixed(2)}, below ${asked}`,
          where: place(element),
        });
      }
    }
    return findings;
  }

  // What violates axe-core's rules and what it can't decide. The contrast of a text it leaves undecided is computed by `contrast`;
  // what remains is text that something may lie on. Where colours are forced on a page it reads a property that keeps the
  // author's colour, and so judges a text that nobody sees.
  async function axeFindings(tags, forced) {
    const found = await axe.run(document, {
      runOnly: { type: "tag", values: tags },
      resultTypes: ["violations", "incomplete"],
      elementRef: true,
      rules: { "color-contrast": { enabled: !forced } },
    });
    covered = new Set(
      found.violations
        .filter((rule) => rule.id === "color-contrast")
        .flatMap((rule) => rule.nodes.map((n) => n.element)),
    );
    const open = (rule, node) =>
      rule.id !== "color-contrast" ||
      (node.any.some((check) => check.data?.messageKey === "bgOverlap") && !node.element.closest("[tabindex='0']"));
    const plain = (rule, nodes) =>
      nodes.map((node) => ({
        rule: rule.id,
        impact: node.impact ?? rule.impact,
        what: [...node.any, ...node.all, ...node.none].map((check) => check.message).join("; ") || rule.help,
        where: place(node.element),
      }));
    return {
      rules: found.passes.length + found.violations.length,
      violations: found.violations.flatMap((rule) => plain(rule, rule.nodes)),
      undecided: found.incomplete.flatMap((rule) =>
        plain(
          rule,
          rule.nodes.filter((node) => open(rule, node)),
        ),
      ),
    };
  }

  // Text of drawings that is cut off at the edge of its drawing or lies on other text.
  function drawings() {
    const findings = [];
    for (const drawing of document.querySelectorAll("svg")) {
      if (outermost(drawing) !== drawing || !rendered(drawing)) continue;
      const edge = drawing.getBoundingClientRect();
      const texts = [...drawing.querySelectorAll("text")].filter((text) => rendered(text) && text.textContent.trim());
      const boxes = texts.map((text) => text.getBoundingClientRect());
      texts.forEach((text, index) => {
        const box = boxes[index];
        const out = Math.max(
          edge.left - box.left,
          box.right - edge.right,
          edge.top - box.top,
          box.bottom - edge.bottom,
        );
        if (out > box.height / 3 && getComputedStyle(drawing).overflow !== "visible") {
          findings.push({ rule: "text-cut", what: "is cut off at the edge of its drawing", where: place(text) });
        }
        // The box of a text that is turned says little about where the text is.
        if (text.getScreenCTM().b !== 0) return;
        for (let other = 0; other < index; other += 1) {
          if (texts[other].getScreenCTM().b !== 0) continue;
          const across = Math.min(box.right, boxes[other].right) - Math.max(box.left, boxes[other].left);
          const down = Math.min(box.bottom, boxes[other].bottom) - Math.max(box.top, boxes[other].top);
          if (across > 2 && down > 0.4 * Math.min(box.height, boxes[other].height)) {
            const what = `lies on another text of its drawing: ${place(texts[other])}`;
            findings.push({ rule: "text-overlap", what, where: place(text) });
          }
        }
      });
    }
    return findings;
  }

  // The document as such.
  function structure() {
    const findings = [];
    const add = (rule, what, element) => findings.push({ rule, what, where: element ? place(element) : "document" });
    if (document.compatMode !== "CSS1Compat") add("doctype", "has no <!doctype html> at its beginning");
    for (const script of document.querySelectorAll("script")) add("script", "is a script", script);
    for (const element of document.querySelectorAll("*")) {
      for (const { name, value } of element.attributes) {
        if (/^on/i.test(name)) add("script", `has the event handler ${name}`, element);
        if (/^\s*javascript:/i.test(value)) add("script", `has a script in ${name}`, element);
      }
    }
    const ids = new Set();
    for (const element of document.querySelectorAll("[id]")) {
      if (ids.has(element.id)) add("duplicate-id", `has the id "${element.id}" of an earlier element`, element);
      ids.add(element.id);
    }
    for (const drawing of document.querySelectorAll("svg")) {
      if (outermost(drawing) !== drawing || drawing.closest("[aria-hidden=true]")) continue;
      if (!label(drawing))
        add("svg-name", "has neither <title>, aria-label nor aria-labelledby, nor is it aria-hidden", drawing);
    }
    const states = [...document.querySelectorAll("[data-state]")];
    for (const element of states) {
      if (!element.dataset.state.trim()) add("state-text", "has an empty data-state", element);
      else if (!element.textContent.trim() && !label(element)) {
        add(
          "state-text",
          `shows the state "${element.dataset.state}" by its looks alone: no text, <title> or aria-label`,
          element,
        );
      }
    }
    return { findings, states: states.length };
  }

  // The name an element has besides its text; empty where it has none.
  function label(element) {
    const direct = element.getAttribute("aria-label")?.trim();
    if (direct) return direct;
    const ids = element.getAttribute("aria-labelledby")?.trim().split(/\s+/) ?? [];
    const others = ids
      .map((id) => document.getElementById(id)?.textContent.trim() ?? "")
      .join(" ")
      .trim();
    if (others) return others;
    const title = [...element.children].find((child) => child.localName === "title");
    return title?.textContent.trim() ?? "";
  }

  const LOADING = ["src", "srcset", "poster", "data", "background", "action", "formaction", "ping", "manifest"];

  // All that a document refers to: `links` are for readers, `loads` is what a browser would fetch by itself.
  function references() {
    const links = [];
    const loads = [];
    for (const element of document.querySelectorAll("*")) {
      const where = place(element);
      for (const name of LOADING) {
        const value = element.getAttribute(name);
        if (value !== null && (name !== "data" || element.localName === "object")) loads.push({ value, name, where });
      }
      const href = element.getAttribute("href") ?? element.getAttribute("xlink:href");
      if (href !== null) {
        if (element.localName === "base") links.push({ value: href, name: "base", where });
        else if (/^(a|area)$/.test(element.localName)) links.push({ value: href, name: "href", where });
        else loads.push({ value: href, name: "href", where });
      }
      const style = element.localName === "style" ? element.textContent : (element.getAttribute("style") ?? "");
      const painted = ["fill", "stroke", "filter", "mask", "clip-path", "marker-start", "marker-mid", "marker-end"]
        .map((name) => element.getAttribute(name) ?? "")
        .join(" ");
      for (const [, value] of `${style} ${painted}`.matchAll(/url\(\s*["']?([^"')]*)/gi)) {
        loads.push({ value, name: "url()", where });
      }
      if (/@import/i.test(style)) loads.push({ value: "@import", name: "style", where });
    }
    return { links, loads, ids: [...document.querySelectorAll("[id]")].map((element) => element.id) };
  }

  // The ids of another document, from its text; nothing of it is loaded or run.
  function idsOf(text) {
    const other = new DOMParser().parseFromString(text, "text/html");
    return [...other.querySelectorAll("[id]")].map((element) => element.id);
  }

  const scrolls = (value) => value === "auto" || value === "scroll";

  function scroller(element) {
    if (isSvg(element) || element === document.scrollingElement || element === document.body) return false;
    const style = getComputedStyle(element);
    return (
      (scrolls(style.overflowX) && element.scrollWidth > element.clientWidth + 1) ||
      (scrolls(style.overflowY) && element.scrollHeight > element.clientHeight + 1)
    );
  }

  // What makes a page wider than it is shown: the innermost elements that reach beyond its edge, the first three of them.
  function tooWide(rule, width, what) {
    if (document.scrollingElement.scrollWidth <= width) return [];
    const beyond = [...document.body.querySelectorAll("*")].filter((element) => {
      if (element.getBoundingClientRect().right <= width + 1 || !rendered(element)) return false;
      for (let at = element.parentElement; at && at !== document.body; at = at.parentElement) {
        if (getComputedStyle(at).overflowX !== "visible") return false;
      }
      return true;
    });
    const innermost = beyond.filter((element) => !beyond.some((other) => other !== element && element.contains(other)));
    const places = innermost.slice(0, 3).map(place);
    return (places.length > 0 ? places : ["document"]).map((where) => ({ rule, what, where }));
  }

  function overflow(width) {
    const wide = document.scrollingElement.scrollWidth;
    const what = `makes the page ${wide} px wide where ${width} px are shown; let it wrap or scroll in a region of its own`;
    const findings = tooWide("overflow", width, what);
    for (const element of document.body.querySelectorAll("*")) {
      if (!scroller(element) || !rendered(element)) continue;
      if (element.getAttribute("tabindex") !== "0") {
        findings.push({ rule: "scroll-region", what: 'scrolls, but has no tabindex="0"', where: place(element) });
      } else if (!element.getAttribute("role") || !label(element)) {
        findings.push({ rule: "scroll-region", what: "scrolls, but has no role with a name", where: place(element) });
      }
    }
    return findings;
  }

  // What a line has to show of a word that is longer, so that it can still be read.
  const BROKEN_CHARACTERS_MIN = 8;

  // Words that a narrow column takes apart; of each table, the one that suffers most. At a hyphen any word may be broken.
  function words() {
    const worst = new Map();
    const range = document.createRange();
    for (const node of textNodes(document.body)) {
      if (isSvg(node.parentElement) || !painted(node)) continue;
      for (const { 0: word, index } of node.data.matchAll(/\S+/g)) {
        range.setStart(node, index);
        range.setEnd(node, index + word.length);
        const lines = new Set([...range.getClientRects()].map((box) => Math.round(box.top))).size;
        const allowed = Math.max(Math.ceil(word.length / BROKEN_CHARACTERS_MIN), word.split("-").length);
        const group = node.parentElement.closest("table") ?? node.parentElement;
        if (lines > Math.max(allowed, worst.get(group)?.lines ?? 0)) worst.set(group, { word, lines });
      }
    }
    return [...worst].map(([group, { word, lines }]) => ({
      rule: "text-broken",
      what: `has "${word}" broken into ${lines} lines; give it more room, or let it scroll`,
      where: place(group),
    }));
  }

  // Whether the page is as light or as dark as the reader asks for.
  function scheme(asked) {
    const found = luminance(backdrop(document.body, false) ?? canvas()) > 0.4 ? "light" : "dark";
    if (found === asked) return [];
    return [{ rule: "scheme", what: `is ${found} where the reader prefers ${asked}`, where: "document" }];
  }

  // The keyboard. `stops` lists what Tab has to reach, in the order of the document; `stop` says where the focus is.
  const OPERABLE = "a[href], area[href], button, input:not([type=hidden]), select, textarea, iframe, [contenteditable]";
  const FOCUS_STYLES = [
    "outlineStyle",
    "outlineWidth",
    "outlineColor",
    "outlineOffset",
    "boxShadow",
    "backgroundColor",
    "color",
    "borderTopColor",
    "borderTopWidth",
    "borderBottomColor",
    "borderBottomWidth",
    "textDecorationLine",
    "textDecorationColor",
    "textDecorationThickness",
    "stroke",
    "strokeWidth",
  ];
  let listed = [];
  let last = null;

  const looks = (element) => {
    const style = getComputedStyle(element);
    return Object.fromEntries(FOCUS_STYLES.map((name) => [name, style[name]]));
  };

  function stops() {
    listed = [...document.querySelectorAll("*")]
      .filter((element) => {
        if (!rendered(element) || element.closest("[inert]") || element.disabled) return false;
        const summary = element.localName === "summary" && element.parentElement.querySelector("summary") === element;
        return element.matches(OPERABLE) || summary || element.tabIndex >= 0;
      })
      .map((element) => ({ element, before: looks(element) }));
    return listed.map(({ element }) => place(element));
  }

  function stop() {
    const element = document.activeElement;
    if (!element || element === document.body || element === document.documentElement) return { left: true };
    if (element === last) return { stuck: true, where: place(element), findings: [] };
    last = element;
    const index = listed.findIndex((entry) => entry.element === element);
    const findings = [];
    const where = place(element);
    if (index >= 0) {
      const unseen = focusUnseen(element, listed[index].before);
      if (unseen) findings.push({ rule: "focus-visible", what: unseen, where });
    }
    const box = element.getClientRects()[0];
    const shown = box && {
      left: Math.max(box.left, 0),
      right: Math.min(box.right, innerWidth),
      top: Math.max(box.top, 0),
      bottom: Math.min(box.bottom, innerHeight),
    };
    if (!shown || shown.left >= shown.right || shown.top >= shown.bottom) {
      findings.push({ rule: "focus-visible", what: "has the focus and is not on the screen", where });
    } else {
      const points = [0.5, 0.1, 0.9].flatMap((x) => [0.5, 0.1, 0.9].map((y) => [x, y]));
      const free = points.some(([x, y]) => {
        const hit = document.elementFromPoint(
          shown.left + (shown.right - shown.left) * x,
          shown.top + (shown.bottom - shown.top) * y,
        );
        return hit && (element.contains(hit) || hit.contains(element));
      });
      if (!free) findings.push({ rule: "focus-obscured", what: "has the focus and is covered by something", where });
    }
    return { index, where, findings };
  }

  // Why a reader does not see that an element has the focus; null where it is seen.
  function focusUnseen(element, before) {
    const after = looks(element);
    const changed = FOCUS_STYLES.filter((name) => after[name] !== before[name]);
    const ring =
      after.outlineStyle !== "none" && parseFloat(after.outlineWidth) > 0 && colour(after.outlineColor).alpha > 0;
    const others = changed.filter((name) => !name.startsWith("outline"));
    if (others.length > 0) return null;
    if (!ring || !changed.some((name) => name.startsWith("outline"))) return "looks the same with the focus as without";
    // The browser draws its own ring in two colours, one of which stands out anywhere.
    if (after.outlineStyle === "auto") return null;
    const behind = backdrop(element.parentElement ?? element, false);
    if (!behind) return null;
    const top = colour(after.outlineColor);
    const found = ratio(over(top, top.alpha, behind), behind);
    return found < 3 ? `has a ring with a contrast of ${found.toFixed(2)} when it has the focus, below 3` : null;
  }

  let opened = [];

  function openDetails() {
    opened = [...document.querySelectorAll("details:not([open])")];
    for (const details of opened) details.open = true;
  }

  function closeDetails() {
    for (const details of opened) details.open = false;
  }

  // Paper. `remember` notes all that a reader can get at on the screen, `lost` says what of it is not printed.
  let remembered = [];

  const content = () => document.querySelector("main") ?? document.body;

  function remember() {
    openDetails();
    const pictures = [...content().querySelectorAll("svg, img")].filter((element) => rendered(element));
    remembered = [...textNodes(content()).filter(painted), ...pictures];
    closeDetails();
  }

  function lost(width) {
    const findings = [];
    const reported = new Set();
    for (const node of remembered) {
      const text = node.nodeType === Node.TEXT_NODE;
      if (text ? painted(node) : rendered(node)) continue;
      const element = text ? node.parentElement : node;
      const details = element.closest("details:not([open])");
      const folded = details && !element.closest("summary");
      const named = folded ? details : element;
      if (reported.has(named)) continue;
      reported.add(named);
      findings.push(
        folded
          ? { rule: "print-details", what: "is closed on paper, and its content lost", where: place(details) }
          : { rule: "print-hidden", what: "is on the screen and not on paper", where: place(element) },
      );
    }
    for (const element of document.body.querySelectorAll("*")) {
      if (isSvg(element) || element.clientWidth <= 1 || element.clientHeight <= 1 || !rendered(element)) continue;
      const style = getComputedStyle(element);
      const across = style.overflowX !== "visible" && element.scrollWidth > element.clientWidth + 1;
      const down = style.overflowY !== "visible" && element.scrollHeight > element.clientHeight + 1;
      if (across || down) {
        const size = across
          ? `${element.scrollWidth} px wide, of which ${element.clientWidth}`
          : `${element.scrollHeight} px high, of which ${element.clientHeight}`;
        findings.push({ rule: "print-clipped", what: `is ${size} are printed`, where: place(element) });
      }
    }
    const wide = document.scrollingElement.scrollWidth;
    const what = `makes the page ${wide} px wide, and the paper has ${width} px; let it wrap`;
    findings.push(...tooWide("print-clipped", width, what));
    for (const element of [document.documentElement, document.body]) {
      const ground = colour(getComputedStyle(element).backgroundColor);
      if (luminance(over(ground, ground.alpha, WHITE)) < 0.95) {
        findings.push({
          rule: "print-background",
          what: `has the background ${hex(ground)} on paper`,
          where: element.localName,
        });
      }
    }
    return [...findings, ...contrast(true)];
  }

  globalThis.drillfoldPages = {
    axeFindings,
    closeDetails,
    contrast,
    drawings,
    idsOf,
    lost,
    openDetails,
    overflow,
    references,
    remember,
    scheme,
    stop,
    stops,
    structure,
    words,
  };
})();

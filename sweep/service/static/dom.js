// Elements and words. Whatever comes from a study becomes text, never markup.

/** An element: `h("a", {href: "/", class: "x", onclick: f}, "text", child)`. */
export function h(tag, attributes = {}, ...children) {
  return dress(document.createElement(tag), attributes, children);
}

/** The same for SVG. */
export function s(tag, attributes = {}, ...children) {
  return dress(document.createElementNS("http://www.w3.org/2000/svg", tag), attributes, children);
}

function dress(element, attributes, children) {
  for (const [name, value] of Object.entries(attributes)) {
    if (value === null || value === undefined || value === false) continue;
    if (name.startsWith("on")) element.addEventListener(name.slice(2), value);
    else element.setAttribute(name, value === true ? "" : value);
  }
  add(element, children);
  return element;
}

function add(element, children) {
  for (const child of children.flat(Infinity)) {
    if (child !== null && child !== undefined && child !== false) element.append(child);
  }
}

export function fill(element, ...children) {
  element.replaceChildren();
  add(element, children);
  return element;
}

export const byId = (id) => document.getElementById(id);

export function title(text) {
  document.title = text ? `${text} – sweep` : "sweep";
}

/** Fail aloud: a message in an alert region at the top of the content. */
export function alertBox(error, ...more) {
  return h("div", { class: "alert", role: "alert" }, h("p", {}, error.message ?? String(error)), more);
}

/** Say something to those who do not see it change. */
let announcer = null;
export function announce(text) {
  if (!announcer) {
    announcer = h("div", { class: "hidden", role: "status", "aria-live": "polite" });
    document.body.append(announcer);
  }
  announcer.textContent = text;
}

export function number(value, digits = 4) {
  if (value === null || value === undefined) return "–";
  if (value === 0) return "0";
  const size = Math.abs(value);
  if (size >= 1e6 || size < 1e-4) return value.toExponential(digits - 1);
  return String(Number(value.toPrecision(size >= 1000 ? Math.max(digits, 6) : digits)));
}

/** A measured value: four figures, so that columns line up. */
export function measured(value) {
  if (value === null || value === undefined) return "–";
  const size = Math.abs(value);
  return size !== 0 && (size >= 1e5 || size < 1e-3) ? value.toExponential(2) : value.toFixed(4);
}

export function duration(seconds) {
  if (seconds === null || seconds === undefined) return "–";
  if (seconds < 10) return `${seconds.toFixed(1)} s`;
  if (seconds < 100) return `${Math.round(seconds)} s`;
  if (seconds < 100 * 60) return `${Math.round(seconds / 60)} min`;
  if (seconds < 48 * 3600) return `${(seconds / 3600).toFixed(1)} h`;
  return `${Math.round(seconds / 86400)} days`;
}

/** A moment as <time>, in words of how long ago. */
export function ago(moment) {
  if (!moment) return "–";
  const date = new Date(moment);
  const seconds = (Date.now() - date) / 1000;
  let text = date.toLocaleDateString();
  if (seconds < 45) text = "just now";
  else if (seconds < 90 * 60) text = `${Math.max(1, Math.round(seconds / 60))} min ago`;
  else if (seconds < 36 * 3600) text = `${Math.round(seconds / 3600)} h ago`;
  else if (seconds < 14 * 86400) text = `${Math.round(seconds / 86400)} days ago`;
  return h("time", { datetime: moment, title: date.toLocaleString() }, text);
}

export const arrow = (objective) => (objective.direction === "minimize" ? "↓" : "↑");

export function better(objective) {
  return `${objective.direction === "minimize" ? "lower" : "higher"} is better`;
}

/** `top_100_accuracy` is "top-100 accuracy", as in the reports. */
export function metricLabel(metric) {
  return metric
    .replace("per_user_", "per-user ")
    .replace("unseen_", "unseen ")
    .replace(/top_(\d+)_/, "top-$1 ")
    .replace("rmse", "RMSE");
}

export function stateBadge(state, id = null) {
  return h("span", { class: `state state-${state}`, id }, state);
}

/** Done of asked, as a bar and in figures. */
export function progress(study, id = null) {
  const asked = study.asked;
  const words = asked ? `${study.done} of ${asked}` : `${study.done} trials`;
  const bar = asked
    ? h("progress", { max: asked, value: Math.min(study.done, asked), "aria-label": `trials done, ${words}` })
    : null;
  const failed = study.failed ? h("span", { class: "failed" }, `, ${study.failed} failed`) : null;
  return h("span", { class: "progress", id }, bar, h("span", {}, words, failed));
}

/** A box that scrolls sideways by itself, so that the page does not. */
export function scroller(label, ...children) {
  return h("div", { class: "scroll", tabindex: "0", role: "region", "aria-label": label }, children);
}

export function table(caption, heads, rows, attributes = {}) {
  return h("table", attributes,
    h("caption", { class: attributes.visible ? null : "hidden" }, caption),
    h("thead", {}, h("tr", {}, heads.map((head) => (head instanceof Node ? head : h("th", { scope: "col" }, head))))),
    h("tbody", {}, rows.map((cells) => h("tr", {}, cells.map((cell) =>
      cell instanceof Element && (cell.tagName === "TD" || cell.tagName === "TH") ? cell : h("td", {}, cell))))));
}

/** A label above its input. */
export function field(label, input, hint = null) {
  const note = hint ? h("span", { class: "hint", id: `${input.id}-hint` }, hint) : null;
  if (note) input.setAttribute("aria-describedby", note.id);
  return h("div", { class: "field" }, h("label", { for: input.id }, label), input, note);
}

/** Copy a text, also where the page is not served safely enough for the clipboard's own API. */
export async function copy(element) {
  try {
    await navigator.clipboard.writeText(element.textContent);
    return true;
  } catch {
    const range = document.createRange();
    range.selectNodeContents(element);
    const selection = getSelection();
    selection.removeAllRanges();
    selection.addRange(range);
    return document.execCommand("copy");
  }
}

export function copyButton(element) {
  const button = h("button", { type: "button", class: "small" }, "Copy");
  button.addEventListener("click", async () => {
    button.textContent = (await copy(element)) ? "Copied" : "Selected: press Ctrl+C";
    announce(button.textContent);
    setTimeout(() => (button.textContent = "Copy"), 2500);
  });
  return button;
}

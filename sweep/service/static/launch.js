// Launching: a study file or a text, its ranges and its budget in a form, checked as one types.

import { api, call, debounced } from "./api.js";
import { alertBox, announce, arrow, byId, copyButton, duration, field, fill, h, scroller, title } from "./dom.js";

const BUDGETS = ["trials", "minutes", "replicates"];

/** A key that no other launch has; kept until the launch went through, so that none runs twice. */
function newKey() {
  if (crypto.randomUUID) return crypto.randomUUID();
  const bytes = crypto.getRandomValues(new Uint8Array(16)); // over plain HTTP from another machine
  return [...bytes].map((byte) => byte.toString(16).padStart(2, "0")).join("");
}

export async function launchPage(main) {
  title("Launch a study");
  let key = newKey();
  let mode = "file";
  let turn = 0;
  let running = null;
  let checked = null;
  let shape = "";
  const edited = new Map(); // override key → text, of what the reader has changed

  const file = h("select", { id: "file" });
  const text = h("textarea", { id: "text", spellcheck: "false", autocomplete: "off", autocapitalize: "off", "aria-describedby": "problems", wrap: "off" });
  const comment = h("p", { class: "hint", id: "file-comment" });
  const radios = ["file", "text"].map((value) => h("input", { type: "radio", name: "source", id: `source-${value}`, value, checked: value === mode }));
  const name = h("input", { type: "text", id: "name", autocomplete: "off", spellcheck: "false", maxlength: "100" });
  const ranges = h("fieldset", { id: "ranges" });
  const budgets = h("fieldset", { id: "budget" });
  const problems = h("div", { id: "problems", role: "alert" });
  const estimate = h("p", { id: "estimate", role: "status" }, "–");
  const facts = h("p", { class: "dim", id: "checked" });
  const command = h("code", { id: "launch-command", tabindex: "0" });
  const button = h("button", { type: "submit", class: "primary", id: "launch", disabled: true }, "Launch");
  const notice = h("div", { id: "notice" });
  const preview = h("code", { id: "file-text" });
  const fileBox = h("div", {},
    field("Study file", file), comment,
    h("button", { type: "button", id: "edit-text", class: "small", onclick: editText }, "Edit its text"),
    scroller("Text of the study file", h("pre", {}, preview)));
  const textBox = h("div", { hidden: true }, h("div", { class: "field" }, h("label", { for: "text" }, "Text of the study file (TOML)"), text));

  const form = h("form", { class: "launch-grid" },
    h("div", {},
      h("section", { class: "card", "aria-labelledby": "what-title" }, h("h2", { id: "what-title" }, "What"),
        h("fieldset", {}, h("legend", { class: "hidden" }, "Source"),
          h("div", { class: "row controls" }, radios.map((radio, order) => h("label", { class: "check", for: radio.id }, radio, ["A study file", "A text"][order])))),
        fileBox, textBox)),
    h("div", {},
      h("section", { class: "card", "aria-labelledby": "change-title" }, h("h2", { id: "change-title" }, "Change"),
        field("Name", name, "Empty: the name in the file."), ranges, budgets),
      h("section", { class: "card", "aria-labelledby": "go-title" }, h("h2", { id: "go-title" }, "Launch"),
        problems, facts, estimate,
        h("div", { class: "row" }, button),
        h("p", { class: "label" }, "The same on the command line"),
        h("div", { class: "command" }, command, copyButton(command)))));
  fill(main, h("div", { class: "head" }, h("h1", {}, "Launch a study")), notice, form);

  function draft() {
    const overrides = [...edited].filter(([, value]) => value !== "").map(([at, value]) => `${at}=${value}`);
    if (name.value.trim()) overrides.unshift(`name=${JSON.stringify(name.value.trim())}`);
    return mode === "file" ? { file: file.value, overrides } : { text: text.value, overrides };
  }

  async function check() {
    const mine = ++turn;
    running?.abort();
    running = new AbortController();
    if (mode === "file" ? !file.value : !text.value.trim()) {
      show(null);
      return;
    }
    try {
      const answer = await call(api("/drafts"), { body: draft(), signal: running.signal });
      if (mine === turn) show(answer);
    } catch (error) {
      if (error.name === "AbortError" || mine !== turn) return;
      show(null);
      fill(problems, h("p", { class: "alert" }, error.message));
    }
  }
  const soon = debounced(check, 300);
  /** What was checked is not what is there any more: no launch until it is checked again. */
  function changed() {
    key = newKey(); // another launch
    button.disabled = true;
    soon();
  }

  function show(answer) {
    checked = answer;
    button.disabled = !answer?.valid;
    const list = answer?.problems ?? [];
    const known = [...problems.querySelectorAll("li")].map((item) => item.textContent);
    // The same problems again are not read out again.
    if (known.join("\n") !== list.join("\n") || !list.length) {
      fill(problems, list.length ? h("div", { class: "alert" }, h("p", {}, list.length === 1 ? "One problem:" : `${list.length} problems:`), h("ul", {}, list.map((line) => h("li", {}, line)))) : null);
    }
    text.setAttribute("aria-invalid", String(mode === "text" && list.length > 0));
    const { seconds = null, text: reckoning = "–" } = answer?.estimate ?? {};
    estimate.textContent = seconds === null ? `Time: ${reckoning}` : `About ${duration(seconds)}: ${reckoning}`;
    fill(facts, answer?.valid ? [
      h("strong", {}, answer.name ?? ""), answer.dataset && ` on ${answer.dataset}`,
      answer.objectives.length ? `: ${answer.objectives.map((one) => `${one.label} ${arrow(one)}`).join(", ")}. ` : ". ",
      answer.exists && h("span", { id: "exists" }, "The store has a study of that name already; launching goes on with it."),
    ] : null);
    command.textContent = answer?.command ?? "";
    name.placeholder = !name.value && answer?.name ? answer.name : name.placeholder;
    if (answer && (answer.valid || answer.ranges.length || Object.keys(answer.budget).length)) drawForm(answer);
  }

  /** Inputs stay as long as the keys do, so that none loses its focus while one types. */
  function drawForm(answer) {
    const keys = BUDGETS.concat(Object.keys(answer.budget).filter((one) => !BUDGETS.includes(one)));
    const now = JSON.stringify([answer.ranges.map((range) => range.key), keys]);
    if (now !== shape) {
      shape = now;
      fill(ranges, h("legend", {}, "Ranges to search"), answer.ranges.length > 0 && h("div", { class: "ranges ends", "aria-hidden": "true" }, h("span"), h("span", {}, "Low"), h("span", {}, "High")), answer.ranges.length ? answer.ranges.map((range) => h("div", { class: "ranges" },
        h("span", { class: "label", id: `label-${range.key}` }, words(range.key), h("small", {}, range.log ? " (log)" : "")),
        ["low", "high"].map((end) => numberInput(`${range.key}-${end}`, `${overrideKey(range.key)}.${end}`, { "aria-label": `${words(range.key)}, ${end}` })))) : h("p", { class: "dim" }, "No range is searched."));
      fill(budgets, h("legend", {}, "Budget"), h("div", { class: "budgets" },
        keys.map((one) => field(words(one), numberInput(`${one}-budget`, `budget.${one}`, {})))));
    }
    for (const range of answer.ranges) {
      for (const end of ["low", "high"]) put(`${range.key}-${end}`, `${overrideKey(range.key)}.${end}`, range[end]);
    }
    for (const one of keys) put(`${one}-budget`, `budget.${one}`, answer.budget[one]);
  }

  function numberInput(id, at, more) {
    const input = h("input", { type: "number", id, step: "any", placeholder: "not set", ...more });
    input.addEventListener("input", () => {
      // An emptied field is what the file says again; a number that is not one is the file's as well.
      if (input.value === "") edited.delete(at);
      else edited.set(at, input.value);
      changed();
    });
    input.addEventListener("blur", () => checked && drawForm(checked));
    return input;
  }

  function put(id, at, value) {
    const input = byId(id);
    if (edited.has(at) || input === document.activeElement) return;
    input.value = value === undefined || value === null ? "" : String(Number(value.toPrecision(12)));
  }

  function forgetEdits() {
    edited.clear();
    shape = "";
  }

  function setMode(wanted) {
    mode = wanted;
    for (const radio of radios) radio.checked = radio.value === wanted;
    fileBox.hidden = wanted !== "file";
    textBox.hidden = wanted !== "text";
  }

  async function editText() {
    try {
      const answer = await call(api(`/study-files/${encodeURIComponent(file.value)}`));
      text.value = answer.text;
      setMode("text");
      text.focus();
      text.setSelectionRange(0, 0);
      text.scrollTop = 0;
      changed();
    } catch (error) {
      fill(notice, alertBox(error));
    }
  }

  for (const radio of radios) {
    radio.addEventListener("change", () => {
      setMode(radio.value);
      forgetEdits();
      changed();
    });
  }
  let files = [];
  async function describe() {
    const found = files.find((one) => one.file === file.value);
    comment.textContent = found?.problem ?? found?.comment ?? "";
    comment.classList.toggle("bad", Boolean(found?.problem));
    preview.textContent = "";
    if (!found) return;
    const answer = await call(api(`/study-files/${encodeURIComponent(found.file)}`)).catch(() => null);
    if (file.value === found.file) preview.textContent = answer?.text ?? "";
  }
  file.addEventListener("change", () => {
    forgetEdits();
    name.placeholder = "";
    describe();
    changed();
  });
  text.addEventListener("input", changed);
  name.addEventListener("input", changed);

  form.addEventListener("submit", async (event) => {
    event.preventDefault();
    if (!checked?.valid || button.disabled) return;
    button.disabled = true;
    button.textContent = "Launching…";
    try {
      const study = await call(api("/studies"), { body: { ...draft(), key } });
      announce(`${study.name} is launched.`);
      location.assign(`/studies/${encodeURIComponent(study.name)}`);
    } catch (error) {
      fill(problems, h("p", { class: "alert" }, error.message));
      button.disabled = false;
      button.textContent = "Launch";
    }
  });

  addEventListener("pageshow", (event) => {
    if (!event.persisted) return; // come back to, with the launch behind it
    button.textContent = "Launch";
    changed();
  });

  try {
    ({ files } = await call(api("/study-files")));
    fill(file, files.map((one) => h("option", { value: one.file }, one.name && one.name !== one.file.replace(/\.toml$/, "") ? `${one.file} (${one.name})` : one.file)));
    const wanted = new URLSearchParams(location.search).get("file");
    if (wanted && files.some((one) => one.file === wanted)) file.value = wanted;
    if (!files.length) setMode("text");
    describe();
    await check();
  } catch (error) {
    fill(notice, alertBox(error));
  }
}

const overrideKey = (key) => (key.includes(".") ? key : `search_space.${key}`);

const words = (key) => {
  const last = key.replace(/^search_space\./, "").replaceAll("_", " ");
  return last[0].toUpperCase() + last.slice(1);
};

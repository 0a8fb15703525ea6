// Choosing a trial by a rule, and taking it home: weights, model, tables, pictures, the command.

import { api, call, debounced, studyPath } from "./api.js";
import { alertBox, announce, arrow, byId, copyButton, field, fill, h, number } from "./dom.js";

/**
 * The panel to choose with. `onChosen(marks)` hears of `chosen` (a number or null) and `wish`.
 *
 * Returns {element, refresh(study, points), wishAt(x, y), wishing(), chooseTrial(number)}.
 */
export function choosing(name, onChosen) {
  const sentence = h("p", { id: "choice-sentence", role: "status", "aria-live": "polite" });
  const trialName = h("strong", { id: "choice-trial" }, "–");
  const problem = h("div");
  const command = h("code", { id: "export-command", tabindex: "0" });
  const exports = h("fieldset", { class: "exports", disabled: true });
  const status = h("div", { class: "export-status", role: "status" });
  const rules = ["knee", "constraint", "utility", "wish", "trial"];
  let study = null;
  let points = null;
  let rule = "knee";
  let chosen = null;
  let asked = 0;
  let version = null;

  const radios = Object.fromEntries(rules.map((key) => [key, h("input", { type: "radio", name: "rule", id: `rule-${key}`, value: key, checked: key === "knee" })]));
  const details = Object.fromEntries(rules.map((key) => [key, h("div", { class: "rule-detail", hidden: key !== "knee" })]));
  const WORDS = {
    knee: ["Knee", "where more of one costs the most of the other"],
    constraint: ["Constraint", "at least this good in one, then the best in the other"],
    utility: ["Utility", "the best weighted sum of both"],
    wish: ["Wish", "the nearest to what you would like"],
    trial: ["A trial", "by its number"],
  };

  const metric = h("select", { id: "constraint-metric" });
  const bound = h("input", { type: "number", id: "constraint-value", step: "any" });
  const slider = h("input", { type: "range", id: "constraint-slider", step: "any" });
  const share = h("input", { type: "range", id: "utility-share", min: "0", max: "100", step: "1", value: "50" });
  const shareText = h("output", { for: "utility-share", id: "utility-text" });
  const wishX = h("input", { type: "number", id: "wish-x", step: "any" });
  const wishY = h("input", { type: "number", id: "wish-y", step: "any" });
  const trial = h("input", { type: "number", id: "rule-number", min: "0", step: "1" });

  const objective = () => study.objectives.find((one) => one.metric === metric.value) ?? study.objectives[0];
  const limits = () => {
    const values = objective() === study.objectives[0] ? points.x : points.y;
    const judged = values.filter((_, row) => points.state[row] === "complete");
    return judged.length ? [Math.min(...judged), Math.max(...judged)] : [0, 1];
  };

  /** The rule as the command line has it; null while something is not filled in. */
  function text() {
    const [x, y] = study.objectives;
    if (rule === "knee") return "knee";
    if (rule === "constraint") {
      if (bound.value === "") return null;
      const one = objective();
      return `${one.metric}${one.direction === "minimize" ? "<=" : ">="}${bound.valueAsNumber}`;
    }
    if (rule === "utility") {
      const part = share.valueAsNumber / 100;
      return `utility:${x.metric}=${(1 - part).toFixed(2)},${y.metric}=${part.toFixed(2)}`;
    }
    if (rule === "wish") {
      if (wishX.value === "" || wishY.value === "") return null;
      return `reference:${x.metric}=${wishX.valueAsNumber},${y.metric}=${wishY.valueAsNumber}`;
    }
    return trial.value === "" ? null : `trial:${trial.valueAsNumber}`;
  }

  const wish = () => (rule === "wish" && wishX.value !== "" && wishY.value !== "" ? [wishX.valueAsNumber, wishY.valueAsNumber] : null);

  async function choose() {
    const wanted = text();
    const turn = ++asked;
    if (wanted === null) {
      show(null, rule === "wish" ? "Click on the plot, or fill in both values." : "Fill in a value.");
      return;
    }
    if (!points.state.includes("complete")) {
      show(null, "No trial is complete yet, so there is nothing to choose from.");
      return;
    }
    try {
      const selection = await call(`${studyPath(name)}/selection?rule=${encodeURIComponent(wanted)}`);
      if (turn === asked) show(selection, selection.reason);
    } catch (error) {
      if (turn === asked) show(null, error.message, error.status !== 409);
    }
  }
  const soon = debounced(choose, 150);

  function show(selection, words, wrong = false) {
    chosen = selection;
    if (sentence.textContent !== words) sentence.textContent = words;
    sentence.classList.toggle("bad", wrong);
    trialName.textContent = selection ? `Trial ${selection.trial}` : "No trial";
    command.textContent = selection ? selection.command : "";
    exports.disabled = !selection;
    byId("export-box").hidden = !selection;
    onChosen({ chosen: selection?.trial ?? null, wish: wish() });
  }

  function pick(key) {
    rule = key;
    for (const one of rules) {
      radios[one].checked = one === key;
      details[one].hidden = one !== key;
    }
    if (key === "constraint" && bound.value === "") resetBound();
    if (key === "utility") labelShare();
    byId("front-plot")?.classList.toggle("wishing", key === "wish");
  }

  function resetBound() {
    const [low, high] = limits();
    const best = objective().direction === "minimize" ? low : high;
    const middle = best + 0.3 * (low + high - 2 * best);
    bound.value = String(Number(middle.toPrecision(4)));
    rangeSlider();
    slider.value = bound.value;
  }

  function rangeSlider() {
    const [low, high] = limits();
    slider.min = String(low);
    slider.max = String(high);
  }

  function labelShare() {
    const [x, y] = study.objectives;
    const value = share.valueAsNumber;
    shareText.textContent = `${100 - value} % ${x.label}, ${value} % ${y.label}`;
    share.setAttribute("aria-valuetext", shareText.textContent);
  }

  for (const key of rules) {
    radios[key].addEventListener("change", () => {
      pick(key);
      choose();
    });
  }
  metric.addEventListener("change", () => {
    resetBound();
    choose();
  });
  slider.addEventListener("input", () => {
    bound.value = String(Number(slider.valueAsNumber.toPrecision(4)));
    soon();
  });
  bound.addEventListener("input", () => {
    slider.value = bound.value;
    soon();
  });
  share.addEventListener("input", () => {
    labelShare();
    soon();
  });
  for (const input of [wishX, wishY, trial]) input.addEventListener("input", soon);

  // Exports ---------------------------------------------------------------------------------------

  async function take(model) {
    const wanted = chosen.rule;
    const buttons = exports.querySelectorAll("button");
    for (const button of buttons) button.disabled = true;
    const bar = h("progress", { "aria-label": "exporting" });
    const log = h("pre", { class: "log" });
    fill(status, h("p", {}, model ? "Training and packing the model… " : "Exporting the weights… ", bar), model && log);
    try {
      let answer = await call(`${studyPath(name)}/exports`, { body: { rule: wanted, model } });
      while (answer.state === "running") {
        log.textContent = answer.log.slice(-4).join("\n");
        await new Promise((done) => setTimeout(done, model ? 1000 : 300));
        answer = await call(api(`/exports/${encodeURIComponent(answer.id)}`));
      }
      if (answer.state === "failed") throw new Error(answer.message ?? "The export failed.");
      const links = Object.entries(answer.files).map(([kind, address]) =>
        h("a", { href: address, download: `${name}-${kind}${kind === "model" ? ".zip" : ".json"}`, id: kind === (model ? "model" : "weights") ? "export-link" : null }, `Download the ${kind}`));
      fill(status, h("p", {}, "Ready: ", links.map((link, order) => [order ? ", " : "", link]), "."));
      announce("The export is ready.");
      byId("export-link")?.click();
    } catch (error) {
      fill(status, alertBox(error));
    }
    for (const button of buttons) button.disabled = false;
  }

  const path = studyPath(name);
  const link = (address, words) => h("a", { href: address, download: "" }, words);
  const pictures = ["front", "weights", "hypervolume", "curves"];
  fill(exports, h("legend", {}, "Export this trial"),
    h("div", { class: "row" },
      h("button", { type: "button", id: "export-weights", class: "primary", onclick: () => take(false) }, "Weights (JSON)"),
      h("button", { type: "button", id: "export-model", onclick: () => take(true) }, "Model (zip)")));

  const element = h("section", { class: "card choose", "aria-labelledby": "choose-title" },
    h("h2", { id: "choose-title" }, "Choose"),
    h("fieldset", { class: "rules" }, h("legend", { class: "hidden" }, "Rule"),
      rules.map((key) => h("div", { class: "rule" },
        h("label", { class: "check", for: `rule-${key}` }, radios[key], h("span", {}, h("b", {}, WORDS[key][0]), h("small", {}, WORDS[key][1]))),
        details[key]))),
    h("div", { class: "choice" }, trialName, sentence),
    problem,
    h("div", { id: "export-box", hidden: true },
      exports, status,
      h("p", { class: "label", id: "command-label" }, "The same on the command line"),
      h("div", { class: "command" }, command, copyButton(command))),
    h("details", { class: "downloads" }, h("summary", {}, "Tables and pictures"),
      h("ul", {},
        h("li", {}, "CSV: ", link(`${path}/tables/trials.csv`, "all trials"), ", ", link(`${path}/tables/front.csv`, "front")),
        pictures.map((kind) => h("li", {}, `${kind[0].toUpperCase()}${kind.slice(1)}: `, ["png", "svg"].map((format, order) => [order ? ", " : "", h("a", { href: `${path}/pictures/${kind}.${format}`, download: "", id: `picture-${kind}-${format}`, "aria-label": `${kind} as ${format.toUpperCase()}` }, format.toUpperCase())]))))));

  function build() {
    const [x, y] = study.objectives;
    fill(metric, study.objectives.map((one) => h("option", { value: one.metric }, `${one.label} ${one.direction === "minimize" ? "at most" : "at least"}`)));
    fill(details.constraint, field("Bound on", metric), h("div", { class: "pair" },
      h("div", { class: "field grow" }, h("label", { for: "constraint-slider" }, "Bound"), slider),
      h("div", { class: "field" }, h("label", { for: "constraint-value" }, "Value"), bound)));
    fill(details.utility, h("div", { class: "field" }, h("label", { for: "utility-share" }, `Share of ${y.label}`), share, shareText));
    fill(details.wish, h("p", { class: "hint" }, "Click on the plot, or type."), h("div", { class: "pair" },
      field(`${x.label} ${arrow(x)}`, wishX), field(`${y.label} ${arrow(y)}`, wishY)));
    fill(details.trial, field("Number", trial));
  }

  return {
    element,
    wishing: () => rule === "wish",
    wishAt(x, y) {
      wishX.value = number(x, 4);
      wishY.value = number(y, 4);
      choose();
    },
    chooseTrial(wanted) {
      trial.value = String(wanted);
      pick("trial");
      return choose();
    },
    async refresh(newStudy, newPoints) {
      const first = study === null;
      [study, points] = [newStudy, newPoints];
      if (first) build();
      if (!first && version === points.version) return;
      version = points.version;
      if (bound.value !== "") rangeSlider();
      await choose();
    },
  };
}

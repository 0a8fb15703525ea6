// The page of one study: header first, then the plots, choosing, the table and the failures, live.

import { call, listen, studyPath, throttled } from "./api.js";
import { choosing } from "./choose.js";
import { ago, alertBox, announce, arrow, better, byId, duration, fill, h, measured, metricLabel, number, progress, scroller, stateBadge, table } from "./dom.js";
import * as plots from "./plots.js";

const PAGE = 25;

export async function studyPage(main, name, early) {
  const { study: first, error } = await early;
  if (error) {
    fill(main, h("h1", {}, name), alertBox(error), h("p", {}, h("a", { href: "/" }, "To the studies")));
    return;
  }
  const path = studyPath(name);
  let study = first;
  let points = null;
  let front = null;
  const marks = { chosen: null, selected: null, wish: null };

  // Header ---------------------------------------------------------------------------------------

  const header = h("div", { class: "study-header" });
  const notice = h("div", { id: "notice" });
  const trouble = h("div", { id: "trouble" }); // of reading; it goes away by itself

  async function act(verb, method = "POST") {
    try {
      const url = method === "DELETE" ? path : `${path}/${verb}`;
      study = await call(url, { method, body: {} });
      notice.replaceChildren();
      drawHeader();
      announce(`${name}: ${study.archived ? "archived" : study.state}`);
      if (method === "DELETE") {
        fill(notice, h("p", { class: "undo", role: "status" }, "The study is archived; nothing of it is lost. ",
          h("button", { type: "button", class: "small", id: "undo", onclick: () => act("restore") }, "Undo")));
        byId("undo").focus();
      }
    } catch (problem) {
      fill(notice, alertBox(problem));
    }
  }

  function drawHeader() {
    const held = document.activeElement?.closest?.(".actions button")?.id;
    const button = (id, words, action, shown, look = null) => shown && h("button", { type: "button", id, class: look, onclick: action }, words);
    const busy = ["running", "queued"].includes(study.state);
    const archived = Boolean(study.archived);
    const actions = h("div", { class: "actions row" },
      button("stop", "Stop", () => act("stop"), busy && !archived),
      button("resume", "Resume", () => act("resume"), ["stopped", "failed", "idle"].includes(study.state) && !archived, "primary"),
      button("archive", "Archive", () => act("", "DELETE"), !archived && !busy && study.state !== "stopping"),
      button("restore", "Restore", () => act("restore"), archived));
    const message = study.problem ?? study.message;
    fill(header,
      h("p", { class: "crumb" }, h("a", { href: "/" }, "Studies"), " / "),
      h("div", { class: "head" },
        h("div", { class: "title-row" }, h("h1", {}, study.name), stateBadge(archived ? "archived" : study.state, "state"), progress(study, "progress")),
        actions),
      message && h("p", { class: study.problem || study.state === "failed" ? "note bad" : "note" }, message),
      h("dl", { class: "facts" },
        study.objectives.map((objective) => fact(`Best ${objective.label} ${arrow(objective)}`, measured(study.best[objective.metric]), better(objective))),
        fact("Replicated", String(study.replicated)),
        study.seconds_left !== null && fact("Time left", `about ${duration(study.seconds_left)}`),
        fact("Last activity", ago(study.last_activity))));
    if (held) byId(held)?.focus();
  }

  function fact(term, value, hint = null) {
    return h("div", {}, h("dt", { title: hint }, term), h("dd", {}, value));
  }

  // The parts of the page ------------------------------------------------------------------------

  const plot = (id, label) => h("div", { id, class: "plot", role: "img", "aria-label": label });
  const [x, y] = study.objectives;
  const axes = x && y ? `${x.label} against ${y.label}` : "";
  const frontPlot = plot("front-plot", `Pareto front: ${axes}; the same values are in the table of trials`);
  const planePlot = plot("plane-plot", "The loss weights of every trial; the same values are in the table of trials");
  const volumePlot = plot("hypervolume-plot", "Hypervolume over trials");
  const frontNote = h("p", { class: "dim", id: "front-note" });
  const colour = h("select", { id: "plane-colour" });
  const across = h("select", { id: "plane-x" });
  const up = h("select", { id: "plane-y" });
  const planeControls = h("div", { class: "row controls" },
    h("label", { for: "plane-colour" }, "Colour"), colour,
    h("span", { class: "row", id: "plane-axes" }, h("label", { for: "plane-x" }, "Across"), across, h("label", { for: "plane-y" }, "Up"), up));
  const panel = h("section", { class: "card", id: "trial", "aria-labelledby": "trial-title", hidden: true });
  const trials = trialsTable(name, () => study, showTrial);
  const failures = h("div", { id: "failures" });
  const chooser = choosing(name, (marked) => {
    const same = marks.chosen === marked.chosen && String(marks.wish) === String(marked.wish);
    Object.assign(marks, marked);
    if (!same) drawMarks();
  });
  const zoom = (element) => h("button", { type: "button", class: "small reset", onclick: () => plots.resetZoom(element) }, "Reset zoom");

  drawHeader();
  const body = h("div", { class: "body" },
    h("div", { class: "grid wide" },
      h("section", { class: "card", "aria-labelledby": "front-title" },
        h("div", { class: "head" }, h("h2", { id: "front-title" }, "Pareto front"),
          h("div", { class: "row" }, h("button", { type: "button", class: "small", id: "show-all", onclick: () => plots.resetZoom(frontPlot, true) }, "Show all"), zoom(frontPlot))),
        frontPlot, plots.legend(), frontNote, baselineList(study)),
      chooser.element),
    panel,
    h("div", { class: "grid two" },
      h("section", { class: "card", "aria-labelledby": "plane-title" },
        h("div", { class: "head" }, h("h2", { id: "plane-title" }, "Loss weights"), zoom(planePlot)), planeControls, planePlot, plots.legend()),
      h("section", { class: "card", "aria-labelledby": "volume-title" },
        h("div", { class: "head" }, h("h2", { id: "volume-title" }, "Hypervolume"), zoom(volumePlot)), volumePlot)),
    h("section", { class: "card", "aria-labelledby": "trials-title" }, h("h2", { id: "trials-title" }, "Trials"), trials.element),
    h("section", { class: "card", "aria-labelledby": "failures-title" }, h("h2", { id: "failures-title" }, "Failures"), failures),
    about(study));
  fill(main, header, trouble, notice, body);

  // Drawing --------------------------------------------------------------------------------------

  function options(select, list, preferred) {
    const wanted = select.value || preferred;
    fill(select, list.map((one) => h("option", { value: one.name }, one.label)));
    if (list.some((one) => one.name === wanted)) select.value = wanted;
    return list.find((one) => one.name === select.value) ?? list[0];
  }

  async function drawFront() {
    if (!points?.number.length) return;
    await plots.draw(frontPlot, (view) => plots.frontFigure(study, points, front, marks, view));
    bind(frontPlot);
  }

  async function drawPlane() {
    if (!points?.number.length) return;
    const list = plots.planeAxes(points);
    byId("plane-axes").hidden = list.length < 3;
    if (list.length < 2) {
      fill(planePlot, h("p", { class: "dim" }, "Fewer than two numbers are searched, so there is no plane to show."));
      return;
    }
    const one = options(across, list, list[0].name);
    const other = options(up, list, list[1].name);
    const shade = options(colour, plots.planeColours(study, points), x.metric);
    await plots.draw(planePlot, (view) => plots.planeFigure(points, one, other, shade, marks, view));
    bind(planePlot);
  }

  async function drawMarks() {
    await drawFront();
    await drawPlane();
  }

  async function drawPoints() {
    for (const element of [frontPlot, planePlot, volumePlot]) {
      if (!points.number.length) fill(element, h("p", { class: "dim waiting" }, "No trial has a result yet."));
      else element.querySelector(":scope > .waiting")?.remove();
    }
    if (!points.number.length) return;
    await drawFront();
    await drawPlane();
    await plots.draw(volumePlot, () => plots.hypervolumeFigure(points));
  }

  const bound = new Set();
  function bind(element) {
    if (bound.has(element) || !element.on) return; // Plotly gives a plot its `on` as it draws it
    bound.add(element);
    element.on("plotly_click", (event) => {
      const data = event.points.find((point) => point.customdata)?.customdata;
      if (data && !(element === frontPlot && chooser.wishing())) showTrial(Number(data[0]));
    });
  }
  plots.onPlaneClick(frontPlot, (px, py) => chooser.wishing() && chooser.wishAt(px, py));
  for (const select of [colour, across, up]) select.addEventListener("change", drawPlane);

  // One trial --------------------------------------------------------------------------------------

  let asked = 0;
  async function showTrial(wanted, quiet = false) {
    const turn = ++asked;
    let trial;
    try {
      trial = await call(`${path}/trials/${wanted}`);
    } catch (problem) {
      if (!quiet) fill(notice, alertBox(problem));
      return;
    }
    if (turn !== asked) return;
    marks.selected = wanted;
    panel.hidden = false;
    fill(panel, trialParts(trial, study, {
      close: () => {
        marks.selected = null;
        panel.hidden = true;
        drawFront();
        frontPlot.scrollIntoView({ block: "nearest" });
      },
      use: () => chooser.chooseTrial(wanted),
    }));
    if (!quiet) {
      byId("trial-title").focus({ preventScroll: true });
      panel.scrollIntoView({ block: "nearest" });
    }
    await drawFront();
    await drawCurves(trial, study);
  }

  // Live -------------------------------------------------------------------------------------------

  async function refreshPoints() {
    try {
      [points, front] = await Promise.all([call(`${path}/points`), call(`${path}/front`).catch((problem) => {
        if (problem.status === 409) return null;
        throw problem;
      })]);
      const crowded = points.number.length > 2000 ? "Of points that cover each other one is drawn; zoom in for more." : null;
      const apart = x && y && plots.focusOf(points, study) ? "Some trials far off lie outside of this view: Show all." : null;
      fill(frontNote, [front?.note, front?.edge, front?.convergence, apart, crowded].filter(Boolean).join(" "));
      await Promise.all([x && y && chooser.refresh(study, points), x && y && drawPoints()]);
    } catch (problem) {
      fill(trouble, alertBox(problem));
    }
  }

  async function refreshAll() {
    try {
      study = await call(path);
      drawHeader();
      trouble.replaceChildren();
    } catch (problem) {
      fill(trouble, alertBox(problem));
      return;
    }
    await Promise.all([refreshPoints(), trials.refresh(), drawFailures(failures, path, study.failed)]);
    if (marks.selected !== null && changed.delete(marks.selected)) showTrial(marks.selected, true);
  }

  const changed = new Set();
  const soon = throttled(refreshAll, 1000);
  const apply = (data) => {
    if (!data) return;
    const { state, message, done, failed, asked } = data;
    if (state !== study.state) announce(`${name} is ${state}.`);
    study = { ...study, state, message, done, failed, asked };
    drawHeader();
  };
  await Promise.all([refreshPoints(), trials.refresh(), drawFailures(failures, path, study.failed)]);
  let version = points?.version ?? null;
  listen(`${path}/events`, {
    snapshot: (data) => {
      if (data?.version !== version || data.state !== study.state) soon();
      version = data?.version;
      apply(data);
    },
    trial: (data) => {
      if (data) changed.add(data.number);
      soon();
    },
    study: (data) => {
      apply(data);
      soon();
    },
  }, soon);
}

// Baselines and the study file -----------------------------------------------------------------------

function baselineList(study) {
  if (!study.baselines.length) return null;
  const metrics = [...new Set(study.baselines.flatMap((line) => Object.keys(line.metrics)))]
    .sort((a, b) => rank(study, a) - rank(study, b)).slice(0, 6);
  return h("details", { id: "baselines" }, h("summary", {}, `Baselines (${study.baselines.length}), the dashed lines`),
    scroller("Baselines", table("Models without loss weights", ["Model", ...metrics.map(metricLabel), "Note"],
      study.baselines.map((line) => [h("th", { scope: "row" }, line.name), ...metrics.map((metric) => num(measured(line.metrics[metric]))), h("td", { class: "words" }, line.note)]))));
}

function rank(study, metric) {
  const found = study.objectives.findIndex((objective) => objective.metric === metric);
  return found < 0 ? 99 : found;
}

const num = (text) => h("td", { class: "num" }, text);

function about(study) {
  const dataset = study.dataset ? Object.entries(study.dataset).map(([key, value]) => `${key.replaceAll("_", " ")} ${typeof value === "object" ? JSON.stringify(value) : value}`).join(", ") : null;
  const rows = [
    ...study.variables.map((variable) => [variable.label, variable.text]),
    ["Protocol", study.protocol], dataset && ["Dataset", dataset], ["Store", study.storage],
    ["Trials", Object.entries(study.counts).map(([state, count]) => `${count} ${state}`).join(", ")],
  ].filter((row) => row && row[1]);
  return h("section", { class: "card", "aria-labelledby": "about-title" }, h("h2", { id: "about-title" }, "About this study"),
    h("dl", { class: "about" }, rows.map(([term, text]) => h("div", {}, h("dt", {}, term), h("dd", {}, text)))),
    h("details", { id: "study-file" }, h("summary", {}, "Study file"), scroller("Study file", h("pre", {}, h("code", {}, study.toml)))));
}

// The table of trials ------------------------------------------------------------------------------

function trialsTable(name, study, show) {
  const path = studyPath(name);
  const view = { sort: "number", order: "desc", offset: 0, state: "" };
  const box = h("div", { id: "trials", class: "scroll", tabindex: "0", role: "region", "aria-label": "Table of trials" });
  const foot = h("div", { class: "row pager" });
  const filter = h("select", { id: "trials-state" }, h("option", { value: "" }, "all"),
    ["complete", "pruned", "failed", "running", "waiting"].map((state) => h("option", { value: state }, state)));
  filter.addEventListener("change", () => {
    Object.assign(view, { state: filter.value, offset: 0 });
    refresh();
  });
  let turn = 0;

  async function refresh(focus = null) {
    const mine = ++turn;
    const state = view.state ? `&state=${view.state}` : "";
    try {
      const answer = await call(`${path}/trials?offset=${view.offset}&limit=${PAGE}&sort=${encodeURIComponent(view.sort)}&order=${view.order}${state}`);
      if (mine === turn) draw(answer, focus);
    } catch (problem) {
      if (mine === turn) fill(foot, alertBox(problem));
    }
  }

  function head(key, words, better = "asc") {
    const sorted = view.sort === key;
    const next = sorted ? (view.order === "asc" ? "desc" : "asc") : better;
    const sign = sorted ? (view.order === "asc" ? " ▲" : " ▼") : "";
    return h("th", { scope: "col", "aria-sort": sorted ? (view.order === "asc" ? "ascending" : "descending") : null },
      h("button", {
        type: "button", class: "sort", "data-sort": key,
        onclick: () => {
          Object.assign(view, { sort: key, order: next, offset: 0 });
          refresh(`[data-sort="${key}"]`);
        },
      }, words, h("span", { "aria-hidden": "true" }, sign)));
  }

  function draw(answer, focus) {
    const { objectives } = study();
    const settings = [...new Set(answer.trials.flatMap((row) => Object.keys(row.settings)))];
    const held = box.contains(document.activeElement) ? document.activeElement.dataset : {};
    const heads = [
      head("number", "Trial"), head("state", "State"), head("rating_weight", "Rating weight"), head("retrieval_weight", "Retrieval weight"),
      settings, objectives.map((one) => head(one.metric, `${one.label} ${arrow(one)}`, one.direction === "minimize" ? "asc" : "desc")),
      "Seeds", head("seconds", "Time"), h("th", { scope: "col" }, h("span", { class: "hidden" }, "Show")),
    ].flat();
    const rows = answer.trials.map((row) => [
      h("th", { scope: "row", class: "num" }, String(row.number)),
      h("td", {}, row.state, row.on_front && h("span", { class: "tag" }, "front"), row.reference && h("span", { class: "tag" }, row.reference)),
      num(number(row.rating_weight)), num(number(row.retrieval_weight)),
      settings.map((key) => num(typeof row.settings[key] === "number" ? number(row.settings[key]) : String(row.settings[key] ?? "–"))),
      objectives.map((one) => num(measured(row.metrics[one.metric]))),
      num(String(row.n)), num(duration(row.seconds)),
      h("td", {}, h("button", { type: "button", class: "small", "data-show": String(row.number), "aria-label": `Show trial ${row.number}`, onclick: () => show(row.number) }, "Show")),
    ].flat());
    fill(box, rows.length ? table("Trials of the study", heads, rows, { class: "figures" }) : h("p", { class: "dim" }, "No trials."));
    const again = focus ?? (held.show ? `[data-show="${held.show}"]` : held.sort ? `[data-sort="${held.sort}"]` : null);
    if (again) box.querySelector(again)?.focus({ preventScroll: true });
    const last = Math.min(answer.total, answer.offset + answer.limit);
    const move = (by) => () => {
      view.offset = Math.max(0, view.offset + by);
      refresh();
    };
    fill(foot,
      h("button", { type: "button", id: "trials-previous", disabled: answer.offset === 0, onclick: move(-PAGE) }, "Previous"),
      h("span", { id: "trials-range" }, answer.total ? `${answer.offset + 1}–${last} of ${answer.total}` : "0"),
      h("button", { type: "button", id: "trials-next", disabled: last >= answer.total, onclick: move(PAGE) }, "Next"));
  }

  const element = h("div", {}, h("div", { class: "row controls" }, h("label", { for: "trials-state" }, "State"), filter), box, foot);
  return { element, refresh };
}

async function drawFailures(box, path, failed) {
  if (!failed) {
    fill(box, h("p", { class: "dim" }, "No trial has failed."));
    return;
  }
  try {
    const answer = await call(`${path}/trials?state=failed&sort=number&order=desc&offset=0&limit=20`);
    fill(box,
      h("ul", { class: "failures" }, answer.trials.map((row) => h("li", {},
        h("b", {}, `Trial ${row.number}`), row.finished && [" ", h("span", { class: "dim" }, ago(row.finished))], ": ", row.reason ?? "no reason is recorded"))),
      answer.total > 20 && h("p", { class: "dim" }, `The last 20 of ${answer.total}; the table of trials has them all (state: failed).`));
  } catch (problem) {
    fill(box, alertBox(problem));
  }
}

// A trial's panel -------------------------------------------------------------------------------

function trialParts(trial, study, { close, use }) {
  const objectives = study.objectives.map((one) => one.metric);
  const metrics = Object.keys(trial.metrics).sort((a, b) => order(objectives, a) - order(objectives, b));
  const half = (metric) => (trial.half_widths[metric] ? ` ± ${measured(trial.half_widths[metric])}` : "");
  const facts = [
    ["Rating weight", number(trial.rating_weight, 6)], ["Retrieval weight", number(trial.retrieval_weight, 6)],
    ...Object.entries(trial.settings).map(([key, value]) => [key, typeof value === "number" ? number(value) : String(value)]),
    trial.seed !== null && ["Seed", String(trial.seed)],
    ["Trainings", String(trial.n)],
    trial.probability_on_front !== null && ["Chance to be on the front", `${Math.round(100 * trial.probability_on_front)} %`],
    ["Time", duration(trial.seconds)], trial.reason && ["Reason", trial.reason],
  ].filter(Boolean);
  return [
    h("div", { class: "head" },
      h("h2", { id: "trial-title", tabindex: "-1" }, `Trial ${trial.number}`, trial.reference && ` (${trial.reference})`, trial.on_front && h("span", { class: "tag" }, "front")),
      h("div", { class: "row" },
        trial.state === "complete" && h("button", { type: "button", id: "trial-use", class: "primary", onclick: use }, "Choose this trial"),
        h("button", { type: "button", id: "trial-close", onclick: close }, "Close"))),
    h("div", { class: "grid three" },
      h("div", {},
        h("dl", { class: "about" }, facts.map(([term, text]) => h("div", {}, h("dt", {}, term), h("dd", {}, text)))),
        h("h3", {}, "Metrics"),
        scroller("Metrics of the trial", table("Metrics of the trial", ["Metric", "Value"],
          metrics.map((metric) => [h("th", { scope: "row" }, metricLabel(metric)), num(measured(trial.metrics[metric]) + half(metric))])))),
      h("div", {}, h("h3", {}, "Learning curve"),
        trial.history.length ? [h("div", { id: "curve-metrics", class: "plot small", role: "img", "aria-label": "Metrics over epochs" }), plots.legend(), h("div", { id: "curve-losses", class: "plot small", role: "img", "aria-label": "Losses over epochs" }), plots.legend()] : h("p", { class: "dim" }, "No learning curve is recorded.")),
      h("div", {}, h("h3", {}, "Seeds"),
        trial.replicates.length ? scroller("Seeds of the trial", table("Trainings of the trial from other seeds",
          ["Seed", ...study.objectives.map((one) => one.label), "Time"],
          trial.replicates.map((one) => [h("th", { scope: "row", class: "num" }, String(one.seed)), ...objectives.map((metric) => num(measured(one.metrics[metric]))), num(duration(one.seconds))]), { class: "figures" })) : h("p", { class: "dim" }, "Trained once, from one seed."),
        Object.keys(trial.versions).length ? h("details", {}, h("summary", {}, "Versions"), h("p", { class: "dim" }, Object.entries(trial.versions).map(([key, value]) => `${key} ${value}`).join(", "))) : null)),
  ];
}

function order(objectives, metric) {
  const found = objectives.indexOf(metric);
  return found < 0 ? objectives.length : found;
}

async function drawCurves(trial, study) {
  const { history } = trial;
  if (!history.length) return;
  const some = (line) => line.values.some((value) => value !== null && value !== undefined);
  const metrics = study.objectives.map((one) => ({ label: one.label, values: history.map((point) => point.metrics[one.metric] ?? null) })).filter(some);
  const losses = [
    { label: "rating loss", values: history.map((point) => point.rating_loss) },
    { label: "retrieval loss", values: history.map((point) => point.retrieval_loss) },
  ].filter(some);
  for (const [id, lines] of [["curve-metrics", metrics], ["curve-losses", losses]]) {
    const element = byId(id);
    if (!element) return;
    if (lines.length) await plots.draw(element, () => plots.curveFigure(history, lines));
    else {
      element.nextElementSibling.remove();
      element.remove();
    }
  }
}

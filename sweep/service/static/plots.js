// The plots: values → what Plotly draws. Colours and shapes are those of `sweep report`.

import { arrow, better, fill, h, metricLabel, s } from "./dom.js";

const BLUE = "#0072B2", VERMILLION = "#D55E00", SKY = "#56B4E9", GREY = "#8C8C8C";

/** Colours that people with any kind of colour vision can tell apart (Okabe and Ito), and shapes. */
export const SERIES = [
  ["#0072B2", "circle"], ["#D55E00", "square"], ["#009E73", "triangle-up"], ["#CC79A7", "diamond"],
  ["#E69F00", "triangle-down"], ["#56B4E9", "star"], ["#8C8C8C", "x"], ["#6B4E2E", "cross"],
];

const REFERENCES = {
  "rating only": ["#E69F00", "triangle-up"],
  "retrieval only": ["#009E73", "square"],
  "equal weights": ["#CC79A7", "diamond"],
};

let loading = null;

/** plotly.js, once and only where it is needed, after the page has been painted. */
export function plotly() {
  loading ??= new Promise((done, fail) => {
    const load = () => {
      const script = document.createElement("script");
      script.src = "/static/plotly.min.js";
      script.defer = true;
      script.onload = () => done(window.Plotly);
      script.onerror = () => fail(new Error("plotly.min.js did not load; reload the page"));
      document.head.append(script);
    };
    const soon = setTimeout(load, 200); // where nothing is painted, in a tab in the background
    requestAnimationFrame(() => {
      clearTimeout(soon);
      setTimeout(load, 0);
    });
  });
  return loading;
}

const touch = matchMedia("(pointer: coarse)");

function theme() {
  const style = getComputedStyle(document.documentElement);
  const colour = (name) => style.getPropertyValue(name).trim();
  return { ink: colour("--ink"), dim: colour("--dim"), grid: colour("--grid"), ground: colour("--card"), baseline: colour("--baseline") };
}

/** Plotly reads a little HTML in texts; what comes from a study is to stay as it is. */
const plain = (text) => String(text).replaceAll("&", "&amp;").replaceAll("<", "&lt;").replaceAll(">", "&gt;");

export const axisTitle = (objective) => `${plain(objective.label)} (${better(objective)} ${arrow(objective)})`;

function layout(x, y, more = {}) {
  const { ink, dim, grid } = theme();
  const axis = { gridcolor: grid, linecolor: dim, zeroline: false, ticks: "outside", tickcolor: dim, automargin: true };
  return {
    paper_bgcolor: "rgba(0,0,0,0)",
    plot_bgcolor: "rgba(0,0,0,0)",
    font: { family: "system-ui, sans-serif", size: 12, color: ink },
    margin: { l: 50, r: 14, t: 14, b: 44 },
    xaxis: { ...axis, title: { text: x, standoff: 8 }, ...more.xaxis },
    yaxis: { ...axis, title: { text: y, standoff: 8 }, ...more.yaxis },
    hovermode: "closest",
    hoverlabel: { align: "left" },
    // On a phone a finger on a plot is to scroll the page.
    dragmode: touch.matches ? false : "zoom",
    showlegend: false, // `legend` has room for all names, on a phone too
    uirevision: more.uirevision ?? "same",
    shapes: more.shapes ?? [],
    annotations: more.annotations ?? [],
  };
}

const CONFIG = { displayModeBar: false, responsive: true, displaylogo: false, showTips: false };

const drawn = new Map();

/** Where the reader has zoomed to, as [[x0, x1], [y0, y1]] (logarithms on such axes); else null. */
function viewOf(element) {
  const full = element._fullLayout;
  if (!full?.xaxis || (full.xaxis.autorange && full.yaxis.autorange)) return null;
  return [full.xaxis, full.yaxis].map(({ range }) => [Math.min(...range), Math.max(...range)]);
}

const MANY = 2000;

/**
 * Of many points the rows to draw: one of those that would cover each other, for each is an element
 * of its own and 10,000 take seconds. Zooming in shows more; the outermost stay, for the axes.
 */
export function thin(rows, xs, ys, view) {
  if (rows.length <= MANY) return rows;
  const ends = (values) => {
    let [low, high] = [rows[0], rows[0]];
    for (const row of rows) {
      if (values[row] < values[low]) low = row;
      if (values[row] > values[high]) high = row;
    }
    return [low, high];
  };
  const [xEnds, yEnds] = [ends(xs), ends(ys)];
  const [[x0, x1], [y0, y1]] = view ?? [xEnds.map((row) => xs[row]), yEnds.map((row) => ys[row])];
  for (let grid = 200; ; grid *= 0.75) {
    const cells = new Map();
    for (const row of rows) {
      const [across, up] = [(xs[row] - x0) / (x1 - x0 || 1), (ys[row] - y0) / (y1 - y0 || 1)];
      if (across < 0 || across > 1 || up < 0 || up > 1) continue;
      const cell = Math.floor(across * grid) * 1024 + Math.floor(up * grid * 0.6);
      if (!cells.has(cell)) cells.set(cell, row);
    }
    if (cells.size <= MANY) return [...new Set([...cells.values(), ...xEnds, ...yEnds])];
  }
}

/**
 * Draw, or draw again without moving the reader's zoom; `make(view)` gives [traces, layout], with
 * the view as of `viewOf`.
 */
export async function draw(element, make) {
  drawn.set(element, make);
  for (const old of drawn.keys()) if (!old.isConnected) drawn.delete(old);
  const Plotly = await plotly();
  if (drawn.get(element) !== make || !element.isConnected) return; // newer values are on their way
  const [traces, form] = make(viewOf(element));
  const first = !element.on;
  await Plotly.react(element, traces, form, CONFIG);
  if (first) {
    element.on("plotly_relayout", (change) => {
      if (Object.keys(change).some((key) => /^[xy]axis\./.test(key))) draw(element, drawn.get(element));
    });
  }
  if (element.nextElementSibling?.classList.contains("legend")) {
    const named = traces.filter((one) => one.name);
    fill(element.nextElementSibling, named.map((one) => h("li", {}, swatch(one), one.label ?? one.name)));
  }
}

/** Place for the legend of a plot: right after it. */
export const legend = () => h("ul", { class: "legend" });

const SHAPES = {
  circle: "M8 3a5 5 0 1 0 .01 0z", square: "M3.5 3.5h9v9h-9z", "triangle-up": "M8 3l5 9.5H3z", diamond: "M8 2l5 6-5 6-5-6z",
  "triangle-down": "M8 13L3 3.5h10z", star: "M8 1.5l2 4.7 5 .4-3.8 3.3 1.2 5L8 12.2l-4.4 2.7 1.2-5L1 6.6l5-.4z",
  x: "M4 2l4 4 4-4 2 2-4 4 4 4-2 2-4-4-4 4-2-2 4-4-4-4z", cross: "M6 2h4v4h4v4h-4v4H6v-4H2V6h4z",
  hexagon: "M8 2.5l5 2.7v5.6l-5 2.7-5-2.7V5.2z", "cross-thin": "M8 2v12M2 8h12", "x-thin": "M4 4l8 8M12 4l-8 8",
};

/** A trace's mark as a small picture. */
export function swatch({ marker, line }) {
  const symbol = marker?.symbol ?? "circle";
  const name = symbol.replace("-open", "");
  const open = symbol !== name || name.endsWith("-thin");
  const colour = marker?.color ?? line?.color;
  const ring = open ? colour : (marker?.line?.width ?? 0) >= 1.2 ? marker.line.color : "none";
  return s("svg", { viewBox: "0 0 16 16", width: 16, height: 16, "aria-hidden": "true", class: "swatch" },
    s("path", { d: SHAPES[name] ?? SHAPES.circle, fill: open ? "none" : colour, stroke: ring, "stroke-width": open ? 2 : 1.2 }));
}

// Dark turns light while the page is open: the plots have their colours to change too.
matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => {
  for (const [element, make] of [...drawn]) {
    if (element.isConnected) draw(element, make);
    else drawn.delete(element);
  }
});

/** Back to the view that a plot begins with; `all` for everything that is in it. */
export async function resetZoom(element, all = false) {
  const Plotly = await plotly();
  if (!element.on) return; // nothing is drawn yet
  const [, form] = drawn.get(element)(null);
  const range = (axis) => (form[axis].range && !all ? { [`${axis}.range`]: form[axis].range } : { [`${axis}.autorange`]: true });
  await Plotly.relayout(element, { ...range("xaxis"), ...range("yaxis") });
}

/**
 * Where to look first, as [[x0, x1], [y0, y1]]: at the front and at most of the trials. A reference
 * far off would else leave the front a corner of the plot. Null where everything fits well.
 */
export function focusOf(points, study) {
  const rows = points.number.map((_, row) => row).filter((row) => points.state[row] === "complete");
  if (rows.length < 8) return null;
  let narrow = false;
  const ranges = ["x", "y"].map((column, axis) => {
    const worst = study.objectives[axis].direction === "minimize" ? 1 : -1;
    const values = rows.map((row) => worst * points[column][row]).sort((a, b) => a - b); // the best first
    const members = rows.filter((row) => points.on_front[row] && !points.reference[row]).map((row) => worst * points[column][row]);
    const [best, last] = [values[0], values[values.length - 1]];
    const end = members.reduce((a, b) => Math.max(a, b), values[Math.floor(0.85 * (values.length - 1))]);
    const far = end - best > 0 && end - best < 0.6 * (last - best);
    narrow ||= far;
    const margin = 0.08 * ((far ? end : last) - best || 1e-6);
    const both = [worst * (best - margin), worst * ((far ? end : last) + margin)];
    return both.sort((a, b) => a - b);
  });
  return narrow ? ranges : null;
}

// The front ------------------------------------------------------------------------------------

const HOVER =
  "<b>trial %{customdata[0]}</b><br>%{x:.4f} / %{y:.4f}<br>rating weight %{customdata[1]}" +
  "<br>retrieval weight %{customdata[2]}<br>%{customdata[3]}<extra></extra>";

function short(value) {
  return value === null || value === undefined ? "–" : Number(value).toPrecision(4);
}

function trace(points, rows, name, marker, more = {}) {
  const take = (column) => rows.map((row) => points[column][row]);
  const bars = (column) =>
    rows.some((row) => points[column][row] !== null)
      ? { type: "data", array: take(column).map((half) => half ?? 0), color: marker.color, thickness: 1.2, width: 3 }
      : { visible: false };
  return {
    type: "scatter", mode: "markers", name, marker,
    x: take("x"), y: take("y"), error_x: bars("x_half"), error_y: bars("y_half"),
    customdata: rows.map((row) => [
      points.number[row], short(points.rating_weight[row]), short(points.retrieval_weight[row]),
      points.n[row] > 1 ? `mean of ${points.n[row]} seeds` : "trained once",
    ]),
    hovertemplate: HOVER,
    ...more,
  };
}

/** The line below or above which lies what the front dominates: steps from point to point. */
function staircase(rows, points, objectives) {
  const sorted = [...rows].sort((a, b) => points.x[a] - points.x[b]);
  return {
    type: "scatter", mode: "lines", hoverinfo: "skip", showlegend: false,
    x: sorted.map((row) => points.x[row]), y: sorted.map((row) => points.y[row]),
    line: { color: BLUE, width: 1.5, shape: objectives[0].direction === "minimize" ? "hv" : "vh" },
  };
}

/**
 * Every trial in the plane of the objectives; `marks` are `chosen` and `selected` (numbers) and
 * `wish` ([x, y]).
 */
export function frontFigure(study, points, front, marks, view) {
  const { ink, ground, baseline } = theme();
  const groups = { once: [], pruned: [], again: [], front: [], robust: [] };
  const references = new Map();
  points.number.forEach((_, row) => {
    const name = points.reference[row];
    if (name) references.set(name, row);
    if (points.state[row] === "pruned") groups.pruned.push(row);
    else if (points.on_front[row]) groups[points.robust[row] ? "robust" : "front"].push(row);
    else if (!name) groups[points.n[row] > 1 ? "again" : "once"].push(row);
  });
  const [x, y] = study.objectives;
  const focus = focusOf(points, study);
  view ??= focus;
  const traces = [
    trace(points, thin(groups.once, points.x, points.y, view), "trials", { color: GREY, size: 6, opacity: 0.55 }),
    trace(points, thin(groups.pruned, points.x, points.y, view), "pruned", { color: GREY, size: 5, opacity: 0.5, symbol: "x-thin-open" }),
    trace(points, groups.again, "replicated", { color: SKY, size: 8, line: { color: BLUE, width: 1 } }),
    staircase([...groups.front, ...groups.robust], points, study.objectives),
    trace(points, groups.front, "Pareto front", { color: BLUE, size: 9 }),
    trace(points, groups.robust, "robust front", { color: BLUE, size: 11, line: { color: ink, width: 1.5 } }),
  ];
  for (const [name, row] of references) {
    const [color, symbol] = REFERENCES[name] ?? [SKY, "hexagon"];
    traces.push(trace(points, [row], name, { color, symbol, size: 11, line: { color: ink, width: 1.2 } }));
  }
  for (const [name, [px, py]] of Object.entries(front?.published ?? {})) {
    const [color, symbol] = REFERENCES[name] ?? [SKY, "hexagon"];
    traces.push({
      type: "scatter", mode: "markers", name: `${name}, published`, x: [px], y: [py],
      marker: { color, symbol: `${symbol}-open`, size: 13, line: { width: 2 } },
      hovertemplate: "published<br>%{x:.4f} / %{y:.4f}<extra></extra>",
    });
  }
  const mark = (number, name, marker) => {
    const row = points.number.indexOf(number);
    if (row >= 0) traces.push(trace(points, [row], name, marker, { error_x: { visible: false }, error_y: { visible: false } }));
  };
  mark(marks.selected, "shown below", { color: VERMILLION, symbol: "circle-open", size: 17, line: { width: 2 } });
  if (marks.wish) {
    traces.push({
      type: "scatter", mode: "markers", name: "wish", x: [marks.wish[0]], y: [marks.wish[1]],
      marker: { color: VERMILLION, symbol: "cross-thin", size: 14, line: { color: VERMILLION, width: 2.5 } },
      hovertemplate: "wish<br>%{x:.4f} / %{y:.4f}<extra></extra>",
    });
  }
  mark(marks.chosen, "chosen", { color: VERMILLION, symbol: "star", size: 18, line: { color: ground, width: 1 } });
  const shown = traces.filter((one) => one.x.length > 0);
  const range = (axis) => (focus ? { range: focus[axis], autorange: false } : {});
  const more = { ...baselines(study, baseline), xaxis: range(0), yaxis: range(1) };
  return [shown, layout(axisTitle(x), axisTitle(y), more)];
}

/** Baselines as dashed lines across the plot; only the best of each objective has its name there. */
function baselines(study, colour) {
  const shapes = [];
  const annotations = [];
  const first = study.objectives[0].direction; // names go to where the front is not
  study.objectives.forEach((objective, axis) => {
    const sign = objective.direction === "minimize" ? 1 : -1;
    const lines = study.baselines
      .filter((line) => typeof line.metrics[objective.metric] === "number")
      .map((line) => ({ name: line.name, value: line.metrics[objective.metric] }))
      .sort((a, b) => sign * (a.value - b.value));
    const [own, other] = axis === 0 ? ["x", "y"] : ["y", "x"];
    lines.forEach(({ name, value }, order) => {
      shapes.push({
        type: "line", [`${own}0`]: value, [`${own}1`]: value, [`${other}ref`]: "paper", [`${other}0`]: 0, [`${other}1`]: 1,
        line: { color: colour, width: order ? 0.8 : 1.3, dash: "dash" }, layer: "below",
      });
      if (order) return;
      annotations.push({
        ...(axis === 0 ? { x: value, y: 0.99, yref: "paper", textangle: -90, xanchor: "right", yanchor: "top" }
          : { x: first === "minimize" ? 1 : 0, y: value, xref: "paper", xanchor: first === "minimize" ? "right" : "left", yanchor: "bottom" }),
         text: `${plain(name)} ${value.toFixed(4)}`, showarrow: false, font: { color: colour, size: 11 },
      });
    });
  });
  return { shapes, annotations };
}

/** Call `act(x, y)` where someone clicks on the plane of a plot, whether or not a point is there. */
export function onPlaneClick(element, act) {
  element.addEventListener("pointerdown", (down) => {
    addEventListener("pointerup", (up) => {
      if (Math.hypot(up.clientX - down.clientX, up.clientY - down.clientY) > 5) return;
      const full = element._fullLayout;
      if (!full) return;
      const box = element.getBoundingClientRect();
      const value = (axis, offset) => axis.p2d(offset - axis._offset);
      const [px, py] = [up.clientX - box.left, up.clientY - box.top];
      const inside = (axis, at) => at >= axis._offset && at <= axis._offset + axis._length;
      if (inside(full.xaxis, px) && inside(full.yaxis, py)) act(value(full.xaxis, px), value(full.yaxis, py));
    }, { once: true });
  }, true);
}

// The plane of the loss weights ------------------------------------------------------------------

/** What the plane may show along its axes: the weights, and every number among the settings. */
export function planeAxes(points) {
  const axes = ["rating_weight", "retrieval_weight"]
    .filter((name) => points[name].some((value) => value !== null))
    .map((name) => ({ name, label: name.replace("_", " "), values: points[name] }));
  for (const [name, values] of Object.entries(points.settings)) {
    if (values.some((value) => typeof value === "number")) axes.push({ name, label: name, values });
  }
  return axes;
}

/** What the plane may be coloured by. */
export function planeColours(study, points) {
  const [x, y] = study.objectives;
  const colours = [
    { name: x.metric, label: x.label, values: points.x, low: x.direction === "minimize" },
    { name: y.metric, label: y.label, values: points.y, low: y.direction === "minimize" },
  ];
  for (const [name, values] of Object.entries(points.values ?? {})) {
    if (name !== x.metric && name !== y.metric) colours.push({ name, label: metricLabel(name), values, low: name.endsWith("rmse") });
  }
  return colours;
}

/**
 * Weights go on a logarithmic axis, where 0 (a loss left out) has a place of its own at its end.
 *
 * Gives where values lie (`places`), that in units of the axis (`scaled`), and the axis' `form`.
 */
function planeAxis({ name, values }, rows) {
  const positive = rows.map((row) => values[row]).filter((value) => value > 0);
  const linear = { places: values, scaled: values, form: {} };
  if (!name.endsWith("_weight") || !positive.length || rows.some((row) => values[row] < 0)) return linear;
  const bottom = Math.floor(Math.log10(positive.reduce((a, b) => Math.min(a, b))) + 1e-9);
  const top = Math.ceil(Math.log10(positive.reduce((a, b) => Math.max(a, b))) - 1e-9);
  const zero = 10 ** (bottom - 1);
  const places = values.map((value) => (value === 0 ? zero : value));
  const powers = Array.from({ length: top - bottom + 1 }, (_, step) => bottom + step);
  const zeros = positive.length < rows.length;
  const ticks = {
    tickvals: [...(zeros ? [zero] : []), ...powers.map((power) => 10 ** power)],
    ticktext: [...(zeros ? ["0"] : []), ...powers.map((power) => (Math.abs(power) < 5 ? String(Number((10 ** power).toPrecision(1))) : `1e${power}`))],
  };
  return { places, scaled: places.map((place) => (place > 0 ? Math.log10(place) : null)), form: { type: "log", ...(zeros ? ticks : { dtick: 1 }) } };
}

export function planeFigure(points, across, up, colour, marks, view) {
  const { ink } = theme();
  const all = points.number.map((_, row) => row).filter((row) => across.values[row] !== null && up.values[row] !== null);
  const [xAxis, yAxis] = [across, up].map((axis) => planeAxis(axis, all));
  const rows = thin(all, xAxis.scaled, yAxis.scaled, view);
  const at = (list) => ({ x: list.map((row) => xAxis.places[row]), y: list.map((row) => yAxis.places[row]) });
  const members = all.filter((row) => points.on_front[row]);
  // One failure of a thing (a loss that blew up) is not to take all the colours.
  const sorted = all.map((row) => colour.values[row]).sort((a, b) => a - b);
  const quantile = (share) => sorted[Math.round(share * (sorted.length - 1))];
  const traces = [
    {
      type: "scatter", mode: "markers", showlegend: false, ...at(rows),
      customdata: rows.map((row) => [points.number[row], short(across.values[row]), short(up.values[row]), short(colour.values[row])]),
      hovertemplate: `<b>trial %{customdata[0]}</b><br>${plain(across.label)} %{customdata[1]}<br>${plain(up.label)} %{customdata[2]}` +
        `<br>${plain(colour.label)} %{customdata[3]}<extra></extra>`,
      marker: {
        color: rows.map((row) => colour.values[row]), colorscale: "Viridis", reversescale: colour.low, size: 9,
        cmin: quantile(0.05), cmax: quantile(0.95), line: { color: ink, width: 0.8 },
        colorbar: { thickness: 12, outlinewidth: 0, title: { text: plain(colour.label), side: "right" } },
      },
    },
    {
      type: "scatter", mode: "markers", name: "on the Pareto front", hoverinfo: "skip", ...at(members),
      marker: { symbol: "circle-open", size: 15, color: VERMILLION, line: { width: 2 } },
    },
  ];
  const chosen = points.number.indexOf(marks.chosen);
  if (all.includes(chosen)) {
    traces.push({
      type: "scatter", mode: "markers", name: "chosen", hoverinfo: "skip", ...at([chosen]),
      marker: { symbol: "star", size: 18, color: VERMILLION, line: { color: "#FFFFFF", width: 1 } },
    });
  }
  const more = { xaxis: xAxis.form, yaxis: yAxis.form, uirevision: `${across.name} ${up.name}` };
  return [traces, layout(plain(across.label), plain(up.label), more)];
}

// Hypervolume ----------------------------------------------------------------------------------

export function hypervolumeFigure(points) {
  const traces = [{
    type: "scatter", mode: "lines", x: points.hypervolume_number, y: points.hypervolume,
    line: { shape: "hv", color: BLUE, width: 2 }, hovertemplate: "after trial %{x}: %{y:.4f}<extra></extra>",
  }];
  return [traces, layout("trial", "normalised hypervolume ↑")];
}

// Learning curves --------------------------------------------------------------------------------

/** Up to two lines over epochs, each with an axis of its own colour. */
export function curveFigure(history, lines) {
  const { ink } = theme();
  const epochs = history.map((point) => point.epoch);
  const colours = [BLUE, VERMILLION];
  const traces = lines.map(({ label, values }, order) => ({
    type: "scatter", mode: "lines+markers", name: label, x: epochs, y: values, yaxis: order ? "y2" : "y",
    line: { color: colours[order], width: 2, dash: order ? "dot" : "solid" }, marker: { size: 6, symbol: order ? "square" : "circle" },
    hovertemplate: "epoch %{x}: %{y:.5g}<extra></extra>",
  }));
  const form = layout("epoch", plain(lines[0]?.label ?? ""), {});
  form.margin = { l: 50, r: 50, t: 14, b: 40 };
  if (epochs.length < 12) form.xaxis.dtick = 1;
  form.yaxis.title.font = { color: ink };
  if (lines.length > 1) {
    form.yaxis2 = { ...form.yaxis, title: { text: plain(lines[1].label), standoff: 8 }, overlaying: "y", side: "right", showgrid: false };
  }
  return [traces, form];
}

// Studies beside each other ------------------------------------------------------------------------

const series = (index) => ({ color: SERIES[index % SERIES.length][0], symbol: SERIES[index % SERIES.length][1] });

export function frontsFigure(studies) {
  const objectives = studies[0].objectives;
  const traces = studies.map((study) => {
    const order = study.front.map((_, row) => row).sort((a, b) => study.front[a][0] - study.front[b][0]);
    const { color, symbol } = series(study.index);
    return {
      type: "scatter", mode: "lines+markers", name: study.name,
      x: order.map((row) => study.front[row][0]), y: order.map((row) => study.front[row][1]),
      customdata: order.map((row) => study.numbers[row]),
      line: { color, width: 1.5, shape: study.objectives[0].direction === "minimize" ? "hv" : "vh" },
      marker: { color, symbol, size: 9 },
      hovertemplate: `<b>${plain(study.name)}</b> trial %{customdata}<br>%{x:.4f} / %{y:.4f}<extra></extra>`,
    };
  });
  return [traces, layout(axisTitle(objectives[0]), axisTitle(objectives[1]), {})];
}

export function hypervolumesFigure(studies) {
  const traces = studies.map((study) => {
    const { color, symbol } = series(study.index);
    const few = study.hypervolume_number.length <= 60;
    return {
      type: "scatter", mode: few ? "lines+markers" : "lines", name: study.name,
      x: study.hypervolume_number, y: study.hypervolume_history,
      line: { color, width: 2, shape: "hv", dash: ["solid", "dash", "dot", "dashdot"][study.index % 4] }, marker: { color, symbol, size: 5 },
      hovertemplate: `<b>${plain(study.name)}</b> after trial %{x}: %{y:.4f}<extra></extra>`,
    };
  });
  return [traces, layout("trial", "normalised hypervolume ↑", {})];
}

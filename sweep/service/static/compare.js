// Studies beside each other: their fronts in one plot, their hypervolumes in another.

import { api, call, listen, throttled } from "./api.js";
import { alertBox, arrow, fill, h, measured, scroller, table, title } from "./dom.js";
import * as plots from "./plots.js";

export async function comparePage(main) {
  title("Compare studies");
  const picked = new Set(new URLSearchParams(location.search).getAll("study"));
  const picks = h("fieldset", { class: "card", id: "picks" });
  const problem = h("div", { id: "notice" });
  const result = h("div", { id: "compared" });
  const frontPlot = h("div", { id: "fronts-plot", class: "plot", role: "img", "aria-label": "The fronts of the studies; the table has the same values" });
  const volumePlot = h("div", { id: "hypervolumes-plot", class: "plot", role: "img", "aria-label": "The hypervolumes of the studies over trials" });
  const tables = h("div", { id: "compared-table" });
  const fronts = h("div", { id: "compared-fronts" });
  const note = h("div", { id: "compared-note", role: "status" });
  const plain = (text) => h("p", { class: "dim" }, text);
  fill(main, h("div", { class: "head" }, h("h1", {}, "Compare studies")), picks, problem, note, result);

  function pick(studies) {
    fill(picks, h("legend", { class: "hidden" }, "Studies to compare"), studies.length ? h("div", { class: "picks" }, studies.map((study, order) => {
      const box = h("input", { type: "checkbox", id: `pick-${order}`, value: study.name, checked: picked.has(study.name) });
      box.addEventListener("change", () => {
        if (box.checked) picked.add(study.name);
        else picked.delete(study.name);
        const query = new URLSearchParams([...picked].map((name) => ["study", name]));
        history.replaceState(null, "", picked.size ? `/compare?${query}` : "/compare");
        compare();
      });
      return h("label", { class: "check", for: box.id }, box, study.name);
    })) : plain("There are no studies yet."));
  }

  let turn = 0;
  async function compare() {
    const mine = ++turn;
    if (picked.size < 2) {
      note.replaceChildren();
      problem.replaceChildren();
      fill(result, plain("Pick two studies or more."));
      return;
    }
    try {
      const query = new URLSearchParams([...picked].map((name) => ["study", name]));
      const answer = await call(api(`/compare?${query}`));
      if (mine === turn) await draw(answer);
    } catch (error) {
      if (mine === turn) fill(problem, alertBox(error));
    }
  }

  async function draw({ studies: answered, note: why }) {
    problem.replaceChildren();
    const studies = answered.map((study, index) => ({ ...study, index })); // for its colour and shape
    if (!studies.length) return;
    fill(note, why && h("p", { class: "alert" }, why));
    if (!frontPlot.isConnected) {
      fill(result,
        h("div", { class: "grid two" },
          h("section", { class: "card", "aria-labelledby": "fronts-title" }, h("h2", { id: "fronts-title" }, "Fronts"), frontPlot, plots.legend()),
          h("section", { class: "card", "aria-labelledby": "volumes-title" }, h("h2", { id: "volumes-title" }, "Hypervolume"), volumePlot, plots.legend())),
        h("section", { class: "card", "aria-labelledby": "table-title" }, h("h2", { id: "table-title" }, "In figures"), tables, fronts));
    }
    fill(tables, scroller("Studies in figures", table("Studies beside each other", ["Study", "Trials", "On the front", ...studies[0].objectives.map((one) => `Best ${one.label} ${arrow(one)}`), "Hypervolume"],
      studies.map((study, index) => [
        h("th", { scope: "row" }, h("span", { class: "row" }, swatch(index), h("a", { href: `/studies/${encodeURIComponent(study.name)}` }, study.name))),
        num(String(study.done)), num(String(study.front.length)), ...studies[0].objectives.map((one) => num(measured(study.best?.[one.metric]))), num(measured(study.hypervolume)),
      ]), { class: "figures" })));
    fill(fronts, studies.map((study) => h("details", {}, h("summary", {}, `Front of ${study.name}`),
      scroller(`Front of ${study.name}`, table(`Front of ${study.name}`, ["Trial", ...study.objectives.map((one) => `${one.label} ${arrow(one)}`)],
        study.front.map((point, row) => [h("th", { scope: "row", class: "num" }, String(study.numbers[row])), ...point.map((value) => num(measured(value)))]), { class: "figures" })))));
    const comparable = studies.filter((study) => study.objectives.map((one) => one.metric).join() === studies[0].objectives.map((one) => one.metric).join());
    if (studies[0].objectives.length > 1) {
      await plots.draw(frontPlot, () => plots.frontsFigure(comparable));
      await plots.draw(volumePlot, () => plots.hypervolumesFigure(studies));
    }
  }

  const num = (text) => h("td", { class: "num" }, text);
  const swatch = (index) => {
    const [color, symbol] = plots.SERIES[index % plots.SERIES.length];
    return plots.swatch({ marker: { color, symbol } });
  };

  try {
    const studies = [];
    for (let total = 1; studies.length < total; ) {
      const answer = await call(api(`/studies?archived=false&offset=${studies.length}&limit=100`));
      studies.push(...answer.studies);
      total = answer.studies.length ? answer.total : 0;
    }
    pick(studies);
    await compare();
    listen(api("/events"), { studies: throttled(compare, 2000) }, compare);
  } catch (error) {
    fill(problem, alertBox(error));
  }
}

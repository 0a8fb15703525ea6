// The router, the list of studies and the login. Other pages are modules of their own.

import { api, call, listen, studyPath, throttled } from "./api.js";
import { ago, alertBox, arrow, better, byId, field, fill, h, measured, progress, s, scroller, stateBadge, title } from "./dom.js";

const main = byId("main");

const ROUTES = [
  [/^\/$/, studiesPage],
  [/^\/login$/, loginPage],
  [/^\/launch$/, async () => (await import("./launch.js")).launchPage(main)],
  [/^\/compare$/, async () => (await import("./compare.js")).comparePage(main)],
  [/^\/studies\/(.+)$/, studyPage],
];

async function start() {
  for (const link of document.querySelectorAll(".top nav a")) {
    if (link.pathname === location.pathname) link.setAttribute("aria-current", "page");
  }
  const dashboard = document.querySelector("meta[name=dashboard]").content;
  if (dashboard.startsWith("/")) {
    byId("dashboard").href = dashboard;
    byId("dashboard").hidden = false;
  }
  byId("logout").addEventListener("click", async () => {
    await call(api("/session"), { method: "DELETE" }).catch(() => {}); // it may be over already
    forget();
    location.assign("/login");
  });
  byId("logout").hidden = !remembered();
  await tokenOfAddress();
  for (const [pattern, page] of ROUTES) {
    const match = pattern.exec(location.pathname);
    if (match) return page(match[1] && decodeURIComponent(match[1]));
  }
  title("Not found");
  fill(main, h("h1", {}, "There is no such page"), h("p", {}, h("a", { href: "/" }, "To the studies")));
}

// Studies --------------------------------------------------------------------------------------

const PAGE = 100;

async function studiesPage() {
  title("Studies");
  const list = h("div", { id: "studies", "aria-busy": "true" }, h("p", { class: "dim" }, "Loading…"));
  const archived = h("input", { type: "checkbox", id: "show-archived" });
  const problem = h("div");
  let offset = 0;
  const more = h("div", { class: "row" });
  const refresh = async () => {
    const query = `archived=${archived.checked}&offset=${offset}&limit=${PAGE}`;
    try {
      const answer = await call(api(`/studies?${query}`));
      problem.replaceChildren();
      draw(list, answer, archived.checked, refresh, problem);
      pager(more, answer, (next) => {
        offset = next;
        refresh();
      });
    } catch (error) {
      fill(problem, alertBox(error));
    }
    list.removeAttribute("aria-busy");
  };
  archived.addEventListener("change", () => {
    offset = 0;
    refresh();
  });
  fill(main,
    h("div", { class: "head" },
      h("h1", {}, "Studies"),
      h("div", { class: "row" },
        h("label", { class: "check", for: "show-archived" }, archived, "Show archived"),
        h("a", { class: "button primary", href: "/launch", id: "launch-link" }, "Launch a study"))),
    problem, list, more);
  await refresh();
  listen(api("/events"), { studies: throttled(refresh) }, refresh);
}

function pager(box, answer, go) {
  box.replaceChildren();
  if (answer.total <= answer.limit && answer.offset === 0) return;
  const last = Math.min(answer.total, answer.offset + answer.limit);
  fill(box,
    h("button", { type: "button", disabled: answer.offset === 0, onclick: () => go(Math.max(0, answer.offset - answer.limit)) }, "Previous"),
    h("span", {}, `${answer.total ? answer.offset + 1 : 0}–${last} of ${answer.total}`),
    h("button", { type: "button", disabled: last >= answer.total, onclick: () => go(answer.offset + answer.limit) }, "Next"));
}

function draw(list, answer, archived, refresh, problem) {
  if (!answer.studies.length) {
    fill(list, h("div", { class: "empty" },
      h("p", {}, archived ? "There are no studies, archived or not." : "There are no studies yet."),
      h("p", {}, h("a", { href: "/launch" }, "Launch one here"), ", or with ", h("code", {}, "sweep launch studies/tutorial.toml"), ".")));
    return;
  }
  const focused = document.activeElement?.closest?.("[data-study]")?.dataset.study;
  const rows = answer.studies.map((study) => {
    const name = h("a", { href: `/studies/${encodeURIComponent(study.name)}`, "data-study": study.name }, study.name);
    const note = study.problem ?? study.message;
    const restore = study.archived && h("button", {
      type: "button", class: "small", "aria-label": `Restore ${study.name}`,
      onclick: async () => {
        try {
          await call(`${studyPath(study.name)}/restore`, { body: {} });
          await refresh();
        } catch (error) {
          fill(problem, alertBox(error));
        }
      },
    }, "Restore");
    return h("tr", { class: study.archived ? "archived" : null },
      h("th", { scope: "row" }, name, note && h("span", { class: study.problem || study.state === "failed" ? "note bad" : "note" }, note)),
      h("td", { "data-label": "State" }, study.archived ? stateBadge("archived") : stateBadge(study.state), restore),
      h("td", { "data-label": "Progress" }, progress(study)),
      h("td", { "data-label": "Best" }, best(study)),
      h("td", { "data-label": "Front", class: "thumb" }, picture(study)),
      h("td", { "data-label": "Last activity" }, ago(study.last_activity)));
  });
  fill(list, scroller("Studies",
    h("table", { class: "studies" },
      h("caption", { class: "hidden" }, "Studies with their state, progress and best values"),
      h("thead", {}, h("tr", {}, ["Study", "State", "Progress", "Best of each objective", "Front", "Last activity"].map((text) => h("th", { scope: "col" }, text)))),
      h("tbody", {}, rows))));
  if (focused) list.querySelector(`[data-study="${CSS.escape(focused)}"]`)?.focus();
}

function best(study) {
  return h("dl", { class: "best" }, study.objectives.map((objective) => h("div", {},
    h("dt", { title: better(objective) }, `${objective.label} ${arrow(objective)}`),
    h("dd", {}, measured(study.best[objective.metric])))));
}

/** The front as a small picture: a line and its points, better towards the lower left. */
function picture(study) {
  const points = study.front;
  if (!points.length || study.objectives.length < 2) return h("span", { class: "dim" }, "no trial yet");
  const [width, height, margin] = [120, 56, 6];
  const scale = (index, flip, length) => {
    const values = points.map((point) => point[index]);
    const [low, high] = [Math.min(...values), Math.max(...values)];
    return (value) => {
      const share = high > low ? (value - low) / (high - low) : 0.5;
      return margin + (flip ? 1 - share : share) * (length - 2 * margin);
    };
  };
  // As in the plot of the study: values grow to the right and upwards.
  const [x, y] = [scale(0, false, width), scale(1, true, height)];
  const sorted = [...points].sort((a, b) => a[0] - b[0]);
  const across = study.objectives[0].direction === "minimize";
  const path = sorted.map((point, i) => {
    const [px, py] = [x(point[0]).toFixed(1), y(point[1]).toFixed(1)];
    if (i === 0) return `M${px} ${py}`;
    return across ? `H${px}V${py}` : `V${py}H${px}`;
  }).join("");
  const words = `front of ${points.length} ${points.length === 1 ? "trial" : "trials"}`;
  return s("svg", { viewBox: `0 0 ${width} ${height}`, width, height, role: "img", "aria-label": words, class: "front-picture" },
    s("path", { d: path }),
    sorted.map((point) => s("circle", { cx: x(point[0]).toFixed(1), cy: y(point[1]).toFixed(1), r: 2.5 })));
}

// A study ----------------------------------------------------------------------------------------

async function studyPage(name) {
  title(name);
  // The answer and the code travel at the same time.
  const answer = call(studyPath(name)).then((study) => ({ study }), (error) => ({ error }));
  const module = await import("./study.js");
  await module.studyPage(main, name, answer);
}

// Login --------------------------------------------------------------------------------------------

const MEMORY = "sweep-logged-in";

function remembered() {
  try {
    return localStorage.getItem(MEMORY) === "yes";
  } catch {
    return false; // storage is switched off
  }
}

function remember() {
  try {
    localStorage.setItem(MEMORY, "yes");
  } catch {
    // only the button to log out depends on it
  }
  byId("logout").hidden = false;
}

function forget() {
  try {
    localStorage.removeItem(MEMORY);
  } catch {
    // see above
  }
}

/** Where to go after the login: a page of this server, whatever the address says. */
function next() {
  const wanted = new URLSearchParams(location.search).get("next") ?? "/";
  try {
    const address = new URL(wanted, location.origin);
    const own = address.origin === location.origin && wanted.startsWith("/");
    return own && address.pathname !== "/login" ? address.pathname + address.search : "/";
  } catch {
    return "/";
  }
}

/** `#token=…` logs in, on any page, and leaves neither the address bar nor the history with it. */
async function tokenOfAddress() {
  if (!location.hash.startsWith("#token=")) return;
  const given = location.hash.slice("#token=".length);
  history.replaceState(null, "", location.pathname + location.search);
  let token = given;
  try {
    token = decodeURIComponent(given);
  } catch {
    // a token with a bare % in it
  }
  try {
    await call(api("/session"), { body: { token } });
    remember();
    if (location.pathname === "/login") location.replace(next());
  } catch (error) {
    if (location.pathname !== "/login") location.replace("/login");
    else tokenProblem = error;
  }
}

let tokenProblem = null;

async function loginPage() {
  title("Log in");
  const token = h("input", { type: "password", id: "token", name: "token", autocomplete: "current-password", required: true, spellcheck: "false" });
  const problem = h("div", { id: "login-problem" });
  const button = h("button", { type: "submit", class: "primary", id: "login" }, "Log in");
  const form = h("form", { class: "narrow card", method: "post", action: "/login" },
    h("h1", {}, "Log in"),
    field("Token", token, "sweep serve printed it when it started, or it was given with --token."),
    problem, button);
  form.addEventListener("submit", async (event) => {
    event.preventDefault();
    button.disabled = true;
    try {
      await call(api("/session"), { body: { token: token.value } });
      remember();
      location.replace(next());
    } catch (error) {
      fill(problem, alertBox(error.status === 401 ? "That is not the token of this server." : error));
      button.disabled = false;
      token.focus();
    }
  });
  fill(main, form);
  if (tokenProblem) fill(problem, alertBox("The token in the address is not that of this server."));
  token.focus();
}

start().catch((error) => fill(main, alertBox(error)));

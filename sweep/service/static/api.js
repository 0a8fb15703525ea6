// The HTTP API: answers as values, errors as Problem, and events that come back by themselves.

export class Problem extends Error {
  constructor(status, title, detail) {
    super(detail || title);
    this.status = status;
    this.title = title;
  }
}

const BASE = "/api/v1";

export const studyPath = (name) => `${BASE}/studies/${encodeURIComponent(name)}`;
export const api = (path) => BASE + path;

export function toLogin() {
  if (location.pathname === "/login") return;
  const next = location.pathname + location.search;
  location.replace(`/login?next=${encodeURIComponent(next)}`);
}

/** One request; `body` makes it a POST unless `method` says otherwise. Throws Problem. */
export async function call(url, { method, body, signal } = {}) {
  const verb = method ?? (body === undefined ? "GET" : "POST");
  const options = { method: verb, signal, headers: { Accept: "application/json" } };
  if (verb !== "GET") {
    options.headers["Content-Type"] = "application/json";
    options.body = JSON.stringify(body ?? {});
  }
  let answer;
  try {
    answer = await fetch(url, options);
  } catch (error) {
    if (error.name === "AbortError") throw error;
    throw new Problem(0, "no answer", "The server does not answer; is `sweep serve` still running?");
  }
  if (answer.status === 401 && !url.endsWith("/session")) toLogin();
  if (answer.status === 204) return null;
  const text = await answer.text();
  let value = null;
  try {
    value = JSON.parse(text);
  } catch {
    if (answer.ok) throw new Problem(answer.status, "not JSON", "The answer is not JSON.");
  }
  if (!answer.ok) {
    const detail = typeof value?.detail === "string" ? value.detail : null;
    throw new Problem(answer.status, value?.title ?? answer.statusText, detail ?? `HTTP ${answer.status}`);
  }
  return value;
}

/**
 * Listen to a stream of events for as long as the page lives. The browser reconnects a broken
 * stream by itself; one that was refused (a restart behind a proxy, say) is opened anew here, and
 * `missed` is called, for what happened in between.
 */
export function listen(url, handlers, missed = () => {}) {
  let source = null;
  let timer = null;
  const open = () => {
    source = new EventSource(url);
    for (const [name, handle] of Object.entries(handlers)) {
      source.addEventListener(name, (event) => {
        let data = null;
        try {
          data = JSON.parse(event.data);
        } catch {
          // an event without data still says that something changed
        }
        handle(data);
      });
    }
    source.addEventListener("error", () => {
      if (source.readyState !== EventSource.CLOSED) return;
      clearTimeout(timer);
      timer = setTimeout(() => {
        missed(); // leads to the login where that is what is missing
        open();
      }, 5000);
    });
  };
  open();
  // Six open streams are all that a browser allows one host; leave them to pages that are there.
  addEventListener("pagehide", () => {
    clearTimeout(timer);
    source.close();
  });
  addEventListener("pageshow", (event) => {
    if (!event.persisted) return;
    missed();
    open();
  });
}

/** Call `work` soon after it is asked for, never twice within `pause` ms nor beside itself. */
export function throttled(work, pause = 1000) {
  let timer = null;
  let busy = false;
  let again = false;
  let next = -Infinity;
  const run = async () => {
    timer = null;
    busy = true;
    const start = performance.now();
    try {
      await work();
    } finally {
      busy = false;
      // A big study takes long to draw: leave more time than that to the reader.
      const took = performance.now() - start;
      next = start + took + Math.max(pause, Math.min(10000, 3 * took));
      if (again) {
        again = false;
        ask();
      }
    }
  };
  const ask = () => {
    if (busy) again = true;
    else if (timer === null) timer = setTimeout(run, Math.max(0, next - performance.now()));
  };
  return ask;
}

export function debounced(work, pause = 300) {
  let timer = null;
  return (...given) => {
    clearTimeout(timer);
    timer = setTimeout(() => work(...given), pause);
  };
}

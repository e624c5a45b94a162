// What the labelling page sends, and how it reads a part of a page that comes back.
const TIMEOUT_MS = 20_000;
const NOT_SAID = new Set(["csrfmiddlewaretoken", "token", "client_key"]);

// The part, not the page; a refusal comes as plain text.
const PART = { "HX-Request": "true" };

// until: a signal that nobody waits for the answer any more.
export function post(url, fields, { until, ...options } = {}) {
  const signals = [AbortSignal.timeout(TIMEOUT_MS), ...(until ? [until] : [])];
  const token = document.querySelector("[name=csrfmiddlewaretoken]").value;
  return fetch(url, {
    method: "POST",
    headers: { ...PART, "X-CSRFToken": token },
    body: new URLSearchParams(fields),
    signal: AbortSignal.any(signals),
    ...options,
  });
}

export const get = (url) => fetch(url, { headers: PART, signal: AbortSignal.timeout(TIMEOUT_MS) });

// Built beside the page: nothing in it runs or is loaded.
export function read(html) {
  const part = new DOMParser().parseFromString(html, "text/html").querySelector("#item, body > #last");
  return part && document.adoptNode(part);
}

export const fieldsOf = (form) => Object.fromEntries(new FormData(form));

export function saidIn(form) {
  return Object.fromEntries(Object.entries(fieldsOf(form)).filter(([name]) => !NOT_SAID.has(name)));
}

// As if somebody had filled it in; what is not in `said` is emptied.
export function fillIn(form, said) {
  for (const element of form.elements) {
    if (!element.name || element.type === "hidden") continue;
    const value = said[element.name] ?? "";
    if (element.type === "radio") element.checked = element.value === value;
    else if (element.type === "checkbox") element.checked = value !== "";
    else element.value = value;
  }
  document.dispatchEvent(new Event("judgement:filled"));
}

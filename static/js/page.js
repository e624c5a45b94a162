// Behaviour of every page: a failed request is said; what htmx refreshes stays open and scrolled.
"use strict";

document.documentElement.dataset.js = "on";

{
  const LONGEST_REASON = 500;
  const SCROLLED = "[id][tabindex='0']";
  const opened = new Set();
  const scrolled = new Map();

  const showFailure = (kind, reason) => {
    for (const message of document.querySelectorAll("[data-failed]")) {
      message.hidden = message.dataset.failed !== kind;
      const text = message.querySelector("[data-reason]");
      if (text && reason) text.textContent = reason;
    }
  };

  // A refusal comes as plain text that says why; anything else is not for the reader.
  const reasonOf = (answer) => {
    const isText = answer.getResponseHeader("Content-Type")?.startsWith("text/plain");
    return isText ? answer.responseText.slice(0, LONGEST_REASON) : "The server refused that.";
  };

  document.addEventListener("htmx:responseError", (event) => {
    const answer = event.detail.xhr;
    if (answer.status < 500) showFailure("refused", reasonOf(answer));
    else showFailure("unanswered");
  });
  document.addEventListener("htmx:sendError", () => showFailure("unanswered"));
  document.addEventListener("htmx:afterRequest", (event) => {
    if (event.detail.successful) showFailure(null);
  });

  document.addEventListener("htmx:beforeSwap", (event) => {
    opened.clear();
    scrolled.clear();
    for (const part of event.detail.target.querySelectorAll("details[id][open]")) opened.add(part.id);
    for (const part of event.detail.target.querySelectorAll(SCROLLED)) {
      scrolled.set(part.id, [part.scrollLeft, part.scrollTop]);
    }
  });
  document.addEventListener("htmx:afterSettle", () => {
    for (const id of opened) {
      const part = document.getElementById(id);
      if (part instanceof HTMLDetailsElement) part.open = true;
    }
    for (const [id, position] of scrolled) document.getElementById(id)?.scrollTo(...position);
    opened.clear();
    scrolled.clear();
  });

  // What a page keeps for its reader is not for the next one at this tab.
  document.querySelector("[data-sign-out]")?.addEventListener("submit", () => sessionStorage.clear());

  // A menu closes when the reader turns to something else.
  document.addEventListener("click", (event) => {
    for (const menu of document.querySelectorAll("details[data-menu][open]")) {
      if (!menu.contains(event.target)) menu.open = false;
    }
  });
  document.addEventListener("keydown", (event) => {
    const menu = event.key === "Escape" && document.querySelector("details[data-menu][open]");
    if (!menu) return;
    menu.open = false;
    menu.querySelector("summary").focus();
  });
}

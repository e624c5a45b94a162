// Behaviour of every page: a failed request is said, open parts stay open when htmx refreshes them.
"use strict";

document.documentElement.dataset.js = "on";

{
  const opened = new Set();

  const showFailure = (kind) => {
    for (const message of document.querySelectorAll("[data-failed]")) {
      message.hidden = message.dataset.failed !== kind;
    }
  };

  document.addEventListener("htmx:responseError", (event) => {
    showFailure(event.detail.xhr.status < 500 ? "refused" : "unanswered");
  });
  document.addEventListener("htmx:sendError", () => showFailure("unanswered"));
  document.addEventListener("htmx:afterSwap", () => showFailure(null));

  document.addEventListener("htmx:beforeSwap", (event) => {
    opened.clear();
    for (const part of event.detail.target.querySelectorAll("details[id][open]")) opened.add(part.id);
  });
  document.addEventListener("htmx:afterSettle", () => {
    for (const id of opened) {
      const part = document.getElementById(id);
      if (part instanceof HTMLDetailsElement) part.open = true;
    }
    opened.clear();
  });

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

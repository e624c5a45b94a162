// Folds of a long text: opened by their button, by the browser's own search, by a link into them,
// or by whoever has something to show in them. Delegated: a swapped part needs no start.
"use strict";

{
  const UNTIL_FOUND = "until-found";

  const buttonOf = (fold) => document.querySelector(`[data-unfolds="${CSS.escape(fold.id)}"]`);

  function setFolded(fold, isFolded) {
    if (isFolded) fold.setAttribute("hidden", UNTIL_FOUND);
    else fold.removeAttribute("hidden");
    buttonOf(fold)?.setAttribute("aria-expanded", String(!isFolded));
  }

  function reveal(element) {
    for (let part = element; part; part = part.parentElement) {
      if (part instanceof HTMLDetailsElement) part.open = true;
      else if (part.matches("[data-fold][hidden]")) setFolded(part, false);
    }
  }

  document.addEventListener("click", (event) => {
    const button = event.target.closest?.("[data-unfolds]");
    if (!button) return;
    const fold = document.getElementById(button.dataset.unfolds);
    setFolded(fold, !fold.hasAttribute("hidden"));
  });

  document.addEventListener("reading:reveal", (event) => reveal(event.target));

  // The browser found a match in a fold, or follows a link into it.
  document.addEventListener("beforematch", (event) => reveal(event.target));

  document.addEventListener("change", (event) => {
    const number = event.target.dataset?.stepRadio;
    const step = number && document.querySelector(`[data-step="${CSS.escape(number)}"]`);
    if (step) reveal(step);
  });
}

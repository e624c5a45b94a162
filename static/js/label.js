// The labelling page without a mouse: keys, the reading cursor, the lease's heartbeat.
// Every element is found by its data-* attribute; without this file the page is plain forms.
"use strict";

{
  const HEARTBEAT_MS = 60_000;
  const SETTING = "assay.single-keys";
  const CONTROLS = "a[href], button, input, select, textarea, summary, [contenteditable]";
  const page = document.querySelector("[data-label-page]");

  let inFlight = false;
  let cursor = 0;

  const one = (selector) => page.querySelector(selector);
  const all = (selector) => [...page.querySelectorAll(selector)];
  const announce = (text) => {
    document.getElementById("announcer").textContent = text;
  };

  // -- guards ------------------------------------------------------------------------------------

  function isTyping(element) {
    if (element.isContentEditable || element.matches("textarea, select")) return true;
    return element.matches("input") && !element.matches("[type=radio], [type=checkbox]");
  }

  function areKeysEnabled() {
    return localStorage.getItem(SETTING) !== "off";
  }

  // AltGr arrives as Ctrl+Alt on some systems, as its own modifier on others.
  function hasModifier(event) {
    return event.ctrlKey || event.metaKey || event.altKey || event.getModifierState("AltGraph");
  }

  function isLeftToBrowser(event) {
    if (event.defaultPrevented || event.isComposing || hasModifier(event)) return true;
    if (!areKeysEnabled() || document.querySelector("dialog[open], details[data-menu][open]")) return true;
    return isTyping(event.target);
  }

  // -- the reading cursor and the marked step ----------------------------------------------------

  function moveCursor(by) {
    const steps = all("[data-step]");
    if (!steps.length) return;
    cursor = Math.min(Math.max(cursor + by, 1), steps.length);
    for (const step of steps) step.removeAttribute("aria-current");
    const step = steps[cursor - 1];
    step.setAttribute("aria-current", "step");
    step.scrollIntoView({ block: "nearest" });
    announce(`Step ${cursor}. ${step.querySelector(".step-text").innerText.slice(0, 400)}`);
    showMarked();
  }

  function markStep() {
    const radio = one(`[data-step-radio="${cursor}"]`);
    if (radio) toggle(radio, one("[data-no-step][value='']"));
  }

  // Choosing what is already chosen takes it back.
  function toggle(radio, neutral) {
    (radio.checked && neutral ? neutral : radio).click();
  }

  function showMarked() {
    const chosen = one("[data-step-radio]:checked");
    const marked = chosen ? Number(chosen.dataset.stepRadio) : 0;
    for (const step of all("[data-step]")) {
      const number = Number(step.dataset.step);
      step.classList.toggle("is-wrong", number === marked);
      step.classList.toggle("is-after", marked > 0 && number > marked);
    }
    for (const radio of all("[data-step-radio]")) {
      radio.parentElement.classList.toggle("is-current", Number(radio.dataset.stepRadio) === cursor);
    }
    const output = one("[data-marked-step]");
    if (output) output.textContent = marked ? `is ${marked}` : "";
  }

  // -- keys --------------------------------------------------------------------------------------

  const commit = () => one("[data-label-form]")?.requestSubmit();

  function pulse(element) {
    const shown = element.labels?.[0] ?? element;
    shown.classList.remove("pulse");
    requestAnimationFrame(() => shown.classList.add("pulse"));
  }

  function press(key) {
    if (key === "j" || key === "ArrowDown") return moveCursor(1), true;
    if (key === "k" || key === "ArrowUp") return moveCursor(-1), true;
    if (key === "x") return markStep(), true;
    if (key === "Enter") return commit(), true;
    const focused = one(`[data-focus-key="${CSS.escape(key)}"]`);
    if (focused) return focused.focus(), true;
    const element = one(`[data-key="${CSS.escape(key)}"]`);
    if (!element) return false;
    element.click();
    pulse(element);
    return true;
  }

  function onKeydown(event) {
    const isCommit = event.key === "Enter" && (event.ctrlKey || event.metaKey) && !event.altKey;
    if (isCommit && page.contains(event.target) && event.target.form) {
      event.preventDefault();
      if (!event.repeat && !inFlight) event.target.form.requestSubmit();
      return;
    }
    if (event.key === "Escape" && isTyping(event.target)) return event.target.blur();
    if (isLeftToBrowser(event)) return;
    const key = event.key.length === 1 ? event.key.toLowerCase() : event.key;
    // Arrows, Enter and space belong to the control that has the focus.
    if (key.length > 1 && event.target.closest(CONTROLS)) return;
    // A held key may scroll on, but never judges or commits: the next item has not been seen.
    const isMove = ["j", "k", "ArrowDown", "ArrowUp"].includes(key);
    if ((event.repeat && !isMove) || inFlight) return event.preventDefault();
    if (press(key)) event.preventDefault();
  }

  // -- lease -------------------------------------------------------------------------------------

  async function heartbeat() {
    const item = one("[data-heartbeat-url]");
    if (!item || document.visibilityState !== "visible") return;
    const answer = await fetch(item.dataset.heartbeatUrl, {
      method: "POST",
      headers: { "X-CSRFToken": one("[name=csrfmiddlewaretoken]").value },
      body: new URLSearchParams({ token: item.dataset.leaseToken }),
    }).catch(() => null); // offline: the next beat tells
    const lost = one("[data-lease-lost]");
    if (answer && lost && one("[data-heartbeat-url]") === item) lost.hidden = answer.ok || answer.status >= 500;
  }

  // -- wiring ------------------------------------------------------------------------------------

  function startItem() {
    cursor = 0;
    showMarked();
  }

  document.addEventListener("keydown", onKeydown);
  document.addEventListener("visibilitychange", heartbeat);
  setInterval(heartbeat, HEARTBEAT_MS);

  page.addEventListener("change", showMarked);
  page.addEventListener("click", (event) => {
    const opener = event.target.closest("[data-opens]");
    if (opener) document.getElementById(opener.dataset.opens).showModal();
  });
  page.addEventListener("toggle", (event) => {
    if (event.target.matches("[data-skip][open]")) event.target.querySelector("select")?.focus();
  }, true);

  document.addEventListener("htmx:beforeRequest", () => { inFlight = true; });
  document.addEventListener("htmx:afterRequest", () => { inFlight = false; });
  document.addEventListener("htmx:afterSettle", (event) => {
    if (!page.contains(event.target)) return;
    startItem();
    const heading = one("[data-item-heading]");
    const firstError = one(".field-error");
    if (firstError) return announce(firstError.textContent);
    heading.focus({ preventScroll: true });
    announce(one("[data-label-form]") ? "Next item." : "Nothing to label right now.");
  });

  const setting = one("[data-keys-enabled]");
  setting.checked = areKeysEnabled();
  setting.addEventListener("change", () => {
    localStorage.setItem(SETTING, setting.checked ? "on" : "off");
  });

  startItem();
}

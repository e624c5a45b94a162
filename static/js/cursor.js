// The reading cursor over the numbered steps, and the step that is marked as the earliest wrong one.
import { choose } from "./keys.js";

// page: where the steps are; announce(text): says it to whoever cannot see it.
export function startCursor(page, announce) {
  let cursor = 0;
  const all = (selector) => [...page.querySelectorAll(selector)];

  function move(by) {
    const steps = all("[data-step]");
    if (!steps.length) return;
    cursor = Math.min(Math.max(cursor + by, 1), steps.length);
    for (const step of steps) step.removeAttribute("aria-current");
    const step = steps[cursor - 1];
    step.dispatchEvent(new CustomEvent("reading:reveal", { bubbles: true }));
    step.setAttribute("aria-current", "step");
    step.scrollIntoView({ block: "nearest" });
    announce(`${page.dataset.saysStep} ${cursor}. ${step.querySelector(".step-text").innerText.slice(0, 400)}`);
    show();
  }

  function mark() {
    const radio = page.querySelector(`[data-step-radio="${cursor}"]`);
    if (radio) choose(radio);
  }

  function show() {
    const chosen = page.querySelector("[data-step-radio]:checked");
    const marked = chosen ? Number(chosen.dataset.stepRadio) : 0;
    for (const step of all("[data-step]")) {
      const number = Number(step.dataset.step);
      step.classList.toggle("is-wrong", number === marked);
      step.classList.toggle("is-after", marked > 0 && number > marked);
    }
    for (const radio of all("[data-step-radio]")) {
      radio.parentElement.classList.toggle("is-current", Number(radio.dataset.stepRadio) === cursor);
    }
    const output = page.querySelector("[data-marked-step]");
    if (output) output.textContent = marked ? `${output.dataset.says} ${marked}` : "";
  }

  // Another text is on the page.
  function restart() {
    cursor = 0;
    show();
  }

  show();
  return { move, mark, show, restart };
}

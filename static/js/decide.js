// A page on which one rollout is judged by a plain form, an adjudication or practice: the label
// page's keys, without its queue.
import { startCursor } from "./cursor.js";
import { choose, startKeys } from "./keys.js";

const page = document.querySelector("[data-judge-page]");
const form = page.querySelector("[data-judgement]");
const dialog = document.getElementById("keys");
const cursor = startCursor(page, (text) => {
  document.getElementById("announcer").textContent = text;
});
let isSent = false;
let addressed = "";

const isShown = (group) => !group.hidden && !group.closest("details:not([open])");
const choices = () =>
  [...page.querySelectorAll("[data-choice]")].filter((each) => each.querySelector("[data-digit]") && isShown(each));

// Digits choose among the kinds of what was marked last; then they go on to the next criterion.
function chooseDigit(digit) {
  const groups = choices();
  const group = groups.find((each) => each.dataset.choice === addressed) ?? groups[0];
  const radio = group?.querySelector(`[data-digit="${digit}"]`);
  if (!radio) return false;
  choose(radio);
  if (group.dataset.choice.startsWith("criterion-")) nextCriterion();
  return true;
}

function nextCriterion() {
  const names = choices().map((each) => each.dataset.choice).filter((name) => name.startsWith("criterion-"));
  addressed = names[names.indexOf(addressed) + 1] ?? names[0] ?? "";
}

function openFault() {
  const fault = page.querySelector("[data-fault]");
  if (!fault) return;
  fault.open = !fault.open;
  if (fault.open) addressed = "problem_fault";
}

startKeys(page, {
  isBusy: () => isSent,
  digit: chooseDigit,
  special: {
    next_step: () => cursor.move(1),
    previous_step: () => cursor.move(-1),
    mark_step: cursor.mark,
    criterion: nextCriterion,
    problem: openFault,
    commit: () => form.requestSubmit(),
    keys: () => dialog.showModal(),
  },
});

page.addEventListener("change", (event) => {
  cursor.show();
  if (event.target.name === "is_hack") addressed = "hack_kind";
  if (event.target.name === "earliest_wrong_step") addressed = "error_category";
});
page.addEventListener("click", (event) => {
  if (event.target.closest("[data-action='keys']")) dialog.showModal();
});
form.addEventListener("submit", (event) => {
  if (isSent) event.preventDefault();
  isSent = true;
});
// Come back to from the browser's history, the page can be sent again.
window.addEventListener("pageshow", () => { isSent = false; });

// A page on which one rollout is judged by a plain form, an adjudication or practice: the label
// page's keys, without its queue.
import { startCursor } from "./cursor.js";
import { startDigits } from "./digits.js";
import { startKeys } from "./keys.js";

const page = document.querySelector("[data-judge-page]");
const form = page.querySelector("[data-judgement]");
const dialog = document.getElementById("keys");
const cursor = startCursor(page, (text) => {
  document.getElementById("announcer").textContent = text;
});
let isSent = false;
const digits = startDigits(page);

function openFault() {
  const fault = page.querySelector("[data-fault]");
  if (!fault) return;
  fault.open = !fault.open;
  if (fault.open) digits.address("problem_fault");
}

startKeys(page, {
  isBusy: () => isSent,
  digit: digits.chooseDigit,
  special: {
    next_step: () => cursor.move(1),
    previous_step: () => cursor.move(-1),
    mark_step: cursor.mark,
    criterion: digits.nextCriterion,
    problem: openFault,
    commit: () => form.requestSubmit(),
    keys: () => dialog.showModal(),
  },
});

page.addEventListener("change", (event) => {
  cursor.show();
  digits.follow(event.target);
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

digits.address("");

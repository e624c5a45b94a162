// Which kinds the digit keys choose among: those of what was marked last. Of a rubric they go on to
// the next criterion by themselves.
import { choose } from "./keys.js";

// The kinds that follow from what was marked.
const KINDS = { earliest_wrong_step: "error_category", is_hack: "hack_kind" };
const CRITERIA = "criterion-";

export function startDigits(page) {
  let addressed = "";
  const isShown = (group) => !group.hidden && !group.closest("details:not([open])");
  const groups = () =>
    [...page.querySelectorAll("[data-choice]")].filter((each) => each.querySelector("[data-digit]") && isShown(each));
  const criteria = () => groups().filter((each) => each.dataset.choice.startsWith(CRITERIA));

  // The group of this name, or the first one.
  function address(name) {
    addressed = name;
    const shown = groups();
    const chosen = shown.find((group) => group.dataset.choice === name) ?? shown[0];
    for (const group of shown) group.classList.toggle("is-addressed", group === chosen);
    return chosen;
  }

  function chooseDigit(digit) {
    const group = address(addressed);
    const radio = group?.querySelector(`[data-digit="${digit}"]`);
    if (!radio) return false;
    choose(radio);
    const rubric = criteria();
    const next = rubric[rubric.indexOf(group) + 1];
    if (rubric.includes(group) && next) address(next.dataset.choice);
    return true;
  }

  // To the next criterion, after the last to the first; null where there is no rubric.
  function nextCriterion() {
    const rubric = criteria();
    if (!rubric.length) return null;
    const place = rubric.findIndex((group) => group.dataset.choice === addressed);
    const group = address(rubric[(place + 1) % rubric.length].dataset.choice);
    group.scrollIntoView({ block: "nearest" });
    return group;
  }

  // What a person has changed says what the digits are for.
  function follow(changed) {
    const name = changed.name ?? "";
    address(KINDS[name] ?? (changed.dataset?.digit ? name : addressed));
  }

  return { address, chooseDigit, nextCriterion, follow };
}

// A form in which somebody says what they think of a rollout: what depends on something else is
// shown and sent only with it, and choosing what is chosen takes it back.
"use strict";

{
  const NUMBER = /^[1-9]/;
  let wasChosen = null;

  // The steps' radios may stand outside of the form element.
  const hasMarkedStep = (form) =>
    [...form.elements].some((each) => each.name === "earliest_wrong_step" && each.checked && NUMBER.test(each.value));

  function refresh(form) {
    const has = { step: hasMarkedStep(form), hack: form.elements.is_hack?.checked ?? false };
    for (const part of form.querySelectorAll("[data-needs]")) {
      part.hidden = !has[part.dataset.needs];
      part.disabled = part.hidden;
    }
    for (const part of form.querySelectorAll("[data-without]")) part.hidden = has[part.dataset.without];
  }

  function refreshAll() {
    for (const form of document.querySelectorAll("[data-judgement]")) refresh(form);
  }

  const neutralOf = (radio) =>
    [...radio.form.elements].find((each) => each.name === radio.name && each.value === "");

  document.addEventListener("change", (event) => {
    if (event.target.form?.matches("[data-judgement]")) refresh(event.target.form);
  });
  document.addEventListener("pointerdown", (event) => {
    const radio = event.target.closest?.(".choice-option, .rail li")?.querySelector("[type=radio]");
    wasChosen = radio?.checked ? radio : null;
  });
  document.addEventListener("click", (event) => {
    const isAgain = event.target === wasChosen;
    if (!event.target.matches?.("[type=radio]")) return;
    wasChosen = null;
    if (isAgain && event.target.form?.matches("[data-judgement]")) neutralOf(event.target)?.click();
  });
  document.addEventListener("desk:shown", refreshAll);
  document.addEventListener("judgement:filled", refreshAll);
  refreshAll();
}

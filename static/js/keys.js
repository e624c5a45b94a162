// The labelling page without a mouse. Which key does what is read from the list of keys on the page,
// which the server has made; nothing of it is ever run or written as markup.
const SETTING = "assay.single-keys";
const CONTROLS = "a[href], button, input, select, textarea, summary, [contenteditable]";
const MOVES = { ArrowDown: "next_step", ArrowUp: "previous_step" };
const OFF = "[hidden], fieldset:disabled";

// -- guards ----------------------------------------------------------------------------------------

export function isTyping(element) {
  if (element.isContentEditable || element.matches("textarea, select")) return true;
  return element.matches("input") && !element.matches("[type=radio], [type=checkbox]");
}

const areKeysOn = () => localStorage.getItem(SETTING) !== "off";

// AltGr arrives as Ctrl+Alt on some systems, as its own modifier on others.
function hasModifier(event) {
  return event.ctrlKey || event.metaKey || event.altKey || event.getModifierState("AltGraph");
}

function isLeftToBrowser(event) {
  if (event.defaultPrevented || event.isComposing || hasModifier(event)) return true;
  if (!areKeysOn() || document.querySelector("dialog[open], details[data-menu][open]")) return true;
  return isTyping(event.target);
}

// -- what an action does ---------------------------------------------------------------------------

function pulse(element) {
  const shown = element.labels?.[0] ?? element;
  shown.classList.remove("pulse");
  requestAnimationFrame(() => shown.classList.add("pulse"));
}

// Choosing what is already chosen takes it back.
export function choose(radio) {
  const same = [...radio.form.elements].filter((each) => each.name === radio.name);
  const neutral = same.find((each) => each.value === "");
  const chosen = radio.checked && neutral ? neutral : radio;
  chosen.click();
  pulse(radio);
}

function use(element) {
  if (element.matches("textarea, [type=search]")) return element.focus();
  if (element.matches("[type=radio]")) return choose(element);
  element.click();
  pulse(element);
}

const named = (page, action) =>
  [...page.querySelectorAll(`[data-action="${CSS.escape(action)}"]`)].find((each) => !each.closest(OFF));

function tableOf(page) {
  return new Map([...page.querySelectorAll("[data-does]")].map((row) => [row.dataset.key, row.dataset.does]));
}

// page: where the elements are; special: actions that are more than an element; digit(number): whether
// it chose something; isBusy(): whether a request is in flight.
export function startKeys(page, { special, digit, isBusy }) {
  const table = tableOf(page);

  function does(action) {
    if (special[action]) return special[action](), true;
    const element = named(page, action);
    if (element) use(element);
    return Boolean(element);
  }

  function press(key) {
    if (/^[1-9]$/.test(key)) return digit(key);
    const action = MOVES[key] ?? table.get(key);
    return action ? does(action) : false;
  }

  function onKeydown(event) {
    const sends = event.key === "Enter" && (event.ctrlKey || event.metaKey) && !event.altKey;
    if (sends && page.contains(event.target) && event.target.form) {
      event.preventDefault();
      if (!event.repeat && !isBusy()) event.target.form.requestSubmit();
      return;
    }
    if (event.key === "Escape" && isTyping(event.target)) return event.target.blur();
    if (isLeftToBrowser(event)) return;
    const key = event.key.length === 1 ? event.key.toLowerCase() : event.key;
    // Arrows, Enter and space belong to the control that has the focus.
    if (key.length > 1 && event.target.closest(CONTROLS)) return;
    // A held key may scroll on, but never judges or commits: the next item has not been seen.
    const isMove = ["next_step", "previous_step"].includes(MOVES[key] ?? table.get(key));
    if ((event.repeat && !isMove) || isBusy()) return event.preventDefault();
    if (press(key)) event.preventDefault();
  }

  document.addEventListener("keydown", onKeydown);
  const setting = page.querySelector("[data-keys-enabled]");
  setting.checked = areKeysOn();
  setting.addEventListener("change", () => localStorage.setItem(SETTING, setting.checked ? "on" : "off"));
}

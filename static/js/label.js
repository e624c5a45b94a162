// The labelling page: the reading cursor, one commit after the other, the lease's heartbeat.
// Every element is found by its data-* attribute; without this file the page is plain forms.
import { prepare, prepared, wholeWith } from "./ahead.js";
import { activeMs, startClock } from "./clock.js";
import { startCursor } from "./cursor.js";
import { deliver } from "./delivery.js";
import { startDigits } from "./digits.js";
import { forgetDraft, startDraft, startDrafts, stopDraft } from "./draft.js";
import { forget, keep, kept } from "./keep.js";
import { startKeys } from "./keys.js";
import { fieldsOf, fillIn, get, post, read } from "./post.js";

const HEARTBEAT_MS = 60_000;
const LONGEST_REASON = 500;

const page = document.querySelector("[data-label-page]");
const says = page.dataset;
const tabs = new BroadcastChannel("assay.label");
const COUNT = `count.${says.nextUrl}`;

let isBusy = false;
let undoTimer = null;

const one = (selector) => page.querySelector(selector);
const all = (selector) => [...page.querySelectorAll(selector)];
const item = () => document.getElementById("item");
const labelForm = () => one("[data-label-form]");
const announce = (text) => {
  document.getElementById("announcer").textContent = text;
};

const cursor = startCursor(page, announce);

function tell(text) {
  const line = one("[data-unsent]");
  line.textContent = text;
  line.hidden = !text;
}

function setBusy(isSending) {
  isBusy = isSending;
  for (const button of all("[data-commit]")) button.disabled = isSending;
}

// What is on its way is not changed any more.
function setInert(isInert) {
  for (const form of all("#item form")) form.inert = isInert;
}

// -- which kinds the digits choose among -------------------------------------------------------------

const digits = startDigits(page);

function nextCriterion() {
  const group = digits.nextCriterion();
  if (group) announce(group.querySelector("legend").textContent);
}

function toggleProblem() {
  const details = one("[data-fault]");
  if (!details) return;
  details.open = !details.open;
  if (details.open) digits.address("problem_fault");
  else one("[name=problem_fault][value='']").click();
}

function onChange(event) {
  cursor.show();
  digits.follow(event.target);
}

// -- from one item to the next -----------------------------------------------------------------------

function start() {
  cursor.restart();
  setBusy(false);
  const form = labelForm();
  startClock(Number(form?.elements.active_ms.value ?? 0));
  startDraft(item());
  cursor.show();
  digits.address("");
  showCount();
  startUndo();
}

// After the paint: the reader comes first.
function prepareSoon() {
  const shown = item();
  if (!shown.dataset.aheadUrl) return;
  requestAnimationFrame(() => setTimeout(() => shown === item() && prepare(shown)));
}

function show(part, isPrepared = false) {
  item().replaceWith(part);
  window.scrollTo(0, 0);
  start();
  document.dispatchEvent(new CustomEvent("desk:shown", { detail: { isPrepared } }));
  const firstError = one(".field-error");
  one("[data-item-heading]").focus({ preventScroll: true });
  announce(firstError?.textContent ?? (labelForm() ? says.saysNext : says.saysEmpty));
  prepareSoon();
}

// Whether the answer brought an item, or the way to one.
async function showAnswer(answer) {
  const elsewhere = answer.headers.get("HX-Redirect");
  if (elsewhere) return location.assign(elsewhere), true;
  const isPart = answer.ok || answer.status === 422;
  if (!isPart) return await refused(answer), false;
  const part = read(await answer.text());
  if (part?.id === "item") return show(part), true;
  const whole = part && wholeWith(part);
  if (whole) return show(whole, true), true;
  // Signed out: the way to the login page and back.
  return location.assign(says.nextUrl), true;
}

async function refused(answer) {
  if (answer.redirected) return location.assign(says.nextUrl);
  const isText = answer.headers.get("Content-Type")?.startsWith("text/plain");
  tell(isText ? (await answer.text()).slice(0, LONGEST_REASON) : says.saysRefused);
  setBusy(false);
  setInert(false);
  startDraft(item());
}

async function commit(form) {
  stopDraft();
  form.elements.active_ms.value = activeMs();
  const { csrfmiddlewaretoken, ...fields } = fieldsOf(form);
  await send({ url: form.getAttribute("action"), item: item().dataset.item, fields });
}

async function send(pending) {
  setBusy(true);
  let hasWaited = false;
  const answer = await deliver(pending, prepared, () => {
    hasWaited = true;
    tell(says.saysOffline);
    setInert(true);
  });
  if (answer.redirected) return location.assign(says.nextUrl); // signed out: sent again from there
  forget("commit");
  tell("");
  if (answer.ok) {
    forgetDraft();
    count(1);
    tabs.postMessage(pending.item);
  }
  await showAnswer(answer);
  if (hasWaited && answer.ok) announce(says.saysStored);
}

// A skip or an undo: asked for again by whoever wants it, if no answer comes.
async function ask(form) {
  setBusy(true);
  tell("");
  const left = item().dataset.item;
  const answer = await post(form.action, fieldsOf(form)).catch(() => null);
  if (!answer) return tell(says.saysUnanswered), setBusy(false);
  const isUndo = form.matches("[data-undo]");
  if (isUndo && !answer.ok) form.remove();
  if (await showAnswer(answer)) {
    if (isUndo) count(-1);
    tabs.postMessage(left);
  }
}

// What a tab shows that was answered in another one is no work any more.
async function onOtherTab(event) {
  if (isBusy || event.data !== item().dataset.item) return;
  setBusy(true);
  const answer = await get(says.nextUrl).catch(() => null);
  if (!answer?.ok) return setBusy(false);
  stopDraft();
  const part = read(await answer.text());
  if (part?.id !== "item") return location.assign(says.nextUrl); // paused, or signed out
  show(part);
  tell(says.saysElsewhere);
}

// -- this session's labels, the last label -----------------------------------------------------------

const counted = () => kept(COUNT) ?? 0;

function count(by) {
  keep(COUNT, Math.max(counted() + by, 0));
  showCount();
}

function showCount() {
  const line = one("[data-session]");
  line.hidden = counted() === 0;
  line.textContent = line.dataset.says.replace("%s", counted());
}

function startUndo() {
  clearTimeout(undoTimer);
  const form = one("[data-undo]");
  if (form) undoTimer = setTimeout(() => form.remove(), Number(form.dataset.seconds) * 1000);
}

// -- lease -------------------------------------------------------------------------------------------

function setLost(isLost) {
  const notice = one("[data-lease-lost]");
  if (notice) notice.hidden = !isLost;
}

async function heartbeat() {
  const held = item();
  if (!held.dataset.leaseToken || document.visibilityState !== "visible") return;
  const answer = await post(held.dataset.heartbeatUrl, { token: held.dataset.leaseToken }).catch(() => null);
  // Offline: the next beat tells.
  if (answer && held === item()) setLost(!answer.ok && answer.status < 500);
}

// -- wiring ------------------------------------------------------------------------------------------

function onSubmit(event) {
  const form = event.target;
  if (!form.matches("[data-label-form], [data-skip-form], [data-undo]")) return;
  event.preventDefault();
  if (isBusy) return;
  if (form.matches("[data-label-form]")) commit(form);
  else ask(form);
}

startKeys(page, {
  isBusy: () => isBusy,
  digit: digits.chooseDigit,
  special: {
    next_step: () => cursor.move(1),
    previous_step: () => cursor.move(-1),
    mark_step: cursor.mark,
    criterion: nextCriterion,
    problem: toggleProblem,
    commit: () => labelForm()?.requestSubmit(),
    keys: () => document.getElementById("keys").showModal(),
  },
});
startDrafts(() => setLost(true));
page.addEventListener("submit", onSubmit);
// After judgement.js has shown what depends on it.
document.addEventListener("change", onChange);
page.addEventListener("click", (event) => {
  if (event.target.closest("[data-action='keys']")) document.getElementById("keys").showModal();
});
page.addEventListener("toggle", (event) => {
  if (event.target.matches("[data-skip][open]")) event.target.querySelector("select")?.focus();
}, true);
document.addEventListener("visibilitychange", heartbeat);
setInterval(heartbeat, HEARTBEAT_MS);
tabs.addEventListener("message", onOtherTab);

start();
prepareSoon();
const unsent = kept("commit");
if (unsent) {
  // From before a reload: if it was stored all the same, the server knows its key.
  if (unsent.item === item().dataset.item) fillIn(labelForm(), unsent.fields);
  cursor.show();
  stopDraft();
  send(unsent);
}

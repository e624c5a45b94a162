// What is filled in so far, kept on the server as it is made; and in this tab until it is there.
import { activeMs } from "./clock.js";
import { fillIn, post, saidIn } from "./post.js";

const DEBOUNCE_MS = 400;
const KEPT = "assay.draft";

let item = null;
let timer = null;
let isUnsaved = false;
let onLost = () => {};

const formOf = (element) => element.querySelector("[data-label-form]");

function said() {
  const form = formOf(item);
  form.elements.active_ms.value = activeMs();
  return saidIn(form);
}

function keep() {
  sessionStorage.setItem(KEPT, JSON.stringify({ item: item.dataset.item, said: said() }));
}

function changed() {
  isUnsaved = true;
  keep();
  clearTimeout(timer);
  timer = setTimeout(save, DEBOUNCE_MS);
}

async function save(options = {}) {
  clearTimeout(timer);
  if (!item || !isUnsaved) return;
  const saved = item;
  isUnsaved = false;
  const fields = { ...said(), token: item.dataset.leaseToken };
  const answer = await post(item.dataset.draftUrl, fields, options).catch(() => null);
  if (item !== saved || isUnsaved) return;
  if (answer?.ok) sessionStorage.removeItem(KEPT);
  else if (answer?.status === 409) onLost();
  else isUnsaved = true; // sent again with the next change, or once the network is back
}

export function startDrafts(whenLost) {
  onLost = whenLost;
  document.addEventListener("input", (event) => {
    if (item && event.target.form === formOf(item)) changed();
  });
  window.addEventListener("pagehide", () => save({ keepalive: true, signal: undefined }));
  window.addEventListener("online", () => save());
}

export function startDraft(newItem) {
  stopDraft();
  item = formOf(newItem) ? newItem : null;
  const kept = JSON.parse(sessionStorage.getItem(KEPT) ?? "null");
  if (!item || kept?.item !== item.dataset.item) return;
  fillIn(formOf(item), kept.said);
  changed();
}

export function stopDraft() {
  clearTimeout(timer);
  item = null;
  isUnsaved = false;
}

export const forgetDraft = () => sessionStorage.removeItem(KEPT);

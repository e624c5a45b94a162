// What is filled in so far, kept on the server as it is made; and in this tab until it is there.
import { activeMs } from "./clock.js";
import { forget, keep, kept } from "./keep.js";
import { fillIn, post, saidIn } from "./post.js";

const DEBOUNCE_MS = 400;

let item = null;
let timer = null;
let isUnsaved = false;
let left = new AbortController();
let onLost = () => {};

const formOf = (element) => element.querySelector("[data-label-form]");

function said() {
  const form = formOf(item);
  form.elements.active_ms.value = activeMs();
  return saidIn(form);
}

function changed() {
  isUnsaved = true;
  keep("draft", { item: item.dataset.item, said: said() });
  clearTimeout(timer);
  timer = setTimeout(save, DEBOUNCE_MS);
}

async function save(options = {}) {
  clearTimeout(timer);
  if (!item || !isUnsaved) return;
  const saved = item;
  isUnsaved = false;
  const fields = { ...said(), token: item.dataset.leaseToken };
  const answer = await post(item.dataset.draftUrl, fields, { until: left.signal, ...options }).catch(() => null);
  if (item !== saved || isUnsaved) return;
  if (answer?.ok) forgetDraft();
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
  const draft = kept("draft");
  if (!item || draft?.item !== item.dataset.item) return;
  fillIn(formOf(item), draft.said);
  changed();
}

export function stopDraft() {
  clearTimeout(timer);
  left.abort();
  left = new AbortController();
  item = null;
  isUnsaved = false;
}

export const forgetDraft = () => forget("draft");

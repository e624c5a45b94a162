// The next item, prepared off the page while this one is read. Whether it is the next one indeed,
// and under which lease, comes with the answer to the commit.
import { get, read } from "./post.js";

let asked = 0;
let part = null;

export async function prepare(item) {
  const turn = (asked += 1);
  part = null;
  const answer = await get(item.dataset.aheadUrl).catch(() => null);
  const isPart = answer?.status === 200 && !answer.redirected;
  const found = isPart ? read(await answer.text()) : null;
  if (turn === asked && found?.dataset.ahead) part = found;
}

// What the server has to know of it.
export const prepared = () =>
  part ? { prepared: part.dataset.item, ahead: part.dataset.ahead } : {};

// The item that a lease has come for, made whole; null: it is another one's.
export function wholeWith(last) {
  const whole = part;
  if (whole?.dataset.item !== last.dataset.item) return null;
  whole.dataset.leaseToken = last.dataset.leaseToken;
  for (const input of whole.querySelectorAll("[name=token]")) input.value = last.dataset.leaseToken;
  whole.querySelector("[name=client_key]").value = last.dataset.clientKey;
  whole.querySelector("#last").replaceWith(last);
  return whole;
}

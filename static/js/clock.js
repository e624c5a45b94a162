// How long an item is really in front of the reader: not while the page is hidden, and not for
// longer than a minute without a sign of them.
const IDLE_MS = 60_000;
const SIGNS = ["keydown", "pointerdown", "pointermove", "wheel", "touchmove", "focus"];

let total = 0;
let since = 0;
let isRunning = false;

function settle() {
  const now = performance.now();
  if (isRunning) total += Math.min(now - since, IDLE_MS);
  since = now;
  isRunning = document.visibilityState === "visible";
}

export function startClock(milliseconds) {
  settle();
  total = milliseconds;
}

export function activeMs() {
  settle();
  return Math.round(total);
}

for (const sign of SIGNS) window.addEventListener(sign, settle, { passive: true, capture: true });
document.addEventListener("visibilitychange", settle);

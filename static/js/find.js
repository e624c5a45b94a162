// Find in text: matches in every rendered text of the page, folded ones too. They are highlighted
// without touching the document (CSS Custom Highlight API), so hostile text stays as it was cleaned.
"use strict";

{
  const MOST_MATCHES = 2_000;
  const WAIT_MS = 120;
  const SETTING = "assay.single-keys";
  const canHighlight = "highlights" in CSS;

  let matches = [];
  let current = -1;
  let sought = "";
  let timer = 0;

  const box = () => document.querySelector("[data-find]");
  const input = () => document.querySelector("[data-find] input");

  // -- matching ----------------------------------------------------------------------------------

  function patternOf(query) {
    const words = query.trim().split(/\s+/).map((word) => word.replace(/[.*+?^${}()|[\]\\/-]/g, "\\$&"));
    return words[0] ? new RegExp(words.join("\\s+"), "gi") : null;
  }

  function nodesOf(element) {
    const walker = document.createTreeWalker(element, NodeFilter.SHOW_TEXT);
    const nodes = [];
    let length = 0;
    while (walker.nextNode()) {
      nodes.push({ node: walker.currentNode, start: length });
      length += walker.currentNode.data.length;
    }
    return nodes;
  }

  // A match may begin in one text node and end in another: "x+1" in a formula is three.
  function rangesIn(element, pattern) {
    const nodes = nodesOf(element);
    const text = nodes.map(({ node }) => node.data).join("");
    const ranges = [];
    let at = 0;
    for (const found of text.matchAll(pattern)) {
      if (ranges.length >= MOST_MATCHES) break;
      const end = found.index + found[0].length;
      while (at + 1 < nodes.length && nodes[at + 1].start <= found.index) at += 1;
      let last = at;
      while (last + 1 < nodes.length && nodes[last + 1].start < end) last += 1;
      const range = document.createRange();
      range.setStart(nodes[at].node, found.index - nodes[at].start);
      range.setEnd(nodes[last].node, end - nodes[last].start);
      ranges.push(range);
    }
    return ranges;
  }

  function find(query) {
    sought = query;
    const pattern = patternOf(query);
    const texts = pattern ? document.querySelectorAll("main .rollout-text") : [];
    matches = [...texts].flatMap((text) => rangesIn(text, pattern)).slice(0, MOST_MATCHES);
    current = -1;
    highlight();
    showCount(query);
  }

  // -- showing -----------------------------------------------------------------------------------

  function highlight() {
    if (!canHighlight) return;
    CSS.highlights.set("found", new Highlight(...matches));
    CSS.highlights.set("found-current", new Highlight(...matches.slice(current).slice(0, current < 0 ? 0 : 1)));
  }

  function showCount(query) {
    const count = box().querySelector("[data-find-count]");
    const total = matches.length === MOST_MATCHES ? `${MOST_MATCHES}+` : String(matches.length);
    count.textContent = query.trim() ? (current < 0 ? total : `${current + 1} / ${total}`) : "";
    for (const button of box().querySelectorAll("[data-find-step]")) button.hidden = !matches.length;
  }

  function step(by) {
    if (!matches.length) return;
    const isFirst = current < 0;
    current = isFirst && by > 0 ? 0 : (Math.max(current, 0) + by + matches.length) % matches.length;
    const place = matches[current].startContainer.parentElement;
    place.dispatchEvent(new CustomEvent("reading:reveal", { bubbles: true }));
    place.scrollIntoView({ block: "center", inline: "nearest" });
    highlight();
    showCount(input().value);
  }

  function clear() {
    input().value = "";
    find("");
  }

  // -- wiring ------------------------------------------------------------------------------------

  const isFind = (element) => element?.matches?.("[data-find] input");

  document.addEventListener("input", (event) => {
    if (!isFind(event.target)) return;
    clearTimeout(timer);
    timer = setTimeout(() => isFind(event.target) && event.target.isConnected && find(event.target.value), WAIT_MS);
  });

  // The next search replaces the last one.
  document.addEventListener("focusin", (event) => {
    if (isFind(event.target)) event.target.select();
  });

  document.addEventListener("click", (event) => {
    const button = event.target.closest?.("[data-find-step]");
    if (button) step(Number(button.dataset.findStep));
  });

  function onFindKey(event) {
    if (event.key === "Enter" && !event.isComposing) {
      event.preventDefault();
      clearTimeout(timer);
      if (event.target.value !== sought) find(event.target.value);
      step(event.shiftKey ? -1 : 1);
    } else if (event.key === "Escape") {
      clear();
      event.target.blur();
    }
  }

  // The label page gives its keys out itself: see its action "find".
  function onPageKey(event) {
    const isTaken = event.defaultPrevented || event.ctrlKey || event.metaKey || event.altKey || event.isComposing;
    if (event.key !== "/" || isTaken || document.querySelector("[data-label-page], dialog[open]")) return;
    if (localStorage.getItem(SETTING) === "off" || event.target.closest("input, select, textarea")) return;
    if (!input()) return;
    event.preventDefault();
    input().focus();
  }

  document.addEventListener("keydown", (event) => (isFind(event.target) ? onFindKey(event) : onPageKey(event)));

  // Another text is on the page: what was found is gone with the old one.
  document.addEventListener("desk:shown", () => {
    if (matches.length && !matches[0].startContainer.isConnected) {
      matches = [];
      current = -1;
      sought = "";
      highlight();
    }
  });
}

// What this tab keeps for its reviewer, over reloads: whoever signs in here instead has their own.
const place = (name) =>
  `assay.${name}.${document.querySelector("[data-label-page]").dataset.reviewer}`;

export const keep = (name, value) => sessionStorage.setItem(place(name), JSON.stringify(value));
export const kept = (name) => JSON.parse(sessionStorage.getItem(place(name)) ?? "null");
export const forget = (name) => sessionStorage.removeItem(place(name));

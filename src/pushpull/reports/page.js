// Tables sort by their headings; panels tell what the pointer or the arrow keys are on.
"use strict";
const figure = (cell) => {
  const found = cell.textContent.trim().replace(/\u2212/g, "-").match(/^(severity )?([-+]?[\d,]*\.?\d+)/);
  return found ? Number(found[2].replace(/,/g, "")) : NaN;
};
function sort(head) {
  const table = head.closest("table"), body = table.tBodies[0], at = head.cellIndex;
  const up = head.getAttribute("aria-sort") !== "ascending";
  for (const other of head.parentElement.cells) other.setAttribute("aria-sort", "none");
  head.setAttribute("aria-sort", up ? "ascending" : "descending");
  const order = (a, b) => {
    const x = figure(a.cells[at]), y = figure(b.cells[at]);
    if (Number.isNaN(x) !== Number.isNaN(y)) return Number.isNaN(x) ? 1 : -1;
    const least = Number.isNaN(x) ? a.cells[at].textContent.localeCompare(b.cells[at].textContent) : x - y;
    return up ? least : -least;
  };
  body.append(...[...body.rows].sort(order));
}
for (const button of document.querySelectorAll("table.sortable thead button")) {
  button.addEventListener("click", () => sort(button.parentElement));
}
const tip = document.getElementById("tip");
function hide() {
  tip.hidden = true;
  for (const hit of document.querySelectorAll(".hit.on")) hit.classList.remove("on");
}
function show(hit, x, y) {
  hide();
  tip.textContent = hit.dataset.tip;
  tip.hidden = false;
  const width = document.documentElement.clientWidth, box = tip.getBoundingClientRect();
  tip.style.left = `${Math.max(4, Math.min(x + 12, width - box.width - 4))}px`;
  tip.style.top = `${Math.max(4, y - box.height - 12)}px`;
}
for (const panel of document.querySelectorAll(".panel svg[tabindex]")) {
  const hits = [...panel.querySelectorAll(".hit")];
  let at = -1;
  panel.addEventListener("pointermove", (event) => {
    if (event.target.classList.contains("hit")) show(event.target, event.clientX, event.clientY);
  });
  panel.addEventListener("pointerleave", hide);
  panel.addEventListener("blur", hide);
  panel.addEventListener("keydown", (event) => {
    const step = { ArrowRight: 1, ArrowDown: 1, ArrowLeft: -1, ArrowUp: -1 }[event.key];
    if (event.key === "Escape") hide();
    if (!step || !hits.length) return;
    event.preventDefault();
    at = (at + step + hits.length) % hits.length;
    const box = hits[at].getBoundingClientRect();
    show(hits[at], box.x + box.width / 2, box.y);
    hits[at].classList.add("on");
  });
}

"use strict";

// The charts of the chosen measure.
const form = document.querySelector(".controls");
const choose = () => {
  for (const box of document.querySelectorAll("[data-measure]")) {
    box.hidden = box.dataset.measure !== form.elements.measure.value;
  }
};
form.addEventListener("submit", (event) => event.preventDefault());
form.elements.measure.addEventListener("change", choose);
choose();

// A click on a column's head sorts by it, and turns the order at the second. Numbers are sorted as numbers.
const number = (text) => Number.parseFloat(text.replace(/,/g, "").replace("\u2212", "-"));
const order = (a, b) => {
  const [x, y] = [number(a), number(b)];
  if (Number.isNaN(x) || Number.isNaN(y)) return Number.isNaN(x) - Number.isNaN(y) || a.localeCompare(b);
  return x - y;
};
for (const table of document.querySelectorAll("table.sorted")) {
  const heads = [...table.tHead.rows[0].cells];
  heads.forEach((head, k) => {
    head.querySelector("button").addEventListener("click", () => {
      const down = head.getAttribute("aria-sort") === "ascending";
      for (const other of heads) other.removeAttribute("aria-sort");
      head.setAttribute("aria-sort", down ? "descending" : "ascending");
      const rows = [...table.tBodies[0].rows];
      rows.sort((a, b) => (down ? -1 : 1) * order(a.cells[k].textContent, b.cells[k].textContent));
      table.tBodies[0].append(...rows);
    });
  });
}

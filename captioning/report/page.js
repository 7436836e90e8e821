"use strict";

// The values of every curve at the epoch nearest to the pointer.
for (const svg of document.querySelectorAll("svg[data-hover]")) {
  const { x, lines } = JSON.parse(svg.dataset.hover);
  const cursor = svg.querySelector(".cursor");
  const tip = document.createElement("div");
  tip.className = "tip";
  tip.hidden = true;
  svg.parentElement.append(tip);

  const show = (event) => {
    const box = svg.getBoundingClientRect();
    const scale = svg.viewBox.baseVal.width / box.width;
    const at = (event.clientX - box.left) * scale;
    const [epoch, place] = x.reduce((a, b) => (Math.abs(b[1] - at) < Math.abs(a[1] - at) ? b : a));
    cursor.setAttribute("x1", place);
    cursor.setAttribute("x2", place);
    cursor.removeAttribute("hidden");
    tip.replaceChildren(`epoch ${epoch}`);
    for (const line of lines.filter((line) => epoch in line.values)) {
      const row = document.createElement("div");
      const value = document.createElement("b");
      value.textContent = line.values[epoch];
      row.append(value, line.name);
      tip.append(row);
    }
    tip.hidden = false;
    const left = place / scale;
    const flip = left + tip.offsetWidth + 14 > box.width;
    tip.style.left = `${Math.max(0, flip ? left - tip.offsetWidth - 10 : left + 10)}px`;
  };
  const hide = () => {
    cursor.setAttribute("hidden", "");
    tip.hidden = true;
  };
  svg.addEventListener("pointermove", show);
  svg.addEventListener("pointerdown", show);
  svg.addEventListener("pointerleave", hide);
}

// Search, order and references of the pictures.
const form = document.querySelector(".controls");
const holder = document.querySelector(".cards");
const cards = [...holder.children];
const orders = {
  best: (a, b) => b.dataset.score - a.dataset.score,
  worst: (a, b) => a.dataset.score - b.dataset.score,
  gap: (a, b) => b.dataset.gap - a.dataset.gap,
};

const chosen = (card) => {
  const which = form.elements.which.value;
  if (which === "all") return true;
  if (which === "alike" || which === "differ") return (card.dataset.alike === "1") === (which === "alike");
  return card.dataset.ahead === which;
};
const find = () => {
  const words = form.elements.search.value.toLowerCase().split(/\s+/).filter(Boolean);
  for (const card of cards) card.hidden = !chosen(card) || !words.every((word) => card.dataset.search.includes(word));
  const shown = cards.filter((card) => !card.hidden).length;
  form.querySelector("output").textContent = `${shown} of ${cards.length} shown`;
};
const sort = () => {
  if (cards.every((card) => "score" in card.dataset)) holder.append(...cards.sort(orders[form.elements.order.value]));
};
const unfold = () => {
  for (const box of holder.querySelectorAll("details")) box.open = form.elements.people.checked;
};

form.addEventListener("submit", (event) => event.preventDefault());
form.elements.search.addEventListener("input", find);
form.elements.which.addEventListener("change", find);
form.elements.order.addEventListener("change", sort);
form.elements.people.addEventListener("change", unfold);
find();
sort();

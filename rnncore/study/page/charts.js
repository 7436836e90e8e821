// Colours, the chart of one unit over the steps, the map of all units, and the editor of the input.
"use strict";

const GATE_COLOURS = {
  input: "#0072B2", forget: "#D55E00", output: "#009E73", candidate: "#CC79A7",
  reset: "#0072B2", update: "#D55E00", hidden: "#009E73", h: "var(--ink)", c: "#E69F00", said: "#56B4E9", wanted: "#8a8d94",
};
const MORE = ["#56B4E9", "#E69F00", "#8a8d94"];
const gateColour = (name, k = 0) => GATE_COLOURS[name.replace(/^(before|d|a) /, "")] || MORE[k % MORE.length];

const CIVIDIS = [[0, 34, 78], [53, 69, 108], [102, 105, 112], [148, 142, 119], [200, 184, 102], [254, 232, 56]];
const PURPLE_ORANGE = [[45, 0, 75], [128, 115, 172], [247, 247, 247], [224, 130, 20], [127, 59, 8]];

/** The colour of a share from 0 to 1 on a ladder of colours. */
function shade(ladder, share) {
  const place = Math.min(Math.max(share, 0), 1) * (ladder.length - 1), k = Math.min(Math.floor(place), ladder.length - 2);
  const mixed = ladder[k].map((v, j) => Math.round(v + (place - k) * (ladder[k + 1][j] - v)));
  return `rgb(${mixed.join(" ")})`;
}
const signedColour = (value) => (value === undefined ? "var(--rule)" : value < 0 ? "#7a5fb0" : "#d9822b");

/** Extent of rows, with 0 in it. */
function extent(rows) {
  let low = 0, high = 0;
  for (const row of rows) for (const v of row) { if (v < low) low = v; if (v > high) high = v; }
  return [low, high];
}

/** Lines over the steps: `series` is a list of {name, values}; a click chooses the step. */
function lineChart(series, step, labels, choose) {
  const width = 960, height = 260, left = 40, right = 96, top = 12, bottom = 44, T = labels.length;
  const [low, high] = extent(series.map((s) => s.values)), pad = 0.04 * (high - low || 1);
  const x = (t) => left + (T > 1 ? (t * (width - left - right)) / (T - 1) : 0);
  const y = (v) => top + ((high + pad - v) * (height - top - bottom)) / (high - low + 2 * pad || 1);
  const root = svg("svg", { viewBox: `0 0 ${width} ${height}`, class: "lines", role: "img", "aria-label": "values over the steps" });
  for (const v of ticks(low, high)) {
    root.append(svg("line", { x1: left, x2: width - right, y1: y(v), y2: y(v), class: v ? "rule" : "rule zero" }));
    root.append(svg("text", { x: left - 8, y: y(v) + 4, class: "tick end" }, String(v)));
  }
  root.append(svg("line", { x1: x(step), x2: x(step), y1: top, y2: height - bottom, class: "cursor" }));
  const every = Math.max(1, Math.ceil(T / 32));
  labels.forEach((label, t) => {
    if (t % every) return;
    const text = svg("text", { transform: `translate(${x(t)} ${height - bottom + 16}) rotate(${label.length > 3 ? 28 : 0})`, class: label.length > 3 ? "tick" : "tick middle" }, label);
    if (t === step) text.classList.add("here");
    root.append(text);
  });
  const ends = spread(series.map((s) => y(s.values[T - 1])), 14, top + 4, height - bottom);
  series.forEach((s, k) => {
    const points = s.values.map((v, t) => `${x(t).toFixed(1)},${y(v).toFixed(1)}`).join(" ");
    const colour = gateColour(s.name, k);
    root.append(svg("polyline", { points, class: s.dashed ? "series dashed" : "series", stroke: colour, "data-name": s.name }));
    root.append(svg("circle", { cx: x(step), cy: y(s.values[step]), r: 3.6, fill: colour }));
    root.append(svg("text", { x: width - right + 10, y: ends[k] + 4, class: "name", style: `fill:${colour}` }, s.name));
  });
  root.addEventListener("click", (event) => choose(stepAt(event, root, width, left, right, T)));
  return root;
}

function stepAt(event, root, width, left, right, T) {
  const box = root.getBoundingClientRect(), at = ((event.clientX - box.left) / box.width) * width;
  return Math.min(Math.max(Math.round(((at - left) / (width - left - right)) * (T - 1)), 0), T - 1);
}

function ticks(low, high) {
  const size = 10 ** Math.floor(Math.log10((high - low || 1) / 3)), step = [1, 2, 5, 10].find((k) => (high - low) / (k * size) <= 5) * size;
  const out = [];
  for (let k = Math.ceil(low / step); k * step <= high + 1e-9; k++) out.push(Number((k * step).toPrecision(6)));
  return out;
}

/** Move labels apart so that none covers another. */
function spread(places, gap, low, high) {
  const order = places.map((_, k) => k).sort((a, b) => places[a] - places[b]), out = places.slice();
  order.forEach((k, n) => { out[k] = Math.max(out[k], n ? out[order[n - 1]] + gap : low); });
  const over = Math.max(0, out[order[order.length - 1]] - high);
  if (over) order.reverse().forEach((k, n) => { out[k] = Math.min(out[k], n ? out[order[n - 1]] - gap : high); });
  return out;
}

/** All units of a value as a map on a canvas: a row a unit, a column a step. */
function heatMap(canvas, rows, signed, { step, unit, order }) {
  const T = rows.length, H = rows[0].length, wide = Math.max(4, Math.floor(960 / T)), tall = Math.max(2, Math.min(22, Math.floor(420 / H)));
  canvas.width = wide * T;
  canvas.height = tall * H;
  canvas.style.height = `${Math.min(H * 22, 440)}px`;
  const pen = canvas.getContext("2d"), [low, high] = extent(rows), end = Math.max(-low, high) || 1;
  rows.forEach((row, t) => order.forEach((k, place) => {
    pen.fillStyle = signed ? shade(PURPLE_ORANGE, 0.5 + row[k] / (2 * end)) : shade(CIVIDIS, row[k]);
    pen.fillRect(t * wide, place * tall, wide, tall);
  }));
  pen.lineWidth = 2;
  pen.strokeStyle = signed ? "#111" : "#fff";
  pen.strokeRect(step * wide + 1, 1, wide - 2, canvas.height - 2);
  pen.strokeRect(1, order.indexOf(unit) * tall + 1, canvas.width - 2, Math.max(tall - 2, 1));
  return signed ? [-end, end] : [0, 1];
}

/** Bars that are drawn with the pointer: x[t][d], from -1 to 1; arrow keys change the bar that has the focus. */
function inputEditor(x, d, name, step, change) {
  const T = x.length, width = 960, height = 84, left = 40, right = 96, gap = (width - left - right) / Math.max(T - 1, 1);
  const root = svg("svg", { viewBox: `0 0 ${width} ${height}`, class: "editor", "data-input": d });
  const y = (v) => height / 2 - v * (height / 2 - 6), middle = height / 2;
  root.append(svg("line", { x1: left - gap / 2, x2: width - right + gap / 2, y1: middle, y2: middle, class: "rule zero" }));
  x.forEach((row, t) => {
    const v = row[d], bar = svg("rect", {
      x: left + t * gap - gap * 0.38, width: gap * 0.76, y: Math.min(y(v), middle), height: Math.max(Math.abs(y(v) - middle), 1.5),
      class: t === step ? "bar here" : "bar", tabindex: 0, role: "slider", "aria-label": `${name} at step ${t}`,
      "aria-valuemin": -1, "aria-valuemax": 1, "aria-valuenow": v.toFixed(2), "data-step": t,
    });
    bar.addEventListener("keydown", (event) => {
      const by = { ArrowUp: 0.1, ArrowDown: -0.1 }[event.key];
      if (!by) return;
      event.preventDefault();
      change(t, d, Math.min(1, Math.max(-1, Math.round((v + by) * 10) / 10)), true);
    });
    root.append(bar);
  });
  root.append(svg("text", { x: width - right + gap / 2 + 8, y: middle + 4, class: "name" }, name));
  const draw = (event) => {
    // the page is drawn anew at every change, so it is the drawing that is there now that counts
    const shown = document.querySelector(`[data-input="${d}"]`), box = shown.getBoundingClientRect(), high = ((event.clientY - box.top) / box.height) * height;
    const v = Math.min(1, Math.max(-1, (middle - high) / (height / 2 - 6)));
    change(stepAt(event, shown, width, left, right, T), d, Math.abs(v) < 0.06 ? 0 : Math.round(v * 100) / 100, false);
  };
  root.addEventListener("pointerdown", (event) => { if (event.button === 0) { event.preventDefault(); study.drawing = draw; draw(event); } });
  return root;
}

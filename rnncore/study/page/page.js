// The page itself: what is chosen, and everything that is drawn from it.
"use strict";

const $ = (id) => document.getElementById(id);
const data = JSON.parse($("data").textContent);

/** Everything that is chosen; `values` by name are T rows of H numbers. Tests read it too. */
const study = { systems: data.systems, system: 0, step: 0, unit: 0, map: null, held: {}, values: {}, drawing: null, playing: null };
const current = () => study.systems[study.system];
const live = () => Boolean(current().weights && CELLS[current().cell]);

/** An array of the page's data: numbers as they are, or float32 in base64 with its shape. */
function unpack({ shape: [T, H], data: text }) {
  const bytes = Uint8Array.from(atob(text), (c) => c.charCodeAt(0)), flat = new Float32Array(bytes.buffer);
  return Array.from({ length: T }, (_, t) => Array.from(flat.subarray(t * H, (t + 1) * H)));
}

/** The number of the chosen unit at the chosen step. */
function read(name) {
  if (name === "1 - update") { const z = read("update"); return z === undefined ? z : 1 - z; }
  const given = study.values[name];
  return given === undefined ? undefined : given[study.step][study.unit];
}

/** What is held, by gate a list of H values, null where free. */
function heldRows() {
  const H = current().hidden, out = {};
  for (const [gate, { value, all, unit }] of Object.entries(study.held)) {
    out[gate] = Array.from({ length: H }, (_, k) => (all || k === unit ? value : null));
  }
  return out;
}

/** Compute or unpack all values of the current system. */
function evaluate() {
  const system = current();
  if (live()) study.values = runCell(system, system.x, heldRows());
  else study.values = Object.fromEntries(Object.entries(system.values).map(([name, array]) => [name, unpack(array)]));
  for (const name of system.state) if (!study.values[`before ${name}`]) {
    study.values[`before ${name}`] = study.values[name].map((row, t) => (t ? study.values[name][t - 1] : row.map(() => 0)));
  }
  derive(system, study.values);
  const T = study.values[system.gates[0]].length;
  study.step = Math.min(study.step, T - 1);
  study.unit = Math.min(study.unit, system.hidden - 1);
  const names = shown();
  if (!names.includes(study.map)) study.map = system.state[system.state.length - 1];
}

const shown = () => [...current().gates, ...current().state, ...Object.keys(study.values).filter((n) => n.startsWith("d "))];
const labels = () => current().tokens || study.values[current().gates[0]].map((_, t) => String(t));

/** What the network says with its readout, one number a step, and what it should. */
function said() {
  const system = current(), out = [];
  if (live() && system.readout) {
    out.push({ name: "said", values: study.values.h.map((h) => dot(system.readout.w, h) + system.readout.b) });
    if (system.wanted) out.push({ name: "wanted", values: latched(system.x), dashed: true });
  }
  return out;
}

/** The task of the trained cells: the value that was there when it was last told to write. */
function latched(x) {
  let kept = 0;
  return x.map(([value, write]) => (kept = write > 0.5 ? value : kept));
}

function draw() {
  const system = current(), names = labels();
  drawTabs();
  $("step").max = names.length - 1;
  $("step").value = study.step;
  $("where").textContent = system.tokens ? `step ${study.step}: ${names[study.step]}` : `step ${study.step} of ${names.length - 1}`;
  $("unit").max = system.hidden - 1;
  $("unit").value = study.unit;
  $("diagram").replaceChildren(drawCell(system, read));
  drawEquations();
  $("lines").replaceChildren(lineChart([...system.gates, ...system.state].map((name) => ({ name, values: study.values[name].map((row) => row[study.unit]) })), study.step, names, choose));
  $("says").hidden = !said().length;
  if (said().length) $("readout").replaceChildren(lineChart(said(), study.step, names, choose));
  drawWords();
  drawMap();
  if (live()) $("inputs").replaceChildren(...system.x[0].map((_, d) => inputEditor(system.x, d, system.inputs[d], study.step, changeInput)));
  $("task").hidden = !live();
  $("model").hidden = live();
}

function drawTabs() {
  $("systems").replaceChildren(...study.systems.map((system, k) => {
    const tab = document.createElement("button");
    tab.textContent = system.name;
    tab.setAttribute("aria-pressed", k === study.system);
    tab.addEventListener("click", () => { study.system = k; study.held = {}; update(); });
    return tab;
  }));
}

function drawEquations() {
  $("equations").replaceChildren(...equationRows(current(), read).map(({ name, symbols, numbers }) => {
    const row = document.createElement("div"), holds = current().gates.includes(name) && (live() || data.server);
    row.className = "equation";
    row.dataset.name = name;
    row.style.setProperty("--gate", gateColour(name));
    row.innerHTML = `<div class="symbols">${symbols}</div><div class="numbers">${numbers}</div>`;
    if (holds) row.append(holder(name));
    return row;
  }));
}

/** A box to tick and a slider: hold this gate at a value, for one unit or for all. */
function holder(gate) {
  const held = study.held[gate], low = current().squash[gate] === "tanh" ? -1 : 0;
  const label = document.createElement("label"), tick = document.createElement("input"), slide = document.createElement("input"), scope = document.createElement("select");
  tick.type = "checkbox";
  tick.checked = Boolean(held);
  tick.setAttribute("aria-label", `hold ${gate}`);
  Object.assign(slide, { type: "range", min: low, max: 1, step: 0.01, value: held ? held.value : Math.min(1, Math.max(low, read(gate))), disabled: !held });
  slide.setAttribute("aria-label", `value of ${gate}`);
  scope.innerHTML = `<option value="one">unit ${held ? held.unit : study.unit}</option><option value="all">all units</option>`;
  scope.value = held && held.all ? "all" : "one";
  scope.setAttribute("aria-label", `which units of ${gate}`);
  const apply = (redraw) => {
    if (tick.checked) study.held[gate] = { value: Number(slide.value), all: scope.value === "all", unit: held ? held.unit : study.unit };
    else delete study.held[gate];
    redraw();
  };
  tick.addEventListener("change", () => apply(changed));
  scope.addEventListener("change", () => apply(changed));
  // while it slides the slider itself must stay, so the equations wait until it is let go
  slide.addEventListener("input", () => apply(() => { if (live()) { evaluate(); drawLive(); } }));
  slide.addEventListener("change", () => apply(changed));
  label.append(tick, "hold", slide, scope);
  label.className = "hold";
  return label;
}

function drawLive() {
  const system = current();
  $("diagram").replaceChildren(drawCell(system, read));
  $("lines").replaceChildren(lineChart([...system.gates, ...system.state].map((name) => ({ name, values: study.values[name].map((row) => row[study.unit]) })), study.step, labels(), choose));
  if (said().length) $("readout").replaceChildren(lineChart(said(), study.step, labels(), choose));
  drawMap();
}

function drawWords() {
  const next = current().next;
  $("words").hidden = !current().tokens;
  if (!current().tokens) return;
  $("words").replaceChildren(...labels().map((word, t) => {
    const chip = document.createElement("button"), best = next ? next[t] : [];
    chip.className = t === study.step ? "chip here" : "chip";
    chip.innerHTML = "<b></b>" + best.map(() => "<span></span>").join("");
    chip.querySelector("b").textContent = word;
    chip.querySelectorAll("span").forEach((line, k) => { line.textContent = `${best[k][0]} ${(100 * best[k][1]).toFixed(0)} %`; });
    chip.addEventListener("click", () => choose(t));
    return chip;
  }));
}

function drawMap() {
  $("maps").replaceChildren(...shown().map((name) => {
    const button = document.createElement("button");
    button.textContent = name;
    button.setAttribute("aria-pressed", name === study.map);
    button.addEventListener("click", () => { study.map = name; drawMap(); });
    return button;
  }));
  const rows = study.values[study.map], signed = !(current().squash[study.map] === "sigmoid");
  study.order = rowsOrder(rows);
  const [low, high] = heatMap($("map"), rows, signed, { step: study.step, unit: study.unit, order: study.order });
  $("scale").textContent = `${low.toPrecision(2)} to ${high.toPrecision(2)}; a row a unit, a column a step`;
  $("scale").className = signed ? "signed" : "share";
}

/** Few units keep their places; many are ordered by their mean. */
function rowsOrder(rows) {
  const order = rows[0].map((_, k) => k);
  if (order.length <= 24) return order;
  const mean = order.map((k) => rows.reduce((sum, row) => sum + row[k], 0));
  return order.sort((a, b) => mean[b] - mean[a]);
}

function choose(step, unit = study.unit) {
  study.step = step;
  study.unit = unit;
  draw();
}

/** Something that the numbers depend on was changed: compute here, or let the server do it. */
function changed() {
  if (live()) update();
  else ask();
}

function update() { evaluate(); draw(); }

function changeInput(t, d, value, focus) {
  current().x[t][d] = value;
  study.step = t;
  update();
  if (focus) document.querySelector(`[data-input="${d}"] [data-step="${t}"]`).focus();
}

/** Ask the server that this page came from to run the whole model again. */
async function ask() {
  $("error").textContent = "";
  document.body.classList.add("busy");
  const clamps = Object.entries(study.held).map(([gate, { value, all, unit }]) => ({ gate, value, units: all ? null : [unit] }));
  const question = { words: $("sentence").value, picture: $("picture").value, held: { [current().name]: clamps } };
  try {
    const answer = await fetch("run", { method: "POST", headers: { "Content-Type": "application/json" }, body: JSON.stringify(question) });
    const found = await answer.json();
    if (!answer.ok) throw new Error(found.error);
    study.systems = found.systems;
    $("sentence").value = found.words;
    $("shown").src = found.image || "";
    $("shown").hidden = !found.image;
    update();
  } catch (error) {
    $("error").textContent = error.message;
  } finally {
    document.body.classList.remove("busy");
  }
}

const PRESETS = {
  pulses: (t) => [Math.sin(t * 1.3) * 0.9, t % 7 === 1 ? 1 : 0],
  noise: () => [Math.random() * 2 - 1, Math.random() < 0.2 ? 1 : 0],
  wave: (t) => [Math.sin(t / 2.5), t % 6 === 0 ? 1 : 0],
  silence: () => [0, 0],
};

function start() {
  $("step").addEventListener("input", (event) => choose(Number(event.target.value)));
  $("unit").addEventListener("input", (event) => choose(study.step, Math.min(Math.max(Number(event.target.value) || 0, 0), current().hidden - 1)));
  for (const [name, by] of [["back", -1], ["next", 1]]) $(name).addEventListener("click", () => move(by));
  $("play").addEventListener("click", play);
  document.addEventListener("keydown", (event) => {
    if (event.target.closest("input, select, textarea, .editor")) return;
    if (event.key === "ArrowLeft") move(-1);
    if (event.key === "ArrowRight") move(1);
  });
  document.addEventListener("pointermove", (event) => study.drawing && study.drawing(event));
  document.addEventListener("pointerup", () => { study.drawing = null; });
  $("map").addEventListener("click", (event) => {
    const box = $("map").getBoundingClientRect(), T = labels().length, H = current().hidden;
    const t = Math.floor(((event.clientX - box.left) / box.width) * T), place = Math.floor(((event.clientY - box.top) / box.height) * H);
    choose(Math.min(Math.max(t, 0), T - 1), study.order[Math.min(Math.max(place, 0), H - 1)]);
  });
  for (const name of Object.keys(PRESETS)) $(name).addEventListener("click", () => {
    const width = current().x[0].length;
    current().x.forEach((row, t) => { const made = PRESETS[name](t); for (let d = 0; d < width; d++) row[d] = made[d % made.length]; });
    update();
  });
  if (data.server) $("ask").addEventListener("submit", (event) => { event.preventDefault(); ask(); });
  for (const element of document.querySelectorAll("[data-server]")) element.hidden = !data.server;
  for (const element of document.querySelectorAll("[data-alone]")) element.hidden = Boolean(data.server);
  $("sentence").value = data.words || "";
  for (const name of data.pictures || []) $("picture").append(new Option(name, name));
  if (data.image) $("shown").src = data.image;
  $("shown").hidden = !data.image;
  update();
}

function move(by) {
  const T = labels().length;
  choose((study.step + by + T) % T);
}

function play() {
  if (study.playing) { clearInterval(study.playing); study.playing = null; }
  else study.playing = setInterval(() => move(1), 600);
  $("play").textContent = study.playing ? "❚❚" : "▶";
}

start();

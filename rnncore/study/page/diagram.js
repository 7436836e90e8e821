// The cell as a drawing with the numbers of one unit at one step in it.
"use strict";

const SVG = "http://www.w3.org/2000/svg";

/** An SVG element with attributes, children, and text. */
function svg(tag, attributes = {}, ...children) {
  const element = document.createElementNS(SVG, tag);
  for (const [name, value] of Object.entries(attributes)) element.setAttribute(name, value);
  for (const child of children) element.append(child);
  return element;
}

// kind: state (a round end), gate (a box with its function), op (a small circle), value (a number on its way)
// A node is [id, kind, x, y, label, name of its value]; a wire is [from, to, name of its value, corner].
const DRAWINGS = {
  LSTM: {
    nodes: [
      ["c-", "state", 60, 70, "cₜ₋₁", "before c"], ["keep", "op", 190, 70, "×"], ["add", "op", 345, 70, "+"],
      ["c", "state", 660, 70, "cₜ", "c"], ["write", "op", 345, 160, "×"],
      ["f", "gate", 190, 250, "σ", "forget"], ["i", "gate", 300, 250, "σ", "input"],
      ["g", "gate", 390, 250, "tanh", "candidate"], ["o", "gate", 500, 250, "σ", "output"],
      ["tanh", "squash", 575, 130, "tanh", "tanh_c"], ["show", "op", 575, 200, "×"],
      ["h", "state", 660, 330, "hₜ", "h"], ["h-", "state", 60, 330, "hₜ₋₁, xₜ", "before h"],
    ],
    wires: [
      ["c-", "keep", "before c"], ["keep", "add", "kept"], ["add", "c", "c"], ["f", "keep", "forget"],
      ["i", "write", "input", "v"], ["g", "write", "candidate", "v"], ["write", "add", "written"],
      ["c", "tanh", "c", "tap"], ["tanh", "show", "tanh_c"], ["o", "show", "output", "v"], ["show", "h", "h", "v"],
    ],
    bus: ["f", "i", "g", "o"],
  },
  GRU: {
    nodes: [
      ["h-", "state", 60, 70, "hₜ₋₁", "before h"], ["keep", "op", 210, 70, "×"], ["add", "op", 500, 70, "+"],
      ["h", "state", 660, 70, "hₜ", "h"], ["z", "gate", 210, 250, "σ", "update"], ["not", "squash", 360, 160, "1−z", "1 - update"],
      ["write", "op", 500, 160, "×"], ["r", "gate", 330, 250, "σ", "reset"], ["recall", "op", 420, 250, "×"],
      ["n", "gate", 540, 250, "tanh", "candidate"], ["x", "state", 60, 330, "hₜ₋₁, xₜ", "before h"],
    ],
    wires: [
      ["h-", "keep", "before h"], ["keep", "add", "kept"], ["add", "h", "h"], ["z", "keep", "update"],
      ["z", "not", "update", "h"], ["not", "write", "1 - update"], ["n", "write", "candidate", "v"],
      ["write", "add", "written"], ["r", "recall", "reset"], ["recall", "n", "recalled"],
    ],
    bus: ["z", "r", "recall", "n"],
  },
  RNN: {
    nodes: [
      ["h-", "state", 60, 330, "hₜ₋₁, xₜ", "before h"], ["a", "gate", 360, 200, "tanh", "hidden"],
      ["h", "state", 660, 200, "hₜ", "h"],
    ],
    wires: [["a", "h", "h"]],
    bus: ["a"],
  },
};
DRAWINGS.GRUBefore = DRAWINGS.GRU;

/** Draw the cell; `read(name)` is the number of a value now, undefined where there is none. */
function drawCell(system, read) {
  const drawing = DRAWINGS[system.cell] || listed(system);
  const root = svg("svg", { viewBox: "0 0 720 380", role: "img", "aria-label": `${system.name}: one step of one unit` });
  const at = Object.fromEntries(drawing.nodes.map((node) => [node[0], node]));
  if (drawing.bus.length) root.append(bus(drawing, at));
  for (const [from, to, name, bend] of drawing.wires) root.append(wire(at[from], at[to], read(name), bend));
  for (const node of drawing.nodes) root.append(drawNode(node, read(node[5])));
  return root;
}

/** A cell that has no drawing of its own: its gates and states in a row. */
function listed(system) {
  const names = [...system.gates, ...system.state], gap = 640 / Math.max(names.length, 1);
  const nodes = names.map((name, k) => [name, "gate", 40 + gap * (k + 0.5), 190, name.slice(0, 6), name]);
  return { nodes, wires: [], bus: [] };
}

function bus(drawing, at) {
  const y = 330, xs = drawing.bus.map((id) => at[id][2]);
  let path = `M 104 ${y} H ${Math.max(...xs)}`;
  for (const id of drawing.bus) path += ` M ${at[id][2]} ${y} V ${at[id][3] + (at[id][1] === "op" ? 13 : 22)}`;
  return svg("path", { d: path, class: "bus" });
}

function wire([, , x1, y1], [, , x2, y2], value, bend) {
  let d = `M ${x1} ${y1} L ${x2} ${y2}`;
  if (bend === "v") d = `M ${x1} ${y1} V ${y2} H ${x2}`;
  if (bend === "h") d = `M ${x1} ${y1 - 90} H ${x2 - 20}`;
  if (bend === "tap") d = `M ${x2} ${y1} V ${y2}`;
  if (bend === "v" && y2 > y1) d = `M ${x1} ${y1} V ${y2} H ${x2}`;
  const size = value === undefined ? 0 : Math.min(Math.abs(value), 2);
  return svg("path", { d, class: "wire", "stroke-width": (1 + 4 * size).toFixed(2), style: `--signed:${signedColour(value)}` });
}

function drawNode([id, kind, x, y, label, name], value) {
  const group = svg("g", { class: `node ${kind}`, transform: `translate(${x} ${y})`, "data-name": name || "", "data-id": id });
  if (name) group.style.setProperty("--gate", gateColour(name));
  if (kind === "gate" || kind === "squash") {
    group.append(svg("rect", { x: -30, y: -22, width: 60, height: 44, rx: 8 }));
    if (kind === "gate" && value !== undefined) {
      const share = Math.min(Math.max(label === "σ" ? value : (value + 1) / 2, 0), 1);
      group.append(svg("rect", { x: -30, y: 22 - 44 * share, width: 60, height: 44 * share, rx: 8, class: "level" }));
    }
  } else group.append(svg("circle", { r: kind === "op" ? 13 : 40 }));
  const lines = kind === "op" ? [label] : [label, value === undefined ? "" : value.toFixed(3)];
  lines.forEach((text, k) => {
    const dy = lines.length === 1 ? 5 : k ? 16 : -3;
    group.append(svg("text", { y: dy, class: k ? "number" : "symbol" }, text));
  });
  if (kind === "gate") group.append(svg("text", { y: -29, class: "caption" }, name));
  return group;
}

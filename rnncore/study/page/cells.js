// The cells by their equations, in double precision; the same as rnncore.cells, which a test holds to 1e-6.
// A vector is an array of H numbers. Weights are rows: W (G·H, D), U (G·H, H), b (G·H), blocked by gate.
"use strict";

const sigmoid = (a) => 1 / (1 + Math.exp(-a));
const squashes = { sigmoid, tanh: Math.tanh, identity: (a) => a };

/** Row k of a matrix times a vector. */
function dot(row, v) {
  let sum = 0;
  for (let j = 0; j < v.length; j++) sum += row[j] * v[j];
  return sum;
}

/** Block `g` of W x + b, H numbers. */
function block(matrix, v, bias, g, H) {
  return Array.from({ length: H }, (_, k) => dot(matrix[g * H + k], v) + (bias ? bias[g * H + k] : 0));
}

const plus = (a, b) => a.map((v, k) => v + b[k]);
const times = (a, b) => a.map((v, k) => v * b[k]);

/**
 * Every cell: `names` of gates in the order of their blocks, `state`, and `step(p, x, prev, squash)`, which returns
 * gates, states and what lies between by name. `squash(name, a)` keeps the pre-activation a and returns the gate.
 */
const CELLS = {
  LSTM: {
    state: ["h", "c"],
    step(p, x, { h, c }, squash) {
      const H = h.length;
      const a = (g) => plus(block(p.W, x, p.b, g, H), block(p.U, h, null, g, H));
      const input = squash("input", a(0)), forget = squash("forget", a(1));
      const output = squash("output", a(2)), candidate = squash("candidate", a(3));
      const kept = times(forget, c), written = times(input, candidate);
      const next = plus(kept, written), tanh_c = next.map(Math.tanh);
      return { input, forget, output, candidate, kept, written, c: next, tanh_c, h: times(output, tanh_c) };
    },
  },
  GRU: {
    state: ["h"],
    step(p, x, { h }, squash) {
      const H = h.length;
      const own = (g) => block(p.W, x, p.b, g, H), back = (g) => block(p.U, h, p.b_U, g, H);
      const reset = squash("reset", plus(own(0), back(0))), update = squash("update", plus(own(1), back(1)));
      const recall = back(2), recalled = times(reset, recall);
      // a candidate that is held is held whole: nothing is recalled into it
      const candidate = squash("candidate", plus(own(2), recalled));
      const kept = times(update, h), written = times(update.map((z) => 1 - z), candidate);
      return { reset, update, candidate, recall, recalled, kept, written, h: plus(kept, written) };
    },
  },
  GRUBefore: {
    state: ["h"],
    step(p, x, { h }, squash) {
      const H = h.length;
      const own = (g) => block(p.W, x, p.b, g, H);
      const reset = squash("reset", plus(own(0), block(p.U, h, null, 0, H)));
      const update = squash("update", plus(own(1), block(p.U, h, null, 1, H)));
      const reset_h = times(reset, h), recalled = block(p.U, reset_h, null, 2, H);
      const candidate = squash("candidate", plus(own(2), recalled));
      const kept = times(update, h), written = times(update.map((z) => 1 - z), candidate);
      return { reset, update, candidate, reset_h, recalled, kept, written, h: plus(kept, written) };
    },
  },
  RNN: {
    state: ["h"],
    step(p, x, { h }, squash) {
      const H = h.length;
      const hidden = squash("hidden", plus(block(p.W, x, p.b, 0, H), block(p.U, h, null, 0, H)));
      return { hidden, h: hidden };
    },
  },
};

/**
 * Run a cell over x (T rows of D numbers) from zero states.
 * held : by gate, a value for each unit, null where it is free.
 * Returns by name T rows of H numbers; pre-activations as "a input", states before each step as "before h".
 */
function runCell(system, x, held = {}) {
  const cell = CELLS[system.cell], H = system.hidden, out = {};
  const keep = (name, row) => (out[name] ||= []).push(row);
  const squash = (gate, a) => {
    keep(`a ${gate}`, a);
    const free = a.map(squashes[system.squash[gate]]), fixed = held[gate];
    return fixed ? free.map((v, k) => (fixed[k] === null || fixed[k] === undefined ? v : fixed[k])) : free;
  };
  let prev = Object.fromEntries(cell.state.map((name) => [name, new Array(H).fill(0)]));
  for (const row of x) {
    for (const name of cell.state) keep(`before ${name}`, prev[name]);
    const now = cell.step(system.weights, row, prev, squash);
    for (const [name, values] of Object.entries(now)) keep(name, values);
    prev = Object.fromEntries(cell.state.map((name) => [name, now[name]]));
  }
  return out;
}

const inverses = { sigmoid: (v) => Math.log(v / (1 - v)), tanh: Math.atanh, identity: (v) => v };

/** Add to values that were computed elsewhere what the drawing and the equations show besides. */
function derive(system, values) {
  const product = (one, other) => values[one].map((row, t) => times(row, values[other][t]));
  for (const gate of system.gates) values[`a ${gate}`] ||= values[gate].map((row) => row.map(inverses[system.squash[gate]]));
  if (system.cell === "LSTM") Object.assign(values, { kept: product("forget", "before c"), written: product("input", "candidate") });
  if (system.cell === "GRU" || system.cell === "GRUBefore") {
    values["1 - update"] = values.update.map((row) => row.map((z) => 1 - z));
    Object.assign(values, { kept: product("update", "before h"), written: product("1 - update", "candidate") });
    if (values.recall) values.recalled = product("reset", "recall");
  }
}

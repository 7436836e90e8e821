// The equations of a step, with the numbers of one unit below the symbols.
"use strict";

const sub = (name, index) => `<i>${name}</i><sub>${index}</sub>`;
const W = (g) => `${sub("W", g)} <i>x</i><sub>t</sub> + ${sub("U", g)} <i>h</i><sub>t−1</sub> + ${sub("b", g)}`;

// [value, symbols, numbers]: numbers are made of the values that `n` reads.
const EQUATIONS = {
  LSTM: [
    ["input", `${sub("i", "t")} = σ(${W("i")})`, (n) => `σ(${n("a input")}) = ${n("input")}`],
    ["forget", `${sub("f", "t")} = σ(${W("f")})`, (n) => `σ(${n("a forget")}) = ${n("forget")}`],
    ["output", `${sub("o", "t")} = σ(${W("o")})`, (n) => `σ(${n("a output")}) = ${n("output")}`],
    ["candidate", `${sub("g", "t")} = tanh(${W("g")})`, (n) => `tanh(${n("a candidate")}) = ${n("candidate")}`],
    ["c", `${sub("c", "t")} = ${sub("f", "t")} ⊙ ${sub("c", "t−1")} + ${sub("i", "t")} ⊙ ${sub("g", "t")}`,
      (n) => `${n("forget")} × ${n("before c")} + ${n("input")} × ${n("candidate")} = ${n("c")}`],
    ["h", `${sub("h", "t")} = ${sub("o", "t")} ⊙ tanh ${sub("c", "t")}`, (n) => `${n("output")} × ${n("tanh_c")} = ${n("h")}`],
  ],
  GRU: [
    ["reset", `${sub("r", "t")} = σ(${W("r")})`, (n) => `σ(${n("a reset")}) = ${n("reset")}`],
    ["update", `${sub("z", "t")} = σ(${W("z")})`, (n) => `σ(${n("a update")}) = ${n("update")}`],
    ["candidate", `${sub("n", "t")} = tanh(${sub("W", "n")} <i>x</i><sub>t</sub> + ${sub("b", "n")} + ${sub("r", "t")} ⊙ (${sub("U", "n")} ${sub("h", "t−1")} + ${sub("b′", "n")}))`,
      (n) => `tanh(${n("a candidate")}) = ${n("candidate")}`],
    ["h", `${sub("h", "t")} = (1 − ${sub("z", "t")}) ⊙ ${sub("n", "t")} + ${sub("z", "t")} ⊙ ${sub("h", "t−1")}`,
      (n) => `${n("1 - update")} × ${n("candidate")} + ${n("update")} × ${n("before h")} = ${n("h")}`],
  ],
  RNN: [["hidden", `${sub("h", "t")} = tanh(${W("")})`, (n) => `tanh(${n("a hidden")}) = ${n("h")}`]],
};
EQUATIONS.GRUBefore = EQUATIONS.GRU.map((line) => line[0] !== "candidate" ? line : [
  "candidate",
  `${sub("n", "t")} = tanh(${sub("W", "n")} <i>x</i><sub>t</sub> + ${sub("U", "n")} (${sub("r", "t")} ⊙ ${sub("h", "t−1")}) + ${sub("b", "n")})`,
  line[2],
]);

/** Rows of the equations of a system; a cell without any shows its gates' numbers. */
function equationRows(system, read) {
  const number = (name) => {
    const value = read(name);
    return value === undefined || !Number.isFinite(value) ? "·" : value < 0 ? `(${value.toFixed(3).replace("-", "−")})` : value.toFixed(3);
  };
  const known = EQUATIONS[system.cell] || [...system.gates, ...system.state].map((name) => [name, `<i>${name}</i>`, (n) => n(name)]);
  const bare = (text) => text.replace(/\((\(−[\d.]+\))\)/g, "$1").replace(/= \((−[\d.]+)\)/g, "= $1");
  return known.map(([name, symbols, numbers]) => ({ name, symbols, numbers: bare(numbers(number)) }));
}

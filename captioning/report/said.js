// How a caption was said: its words with their probabilities, attention on the picture, and the tree of the beam.
const known = JSON.parse(document.querySelector("#said").textContent);
const dialog = document.querySelector("dialog");
const inside = dialog.querySelector(".inside");
const SVG = dialog.querySelector("svg").namespaceURI;

const make = (tag, options = {}, ...children) => {
  const { className, text, ...attributes } = options;
  const node = document.createElement(tag);
  if (className) node.className = className;
  if (text !== undefined) node.textContent = text;
  for (const [name, value] of Object.entries(attributes)) node.setAttribute(name, value);
  node.append(...children);
  return node;
};
const drawn = (tag, attributes, text) => {
  const node = document.createElementNS(SVG, tag);
  for (const [name, value] of Object.entries(attributes)) node.setAttribute(name, value);
  if (text !== undefined) node.textContent = text;
  return node;
};

// The picture with light where attention lay: the darker, the less weight.
const spotlight = (canvas, picture, packed, [rows, columns]) => {
  const context = canvas.getContext("2d");
  const shade = Object.assign(document.createElement("canvas"), { width: columns, height: rows });
  const image = shade.getContext("2d").createImageData(columns, rows);
  const weights = Uint8Array.from(atob(packed), (letter) => letter.charCodeAt(0));
  weights.forEach((weight, k) => image.data.set([10, 12, 24, Math.round(215 * (1 - weight / 255))], 4 * k));
  shade.getContext("2d").putImageData(image, 0, 0);
  // The encoder saw the whole picture squashed to a square, and so does the tile.
  context.drawImage(picture, 0, 0, picture.naturalWidth, picture.naturalHeight, 0, 0, canvas.width, canvas.height);
  context.imageSmoothingEnabled = true;
  context.imageSmoothingQuality = "high";
  context.drawImage(shade, 0, 0, canvas.width, canvas.height);
};

const wordTile = (picture, grid, [word, probability, packed]) => {
  const title = `${word}: probability ${probability.toFixed(3)}`;
  const tile = make("li", { title });
  if (packed !== null && picture) {
    const canvas = make("canvas", { width: 160, height: 160, role: "img", "aria-label": `where the model looked before ${word}` });
    const draw = () => spotlight(canvas, picture, packed, grid);
    if (picture.complete && picture.naturalWidth) draw();
    else picture.addEventListener("load", draw, { once: true });
    picture.loading = "eager";
    tile.append(canvas);
  }
  const bar = make("span", { className: "chance" });
  bar.style.setProperty("--p", probability);
  tile.append(make("b", { text: word === "endseq" ? "(end)" : word }), bar, make("small", { text: probability.toFixed(2) }));
  return tile;
};

// The captions of a beam as a tree: words that they begin with alike are drawn once.
const beamTree = (beams) => {
  const root = { word: "", children: [], row: 0, depth: -1, best: true };
  const nodes = [];
  beams.forEach(([caption, , score], row) => {
    let at = root;
    for (const word of [...caption.split(" ").filter(Boolean), "(end)"]) {
      let next = at.children.find((child) => child.word === word);
      if (!next) {
        next = { word, children: [], row, depth: at.depth + 1, parent: at, best: row === 0 };
        at.children.push(next);
        nodes.push(next);
      }
      at = next;
    }
    at.score = score;
  });
  const widths = [];
  for (const { word, depth, score } of nodes) {
    const letters = word.length + (score === undefined ? 0 : 9);
    widths[depth] = Math.max(widths[depth] ?? 0, 7.4 * letters + 30);
  }
  const left = widths.map((_, depth) => widths.slice(0, depth).reduce((sum, width) => sum + width, 8));
  const [width, height] = [widths.reduce((sum, w) => sum + w, 16), 30 * beams.length + 8];
  const svg = drawn("svg", { class: "tree", width, height, viewBox: `0 0 ${width} ${height}`, role: "img" });
  svg.setAttribute("aria-label", `The ${beams.length} captions that the search ended with: ${beams.map(([c]) => c).join("; ")}`);
  for (const node of nodes) {
    const [x, y] = [left[node.depth], 20 + 30 * node.row];
    if (node.parent.depth >= 0) {
      const from = left[node.parent.depth] + 7.4 * node.parent.word.length + 6;
      const above = 20 + 30 * node.parent.row - 4;
      const bend = `M${from} ${above}C${x - 14} ${above} ${from + 8} ${y - 4} ${x - 5} ${y - 4}`;
      svg.append(drawn("path", { d: bend, class: node.best ? "best" : "" }));
    }
    svg.append(drawn("text", { x, y, class: node.best ? "best" : "" }, node.word));
    if (node.score !== undefined) {
      svg.append(drawn("text", { x: x + 7.4 * node.word.length + 8, y, class: "value" }, node.score.toFixed(2)));
    }
  }
  return make("div", { className: "scroll" }, svg);
};

const open = (card) => {
  const name = card.dataset.name;
  const picture = card.querySelector("img");
  const people = [...card.querySelectorAll("details li")].map((line) => make("li", { text: line.textContent }));
  const head = make("div", { className: "head" }, make("div", {}, make("h3", { text: name }), make("ul", {}, ...people)));
  if (picture) {
    const copy = picture.cloneNode();
    copy.loading = "eager";
    head.prepend(copy);
  }
  inside.replaceChildren(head);
  known[name].forEach((own, k) => {
    const section = make("section", { className: `s${k % 6}` });
    const score = own.score === null ? "" : `CIDEr-D ${own.score.toFixed(0)}`;
    section.append(make("h4", { text: own.system }, make("span", { className: "score", text: score })));
    section.append(make("p", { className: "caption", text: own.caption || "(no words)" }));
    if (own.words) {
      section.append(make("ol", { className: "words" }, ...own.words.map((word) => wordTile(picture, own.grid, word))));
    }
    if (own.beams && own.beams.length > 1) {
      section.append(make("p", { className: "about", text: "What the search ended with, and the score of each" }));
      section.append(beamTree(own.beams));
    }
    inside.append(section);
  });
  dialog.showModal();
  dialog.scrollTop = 0;
};

for (const card of document.querySelectorAll(".card")) {
  const button = card.querySelector("button.how");
  if (button) button.addEventListener("click", () => open(card));
}
dialog.querySelector("button.close").addEventListener("click", () => dialog.close());
dialog.addEventListener("click", (event) => {
  if (event.target === dialog) dialog.close();
});

// The chain rule of what is chosen, and the update.
function table(heads, body, foot) {
  const line = (cells, more = {}) =>
    make("tr", more, ...cells.map((cell, k) => (k ? make("td", {}, cell) : make("th", { scope: "row" }, cell))));
  const lines = body.map((cells, n) => line(cells, n === state.row ? { class: "now", "aria-current": "true" } : {}));
  const parts = [
    make("thead", {}, make("tr", {}, ...heads.map((head) => make("th", { scope: "col" }, head)))),
    make("tbody", {}, ...lines),
  ];
  if (foot) parts.push(make("tfoot", {}, line(foot)));
  return body.length > 14
    ? make("div", { class: "box long", tabindex: 0, role: "group", "aria-label": "Rows" }, make("table", {}, ...parts))
    : make("div", { class: "box" }, make("table", {}, ...parts));
}
function drawChain() {
  const { layer, unit, source } = state.chosen;
  at("chain").replaceChildren(...(source === undefined ? ofUnit(layer, unit) : ofWeight(layer, unit, source)));
  const long = at("chain").querySelector(".long");
  if (long) {
    const now = long.querySelector(".now");
    long.scrollTop = now.offsetTop - long.clientHeight / 2;
  }
}
const heading = (layer, unit, source) => [
  make("h3", { id: "what" }, named(layer, unit, source)),
  make("p", { class: "soft" }, spoken(layer, unit, source)),
];
const FOLDED = "Loss and output activation are differentiated together: first is ∂E/∂net, and second 1.";
function sumOnward(layer, unit) {
  const onward = deltas(state.row, layer + 1).map((of, l) => [of, weight(layer + 1, l + 1, unit)]);
  const line = make(
    "p",
    { id: "sum" },
    `First in row ${rowName(state.row)} comes back from layer ${layer + 1}: Σ δ·w = `,
  );
  onward
    .slice(0, 12)
    .forEach(([of, w], k) =>
      line.append(k ? " + " : "", number(of, "onward delta"), " · ", number(w, "onward weight")),
    );
  if (onward.length > 12) line.append(` + … (${onward.length} in all)`);
  line.append(" = ", number(term("first", state.row, layer, unit), "sum"));
  return line;
}
function ofWeight(layer, unit, source) {
  const j = subscript(unit),
    folded = data.folded && layer === nLayers;
  const shared = source === null && bias === "shared",
    parts = heading(layer, unit, source);
  const third = (n) => (source === null ? 1 : outputAt(n, layer - 1, source));
  const product = (n) => (shared ? sum(deltas(n, layer)) : term("delta", n, layer, unit) * third(n));
  if (shared)
    parts.push(make("p", { class: "formula" }, "∂E/∂b = Σ δ over rows and the layer's units: all share this bias"));
  else
    parts.push(
      make(
        "p",
        { class: "formula" },
        folded ? `∂E/∂w = Σ ∂E/∂net${j} · 1 · ∂net${j}/∂w` : `∂E/∂w = Σ ∂E/∂O${j} · ∂O${j}/∂net${j} · ∂net${j}/∂w`,
      ),
    );
  const body = rows.map((n) =>
    shared
      ? [rowName(n), number(product(n), "product")]
      : [
          rowName(n),
          number(term("first", n, layer, unit), "first"),
          number(term("second", n, layer, unit), "second"),
          number(third(n), "third"),
          number(product(n), "product"),
        ],
  );
  const total = number(gradient(layer, unit, source), "gradient");
  parts.push(
    table(
      shared ? ["row", "δ"] : ["row", "first", "second", "third", "product"],
      body,
      shared ? ["sum", total] : ["sum", "", "", "", total],
    ),
  );
  const two = folded
    ? FOLDED
    : "First: how the loss changes with this unit's output. Second: the slope of its activation there.";
  if (!shared)
    parts.push(
      make(
        "p",
        { class: "soft" },
        `${two} Third: what comes in over this weight${source === null ? " (1 for a bias)." : "."}`,
      ),
    );
  if (layer < nLayers && !shared) parts.push(sumOnward(layer, unit));
  const same = make("p", { class: "numbers" }, "The same gradient: matrices Xᵀδ ");
  same.append(number(ofWeightAt("matrix", layer, unit, source), "matrix"));
  for (const [name, said, why] of [
    ["loop", "scalar loops", "which do not know this loss or activation, or would take long"],
    ["difference", "central difference", "taken of each weight of networks up to 300"],
  ]) {
    const value = ofWeightAt(name, layer, unit, source);
    same.append(`, ${said} `, number(value, name), value === null ? ` (${why})` : "");
  }
  same.append(".");
  return [...parts, same, ...update(layer, unit, source)];
}

// An update is a few statements, in Python's syntax; each name stands for a number.
const LETTERS = {
  lr: "learning rate",
  dE: "∂E/∂w",
  beta_1: "β₁",
  beta_2: "β₂",
  epsilon: "ε",
  sqrt: "√",
  l2: "λ",
  weight_decay: "weight decay",
};
const pretty = (text) =>
  text
    .replaceAll("**2", "²")
    .replaceAll("**t", "ᵗ")
    .replaceAll("**", "^")
    .replaceAll(" * ", " · ")
    .replaceAll(" - ", " − ");
const symbols = (text) => pretty(text).replace(/[A-Za-z_]\w*/g, (name) => LETTERS[name] || name);
function withNumbers(expression, known) {
  return expression.split(/([A-Za-z_]\w*)/).map((part) => {
    if (!(part in known)) return part === "sqrt" ? "√" : pretty(part);
    return known[part] < 0 && part !== expression
      ? make("span", {}, "(", number(known[part], part), ")")
      : number(known[part], part);
  });
}
function update(layer, unit, source) {
  const w = weight(layer, unit, source),
    after = ofWeightAt("after", layer, unit, source),
    g = gradient(layer, unit, source);
  if (data.fixed[layer - 1][source === null ? 1 : 0])
    return [make("p", { class: "numbers", id: "update" }, "It is not trained: it stays ", number(w, "w"), ".")];
  const [form, constants] = frame().updates[layer - 1][source === null ? 1 : 0],
    statements = data.forms[form];
  const given = ofWeightAt("given", layer, unit, source) ?? ofWeightAt("matrix", layer, unit, source);
  const moved = ofWeightAt("moved", layer, unit, source) ?? after - w,
    against = moved * g < 0;
  let told = "it does not move.";
  const because = data.optimizer.name === "sgd" ? "because" : "against its gradient:";
  if (moved)
    told = `it ${moved > 0 ? "grows" : "falls"} by ${shown(Math.abs(moved), narrow.matches ? 4 : 6)}, ${against ? `${because} the loss ${g > 0 ? "grows" : "falls"} when it grows.` : "which is not against its gradient: what the rule carries on from earlier steps, or a penalty, weighs more."}`;
  if (statements.length === 2 && statements[0][1] === "dE" && statements[1][1] === "w - lr * g")
    return [
      make(
        "p",
        { class: "numbers", id: "update" },
        "Next update: w ← w − learning rate · gradient = ",
        number(w, "w"),
        " − ",
        number(constants.lr, "rate"),
        " · ",
        ...(g < 0 ? ["(", number(g, "g"), ")"] : [number(g, "g")]),
        " = ",
        number(after, "after"),
        ": " + told,
      ),
    ];
  const known = { ...constants, w, dE: ofWeightAt("matrix", layer, unit, source) },
    results = { g: given, w: after };
  for (const letter of ["m", "v"]) {
    const before = ofWeightAt(`${letter} before`, layer, unit, source);
    if (before !== null) {
      known[letter] = before;
      results[letter] = ofWeightAt(`${letter} after`, layer, unit, source);
    }
  }
  const lines = statements.map(([name, expression]) => {
    const line = make("p", { class: "statement" }, make("b", {}, name), ` ← ${symbols(expression)} = `);
    if (!(expression in known)) line.append(...withNumbers(expression, known), " = ");
    line.append(number(results[name], name === "w" ? "after" : `${name} after`));
    known[name] = results[name];
    return line;
  });
  return [
    make(
      "div",
      { class: "numbers", id: "update" },
      make("p", {}, `Next update, number ${constants.t || frame().step + 1}, by ${data.optimizer.name}: ${told}`),
      ...lines,
    ),
  ];
}
function ofUnit(layer, unit) {
  const parts = heading(layer, unit);
  if (!layer)
    return [
      ...parts,
      make("p", {}, `It passes on ${shown(output(0, unit))} in row ${rowName(state.row)}.`),
      ...weightsOf(layer, unit),
    ];
  parts.push(make("p", { class: "formula" }, "δ = first · second = ∂E/∂O · ∂O/∂net"));
  parts.push(
    table(
      ["row", "output", "first", "second", "δ"],
      rows.map((n) => [
        rowName(n),
        number(outputAt(n, layer, unit), "output"),
        number(term("first", n, layer, unit), "first"),
        number(term("second", n, layer, unit), "second"),
        number(term("delta", n, layer, unit), "delta"),
      ]),
    ),
  );
  if (layer < nLayers) parts.push(sumOnward(layer, unit));
  else
    parts.push(
      make(
        "p",
        { class: "soft" },
        data.folded ? FOLDED : "At an output, first is how the loss itself changes with the output.",
      ),
    );
  return [...parts, ...weightsOf(layer, unit)];
}
// Where lines are too many to be met one by one: the unit's weights by the size of their gradients.
function weightsOf(layer, unit) {
  if (!small && whole) return [];
  const into = layer
    ? Array.from({ length: widths[layer - 1] }, (_, k) => ({ layer, unit, source: k + 1 }))
    : Array.from({ length: widths[1] }, (_, k) => ({ layer: 1, unit: k + 1, source: unit }));
  if (layer && bias) into.push({ layer, unit, source: null });
  const size = (each) => Math.abs(gradient(each.layer, each.unit, each.source));
  const largest = into.sort((a, b) => size(b) - size(a)).slice(0, 10);
  const list = make(
    "ul",
    { class: "links" },
    ...largest.map((each) => {
      const button = make(
        "button",
        { type: "button" },
        `${named(each.layer, each.unit, each.source)}: weight ${shown(weight(each.layer, each.unit, each.source))}, gradient ${shown(gradient(each.layer, each.unit, each.source))}`,
      );
      button.addEventListener("click", () => {
        choose(each);
        at("chainhead").scrollIntoView({ block: "nearest" });
      });
      return make("li", {}, button);
    }),
  );
  return [make("p", {}, `Its weights with the largest gradients, of ${into.length.toLocaleString("en")}:`), list];
}

// Loss, findings, decision surface, learning rates side by side.
function drawLoss() {
  const svg = at("loss"),
    wide = room(svg),
    high = 190,
    left = 52,
    bottom = 26,
    now = frame();
  const held = run().held_losses || [],
    all = [...data.runs.flatMap((each) => each.losses), ...held];
  svg.setAttribute("viewBox", `0 0 ${wide} ${high}`);
  const lastStep = Math.max(1, now.step, ...all.map(([step]) => step)),
    values = all.length ? all.map(([, loss]) => loss) : [now.value];
  const low = Math.min(...values),
    floor = Math.min(0, low), // some losses, Poisson's for one, may be negative
    top = Math.max(floor, ...values) || (floor < 0 ? 0 : 1),
    log = low > 0 && top / low > 20;
  const x = (step) => left + (wide - left - 10) * (step / lastStep);
  const y = (loss) =>
    8 + (high - bottom - 8) * (log ? Math.log(top / loss) / Math.log(top / low) : (top - loss) / (top - floor));
  const curve = (points, more) =>
    make("polyline", {
      points: points.map(([step, loss]) => `${x(step).toFixed(1)},${y(loss).toFixed(1)}`).join(" "),
      fill: "none",
      ...more,
    });
  const lines = data.runs.map((each, k) =>
    curve(each.losses, {
      stroke: k === state.run ? "var(--blue)" : "var(--faint)",
      "stroke-width": k === state.run ? 2.5 : 1.5,
    }),
  );
  if (held.length) lines.push(curve(held, { stroke: "var(--orange)", "stroke-width": 2 }));
  const ends = [
    ["training", run().losses],
    ["validation", held],
  ].filter(([, points]) => recorded && points.length);
  const labels = recorded
    ? ends.map(([name, points]) =>
        make("text", { x: x(lastStep) - 26, y: y(points.at(-1)[1]) - 6, class: "small" }, name),
      )
    : data.runs.length > 1
      ? data.runs.map((each) => {
          const [step, loss] = each.losses.at(-1);
          return make(
            "text",
            { x: x(step) - 22, y: Math.min(high - bottom - 3, y(loss) - 5), class: "small" },
            shown(each.learning_rate),
          );
        })
      : [];
  const mark = recorded
    ? make("line", {
        x1: x(now.step),
        x2: x(now.step),
        y1: 4,
        y2: high - bottom,
        stroke: "var(--blue)",
        "stroke-dasharray": "3 3",
      })
    : make("circle", { cx: x(now.step), cy: y(now.value), r: 5, fill: "var(--blue)", stroke: "var(--paper)" });
  svg.replaceChildren(
    make("line", { x1: left, x2: wide - 10, y1: high - bottom, y2: high - bottom, stroke: "var(--faint)" }),
    make("text", { x: left - 24, y: y(top) + 8, class: "small" }, shown(Number(top.toPrecision(3)))),
    make(
      "text",
      { x: left - 24, y: high - bottom + 3, class: "small" },
      shown(Number((log ? low : floor).toPrecision(2))),
    ),
    make("text", { x: x(lastStep) - 20, y: high - 6, class: "small" }, `step ${lastStep}`),
    make("text", { x: left, y: high - 6, class: "small" }, "0"),
    ...lines,
    ...labels,
    mark,
  );
  svg.setAttribute(
    "aria-label",
    all.length
      ? `The loss goes from ${shown(run().losses[0][1])} to ${shown(run().losses.at(-1)[1])} in ${lastStep} steps; now ${shown(now.value)} at step ${now.step}.`
      : `The loss is ${shown(now.value)}.`,
  );
  const told = recorded
    ? ` on the rows shown. The curve is the training loss of each epoch over all its rows${held.length ? ", the orange one the validation loss" : ""}`
    : "";
  at("losstext").replaceChildren(
    `${log ? "On a logarithmic scale. " : ""}At step ${now.step} the loss is `,
    number(now.value, "value"),
    `${told}. Click the curve to go there.${data.runs.length > 1 ? " Each curve bears its learning rate; the blue one is chosen." : ""}`,
  );
  svg.onclick = (event) => {
    const box = svg.getBoundingClientRect(),
      step = ((((event.clientX - box.left) / box.width) * wide - left) / (wide - left - 10)) * lastStep;
    go(nearestFrame(step));
  };
}
const recorded = !data.runs.every((each) => each.losses.length && each.losses[0][0] === 0);
function nearestFrame(step) {
  const distances = run().frames.map((each) => Math.abs(each.step - step));
  return distances.indexOf(Math.min(...distances));
}
function drawFindings() {
  const largest = (each) => each.kind === "largest";
  const found = [...frame().findings.filter((each) => !largest(each)), ...frame().findings.filter(largest)];
  const items = found.map((each, k) => {
    const button = make("button", { type: "button", "data-kind": each.kind }, each.text);
    button.addEventListener("click", () => {
      const unit = each.unit || 1,
        place =
          each.kind === "largest" ? { layer: each.layer, unit, source: each.source } : { layer: each.layer, unit };
      state.row = Math.max(0, Math.min(nRows - 1, each.row - data.first_row));
      at("row").value = state.row;
      choose(place);
      at("findings").querySelectorAll("button")[k].focus({ preventScroll: true });
      at("chainhead").scrollIntoView({ block: "nearest" });
    });
    return make("li", {}, button);
  });
  at("findings").replaceChildren(...items);
}
function drawSurface() {
  if (!data.bounds) return;
  at("surfacebox").hidden = false;
  const canvas = at("surface"),
    context = canvas.getContext("2d"),
    n = data.grid,
    bytes = atob(frame().surface),
    [low, high] = data.bounds;
  const image = new ImageData(n, n),
    dark = matchMedia("(prefers-color-scheme: dark)").matches;
  const zero = dark ? [122, 64, 20] : [250, 196, 150],
    one = dark ? [36, 84, 160] : [150, 190, 250];
  for (let row = 0; row < n; row++)
    for (let column = 0; column < n; column++) {
      const share = bytes.charCodeAt(row * n + column) / 255,
        k = 4 * ((n - 1 - row) * n + column);
      for (let c = 0; c < 3; c++) image.data[k + c] = zero[c] + share * (one[c] - zero[c]);
      image.data[k + 3] = 255;
    }
  const small_ = document.createElement("canvas");
  small_.width = small_.height = n;
  small_.getContext("2d").putImageData(image, 0, 0);
  context.drawImage(small_, 0, 0, canvas.width, canvas.height);
  rows.forEach((k) => {
    const px = ((input(k, 1) - low[0]) / (high[0] - low[0])) * canvas.width,
      py = (1 - (input(k, 2) - low[1]) / (high[1] - low[1])) * canvas.height;
    context.beginPath();
    context.arc(px, py, k === state.row ? 9 : 6, 0, 7);
    context.fillStyle = target(k, 1) > 0.5 ? "#1f62c9" : "#c2570c";
    context.fill();
    context.lineWidth = k === state.row ? 3 : 1.5;
    context.strokeStyle = "#fff";
    context.stroke();
  });
  at("surfacetext").textContent =
    "Input 1 grows to the right, input 2 upwards. Blue: the first output is near 1, orange: near 0. Dots: the rows, coloured by their target; the larger one is the chosen row.";
  canvas.setAttribute(
    "aria-label",
    `The first output over both inputs; at the rows ${rows.map((k) => `(${shown(input(k, 1))}, ${shown(input(k, 2))}) ${shown(outputAt(k, nLayers, 1))}`).join("; ")}`,
  );
}
function drawRates() {
  at("ratebox").hidden = data.runs.length === 1;
  if (data.runs.length === 1) return;
  const lines = data.runs.map((each, k) => {
    const cells = [
      shown(each.learning_rate),
      shown(each.losses[0][1]),
      shown(each.losses[Math.floor(each.losses.length / 10)][1]),
      shown(each.losses.at(-1)[1]),
    ];
    return make("tr", k === state.run ? { class: "now" } : {}, ...cells.map((cell) => make("td", {}, cell)));
  });
  const last = run().losses.at(-1)[0];
  at("rates").replaceChildren(
    make(
      "thead",
      {},
      make(
        "tr",
        {},
        ...["learning rate", "loss at the start", "after a tenth", `after ${last} steps`].map((text) =>
          make("th", {}, text),
        ),
      ),
    ),
    make("tbody", {}, ...lines),
  );
}

// Drawing of charts, layout of texts, and countable properties of texts.

const SVG = "http://www.w3.org/2000/svg";
const ROW = 30;

function part(parent, name, attributes, text) {
  const made = document.createElementNS(SVG, name);
  set(made, attributes);
  if (text !== undefined) made.textContent = text;
  parent.append(made);
  return made;
}

function set(element, attributes) {
  for (const [name, value] of Object.entries(attributes)) element.setAttribute(name, value);
}

// Draws one row for each {left, right, start, value, low, high}, on a scale from -limit to limit: a dot at `value`, and
// optionally a tick at `start` and a bar from `low` to `high`. `left` and `right` are the labels of the row. Optionally,
// the range from -band to band is shaded, and `ends` are labels below the scale: left, middle and right. If only numbers
// have changed, the marks are moved and not drawn again.
export function drawRows(svg, rows, { limit, band, ends }) {
  const width = svg.clientWidth;
  if (!width) return;
  const side = Math.min(100, width * 0.27);
  const from = side + 12;
  const to = width - (rows.some((row) => row.right) ? side + 12 : 8);
  const x = (value) => from + ((to - from) * (Math.max(-limit, Math.min(limit, value)) + limit)) / (2 * limit);
  const bottom = rows.length * ROW;
  const layout = JSON.stringify([width, band, ends, rows.map((row) => [row.left, row.right])]);
  if (svg.dataset.layout !== layout) {
    svg.dataset.layout = layout;
    svg.replaceChildren();
    set(svg, { width, height: bottom + (ends ? 20 : 0), viewBox: `0 0 ${width} ${bottom + (ends ? 20 : 0)}` });
    if (band) part(svg, "rect", { class: "band", y: 0, height: bottom, rx: 4 });
    part(svg, "line", { class: "zero", y1: 0, y2: bottom });
    for (const [index, row] of rows.entries()) {
      const y = ROW * (index + 0.5);
      part(svg, "text", { x: side, y: y + 4.5, "text-anchor": "end" }, row.left);
      if (row.right) part(svg, "text", { x: width - side, y: y + 4.5 }, row.right);
      part(svg, "line", { class: "track", x1: from, x2: to, y1: y, y2: y });
      if (row.low !== undefined) part(svg, "rect", { class: "interval", y: y - 3.5, height: 7, rx: 3.5 });
      if (row.start !== undefined) part(svg, "rect", { class: "tick", y: y - 7, width: 2, height: 14 });
      part(svg, "circle", { class: "dot", cy: y, r: 5.5 });
    }
    for (const [index, text] of (ends ?? []).entries()) {
      const at = { x: [from, (from + to) / 2, to][index], y: bottom + 15, "text-anchor": ["start", "middle", "end"][index] };
      part(svg, "text", at, text);
    }
  }
  if (band) set(svg.querySelector(".band"), { x: x(-band), width: x(band) - x(-band) });
  set(svg.querySelector(".zero"), { x1: x(0), x2: x(0) });
  const next = { interval: 0, tick: 0, dot: 0 };
  const take = (name) => svg.getElementsByClassName(name)[next[name]++];
  for (const row of rows) {
    if (row.low !== undefined) set(take("interval"), { x: x(row.low), width: Math.max(0, x(row.high) - x(row.low)) });
    if (row.start !== undefined) set(take("tick"), { x: x(row.start) - 1 });
    set(take("dot"), { cx: x(row.value) });
  }
}

// Draws a line through accuracies, with a dot at the last one. The lower edge of the chart is 50%.
export function drawCourse(svg, values) {
  const { clientWidth: width, clientHeight: height } = svg;
  svg.replaceChildren();
  if (!width || values.length < 2) return;
  const x = (index) => (width * index) / Math.max(values.length - 1, 5);
  const top = Math.max(0.7, ...values);
  const y = (value) => height * (1 - (value - 0.5) / (top - 0.5));
  set(svg, { viewBox: `0 0 ${width} ${height}` });
  part(svg, "line", { class: "floor", x1: 0, x2: width, y1: height, y2: height });
  part(svg, "polyline", { class: "line", points: values.map((value, index) => `${x(index)},${y(value)}`).join(" ") });
  part(svg, "circle", { cx: x(values.length - 1), cy: y(values.at(-1)), r: 3.5 });
}

// Shows a text as headings, list items and paragraphs. Markup in it is shown as text.
export function lay(text, into) {
  into.replaceChildren();
  for (const line of text.split("\n").map((one) => one.trim()).filter(Boolean)) {
    const made = document.createElement("span");
    const title = /^(?:#+\s+(.+)|\*\*(.+)\*\*)$/.exec(line);
    const item = /^([-*•]|\d+[.)])\s+(.+)$/.exec(line);
    if (title) {
      made.className = "title";
      made.textContent = title[1] ?? title[2];
    } else if (item) {
      made.className = "item";
      const mark = document.createElement("span");
      mark.className = "mark-of-item";
      mark.textContent = /\d/.test(item[1]) ? item[1] : "•";
      made.append(mark, item[2]);
    } else {
      made.textContent = line;
    }
    into.append(made, "\n");
  }
}

// Returns the beginning of a text, without headings and list marks.
export function beginning(text, length = 90) {
  const lines = text.split("\n").map((line) => line.trim());
  const said = lines.filter((line) => !/^(?:#|\*\*.+\*\*$)/.test(line)).map((line) => line.replace(/^(?:[-*•]|\d+[.)])\s+/, ""));
  const flat = (said.join(" ").trim() || text.trim()).replace(/\s+/g, " ");
  return flat.length > length ? `${flat.slice(0, length).replace(/\s\S*$/, "")} …` : flat;
}

const count = (pattern) => (text) => (text.match(pattern) ?? []).length;
const words = count(/[\p{L}\p{N}]+(?:['’]\p{L}+)?/gu);
const share = (pattern) => (text) => count(pattern)(text) / Math.max(1, words(text));

// Countable properties of a text: the label of a low value, the label of a high value, and the function that counts.
const PROPERTIES = [
  ["shorter", "longer", (text) => Math.log1p(words(text))],
  ["plain text", "lists", count(/^\s*(?:[-*•]|\d+[.)]|#+)\s/gm)],
  ["few “!”", "many “!”", share(/!/g)],
  ["certain", "cautious", share(/\b(?:may|might|could|perhaps|maybe|possibly|probably|usually|seems?)\b/gi)],
  ["“do not”", "“don’t”", share(/\p{L}['’](?:s|t|re|ve|ll|d|m)\b/giu)],
  ["short words", "long words", (text) => count(/\p{L}/gu)(text) / Math.max(1, words(text))],
];

// Returns [{left, right, start, value}]: for each property its correlation with the population's rewards (`start`) and with
// the visitor's rewards (`value`). Properties in which the texts do not differ are left out.
export function correlations(texts, population, personal) {
  return PROPERTIES.flatMap(([left, right, measure]) => {
    const measured = texts.map(measure);
    const [start, value] = [correlation(measured, population), correlation(measured, personal)];
    return start === null || value === null ? [] : [{ left, right, start, value }];
  });
}

function correlation(one, other) {
  const centred = (values) => values.map((value) => value - values.reduce((sum, each) => sum + each, 0) / values.length);
  const dot = (a, b) => a.reduce((sum, value, index) => sum + value * b[index], 0);
  const [a, b] = [centred(one), centred(other)];
  const norm = Math.sqrt(dot(a, a) * dot(b, b));
  return norm > 1e-9 ? dot(a, b) / norm : null;
}

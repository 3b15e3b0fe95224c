// Lines over time, with axes, a legend, and the same as a table.

import { clock, el, set, setText, short, svg } from "./dom.js";

const HEIGHT = 168;
const MARGIN = { left: 46, right: 12, top: 10, bottom: 24 };
const TABLE_ROWS_MAX = 24;

/** A card for each chart of the scene. */
export function createCharts(root, scene) {
  const charts = scene.charts.map((chart, index) => createChart(chart, index));
  root.replaceChildren(...charts.map(({ card }) => card));
  root.hidden = charts.length === 0;
  return charts;
}

function createChart({ title, unit, series }, index) {
  const picture = svg("svg", { class: "chart", role: "img", "aria-label": `${title}, ${unit}, over time` });
  const layers = { grid: svg("g", { class: "grid" }), lines: svg("g"), cursor: svg("g", { class: "cursor" }) };
  picture.append(layers.grid, layers.lines, layers.cursor);
  const lines = series.map((name, place) => {
    const line = svg("path", { class: `line colour-${place % 8}` });
    const dot = svg("circle", { class: `dot colour-${place % 8}`, r: 3.2, display: "none" });
    layers.lines.append(line, dot);
    const value = el("span", { class: "value" }, "-");
    const item = el("li", {}, el("span", { class: `swatch colour-${place % 8}` }), el("span", {}, name), value);
    return { name, line, dot, value, item };
  });
  const table = el("table");
  const details = el("details", { class: "table" }, el("summary", {}, "As a table"), el("div", { class: "scroll" }, table));
  const card = el(
    "section",
    { class: "card chart-card", "aria-label": title },
    el("header", {}, el("h2", {}, title), el("span", { class: "unit" }, unit)),
    el("ul", { class: "legend-list" }, lines.map(({ item }) => item)),
    picture,
    details,
  );
  const chart = { index, unit, picture, layers, lines, table, details, card, pointer: null };
  picture.addEventListener("pointermove", (event) => {
    chart.pointer = event.clientX - picture.getBoundingClientRect().left;
  });
  picture.addEventListener("pointerleave", () => {
    chart.pointer = null;
  });
  return chart;
}

/** Draws what is known up to `until`. */
export function drawChart(chart, state, until) {
  const width = Math.max(160, Math.round(chart.picture.clientWidth || 300));
  set(chart.picture, { viewBox: `0 0 ${width} ${HEIGHT}`, height: HEIGHT });
  const samples = chart.lines.map((_, series) => state.samples.get(`${chart.index}/${series}`) ?? []);
  const all = samples.flat();
  const end = Math.max(until, ...all.map(([at]) => at), 1);
  const start = Math.min(0, ...all.map(([at]) => at));
  const scale = niceScale(Math.min(0, ...all.map(([, value]) => value)), Math.max(0, ...all.map(([, value]) => value)));
  const x = (at) => MARGIN.left + ((at - start) / (end - start)) * (width - MARGIN.left - MARGIN.right);
  const y = (value) =>
    HEIGHT - MARGIN.bottom - ((value - scale.low) / (scale.high - scale.low)) * (HEIGHT - MARGIN.top - MARGIN.bottom);
  drawGrid(chart, scale, { x, y, width, start, end });
  chart.lines.forEach(({ line, dot, value }, series) => {
    const points = samples[series];
    set(line, { d: points.map(([at, v], n) => `${n ? "L" : "M"}${x(at).toFixed(1)},${y(v).toFixed(1)}`).join("") });
    const last = points.at(-1);
    set(dot, last ? { cx: x(last[0]).toFixed(1), cy: y(last[1]).toFixed(1), display: "inline" } : { display: "none" });
    setText(value, last ? short(last[1]) : "-");
  });
  drawCursor(chart, samples, { x, y, width, start, end });
  if (chart.details.open) fillTable(chart, samples);
}

/** Round numbers that the values lie between. */
function niceScale(low, high) {
  const span = high - low || 1;
  const rough = span / 4;
  const power = 10 ** Math.floor(Math.log10(rough));
  const step = [1, 2, 2.5, 5, 10].map((factor) => factor * power).find((size) => size >= rough);
  return { low: Math.floor(low / step) * step, high: Math.max(Math.ceil(high / step), 1) * step, step };
}

function drawGrid(chart, scale, { x, y, width, start, end }) {
  const parts = [];
  for (let value = scale.low; value <= scale.high + scale.step / 2; value += scale.step) {
    const at = y(value).toFixed(1);
    parts.push(svg("line", { x1: MARGIN.left, x2: width - MARGIN.right, y1: at, y2: at }));
    parts.push(svg("text", { x: MARGIN.left - 8, y: Number(at) + 4, "text-anchor": "end" }, short(Number(value.toPrecision(6)))));
  }
  const steps = [1, 2, 5, 10, 20, 30, 60, 120, 300, 600, 1800, 3600, 7200, 21600, 86400];
  const count = Math.max(2, Math.floor(width / 90));
  const step = steps.find((seconds) => (end - start) / seconds <= count) ?? (end - start) / 2;
  for (let at = Math.ceil(start / step) * step; at <= end; at += step) {
    const anchor = x(at) > width - 30 ? "end" : "middle";
    const label = at < 60 ? `${Number(at.toFixed(3))} s` : clock(at);
    parts.push(svg("text", { x: x(at).toFixed(1), y: HEIGHT - 6, "text-anchor": anchor }, label));
  }
  chart.layers.grid.replaceChildren(...parts);
}

function drawCursor(chart, samples, { x, y, width, start, end }) {
  const { cursor } = chart.layers;
  if (chart.pointer === null || chart.pointer < MARGIN.left || chart.pointer > width - MARGIN.right) {
    cursor.replaceChildren();
    return;
  }
  const at = start + ((chart.pointer - MARGIN.left) / (width - MARGIN.left - MARGIN.right)) * (end - start);
  const parts = [svg("line", { x1: chart.pointer, x2: chart.pointer, y1: MARGIN.top, y2: HEIGHT - MARGIN.bottom })];
  const isRight = chart.pointer > width * 0.6;
  const text = { x: chart.pointer + (isRight ? -8 : 8), "text-anchor": isRight ? "end" : "start" };
  parts.push(svg("text", { ...text, y: MARGIN.top + 8 }, clock(at)));
  let row = 0;
  samples.forEach((points, series) => {
    const near = points.findLast(([when]) => when <= at);
    if (!near) return;
    row += 1;
    parts.push(svg("circle", { class: `dot colour-${series % 8}`, cx: x(near[0]), cy: y(near[1]), r: 4 }));
    const label = `${chart.lines[series].name}: ${short(near[1])} ${chart.unit}`;
    parts.push(svg("text", { ...text, y: MARGIN.top + 8 + row * 14 }, label));
  });
  cursor.replaceChildren(...parts);
}

/** The latest values first. */
function fillTable(chart, samples) {
  const times = [...new Set(samples.flat().map(([at]) => at))].sort((a, b) => b - a).slice(0, TABLE_ROWS_MAX);
  const cell = (series, at) => samples[series].find(([when]) => when === at)?.[1];
  const rows = times.map((at) =>
    el("tr", {}, el("th", { scope: "row" }, clock(at)), chart.lines.map((_, series) => {
      const value = cell(series, at);
      return el("td", {}, value === undefined ? "" : short(value));
    })),
  );
  const names = chart.lines.map(({ name }) => el("th", { scope: "col" }, name));
  chart.table.replaceChildren(
    el("thead", {}, el("tr", {}, el("th", { scope: "col" }, "Time"), names)),
    el("tbody", {}, rows),
  );
}

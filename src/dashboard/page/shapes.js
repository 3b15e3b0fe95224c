// How kinds of machines and messages look.

import { svg } from "./dom.js";

export const MACHINE_NAMES = { node: "NetServ node", router: "Router", host: "Host", nat: "NAT" };

/** Half the size of a machine. */
export const MACHINE_RADIUS = 13;

/** The picture of a machine around 0,0. */
export function machineShape(kind) {
  const group = svg("g", { class: `shape ${kind}` });
  const r = MACHINE_RADIUS;
  if (kind === "node") {
    group.append(svg("circle", { class: "body", r }), hexagon(r * 0.52));
  } else if (kind === "router") {
    group.append(svg("circle", { class: "body", r: r * 0.82 }), svg("path", { class: "mark", d: arrows(r * 0.5) }));
  } else if (kind === "nat") {
    const d = `M0,${-r}L${r},0L0,${r}L${-r},0Z`;
    group.append(svg("path", { class: "body", d }), svg("path", { class: "mark", d: swap(r * 0.42) }));
  } else {
    group.append(
      svg("rect", { class: "body", x: -r * 0.85, y: -r * 0.75, width: r * 1.7, height: r * 1.15, rx: 2.5 }),
      svg("path", { class: "foot", d: `M0,${r * 0.4}V${r * 0.75}M${-r * 0.45},${r * 0.8}H${r * 0.45}` }),
    );
  }
  return group;
}

function hexagon(r) {
  const corners = [0, 1, 2, 3, 4, 5].map((n) => {
    const angle = (n * Math.PI) / 3 - Math.PI / 2;
    return `${(Math.cos(angle) * r).toFixed(2)},${(Math.sin(angle) * r).toFixed(2)}`;
  });
  return svg("path", { class: "mark", d: `M${corners.join("L")}Z` });
}

function arrows(r) {
  return `M${-r},0H${r}M0,${-r}V${r}`;
}

function swap(r) {
  return `M${-r},${-r * 0.5}H${r}L${r * 0.4},${-r}M${r},${r * 0.5}H${-r}L${-r * 0.4},${r}`;
}

/** The picture of a machine for a text, for example a legend. */
export function machineIcon(kind) {
  const picture = svg("svg", { class: "icon", viewBox: "-16 -16 32 32", "aria-hidden": "true" });
  picture.append(machineShape(kind));
  return picture;
}

export const MESSAGE_NAMES = {
  setup: "SETUP",
  answer: "answer",
  remove: "REMOVE, error",
  probe: "PROBE",
  notify: "NOTIFY",
  gist: "GIST",
};

/** An arrow that flies to the right and has its head at 0,0. */
export function messageArrow(kind) {
  const long = kind === "gist" ? 9 : 26;
  const half = kind === "gist" ? 4 : 6.5;
  return svg(
    "g",
    { class: `arrow ${kind}` },
    svg("path", { class: "tail", d: `M${-long - half},0H${-half}` }),
    svg("path", { class: "head", d: `M${-half * 2},${-half}L0,0L${-half * 2},${half}Z` }),
  );
}

/** The arrow for a legend. */
export function messageIcon(kind) {
  const picture = svg("svg", { class: "icon wide", viewBox: "-36 -9 40 18", "aria-hidden": "true" });
  picture.append(messageArrow(kind));
  return picture;
}

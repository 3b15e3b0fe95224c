// The picture of the network: land, links, flows, machines with their names and modules. What flies is in traffic.js.

import { set, setText, short, svg } from "./dom.js";
import { LAKES, LAND } from "./coast.js";
import { distance, graticulePath, lane, outlinePath } from "./geometry.js";
import { placeMachines } from "./layout.js";
import { MACHINE_NAMES, MACHINE_RADIUS, machineShape } from "./shapes.js";
import { flowBundles, instancesAt } from "./state.js";

/** Flows that are drawn; more are only counted. */
const FLOWS_DRAWN_MAX = 60;
/** Flows beside each other on one link; more lie on the last one. */
const LANES_MAX = 6;
const LANE_WIDTH = 3.4;
/** More flows than this stand still: a browser without a graphics card has enough to do. */
const FLOWS_MOVING_MAX = 16;
/** Colours of flows in style.css. */
const COLOURS = 8;

/** Draws into the element `root`; `onOpen(machine)` is called when a machine is chosen. */
export function createMap(root, onOpen) {
  const layers = {};
  for (const name of ["geo", "links", "flows", "machines", "labels", "messages"]) {
    layers[name] = svg("g", { class: `layer-${name}` });
    root.append(layers[name]);
  }
  const map = {
    root, layers, onOpen, scene: null, points: [], machines: [], links: [], colours: new Map(), flows: new Map(),
    selected: null, width: 0, height: 0,
  };
  return map;
}

/** Another scene, or another size of the picture. */
export function drawScene(map, scene) {
  const box = map.root.getBoundingClientRect();
  map.width = Math.max(200, Math.round(box.width));
  map.height = Math.max(200, Math.round(box.height));
  if (map.scene !== scene) map.colours = new Map();
  map.scene = scene;
  set(map.root, { viewBox: `0 0 ${map.width} ${map.height}` });
  const { points, projection } = placeMachines(scene, map.width, map.height);
  map.points = points;
  drawLand(map, projection);
  drawLinks(map);
  drawMachines(map);
  map.flows = new Map();
  map.layers.flows.replaceChildren();
}

function drawLand(map, projection) {
  const { geo } = map.layers;
  geo.replaceChildren();
  if (!projection) return;
  geo.append(
    svg("path", { class: "land", d: outlinePath(LAND, projection.project) }),
    svg("path", { class: "lake", d: outlinePath(LAKES, projection.project) }),
    svg("path", { class: "graticule", d: graticulePath(projection, map.width, map.height) }),
  );
}

function drawLinks(map) {
  map.layers.links.replaceChildren();
  map.links = map.scene.links.map(({ ends: [a, b] }) => {
    const [from, to] = [map.points[a], map.points[b]];
    if (!from || !to) return null;
    const at = { x1: from.x, y1: from.y, x2: to.x, y2: to.y };
    const link = {
      load: svg("line", { class: "load", ...at, "stroke-width": 0 }),
      line: svg("line", { class: "link", ...at }),
      title: svg("title"),
      lost: svg("text", { class: "lost", x: (from.x + to.x) / 2, y: (from.y + to.y) / 2 + 4 }),
    };
    // A wide line that is not seen, to point at.
    const hit = svg("line", { class: "hit", ...at }, link.title);
    map.layers.links.append(link.load, link.line, link.lost, hit);
    return link;
  });
}

function drawMachines(map) {
  const { machines, labels } = map.layers;
  machines.replaceChildren();
  labels.replaceChildren();
  const places = labelPlaces(map);
  // A hundred machines on a small screen are drawn smaller.
  const scale = Math.max(0.5, Math.min(1, Math.sqrt((map.width * map.height) / map.points.length) / 52)).toFixed(2);
  map.machines = map.scene.machines.map((machine, index) => {
    const { x, y } = map.points[index];
    const group = svg("g", {
      class: "machine",
      transform: `translate(${x.toFixed(1)},${y.toFixed(1)}) scale(${scale})`,
      tabindex: index === 0 ? 0 : -1,
      role: "button",
      "data-machine": index,
      onclick: () => map.onOpen(index),
      onfocus: () => focusOn(map, index),
      onkeydown: (event) => machineKey(map, index, event),
    });
    const pulse = svg("circle", { class: "pulse", r: MACHINE_RADIUS });
    const ring = svg("circle", { class: "ring", r: MACHINE_RADIUS + 4 });
    const badge = svg("g", { class: "badge", transform: `translate(${MACHINE_RADIUS - 2},${-MACHINE_RADIUS + 1})` });
    const count = svg("text", { y: 4 });
    badge.append(svg("rect", { x: -8, y: -8, width: 16, height: 16, rx: 8 }), count);
    group.append(svg("circle", { class: "hit", r: 20 }), pulse, ring, machineShape(machine.kind), badge);
    machines.append(group);
    const label = svg("text", { class: places[index].isShown ? "name" : "name hidden", ...places[index].at }, machine.name);
    labels.append(label);
    return { group, badge, count, pulse, label, shown: new Map() };
  });
  map.machines.forEach((_, index) => describe(map, index, []));
}

function describe(map, index, instances) {
  const machine = map.scene.machines[index];
  const modules = instances.length === 0 ? "no modules" : `modules: ${instances.map(({ name }) => name).join(", ")}`;
  const place = machine.place ? `, ${machine.place.name}` : "";
  set(map.machines[index].group, { "aria-label": `${machine.name}, ${MACHINE_NAMES[machine.kind]}${place}; ${modules}` });
}

/** For each name the first place around its machine where it covers nothing; none if there is none. */
function labelPlaces(map) {
  const r = MACHINE_RADIUS + 4;
  const taken = map.points.map(({ x, y }) => ({ x: x - r, y: y - r, w: 2 * r, h: 2 * r }));
  const order = map.scene.machines.map((_, index) => index);
  const rank = { node: 0, nat: 1, router: 2, host: 3 };
  order.sort((a, b) => rank[map.scene.machines[a].kind] - rank[map.scene.machines[b].kind] || a - b);
  const places = [];
  for (const index of order) {
    const { x, y } = map.points[index];
    const w = map.scene.machines[index].name.length * (map.width < 500 ? 5.9 : 6.7) + 4;
    const options = [
      { box: { x: x - w / 2, y: y + r, w, h: 15 }, at: { x, y: y + r + 11, "text-anchor": "middle" } },
      { box: { x: x - w / 2, y: y - r - 15, w, h: 15 }, at: { x, y: y - r - 4, "text-anchor": "middle" } },
      { box: { x: x + r, y: y - 8, w, h: 15 }, at: { x: x + r + 2, y: y + 4, "text-anchor": "start" } },
      { box: { x: x - r - w, y: y - 8, w, h: 15 }, at: { x: x - r - 2, y: y + 4, "text-anchor": "end" } },
    ];
    // Corners, where a name touches its machine but covers less of the lines.
    for (const [dx, dy, anchor] of [[1, -1, "start"], [-1, -1, "end"], [1, 1, "start"], [-1, 1, "end"]]) {
      const [left, top] = [dx > 0 ? x + r - 6 : x - r + 6 - w, y + dy * r - 7];
      const at = { x: x + dx * (r - 5), y: top + 11, "text-anchor": anchor };
      options.push({ box: { x: left, y: top, w, h: 14 }, at });
    }
    const isFree = ({ box }) => isInside(box, map) && !taken.some((other) => overlap(box, other));
    const found = options.find(isFree);
    if (found) taken.push(found.box);
    places[index] = { at: (found ?? options[0]).at, isShown: Boolean(found) };
  }
  return places;
}

function isInside(box, map) {
  return box.x >= 2 && box.y >= 2 && box.x + box.w <= map.width - 2 && box.y + box.h <= map.height - 2;
}

function overlap(a, b) {
  return a.x < b.x + b.w && b.x < a.x + a.w && a.y < b.y + b.h && b.y < a.y + a.h;
}

function machineKey(map, index, event) {
  const directions = { ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowUp: [0, -1], ArrowDown: [0, 1] };
  if (event.key === "Enter" || event.key === " ") {
    map.onOpen(index);
  } else if (directions[event.key]) {
    const next = nextMachine(map.points, index, directions[event.key]);
    if (next !== null) map.machines[next].group.focus();
  } else {
    return;
  }
  event.preventDefault();
  event.stopPropagation();
}

/** The nearest machine in this direction. */
function nextMachine(points, index, [dx, dy]) {
  const here = points[index];
  let [best, bestCost] = [null, Infinity];
  points.forEach((point, other) => {
    const along = (point.x - here.x) * dx + (point.y - here.y) * dy;
    if (other === index || along <= 1) return;
    const cost = distance(point, here) + 2 * (distance(point, here) - along);
    if (cost < bestCost) [best, bestCost] = [other, cost];
  });
  return best;
}

/** One machine can be reached with the tab key: the one that had the focus last. */
function focusOn(map, index) {
  map.machines.forEach(({ group }, other) => set(group, { tabindex: other === index ? 0 : -1 }));
}

export function selectMachine(map, index) {
  map.selected = index;
  map.machines.forEach(({ group }, other) => group.classList.toggle("selected", other === index));
}

/** What is so now; instances have `drawInstances`, since they come when the arrow that brings them has arrived. */
export function drawState(map, state) {
  drawLoads(map, state);
  drawFlows(map, state);
  map.machines.forEach(({ group, label }, index) => {
    group.classList.toggle("down", state.downMachines.has(index));
    label.classList.toggle("down", state.downMachines.has(index));
  });
}

function drawLoads(map, state) {
  let most = 1;
  for (const { bps } of state.loads.values()) most = Math.max(most, bps);
  map.links.forEach((link, index) => {
    if (!link) return;
    const { ends, rate_bps: rate, delay_ms: delay } = map.scene.links[index];
    const loads = ends.map((end) => state.loads.get(`${index}/${end}`));
    const bps = Math.max(...loads.map((load) => load?.bps ?? 0));
    const lost = loads.reduce((sum, load) => sum + (load?.lost ?? 0), 0);
    // Without a rate the busiest link is the measure; small loads are still to be seen.
    const share = bps === 0 ? 0 : Math.sqrt(Math.min(1, bps / (rate ?? most)));
    const busy = rate && bps / rate > 0.9 ? "full" : rate && bps / rate > 0.6 ? "busy" : "";
    set(link.load, { "stroke-width": share === 0 ? 0 : (3 + 11 * share).toFixed(1), class: `load ${busy}` });
    link.line.classList.toggle("down", state.downLinks.has(index));
    setText(link.lost, state.downLinks.has(index) ? "✕" : lost > 0 ? `−${short(lost)}` : "");
    const names = ends.map((end) => map.scene.machines[end]?.name ?? "?");
    const way = (from, to, load) => `${from} → ${to}: ${short(load?.bps ?? 0)}bit/s, ${short(load?.pps ?? 0)} packets/s`;
    const lines = [way(names[0], names[1], loads[0]), way(names[1], names[0], loads[1])];
    if (delay !== null && delay !== undefined) lines.push(`${delay} ms one way`);
    if (rate) lines.push(`at most ${short(rate)}bit/s`);
    setText(link.title, lines.join("\n"));
  });
}

/** Flows of one label have one colour, in the order in which they came. */
export function flowColour(map, label) {
  if (!map.colours.has(label)) map.colours.set(label, map.colours.size % COLOURS);
  return map.colours.get(label);
}

function drawFlows(map, state) {
  const bundles = flowBundles(state).slice(0, FLOWS_DRAWN_MAX);
  const lanes = new Map();
  const kept = new Set();
  for (const bundle of bundles) {
    const colour = flowColour(map, bundle.label);
    const d = flowPath(map, bundle, lanes);
    if (!d) continue;
    kept.add(bundle.key);
    let path = map.flows.get(bundle.key);
    if (!path) {
      path = { line: svg("path", { class: `flow colour-${colour}` }), title: svg("title") };
      path.line.append(path.title);
      map.layers.flows.append(path.line);
      map.flows.set(bundle.key, path);
    }
    set(path.line, { d });
    setText(path.title, bundle.count > 1 ? `${bundle.label} (${bundle.count})` : bundle.label);
  }
  map.layers.flows.classList.toggle("still", kept.size > FLOWS_MOVING_MAX);
  for (const [key, path] of map.flows) {
    if (kept.has(key)) continue;
    path.line.remove();
    map.flows.delete(key);
  }
}

/** The way of a flow; each label has its own lane on a link. */
function flowPath(map, { label, path }, lanes) {
  const parts = [];
  for (let place = 0; place + 1 < path.length; place += 1) {
    const [from, to] = [path[place], path[place + 1]];
    if (!map.points[from] || !map.points[to]) return null;
    const key = from < to ? `${from}/${to}` : `${to}/${from}`;
    if (!lanes.has(key)) lanes.set(key, []);
    const labels = lanes.get(key);
    if (!labels.includes(label)) labels.push(label);
    const number = Math.min(labels.indexOf(label), LANES_MAX - 1);
    // 0, 1, -1, 2, -2 and so on.
    const offset = Math.ceil(number / 2) * (number % 2 ? 1 : -1) * LANE_WIDTH;
    const ends = lane(map.points[from], map.points[to], from < to, offset);
    parts.push(...ends.map(({ x, y }) => `${x.toFixed(1)},${y.toFixed(1)}`));
  }
  return parts.length === 0 ? null : `M${parts.join("L")}`;
}

/** The modules at a machine. What is new pulses. */
export function drawInstances(map, state, index) {
  const machine = map.machines[index];
  if (!machine) return;
  // What runs on a host is its application: no module of the network.
  const isHost = map.scene.machines[index].kind === "host";
  const instances = isHost ? [] : instancesAt(state, index);
  const names = new Map(instances.map((instance) => [instance.name, instance.state]));
  const isNew = instances.some(({ name }) => !machine.shown.has(name));
  const isLess = [...machine.shown.keys()].some((name) => !names.has(name));
  machine.shown = names;
  const hasFailed = instances.some((instance) => instance.state === "failed");
  const text = instances.length > 99 ? "99+" : String(instances.length);
  setText(machine.count, text);
  set(machine.badge.firstChild, { x: text.length > 2 ? -13 : -8, width: text.length > 2 ? 26 : 16 });
  machine.badge.classList.toggle("shown", instances.length > 0);
  machine.badge.classList.toggle("failed", hasFailed);
  if (isNew || isLess) pulse(machine, isNew ? "came" : "went");
  describe(map, index, instances);
}

function pulse(machine, what) {
  machine.pulse.classList.remove("came", "went");
  // Begins the animation again.
  machine.pulse.getBBox();
  machine.pulse.classList.add(what);
}

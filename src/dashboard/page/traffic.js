// Messages that fly along links as arrows.
//
// A message on a real link takes some ms, which nobody sees: an arrow takes at least so long that an eye can follow it.
// One that leaves a machine which another one of its protocol still flies to waits for that: so a request is seen to go
// from node to node, and the module it brings appears when it has arrived.

import { setText, svg } from "./dom.js";
import { messageKind } from "./state.js";
import { messageArrow } from "./shapes.js";

/** Least time of an arrow, in ms. */
const FLIGHT_MIN = 620;
const FLIGHT_MAX = 4000;
/** Furthest that arrows may be behind the messages. */
const LAG_MAX = 2600;
/** Same messages on the same link within this are one arrow with a number. */
const SAME_WITHIN = 240;
const ARROWS_MAX = 140;
/** With more arrows than this only those of NetServ have their names beside them. */
const NAMED_MAX = 36;
/** Steps of the protocol within a request: their arrows are enough. */
const UNNAMED = new Set(["ACK", "place"]);

export function createTraffic(map) {
  // Who does not want motion sees arrows that stand on their link as long as they would fly.
  const isCalm = matchMedia("(prefers-reduced-motion: reduce)").matches;
  return { isCalm, map, now: 0, flights: [], pool: [], arrivals: new Map(), waiting: [] };
}

export function clearTraffic(traffic) {
  for (const flight of traffic.flights) retire(traffic, flight);
  traffic.flights = [];
  traffic.arrivals.clear();
  traffic.waiting = [];
}

/** A message that leaves in `wait` ms, at `speed` seconds of the scene per second. */
export function launch(traffic, message, wait, speed) {
  const link = traffic.map.scene.links[message.link];
  if (!link || !link.ends.includes(message.from)) return;
  const to = link.ends[0] === message.from ? link.ends[1] : link.ends[0];
  const earliest = traffic.now + Math.max(0, Math.min(wait, LAG_MAX));
  const behind = traffic.arrivals.get(`${message.layer}/${message.from}`) ?? 0;
  const start = behind - earliest < LAG_MAX ? Math.max(earliest, behind) : earliest;
  const isLost = message.arrives_s === null || message.arrives_s === undefined;
  const real = isLost || speed <= 0 ? 0 : ((message.arrives_s - message.left_s) / speed) * 1000;
  const end = start + Math.max(FLIGHT_MIN, Math.min(FLIGHT_MAX, real));
  if (!isLost) traffic.arrivals.set(`${message.layer}/${to}`, end);
  const same = traffic.flights.find(
    (flight) =>
      flight.link === message.link && flight.from === message.from && flight.label === message.label &&
      flight.isLost === isLost && Math.abs(flight.start - start) < SAME_WITHIN,
  );
  if (same) {
    same.count += 1;
    return;
  }
  if (traffic.flights.length >= ARROWS_MAX) return;
  const { label, layer, from, link: over, left_s: leftS } = message;
  const kind = messageKind(message);
  traffic.flights.push({ link: over, from, to, label, layer, leftS, isLost, start, end, count: 1, kind });
}

/** Calls `then` when what flies to this machine has arrived. */
export function whenArrived(traffic, machine, then) {
  const at = traffic.arrivals.get(`netserv/${machine}`) ?? 0;
  if (at <= traffic.now || at - traffic.now > LAG_MAX + FLIGHT_MIN) then();
  else traffic.waiting.push({ at, then });
}

/** Forgets what left before `at` in the scene's time: it has gone on in a leap. */
export function skipTo(traffic, at) {
  for (const flight of traffic.flights) if (flight.leftS < at) retire(traffic, flight);
  traffic.flights = traffic.flights.filter(({ leftS }) => leftS >= at);
  for (const { then } of traffic.waiting) then();
  traffic.waiting = [];
  traffic.arrivals.clear();
}

/** Moves everything on by `ms`. */
export function advance(traffic, ms) {
  traffic.now += ms;
  const due = traffic.waiting.filter(({ at }) => at <= traffic.now);
  traffic.waiting = traffic.waiting.filter(({ at }) => at > traffic.now);
  for (const { then } of due) then();
  const isCrowded = traffic.flights.length > NAMED_MAX;
  const named = new Map();
  traffic.flights = traffic.flights.filter((flight) => {
    if (flight.end <= traffic.now) {
      retire(traffic, flight);
      return false;
    }
    if (flight.start <= traffic.now) draw(traffic, flight, isCrowded, named);
    return true;
  });
}

function draw(traffic, flight, isCrowded, named) {
  const [a, b] = [traffic.map.points[flight.from], traffic.map.points[flight.to]];
  if (!a || !b) return;
  flight.arrow ??= takeArrow(traffic, flight.kind);
  const share = (traffic.now - flight.start) / (flight.end - flight.start);
  // A lost message gets half the way, and falls.
  const along = traffic.isCalm ? 0.55 : flight.isLost ? Math.min(share, 0.5) : share;
  const angle = Math.atan2(b.y - a.y, b.x - a.x);
  const side = laneOf(flight) * 5;
  const x = a.x + (b.x - a.x) * along - Math.sin(angle) * side;
  const y = a.y + (b.y - a.y) * along + Math.cos(angle) * side + (flight.isLost ? Math.max(0, share - 0.5) * 60 : 0);
  const { group, arrow, text } = flight.arrow;
  group.setAttribute("transform", `translate(${x.toFixed(1)},${y.toFixed(1)})`);
  arrow.setAttribute("transform", `rotate(${((angle * 180) / Math.PI).toFixed(1)})`);
  group.setAttribute("opacity", opacity(flight, share).toFixed(2));
  group.classList.toggle("is-lost", flight.isLost && share > 0.5);
  const isNamed = flight.layer === "netserv" ? !UNNAMED.has(flight.label) : !isCrowded;
  setText(text, isNamed ? nameOf(flight) : "");
  if (isNamed) placeName(text, x, y, angle, named);
}

function opacity(flight, share) {
  if (flight.isLost && share > 0.5) return Math.max(0, 1.6 - 1.6 * share);
  return Math.min(1, share * 8, (1 - share) * 10);
}

function nameOf({ label, count, isLost }) {
  const name = count > 1 ? `${label} ×${count}` : label;
  return isLost ? `${name}, lost` : name;
}

/** Answers fly beside requests, not through them. */
function laneOf({ from, to }) {
  return from < to ? 1 : -1;
}

/** Beside the arrow; further away if another name is there. */
function placeName(text, x, y, angle, named) {
  const isSteep = Math.abs(Math.sin(angle)) > 0.8;
  let dy = isSteep ? 4 : -11;
  const key = () => `${Math.round(x / 60)}/${Math.round((y + dy) / 14)}`;
  for (let tries = 0; tries < 4 && named.has(key()); tries += 1) dy -= 13;
  named.set(key(), true);
  text.setAttribute("x", isSteep ? "12" : "0");
  text.setAttribute("y", String(dy));
  text.setAttribute("text-anchor", isSteep ? "start" : "middle");
}

function takeArrow(traffic, kind) {
  const place = traffic.pool.findIndex((free) => free.kind === kind);
  if (place >= 0) {
    const [free] = traffic.pool.splice(place, 1);
    free.group.removeAttribute("display");
    return free;
  }
  const arrow = messageArrow(kind);
  const text = svg("text", { class: `message-name ${kind}` });
  const group = svg("g", { class: "message" }, arrow, text);
  traffic.map.layers.messages.append(group);
  return { group, arrow, text, kind };
}

function retire(traffic, flight) {
  if (!flight.arrow) return;
  flight.arrow.group.setAttribute("display", "none");
  traffic.pool.push(flight.arrow);
  flight.arrow = null;
}

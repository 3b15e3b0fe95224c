// Where each machine is drawn: on a map if all places are known, else as a graph. The same scene gives the same picture.

import { distance, fitProjection, keepInside, separate } from "./geometry.js";

/** From the edge of the picture to the middle of a machine. */
const ROOM = 44;

/** `points` of the machines in their order, and the `projection` if there is a map. */
export function placeMachines(scene, width, height) {
  const isMapped = scene.machines.length > 0 && scene.machines.every((machine) => machine.place);
  return isMapped ? onMap(scene, width, height) : { points: asGraph(scene, width, height), projection: null };
}

function onMap(scene, width, height) {
  const places = scene.machines.map(({ place }) => [place.longitude, place.latitude]);
  const room = Math.min(width, height) < 420 ? 40 : 84;
  const projection = fitProjection(places, width, height, room);
  const points = places.map((place) => {
    const [x, y] = projection.project(place);
    return { x, y };
  });
  fanOut(scene, points, { x: width / 2, y: height / 2 });
  const count = points.length;
  const apart = Math.min(46, Math.sqrt((width * height) / (count * 2.6)));
  separate(points, apart, width, height, Math.min(ROOM, apart));
  return { points, projection };
}

/** Machines of one place stand around the one that has the most links. */
function fanOut(scene, points, middle) {
  const groups = new Map();
  scene.machines.forEach(({ place }, index) => {
    const key = `${place.longitude.toFixed(2)}/${place.latitude.toFixed(2)}`;
    if (!groups.has(key)) groups.set(key, []);
    groups.get(key).push(index);
  });
  const degree = degrees(scene);
  for (const group of groups.values()) {
    if (group.length < 2) continue;
    const ordered = [...group].sort((a, b) => degree[b] - degree[a] || a - b);
    const centre = points[ordered[0]];
    const outward = distance(centre, middle) > 8 ? Math.atan2(centre.y - middle.y, centre.x - middle.x) : -Math.PI / 2;
    const around = ordered.slice(1);
    const spread = Math.min(Math.PI * 1.7, (around.length - 1) * 0.85);
    const radius = Math.max(48, around.length * 9);
    around.forEach((index, place) => {
      const share = around.length === 1 ? 0 : place / (around.length - 1) - 0.5;
      const angle = outward + share * spread;
      points[index] = { x: centre.x + Math.cos(angle) * radius, y: centre.y + Math.sin(angle) * radius };
    });
  }
}

function degrees(scene) {
  const degree = scene.machines.map(() => 0);
  for (const { ends } of scene.links) for (const end of ends) if (end in degree) degree[end] += 1;
  return degree;
}

function neighbours(scene) {
  const list = scene.machines.map(() => []);
  for (const { ends: [a, b] } of scene.links) {
    if (!(a in list) || !(b in list)) continue;
    list[a].push(b);
    list[b].push(a);
  }
  return list;
}

/** Steps from `start` to each machine; -1 where no way leads. */
function steps(list, start) {
  const far = list.map(() => -1);
  const queue = [start];
  far[start] = 0;
  for (let at = 0; at < queue.length; at += 1) {
    for (const next of list[queue[at]]) {
      if (far[next] >= 0) continue;
      far[next] = far[queue[at]] + 1;
      queue.push(next);
    }
  }
  return far;
}

function asGraph(scene, width, height) {
  const count = scene.machines.length;
  if (count === 0) return [];
  if (count === 1) return [{ x: width / 2, y: height / 2 }];
  const list = neighbours(scene);
  const points = startOf(list);
  relax(points, list);
  return fitted(points, width, height);
}

/** Columns by the distance from one end of the longest way: paths begin as straight lines. */
function startOf(list) {
  const first = steps(list, 0);
  const end = first.indexOf(Math.max(...first));
  const far = steps(list, end);
  const rows = new Map();
  return far.map((column) => {
    const row = rows.get(column) ?? 0;
    rows.set(column, row + 1);
    return { x: column * 90, y: (row % 2 ? 1 : -1) * Math.ceil(row / 2) * 60 + (column % 3) * 2 };
  });
}

/** Springs along links, repulsion between all (Fruchterman and Reingold, 1991). */
function relax(points, list) {
  const count = points.length;
  const rounds = Math.max(8, Math.min(240, Math.floor(4e6 / (count * count))));
  const ideal = 90;
  for (let round = 0; round < rounds; round += 1) {
    const heat = 24 * (1 - round / rounds) + 0.5;
    const moves = points.map(() => ({ x: 0, y: 0 }));
    for (let i = 0; i < count; i += 1) {
      for (let j = i + 1; j < count; j += 1) {
        const [dx, dy] = [points[i].x - points[j].x, points[i].y - points[j].y || 0.1];
        const force = (ideal * ideal) / (dx * dx + dy * dy + 1);
        moves[i].x += dx * force;
        moves[i].y += dy * force;
        moves[j].x -= dx * force;
        moves[j].y -= dy * force;
      }
      for (const j of list[i]) {
        const [dx, dy] = [points[i].x - points[j].x, points[i].y - points[j].y];
        const force = Math.hypot(dx, dy) / ideal;
        moves[i].x -= dx * force * 0.5;
        moves[i].y -= dy * force * 0.5;
      }
    }
    moves.forEach((move, index) => {
      const size = Math.hypot(move.x, move.y) || 1;
      points[index].x += (move.x / size) * Math.min(size, heat);
      points[index].y += (move.y / size) * Math.min(size, heat);
    });
  }
}

/** Turned to lie along the longer side, and stretched to fill the box. */
function fitted(points, width, height) {
  const box = (list) => {
    const [xs, ys] = [list.map((p) => p.x), list.map((p) => p.y)];
    return { x: Math.min(...xs), y: Math.min(...ys), w: Math.max(...xs) - Math.min(...xs), h: Math.max(...ys) - Math.min(...ys) };
  };
  let turned = points;
  const before = box(points);
  if (before.w > before.h !== width > height) turned = points.map(({ x, y }) => ({ x: y, y: x }));
  const { x, y, w, h } = box(turned);
  const room = ROOM + 12;
  // A few machines do not need the whole picture.
  const scale = [Math.min(2.2, (width - 2 * room) / Math.max(w, 1)), Math.min(2.2, (height - 2 * room) / Math.max(h, 1))];
  return turned.map((point) => {
    const placed = {
      x: width / 2 + (point.x - x - w / 2) * scale[0],
      y: height / 2 + (point.y - y - h / 2) * scale[1],
    };
    keepInside(placed, width, height, ROOM);
    return placed;
  });
}

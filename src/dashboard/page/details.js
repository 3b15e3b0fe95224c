// One machine opened: its modules with their limits, what it counts, and its log.

import { byId, bytes, clock, el, setText, short } from "./dom.js";
import { MACHINE_NAMES, machineIcon } from "./shapes.js";
import { instancesAt } from "./state.js";

const LOG_LINES_MAX = 200;

/** `onClose()` when it is closed, `onUnload(instance)` if an instance is to go. */
export function createDetails({ onClose, onUnload }) {
  const details = { root: byId("details"), machine: null, shown: "", onUnload, mayUnload: false, before: null };
  byId("details-close").addEventListener("click", onClose);
  return details;
}

export function openDetails(details, state, machine) {
  details.before ??= document.activeElement;
  details.machine = machine;
  details.shown = "";
  details.root.hidden = false;
  const { kind, name } = state.scene.machines[machine];
  byId("details-icon").replaceChildren(machineIcon(kind));
  setText(byId("details-title"), name);
  byId("details-body").scrollTop = 0;
  drawDetails(details, state);
  byId("details-close").focus({ preventScroll: true });
}

export function closeDetails(details) {
  details.machine = null;
  details.root.hidden = true;
  details.before?.focus?.({ preventScroll: true });
  details.before = null;
}

/** Draws again if something has changed. */
export function drawDetails(details, state) {
  const machine = state.scene.machines[details.machine];
  if (!machine) return;
  const detail = state.details.get(details.machine);
  const instances = instancesAt(state, details.machine);
  const isDown = state.downMachines.has(details.machine);
  const key = JSON.stringify([detail, instances, isDown, details.mayUnload]);
  if (key === details.shown) return;
  details.shown = key;
  const body = byId("details-body");
  const open = new Set([...body.querySelectorAll("details[open]")].map((part) => part.dataset.name));
  const status = detail?.status ?? null;
  const parts = [
    facts(machine, status, isDown),
    modules(details, instances, status),
    status && links(status),
    status && counters(status),
    log(detail?.log ?? []),
  ];
  body.replaceChildren(...parts.filter(Boolean));
  for (const part of body.querySelectorAll("details")) if (open.has(part.dataset.name)) part.open = true;
}

function facts(machine, status, isDown) {
  const rows = [["Kind", MACHINE_NAMES[machine.kind]]];
  if (isDown) rows.push(["State", el("span", { class: "chip failed" }, "down")]);
  if (machine.place) {
    const { name, latitude, longitude } = machine.place;
    rows.push(["Place", `${name} (${latitude.toFixed(1)}°, ${longitude.toFixed(1)}°)`]);
  }
  if (machine.as_number !== null && machine.as_number !== undefined) rows.push(["Network", `AS ${machine.as_number}`]);
  if (machine.addresses.length > 0) rows.push(["Addresses", machine.addresses.join(", ")]);
  if (status) {
    rows.push(["Up", clock(status.uptime_s)]);
    rows.push(["Flows", `${short(status.flows.count)} of ${short(status.flows.max)}`]);
    if (status.signaling) rows.push(["Signals as", `${status.signaling.name} (${status.signaling.node.slice(0, 8)})`]);
  }
  return el("dl", { class: "facts" }, rows.map(([name, value]) => [el("dt", {}, name), el("dd", {}, value)]));
}

function modules(details, instances, status) {
  const known = status?.instances ?? [];
  const names = [...new Set([...instances.map(({ name }) => name), ...known.map(({ name }) => name)])];
  const cards = names.map((name) => {
    const instance = instances.find((one) => one.name === name);
    const view = known.find((one) => one.name === name);
    return moduleCard(details, name, instance, view, status);
  });
  const none = el("p", { class: "quiet" }, "No module runs here.");
  return el("section", {}, el("h3", {}, `Modules (${names.length})`), cards.length > 0 ? cards : none);
}

function moduleCard(details, name, instance, view, status) {
  const state = view?.state ?? instance?.state ?? "running";
  const signalled = status?.signaling?.instances.find((one) => one.name === name);
  const title = view ? `${view.module} ${view.version}` : instance?.module ?? "";
  const lines = [];
  if (instance?.signalled || signalled) {
    const left = signalled ? `, ${clock(signalled.expires_in_s)} left` : "";
    lines.push(`came by signalling${signalled ? `, for ${signalled.requester}` : ""}${left}`);
  }
  if (view?.last_fault) lines.push(`last fault: ${view.last_fault}`);
  if (view?.filters.length > 0) {
    const more = view.filter_count > 3 ? ` and ${view.filter_count - 3} more` : "";
    lines.push(`looks at: ${view.filters.slice(0, 3).join("; ")}${more}`);
  }
  const unload = details.mayUnload
    ? el("button", { type: "button", class: "small danger", onclick: () => details.onUnload(name) }, "Unload")
    : null;
  return el(
    "article",
    { class: "module" },
    el("header", {},
      el("strong", {}, name),
      el("span", { class: `chip ${state === "running" ? "good" : "failed"}` }, state),
      unload,
    ),
    title && title !== name ? el("p", { class: "quiet" }, title) : null,
    lines.map((line) => el("p", { class: "line" }, line)),
    view ? limits(view) : null,
    view && view.counters.length > 0 ? countList(view.counters) : null,
  );
}

function limits(view) {
  const running = Math.max(1, view.usage?.running_ms ?? 0);
  const share = ((view.usage?.cpu_us ?? 0) / running / 1000) * 100;
  const meters = [
    ["Memory", view.memory_bytes, view.memory_bytes_max, `${bytes(view.memory_bytes)} of ${bytes(view.memory_bytes_max)}`],
    ["CPU", share, view.cpu_share_percent_max, `${share.toFixed(2)} % of ${view.cpu_share_percent_max} %`],
  ];
  const rows = meters.map(([name, value, max, text]) =>
    el("div", { class: "meter-row" },
      el("span", {}, name),
      el("meter", { min: 0, max: Math.max(max, 1e-9), value, high: max * 0.85, "aria-label": `${name}: ${text}` }),
      el("span", { class: "value" }, text),
    ),
  );
  const seen = `${short(view.packets_seen)} packets seen, ${short(view.packets_native)} by native rules, ${view.restarts} restarts`;
  return el("div", { class: "limits" }, rows, el("p", { class: "quiet" }, seen));
}

function countList(counts) {
  return el("dl", { class: "counts" }, counts.map(({ name, count }) => [el("dt", {}, name), el("dd", {}, short(count))]));
}

function links(status) {
  if (status.links.length === 0) return null;
  const head = ["Link", "In", "Out"].map((name) => el("th", { scope: "col" }, name));
  const rows = status.links.map((link) =>
    el("tr", {},
      el("th", { scope: "row" }, `${link.name} (${link.kind})`),
      el("td", {}, `${short(link.packets_in)} / ${bytes(link.bytes_in)}`),
      el("td", {}, `${short(link.packets_out)} / ${bytes(link.bytes_out)}`),
    ),
  );
  return el("section", {}, el("h3", {}, "Links, packets and bytes"), el("table", {}, el("thead", {}, el("tr", {}, head)), el("tbody", {}, rows)));
}

function counters(status) {
  const groups = [["Dropped", status.drops.filter(({ count }) => count > 0)], ["Signalling", status.signaling?.counters ?? []]];
  const parts = groups.filter(([, counts]) => counts.length > 0).map(([name, counts]) =>
    el("details", { "data-name": name, open: name === "Dropped" }, el("summary", {}, `${name} (${counts.length})`), countList(counts)),
  );
  return parts.length === 0 ? null : el("section", {}, el("h3", {}, "Counters"), parts);
}

function log(lines) {
  if (lines.length === 0) return null;
  const last = lines.slice(-LOG_LINES_MAX).reverse();
  return el("section", {}, el("h3", {}, "Log, the latest first"), el("ol", { class: "log" }, last.map((line) => el("li", {}, line))));
}

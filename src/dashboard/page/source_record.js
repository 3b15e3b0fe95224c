// A scene that was recorded: it is in the page itself, and is played by the page's own clock.

/** The recorded scene in this page; `null` in a page that a server gave. */
export function recordedScene() {
  const element = document.getElementById("record");
  return element ? JSON.parse(element.textContent) : null;
}

/** Plays a record; `handlers` as of a server. */
export function playRecord(record, handlers) {
  const { scene, moments, results } = record;
  const end = scene.duration_s ?? moments.at(-1)?.at_s ?? 0;
  scene.duration_s = end;
  const player = { scene, moments, results, handlers, end, at: 0, next: 0, isRunning: true, speed: 1 };
  player.start = () => {
    handlers.onConnection("open", "");
    handlers.onHello({ may_control: true });
    seek(player, 0);
    tell(player);
  };
  player.control = (control) => obey(player, control);
  player.tick = (seconds) => tick(player, seconds);
  return player;
}

function tell(player) {
  const hasEnded = player.at >= player.end;
  player.handlers.onPlayback({
    is_running: player.isRunning && !hasEnded,
    speed: player.speed,
    has_ended: hasEnded,
    results: hasEnded ? player.results : [],
  });
}

function tick(player, seconds) {
  if (!player.isRunning || player.at >= player.end) return;
  player.at = Math.min(player.end, player.at + seconds * player.speed);
  while (player.next < player.moments.length && player.moments[player.next].at_s <= player.at) {
    player.handlers.onMoment(player.moments[player.next]);
    player.next += 1;
  }
  if (player.at >= player.end) tell(player);
}

/** Everything up to `at` anew. */
function seek(player, at) {
  player.at = Math.max(0, Math.min(player.end, at));
  player.next = player.moments.findIndex(({ at_s: when }) => when > player.at);
  if (player.next < 0) player.next = player.moments.length;
  player.handlers.onScene(player.scene);
  player.handlers.onCatchUp(player.moments.slice(0, player.next));
}

function obey(player, control) {
  const { steps } = player.scene;
  if (control.control === "pause") player.isRunning = false;
  if (control.control === "resume") {
    if (player.at >= player.end) seek(player, 0);
    player.isRunning = true;
  }
  if (control.control === "speed") player.speed = control.speed;
  if (control.control === "restart") seek(player, 0);
  if (control.control === "seek") seek(player, control.at);
  if (control.control === "step") seek(player, steps[control.step]?.at_s ?? 0);
  if (control.control === "next") {
    const next = steps.find(({ at_s: at }) => at > player.at + 0.001);
    seek(player, next ? next.at_s : player.end);
  }
  tell(player);
}

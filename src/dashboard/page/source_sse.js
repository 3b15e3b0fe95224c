// A scene that is played now: server-sent events, read with fetch because an EventSource can send no token and does not
// say why it was refused. Connects again by itself.

const WAIT_FIRST = 800;
const WAIT_MAX = 8000;

/** `handlers`: onConnection(state, text), onHello, onScene, onCatchUp, onMoment, onPlayback. */
export function connectServer(handlers) {
  const source = { handlers, token: takeToken(), wait: WAIT_FIRST };
  source.control = (control) => post(source, control);
  source.start = () => run(source);
  return source;
}

/** The token stands behind the # so that it is sent to nobody, and is taken out of the address. */
function takeToken() {
  const given = new URLSearchParams(location.hash.slice(1)).get("token");
  try {
    if (given) {
      sessionStorage.setItem("token", given);
      history.replaceState(null, "", location.pathname);
    }
    return given ?? sessionStorage.getItem("token");
  } catch {
    return given;
  }
}

function fieldsOf(source, more) {
  const own = { "X-Netserv": "1", ...more };
  return source.token ? { ...own, Authorization: `Bearer ${source.token}` } : own;
}

async function post(source, control) {
  try {
    const fields = fieldsOf(source, { "Content-Type": "application/json" });
    const answer = await fetch("/control", { method: "POST", headers: fields, body: JSON.stringify(control) });
    if (!answer.ok) source.handlers.onProblem((await answer.text()).trim());
  } catch {
    source.handlers.onProblem("The program does not answer.");
  }
}

async function run(source) {
  const { handlers } = source;
  handlers.onConnection("connecting", "Connecting");
  for (;;) {
    try {
      const answer = await fetch("/events", { headers: fieldsOf(source, {}), cache: "no-store" });
      if (answer.ok) {
        source.wait = WAIT_FIRST;
        await read(answer.body, handlers);
        handlers.onConnection("lost", "Connection lost, trying again");
      } else {
        handlers.onConnection("refused", (await answer.text()).trim() || `Refused (${answer.status})`);
      }
    } catch {
      handlers.onConnection("lost", "Connection lost, trying again");
    }
    await new Promise((resolve) => setTimeout(resolve, source.wait));
    source.wait = Math.min(source.wait * 1.6, WAIT_MAX);
  }
}

async function read(body, handlers) {
  const reader = body.pipeThrough(new TextDecoderStream()).getReader();
  let rest = "";
  for (;;) {
    const { done, value } = await reader.read();
    if (done) return;
    rest += value;
    const events = rest.split("\n\n");
    rest = events.pop();
    for (const event of events) take(event, handlers);
  }
}

function take(event, handlers) {
  let [name, data] = ["", ""];
  for (const line of event.split("\n")) {
    if (line.startsWith("event: ")) name = line.slice(7);
    else if (line.startsWith("data: ")) data += line.slice(6);
  }
  if (!data) return;
  const value = JSON.parse(data);
  if (name === "hello") handlers.onHello(value);
  else if (name === "scene") handlers.onScene(value);
  else if (name === "catch_up") handlers.onCatchUp([value]);
  else if (name === "moment") handlers.onMoment(value);
  else if (name === "playback") handlers.onPlayback(value);
}

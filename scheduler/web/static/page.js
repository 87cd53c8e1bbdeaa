// Keeps a page up to date, and takes its keys. While the page is visible it hears hints of what changes. One window of
// the browser has the stream and tells the others: a browser opens six connections to a server and no more. A hint
// fetches the page again and swaps the parts marked data-live: soon if it concerns the page (data-hints of main: words
// such as `job:ID`, or `run:ID:` for all that begin so; without it, every hint does), otherwise seldom, for its frame. If
// streams fail, it polls with growing intervals. A page marked data-still stays; a <pre data-tail> stays at its end.
const SOON = 150, APART = 1000, SELDOM = 30000, FOLLOWS = 300, TAIL = 2000, LEAST = 2000, MOST = 60000, TICK = 1000, NAMES = 150;
const UNITS = [[86400, "d"], [3600, "h"], [60, "m"], [1, "s"]];
const page = document.documentElement.dataset, main = document.getElementById("main");
const AHEAD = Date.now() - Date.parse(page.now);  // the clock here, before that of the server
const others = new BroadcastChannel("scheduler");
let stream = null, going = false, asking = null, typed = 0, leave = null, wait = LEAST, timer = 0, due = 0, polls = 0, busy = false, again = false, fetched = 0;

// --- what changes
async function refresh() {
  if (busy) { again = true; return; }
  busy = true;
  fetched = Date.now();
  try {
    const answer = await fetch(location.href, { headers: { accept: "text/html" } });
    if (answer.status === 401) { location.reload(); return; }
    if (!answer.ok) return;
    away(false);
    swap(new DOMParser().parseFromString(await answer.text(), "text/html"));
  } catch { away(true); /* the next hint or poll asks again */ } finally {
    busy = false;
    if (again) { again = false; soon(); }
  }
}

function swap(fresh) {
  page.position = fresh.documentElement.dataset.position ?? "";
  for (const part of document.querySelectorAll("[data-live][id]")) {
    const next = fresh.getElementById(part.id), scrolls = "pre, [data-tail], [data-scroll], .scroll";
    if (next === null || next.isEqualNode(part) || isUsed(part)) continue;
    const unfold = next.querySelectorAll("details");
    part.querySelectorAll("details").forEach((each, at) => {
      (each.id ? next.querySelector(`#${CSS.escape(each.id)}`) : unfold[at])?.toggleAttribute("open", each.open);
    });
    const focus = part.contains(document.activeElement) ? place(part, document.activeElement) : null;
    const scrolled = [...part.querySelectorAll(scrolls)].map(each => [each.scrollLeft, each.scrollTop, isAtEnd(each)]);
    for (const { name, value } of next.attributes) part.setAttribute(name, value);
    part.replaceChildren(...document.adoptNode(next).childNodes);  // the part itself stays: it may be an aria-live region
    part.querySelectorAll(scrolls).forEach((each, at) => {
      const [left, top, end] = scrolled[at] ?? [0, 0, true];
      each.scrollTo(left, "tail" in each.dataset && end ? each.scrollHeight : top);
    });
    focus?.()?.focus({ preventScroll: true });
  }
  age();
}

function isAtEnd(each) { return each.scrollHeight - each.scrollTop - each.clientHeight < 8; }
// Somebody types in it, or has selected some of its text: it changes with the next hint.
function isUsed(part) {
  const chosen = getSelection(), field = document.activeElement;
  return (part.contains(field) && isField(field)) || (!chosen.isCollapsed && part.contains(chosen.anchorNode));
}

function place(part, { tagName, id, href }) {  // what finds the same element after a swap
  const at = [...part.querySelectorAll(tagName)].indexOf(document.activeElement);
  return () => {
    const all = [...part.querySelectorAll(tagName)];
    return all.find(each => id ? each.id === id : href && each.href === href) ?? all[at] ?? all.at(-1);
  };
}

function soon(apart = APART) {  // in a storm of hints, once a second
  const at = Math.max(Date.now() + SOON, fetched + apart);
  if (document.hidden || (timer && due <= at)) return;
  clearTimeout(timer);
  [due, timer] = [at, setTimeout(() => { timer = 0; refresh(); }, at - Date.now())];
}

function concerns(hint) {
  const mine = main?.dataset.hints;
  if (mine === undefined || hint === "reload" || hint === "sync") return true;
  return mine.split(/\s+/).some(each => each && (each.endsWith(":") ? hint.startsWith(each) : hint === each));
}

function heard(hint) { soon(concerns(hint) ? APART : SELDOM); }
function tell(hint) { others.postMessage(hint); heard(hint); }
function away(is) { document.getElementById("away").hidden = !is; }

function age() {
  for (const each of document.querySelectorAll("time[data-ago]")) {
    const seconds = Math.round((Date.now() - AHEAD - Date.parse(each.dateTime)) / 1000), size = Math.abs(seconds);
    const [unit, name] = UNITS.find(([least]) => size >= least) ?? [1, "s"], words = `${Math.floor(size / unit)}${name}`;
    const told = "lasting" in each.dataset ? words : seconds >= 0 ? `${words} ago` : `in ${words}`;
    if (each.textContent !== told) each.textContent = told;
  }
}

// --- the stream
function listen() {
  const after = page.position ? `?after=${encodeURIComponent(page.position)}` : "";  // nothing between page and stream is lost
  const mine = stream = new EventSource(`/api/events${after}`);
  mine.onmessage = event => { wait = LEAST; tell(event.data); };
  mine.onopen = () => { wait = LEAST; away(false); };
  mine.onerror = () => {
    if (mine.readyState !== EventSource.CLOSED) away(true);  // it tries again; otherwise the server has refused
    else if (stream === mine) { stream = null; polls = setTimeout(poll, wait); }
  };
}

function poll() {
  wait = Math.min(wait * 2, MOST);
  tell("reload");
  listen();
}

function open() {
  if (leave !== null) return;
  const gone = new AbortController(), follows = setTimeout(soon, FOLLOWS);  // without the stream, for what came meanwhile
  leave = () => gone.abort();
  others.onmessage = event => heard(event.data);
  const lead = () => {
    clearTimeout(follows);
    if (!gone.signal.aborted) listen();
    return new Promise(done => gone.signal.aborted ? done() : gone.signal.addEventListener("abort", done));
  };
  if (navigator.locks) navigator.locks.request("scheduler", { signal: gone.signal }, lead).catch(() => {});
  else lead();  // over plain HTTP from another machine, each window has a stream
}

function close() {
  leave?.();
  stream?.close();
  stream = leave = others.onmessage = null;
  clearTimeout(timer);
  clearTimeout(polls);
  timer = 0;
}

// --- keys
function isField(element) { return element?.matches?.("input, textarea, select, [contenteditable]") ?? false; }

function rows() {
  return [...document.querySelectorAll("main .rows > li, main tbody tr")].filter(each => each.offsetParent && each.querySelector("a[href]"));
}

function step(by) {
  const all = rows(), at = all.findIndex(each => each.contains(document.activeElement));
  const next = all[at < 0 ? (by > 0 ? 0 : all.length - 1) : Math.min(Math.max(at + by, 0), all.length - 1)];
  next?.querySelector("a[href]").focus();
  next?.scrollIntoView({ block: "nearest" });
}

function key(event) {
  const field = isField(event.target), keys = document.getElementById("keys");
  if (event.key === "Escape" && field) event.target.blur();
  if (field || keys.open || event.ctrlKey || event.metaKey || event.altKey || event.isComposing) return;
  const goes = going, link = goes && document.querySelector(`nav a[data-key="${CSS.escape(event.key)}"]`);
  going = event.key === "g" && !goes;
  if (link) link.click();
  else if (event.key === "/") box?.focus();
  else if (event.key === "?") keys.showModal();
  else if (!goes && event.key === "j") step(1);
  else if (!goes && event.key === "k") step(-1);
  else return;
  event.preventDefault();
}

// --- the jump box: one request at a time, for what is typed now
const box = document.querySelector("#jump input[name=q]");

async function suggest() {
  asking?.abort();
  asking = new AbortController();
  const list = document.getElementById("jump-found"), text = box.value.trim();
  if (!text || [...list.options].some(each => each.value === text)) return;
  try {
    const answer = await fetch(`/jump.json?q=${encodeURIComponent(text)}`, { signal: asking.signal });
    if (answer.ok) list.replaceChildren(...(await answer.json()).jobs.map(each => new Option("", each)));
  } catch { /* typed on, or nothing answers: the box works without */ }
}

box?.addEventListener("input", () => { clearTimeout(typed); typed = setTimeout(suggest, NAMES); });
addEventListener("keydown", key);

// --- the zone of this browser
const zone = Intl.DateTimeFormat().resolvedOptions().timeZone, link = document.getElementById("mine"), here = new URL(location.href);
if (zone && zone !== "UTC") {
  const other = document.getElementById("other");
  if (here.searchParams.get("tz") === zone) { link.setAttribute("aria-current", "true"); other?.remove(); }
  here.searchParams.set("tz", zone);
  link.href = here.search;
  link.title = zone;
  link.hidden = false;
}

for (const each of document.querySelectorAll("[data-tail]")) each.scrollTop = each.scrollHeight;
if (document.body.dataset.still === undefined) {
  document.addEventListener("visibilitychange", () => { if (document.hidden) close(); else { soon(); open(); } });
  addEventListener("pagehide", close);
  addEventListener("pageshow", event => { if (event.persisted && !document.hidden) { soon(); open(); } });
  if (!document.hidden) open();
  setInterval(() => { if (!document.hidden) age(); }, TICK);
  setInterval(() => { if (document.querySelector("[data-tail]")) soon(); }, TAIL);
}

// Keeps a page up to date: one stream of hints while the page is visible; each hint fetches the page again and swaps
// the parts marked data-live. If streams fail, it polls with growing intervals. A page marked data-still stays as it is.
// While nothing answers, the page says so. What tells how long ago something was goes on telling it.
const LEAST = 2000, MOST = 60000, TICK = 1000, UNITS = [[86400, "d"], [3600, "h"], [60, "min"], [1, "s"]];
const AHEAD = Date.now() - Date.parse(document.documentElement.dataset.now);  // the clock here, before that of the server
let stream = null, wait = LEAST, timer = 0, busy = false, again = false;

async function refresh() {
  if (busy) { again = true; return; }
  busy = true;
  try {
    const answer = await fetch(location.href, { headers: { accept: "text/html" } });
    if (answer.status === 401) { location.reload(); return; }
    if (!answer.ok) return;
    away(false);
    const fresh = new DOMParser().parseFromString(await answer.text(), "text/html");
    for (const part of document.querySelectorAll("[data-live][id]")) {
      const next = fresh.getElementById(part.id);
      if (next === null || next.isEqualNode(part) || part.contains(document.activeElement)) continue;
      for (const open of part.querySelectorAll("details[id][open]")) next.querySelector(`#${CSS.escape(open.id)}`)?.setAttribute("open", "");
      part.replaceWith(document.adoptNode(next));
    }
  } catch { away(true); /* the next hint or poll asks again */ } finally {
    busy = false;
    if (again) { again = false; soon(); }
  }
}

function away(is) { document.getElementById("away").hidden = !is; }

function age() {
  for (const each of document.querySelectorAll("time[data-ago]")) {
    const seconds = Math.round((Date.now() - AHEAD - Date.parse(each.dateTime)) / 1000), size = Math.abs(seconds);
    const [unit, name] = UNITS.find(([least]) => size >= least) ?? [1, "s"], words = `${Math.floor(size / unit)} ${name}`;
    each.textContent = seconds >= 0 ? `${words} ago` : `in ${words}`;
  }
}

function soon() { clearTimeout(timer); timer = setTimeout(refresh, 150); }

function poll() {
  clearTimeout(timer);
  timer = setTimeout(async () => { await refresh(); wait = Math.min(wait * 2, MOST); if (!document.hidden && stream === null) poll(); }, wait);
}

function open() {
  if (stream !== null) return;
  const mine = stream = new EventSource("/api/events");
  mine.onmessage = () => { wait = LEAST; soon(); };
  mine.onopen = () => away(false);
  mine.onerror = () => {
    if (mine.readyState !== EventSource.CLOSED) away(true);  // it tries again; otherwise the server has refused
    else if (stream === mine) { stream = null; poll(); }
  };
}

function close() { stream?.close(); stream = null; clearTimeout(timer); }

if (document.body.dataset.still === undefined) {
  document.addEventListener("visibilitychange", () => { if (document.hidden) close(); else { soon(); open(); } });
  addEventListener("pagehide", close);
  if (!document.hidden) open();
  setInterval(() => { if (!document.hidden) age(); }, TICK);
}

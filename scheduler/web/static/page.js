// Keeps a page up to date: one stream of hints while the page is visible; each hint fetches the page again and swaps
// the parts marked data-live. If streams fail, it polls with growing intervals.
const LEAST = 2000, MOST = 60000;
let stream = null, wait = LEAST, timer = 0, busy = false, again = false;

async function refresh() {
  if (busy) { again = true; return; }
  busy = true;
  try {
    const answer = await fetch(location.href, { headers: { accept: "text/html" } });
    if (!answer.ok) return;
    const fresh = new DOMParser().parseFromString(await answer.text(), "text/html");
    for (const part of document.querySelectorAll("[data-live][id]")) {
      const next = fresh.getElementById(part.id);
      if (next === null || next.isEqualNode(part) || part.contains(document.activeElement)) continue;
      for (const open of part.querySelectorAll("details[id][open]")) next.querySelector(`#${CSS.escape(open.id)}`)?.setAttribute("open", "");
      part.replaceWith(document.adoptNode(next));
    }
  } catch { /* the server is away; the next hint or poll asks again */ } finally {
    busy = false;
    if (again) { again = false; soon(); }
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
  mine.onerror = () => { if (mine.readyState === EventSource.CLOSED && stream === mine) { stream = null; poll(); } };
}

function close() { stream?.close(); stream = null; clearTimeout(timer); }

document.addEventListener("visibilitychange", () => { if (document.hidden) close(); else { soon(); open(); } });
addEventListener("pagehide", close);
if (!document.hidden) open();

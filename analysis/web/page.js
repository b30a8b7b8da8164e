// Which mark is this: the nearest one to the pointer says what it is; a click keeps it.
const { trials, columns, spots } = JSON.parse(document.getElementById("data").textContent);
const tip = document.getElementById("tip");
const NEAR = 16; // CSS pixels
let pinned = false;
let shown = null; // the ring around the mark, in its figure
let spoken = null; // the term that is explained

function words([, , trial, says]) {
  const row = trials[trial];
  if (!row) return [says, ""];
  const facts = columns.map((name, i) => (row[i] === null || row[i] === "" ? "" : `${name} ${row[i]}`));
  return [[says, trial, ...facts].filter(Boolean).join("\n"), row[columns.length]];
}

function hide() {
  pinned = false;
  tip.hidden = true;
  tip.classList.remove("pinned");
  shown?.remove();
  shown = spoken = null;
}

function show(svg, spot) {
  shown?.remove();
  shown = document.createElementNS("http://www.w3.org/2000/svg", "circle");
  shown.setAttribute("class", "ring");
  shown.setAttribute("cx", spot[0]);
  shown.setAttribute("cy", spot[1]);
  shown.setAttribute("r", 5);
  svg.append(shown);
  const [text, command] = words(spot);
  tip.textContent = text;
  if (command) {
    const code = document.createElement("code");
    code.textContent = command;
    tip.append(code);
  }
  tip.hidden = false;
  place();
}

function explain(term) {
  hide();
  spoken = term;
  tip.textContent = term.dataset.says;
  tip.hidden = false;
  place();
}

function corner() {
  if (spoken) {
    const { left, bottom } = spoken.getBoundingClientRect();
    return { x: left - 12, y: bottom - 10 };
  }
  const svg = shown.ownerSVGElement;
  const at = svg.createSVGPoint();
  [at.x, at.y] = [shown.cx.baseVal.value, shown.cy.baseVal.value];
  return at.matrixTransform(svg.getScreenCTM());
}

function place() {
  if (!shown && !spoken) return;
  const { x, y } = corner();
  const { width, height } = tip.getBoundingClientRect();
  const left = Math.max(4, Math.min(x + 12, innerWidth - width - 4));
  tip.style.left = `${left}px`;
  tip.style.top = `${y + 14 + height < innerHeight ? y + 14 : Math.max(4, y - height - 14)}px`;
}

function pin() {
  pinned = true;
  tip.classList.add("pinned");
}

function nearest(svg, list, event) {
  const matrix = svg.getScreenCTM();
  let best = null;
  let least = NEAR;
  for (const spot of list) {
    const dx = matrix.a * spot[0] + matrix.e - event.clientX;
    const dy = matrix.d * spot[1] + matrix.f - event.clientY;
    const far = Math.hypot(dx, dy);
    if (far < least) [best, least] = [spot, far];
  }
  return best;
}

for (const figure of document.querySelectorAll("figure[id]")) {
  const svg = figure.querySelector("svg");
  const list = spots[figure.id] ?? [];
  if (!list.length) continue;
  let index = -1;
  svg.setAttribute("tabindex", "0");
  svg.setAttribute("role", "img");
  svg.setAttribute("aria-label", `${figure.getAttribute("aria-label")}: arrow keys tell its marks`);
  svg.addEventListener("pointermove", (event) => {
    if (pinned) return;
    const spot = nearest(svg, list, event);
    spot ? show(svg, spot) : hide();
  });
  svg.addEventListener("pointerleave", () => pinned || hide());
  svg.addEventListener("click", (event) => {
    hide();
    const spot = nearest(svg, list, event);
    if (!spot) return;
    show(svg, spot);
    pin();
    event.stopPropagation();
  });
  svg.addEventListener("keydown", (event) => {
    if (event.key === "Enter" && shown) pin();
    const step = { ArrowRight: 1, ArrowLeft: -1 }[event.key];
    if (!step) return;
    event.preventDefault();
    index = (index + step + list.length) % list.length;
    show(svg, list[index]);
  });
  svg.addEventListener("blur", () => pinned || hide());
}
for (const term of document.querySelectorAll(".term")) {
  term.addEventListener("pointerenter", () => pinned || explain(term));
  term.addEventListener("pointerleave", () => pinned || hide());
  term.addEventListener("focus", () => pinned || explain(term));
  term.addEventListener("blur", () => pinned || hide());
  term.addEventListener("click", (event) => {
    explain(term);
    pin();
    event.stopPropagation();
  });
}
document.addEventListener("click", (event) => tip.contains(event.target) || hide());
document.addEventListener("keydown", (event) => event.key === "Escape" && hide());
addEventListener("scroll", place, { passive: true });
addEventListener("beforeprint", () => document.querySelectorAll("details").forEach((each) => (each.open = true)));

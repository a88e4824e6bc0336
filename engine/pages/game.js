"use strict";
const moments = JSON.parse(document.getElementById("game").textContent);
let here = 0;

function tell(moment) {
  const about = byId("about");
  about.replaceChildren();
  html("h2", about, moment.title);
  if (moment.new) html("p", about, `New from ${moment.new}: the memory does not go on from here.`, "mark");
  html("p", about, `White: ${moment.score}` + (moment.line ? `. Best play: ${moment.line}` : ""));
  if (moment.other) {
    const lost = moment.lost ? `, for ${moment.lost} % of a point more` : "";
    html("p", about, `The engine would have played ${moment.other}${lost}.`, "mark");
  }
  tellMemory(about, moment);
}

function show(ply) {
  here = Math.max(0, Math.min(moments.length - 1, ply));
  const moment = moments[here];
  byId("board").replaceChildren(drawBoard(moment.fen, arrowsOf(moment)));
  tell(moment);
  tellSimilar(moment.similar);
  const x = 600 * here / Math.max(1, moments.length - 1);
  byId("cursor").setAttribute("transform", `translate(${x} 0)`);
  for (const link of document.querySelectorAll("#moves a")) {
    const isHere = Number(link.dataset.ply) === here;
    link.classList.toggle("here", isHere);
    if (isHere) link.setAttribute("aria-current", "true"); else link.removeAttribute("aria-current");
  }
  history.replaceState(null, "", `#${here}`);
}

function nextMoment() {
  const later = moments.findIndex((moment, ply) => ply > here && moment.other);
  show(later < 0 ? moments.length - 1 : later);
}

byId("first").onclick = () => show(0);
byId("back").onclick = () => show(here - 1);
byId("forward").onclick = () => show(here + 1);
byId("last").onclick = () => show(moments.length - 1);
byId("next").onclick = nextMoment;
byId("moves").onclick = (event) => {
  if (event.target.dataset.ply === undefined) return;
  event.preventDefault();
  show(Number(event.target.dataset.ply));
};
byId("curve").onclick = (event) => {
  const box = byId("curve").getBoundingClientRect();
  show(Math.round((event.clientX - box.left) / box.width * (moments.length - 1)));
};
document.onkeydown = (event) => {
  const go = { ArrowLeft: here - 1, ArrowRight: here + 1, Home: 0, End: moments.length - 1 }[event.key];
  if (go === undefined || event.altKey || event.ctrlKey || event.metaKey) return;
  event.preventDefault();
  show(go);
};
show(Number(location.hash.slice(1)) || 0);

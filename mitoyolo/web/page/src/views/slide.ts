/** A whole slide, deep: detections on it, its counts, and what the reader makes of each. */

import OpenSeadragon from "openseadragon";

import { get, send, type Job, type Label, type Slide } from "../api";
import { button, field, h, notify, options, plural, put, text_of } from "../dom";
import { crop, describe } from "../deepzoom";
import { Dots, type Detection, type Outline } from "../dots";
import { arrows, help, listen, type Key } from "../keys";
import { bar } from "../scalebar";
import { every, type Here } from "./view";

interface Score { rule: string; area_mm2: number; count: number; score: number | null; note: string }
interface Spot { x: number; y: number; count: number; area_mm2: number; reach: [number, number] }
interface Summary {
  count: number; threshold: number; density_per_mm2: number | null; scores: Score[]; warnings: string[];
  hotspot: Record<"circle" | "square", Spot | null>;
}
interface Found { job: Job | null; summary: Summary | null; detections: Detection[] }

const CROP_UM = 32;
const CROP_PX = 128;
const PAGE = 60;
const BAR = 160; // px on the screen, at most

/**
 * OpenSeadragon puts a style of its own into the page unless one of this name is there, which the
 * security policy forbids; an element of no namespace has the name and is no style.
 */
function keep_out_style(): void {
  const named = "data-openseadragon-mobile-css";
  if (document.querySelector(`style[${named}]`)) return;
  const nothing = document.createElementNS(null, "style");
  nothing.setAttribute(named, "");
  document.head.append(nothing);
}

export async function slide({ me, parts, signal, place }: Here): Promise<Node> {
  const id = parts[1] ?? "";
  const [slide, zoomed] = await Promise.all([get<Slide>(`/slides/${id}`, signal), describe(id, signal)]);
  const admin = me.role === "admin";
  let found: Found = { job: null, summary: null, detections: [] };
  let pages = 1;

  // The slide

  const screen = h("div", { class: "deep", role: "img", "aria-label": `Slide ${slide.name}` });
  const scale_text = h("span");
  const scale_line = h("i");
  const scale = h("div", { class: "scale", "aria-label": "Scale" }, scale_text, scale_line);
  const results = h("aside", { class: "results" });
  // OpenSeadragon measures its place when it starts.
  const view = h("div", { class: "workplace slide-view" },
    h("div", { class: "batch-head" }, h("h1", {}, slide.name),
      h("span", { class: "facts" }, `${zoomed.width.toLocaleString("en")} × ${zoomed.height.toLocaleString("en")} px`,
        slide.mpp && ` · ${slide.mpp} µm/px`),
      h("span", { class: "row end" },
        button("−", () => zoom(1 / 1.5), { "aria-label": "Farther" }),
        button("+", () => zoom(1.5), { "aria-label": "Nearer" }),
        button("Whole slide", () => viewer.viewport.goHome()),
        button("?", () => help(keys), { "aria-label": "Keys" }))),
    h("section", { class: "desk", "aria-label": "Slide" }, screen, scale),
    results);
  place(view);
  keep_out_style();
  const viewer = OpenSeadragon({
    element: screen, tileSources: `/api/slides/${id}/slide.dzi`, drawer: "canvas", showNavigationControl: false,
    maxZoomPixelRatio: 4, visibilityRatio: 0.3, animationTime: 0.5, immediateRender: true,
    keyboardNavEnabled: false, tabIndex: -1, // its own keys turn and mirror the slide, not the dots
    gestureSettingsMouse: { clickToZoom: false },
    gestureSettingsTouch: { clickToZoom: false }, gestureSettingsPen: { clickToZoom: false },
  });
  signal.addEventListener("abort", () => viewer.destroy());
  viewer.addHandler("open-failed", () => notify("The slide cannot be shown", "bad"));
  const dots = new Dots(viewer, zoomed);
  viewer.addHandler("update-viewport", () => {
    if (!slide.mpp) return;
    const { x: width } = viewer.viewport.getContainerSize();
    const { px, text } = bar((viewer.viewport.getBounds(true).width * zoomed.width * slide.mpp) / width, BAR);
    put(scale_text, text);
    scale_line.style.width = `${px}px`;
  });
  scale.hidden = !slide.mpp;
  viewer.addHandler("canvas-click", (event) => {
    if (event.quick) choose(dots.at(event.position));
  });

  function zoom(by: number): void {
    viewer.viewport.zoomBy(by).applyConstraints();
  }

  function pan(across: number, down: number): void {
    const step = viewer.viewport.getBounds().width / 8;
    viewer.viewport.panBy(new OpenSeadragon.Point(across * step, down * step)).applyConstraints();
  }

  function fly(x: number, y: number, width: number): void {
    const side = width / zoomed.width;
    viewer.viewport.fitBounds(new OpenSeadragon.Rect(x / zoomed.width - side / 2, y / zoomed.width - side / 2, side, side));
  }

  // One detection

  const one = h("div", { class: "one", "aria-live": "polite" });

  function choose(detection: Detection | null, and_fly = false): void {
    dots.selected = detection;
    dots.draw();
    for (const item of gallery.querySelectorAll<HTMLElement>("button")) {
      item.setAttribute("aria-pressed", String(Number(item.dataset["index"]) === detection?.index));
    }
    if (detection && and_fly) fly(detection.x, detection.y, 150 / (slide.mpp ?? 0.25));
    put(one, detection ? about(detection) : h("p", { class: "facts" }, dots.shown.length ? "Click a dot or a crop." : ""));
  }

  function about(detection: Detection): Node {
    const { score, taken, tile_id } = detection;
    return h("div", { class: "stack" },
      h("p", {}, h("strong", {}, `${detection.label}, score ${score.toFixed(2)}`), taken && ` · taken as ${taken}`),
      tile_id === null
        ? h("p", { class: "facts" }, "There is no tile of yours here.")
        : h("p", { class: "row" },
          button("Mitosis", () => take(detection, "mitosis"), { class: "mitosis", "aria-pressed": taken === "mitosis", title: "Accept as mitosis (M)" }),
          button("Imposter", () => take(detection, "imposter"), { class: "imposter", "aria-pressed": taken === "imposter", title: "Reject as imposter (I)" })));
  }

  async function take(detection: Detection, label: Label): Promise<void> {
    await send("POST", `/slides/${id}/detections/${detection.index}`, { label, job: found.job?.id });
    detection.taken = label;
    const item = gallery.querySelector<HTMLElement>(`[data-index="${detection.index}"]`);
    if (item) dress(item, detection);
    if (dots.selected === detection) choose(detection);
    else dots.draw();
  }

  function verdict(label: Label): void {
    const detection = dots.selected;
    if (!detection?.tile_id) return;
    take(detection, label).then(
      () => { if (dots.selected === detection) step(1); },
      (error: unknown) => notify(text_of(error), "bad"));
  }

  function step(by: 1 | -1): void {
    const at = dots.selected ? dots.shown.indexOf(dots.selected) : -1;
    const next = dots.shown[at + by];
    if (!next) return;
    choose(next, true);
    gallery.querySelector(`[data-index="${next.index}"]`)?.scrollIntoView({ block: "nearest" });
  }

  // All of them

  const slider = h("input", { type: "range", min: 0, max: 1, step: 0.01, value: 0, oninput: () => { pages = 1; filter(); } });
  const at_least = h("b");
  const only_dots = h("p", { class: "facts" },
    h("small", {}, "It hides dots alone: count, mitotic score and hotspot are the search's own, at its threshold."));
  const facts = h("div", { class: "stack" });
  const gallery = h("ol", { class: "gallery", "aria-label": "Detections, the highest score first" });
  const more = button("More", () => { pages += 1; paint_gallery(); });
  const seen = new IntersectionObserver((entries) => {
    for (const { isIntersecting, target } of entries) {
      if (!isIntersecting) continue;
      seen.unobserve(target);
      const canvas = target as HTMLCanvasElement;
      const [x, y] = [Number(canvas.dataset["x"]), Number(canvas.dataset["y"])];
      void crop(canvas, zoomed, x, y, CROP_UM / (slide.mpp ?? 0.25)).catch(() => undefined);
    }
  });
  signal.addEventListener("abort", () => seen.disconnect());
  const drawn = new Map<number, HTMLCanvasElement>();

  function picture(detection: Detection): HTMLCanvasElement {
    const known = drawn.get(detection.index);
    if (known) return known;
    const canvas = h("canvas", { width: CROP_PX, height: CROP_PX, "data-x": detection.x, "data-y": detection.y });
    drawn.set(detection.index, canvas);
    seen.observe(canvas);
    return canvas;
  }

  function filter(): void {
    const least = Number(slider.value);
    dots.shown = found.detections.filter((detection) => detection.score >= least);
    if (dots.selected && !dots.shown.includes(dots.selected)) dots.selected = null;
    put(at_least, `${least.toFixed(2)}: ${plural(dots.shown.length, "detection")}`);
    paint_gallery();
    choose(dots.selected);
  }

  function paint_gallery(): void {
    const some = dots.shown.slice(0, pages * PAGE);
    put(gallery, ...some.map((detection) => {
      const item = h("button", {
        type: "button", "data-index": detection.index, "aria-pressed": detection === dots.selected, onclick: () => choose(detection, true),
      }, picture(detection), h("span", {}, detection.score.toFixed(2)));
      dress(item, detection);
      return h("li", {}, item);
    }));
    more.hidden = some.length >= dots.shown.length;
  }

  function dress(item: HTMLElement, { score, taken }: Detection): void {
    item.className = `crop ${taken ?? ""}`;
    item.setAttribute("aria-label", `Score ${score.toFixed(2)}${taken ? `, taken as ${taken}` : ""}: fly there`);
  }

  function paint_facts(): void {
    const { summary } = found;
    if (!summary) {
      put(facts, h("p", { class: "empty" }, "This slide has not been searched."));
      return;
    }
    const spots = (["circle", "square"] as const).filter((shape) => summary.hotspot[shape]);
    const outline = (shape: string): void => {
      const spot = shape && summary.hotspot[shape as "circle" | "square"];
      dots.outline = spot ? { ...spot, shape: shape as Outline["shape"] } : null;
      dots.draw();
      if (spot) fly(spot.x, spot.y, 2.6 * spot.reach[0]);
    };
    put(facts,
      h("dl", { class: "figures" },
        h("div", {}, h("dt", {}, "Count"), h("dd", {}, summary.count)),
        h("div", {}, h("dt", {}, "Threshold"), h("dd", {}, summary.threshold.toFixed(2))),
        h("div", {}, h("dt", {}, "per mm²"), h("dd", {}, summary.density_per_mm2?.toFixed(1) ?? "none"))),
      spots.length > 0 && field("Hotspot", h("select", { onchange: (event: Event) => outline((event.target as HTMLSelectElement).value) },
        ...options([["", "not shown"], ...spots.map((shape): [string, string] =>
          [shape, `${shape}: ${summary.hotspot[shape]?.count} in ${summary.hotspot[shape]?.area_mm2.toFixed(2)} mm²`])]))),
      h("ul", { class: "scores" }, ...summary.scores.map((score) => h("li", {},
        h("strong", {}, score.score === null ? "no score" : `mitotic score ${score.score}`),
        ` ${score.rule}: ${score.count} in ${score.area_mm2.toFixed(2)} mm²`, score.note && h("small", {}, ` ${score.note}`)))),
      ...summary.warnings.map((warning) => h("p", { class: "note" }, warning)));
  }

  async function load(): Promise<void> {
    found = await get<Found>(`/slides/${id}/detections`, signal);
    drawn.clear();
    dots.outline = null;
    const scores = found.detections.map((detection) => detection.score);
    slider.min = String(Math.floor(100 * (scores.at(-1) ?? 0)) / 100);
    slider.value = slider.min;
    slider.disabled = !scores.length;
    paint_facts();
    filter();
  }

  // Searching it

  const search = h("div", { class: "stack" });
  async function offer(problem = ""): Promise<void> {
    const weights = await get<string[]>("/weights", signal);
    const which = h("select", {}, ...options(weights.map((name) => [name, name])));
    const threshold = h("input", { type: "number", min: 0, max: 1, step: "any", placeholder: "as the weights say" });
    put(search, h("p", { class: "problem", role: "alert" }, problem), h("details", {}, h("summary", {}, found.job ? "Search again" : "Search for mitoses"),
      weights.length
        ? h("div", { class: "stack" }, field("Weights", which), field("Threshold", threshold), button("Search", async () => {
          const job = await send<Job>("POST", `/slides/${id}/detect`,
            { weights: which.value, ...(threshold.value && { threshold: Number(threshold.value) }) });
          follow(job);
        }, { class: "primary" }))
        : h("p", { class: "facts" }, "Put a weights file (.pt) into the folder weights of the workspace, then reload.")));
  }
  function follow(started: Job): void {
    const left = new AbortController();
    signal.addEventListener("abort", () => left.abort());
    const line = h("code");
    const paint = (job: Job): void => put(line, `${job.state}${job.message && `: ${job.message}`}`);
    put(search, h("p", { role: "status" }, "Searching"), h("progress", { "aria-label": "Searching" }), line,
      button("Stop", () => send("POST", `/jobs/${started.id}/stop`)));
    paint(started);
    every(1000, left.signal, async () => {
      const job = await get<Job>(`/jobs/${started.id}`, left.signal);
      paint(job);
      if (job.state === "waiting" || job.state === "running") return;
      left.abort();
      if (job.state === "done") await load();
      await offer(job.state === "done" ? "" : `The search ${job.state}: ${job.message}`);
    });
  }

  const keys: Key[] = [
    { keys: ["n"], text: "Next detection", run: () => step(1), shown: "N" },
    { keys: ["shift+n"], text: "Previous detection", run: () => step(-1), shown: "Shift N" },
    { keys: ["m"], text: "Accept as mitosis, and to the next", run: () => verdict("mitosis"), shown: "M" },
    { keys: ["i"], text: "Reject as imposter, and to the next", run: () => verdict("imposter"), shown: "I" },
    ...arrows("Move over the slide", "", pan),
    { keys: ["+", "="], text: "Nearer", run: () => zoom(1.5) },
    { keys: ["-"], text: "Farther", run: () => zoom(1 / 1.5) },
    { keys: ["0"], text: "The whole slide", run: () => viewer.viewport.goHome() },
    { keys: ["?"], text: "This help", run: () => help(keys) },
  ];
  listen(keys, signal);

  put(results, facts,
    h("label", { class: "field" }, h("span", {}, "Score at least ", at_least), slider),
    only_dots, one, search, gallery, more);
  await load();
  if (admin) {
    const { job } = slide;
    if (job?.kind === "detect" && (job.state === "waiting" || job.state === "running")) follow(job);
    else await offer(job?.kind === "detect" && job.state === "failed" ? `The last search failed: ${job.message}` : "");
  }
  return view;
}

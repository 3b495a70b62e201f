/** Slides: uploaded, assigned batch by batch, downloaded. */

import { get, get_file, query, send, type Batch, type Slide, type User } from "../api";
import { button, field, form, h, notify, options, plural, put, text_of } from "../dom";
import { guard_with } from "../router";
import { Uploading } from "../upload";
import { progress, stage } from "./parts";
import { every, type Here } from "./view";

export async function slides({ signal }: Here): Promise<Node> {
  const list = h("div", { class: "stack" });
  const empty = h("p", { class: "empty" }, "No slide yet: upload one above.");
  const cards = new Map<string, { shown: string; node: HTMLElement; work: HTMLElement }>();
  const paint = async (): Promise<void> => {
    const [all, batches, users] = await Promise.all([
      get<Slide[]>("/slides", signal), get<Batch[]>("/batches", signal), get<User[]>("/users", signal),
    ]);
    for (const slide of all) {
      const of_it = batches.filter((batch) => batch.slide.id === slide.id);
      const shown = JSON.stringify([{ ...slide, job: null }, of_it, users]);
      const old = cards.get(slide.id);
      if (old && (old.shown === shown || old.node.querySelector("select:focus, details[open] :focus"))) {
        tell(old.work, slide.job); // what is being filled in stays as it is
        continue;
      }
      const again = (): Promise<void> => {
        cards.delete(slide.id);
        return paint();
      };
      const work = h("p", { class: "row" });
      tell(work, slide.job);
      const node = card(slide, of_it, users, work, again);
      for (const open of old?.node.querySelectorAll<HTMLElement>("details[open]") ?? []) {
        node.querySelector(`details[data-of="${open.dataset["of"]}"]`)?.setAttribute("open", "");
      }
      old?.node.replaceWith(node);
      cards.set(slide.id, { shown, node, work });
    }
    const nodes = all.length ? all.flatMap(({ id }) => cards.get(id)?.node ?? []) : [empty];
    if (nodes.length !== list.children.length || nodes.some((node, i) => node !== list.children[i])) put(list, ...nodes);
  };
  await paint();
  every(2500, signal, paint);
  return h("section", {}, h("h1", {}, "Slides"), uploader(paint, signal), list);
}

/** What is being done with a slide, as it goes on. */
function tell(work: HTMLElement, job: Slide["job"]): void {
  const said = job?.state === "running" || job?.state === "waiting" ? job.message || job.state : "";
  work.hidden = !said;
  if (work.textContent !== said) put(work, h("progress", { "aria-label": "Working" }), h("code", {}, said));
}

/** How a slide is cut: the fields, and what stands in them. */
function cutting(): { fields: HTMLElement; values(): Record<string, number> } {
  const number = (name: string, value: number, step: string, min: number): HTMLInputElement =>
    h("input", { name, type: "number", value, step, min });
  const inputs: [label: string, input: HTMLInputElement][] = [
    ["Tiles' µm per pixel", number("at_mpp", 0.25, "any", 0.05)], ["Tile size, px", number("tile_size", 500, "1", 64)],
    ["Tiles in a batch", number("batch_size", 150, "1", 1)], ["Least tissue, 0 to 1", number("min_tissue", 0.1, "any", 0)],
  ];
  return {
    fields: h("div", { class: "fields" }, ...inputs.map(([label, input]) => field(label, input))),
    values: () => Object.fromEntries(inputs.map(([, input]) => [input.name, Number(input.value)])),
  };
}

function uploader(done: () => Promise<void>, signal: AbortSignal): Node {
  const file = h("input", { name: "file", type: "file", required: true, onchange: chosen });
  const name = h("input", { name: "slide_name", required: true, maxlength: 64, pattern: "[A-Za-z0-9][A-Za-z0-9 _.\\-]{0,63}" });
  const mpp = h("input", { name: "mpp", type: "number", step: "any", min: 0 });
  const cut = cutting();
  const bar = h("progress", { "aria-label": "Uploaded", hidden: true });
  const text = h("span", { role: "status" });
  const pause = button("Pause", () => uploading?.pause(), { hidden: true });
  let uploading: Uploading | null = null;
  window.addEventListener("beforeunload", (event) => { if (file.disabled) event.preventDefault(); }, { signal });
  guard_with(async () => !file.disabled || window.confirm(
    "Leaving pauses the upload; it goes on when the same file is chosen again. Leave?"), signal);
  signal.addEventListener("abort", () => uploading?.pause());

  function chosen(): void {
    const picked = file.files?.[0]?.name ?? "";
    name.value = picked.replace(/\.[^.]*$/, "").replace(/[^A-Za-z0-9 _.-]+/g, "_").replace(/^[^A-Za-z0-9]+/, "").slice(0, 64);
    uploading = null;
    put(text);
  }
  function told(offset: number, said: string): void {
    const size = file.files?.[0]?.size ?? 0;
    [bar.max, bar.value] = [size, offset];
    put(text, said || `${megabytes(offset)} of ${megabytes(size)}`);
  }
  async function upload(): Promise<void> {
    const picked = file.files?.[0];
    if (!picked) return;
    uploading ??= new Uploading(picked, told);
    bar.hidden = pause.hidden = false;
    file.disabled = true;
    try {
      const id = await uploading.run();
      if (id === null) {
        put(text, `Paused at ${megabytes(uploading.offset)}; Upload goes on from there`);
        return;
      }
      put(text, "All is there; the server looks at it");
      await send("POST", `/uploads/${id}/finish`, {
        slide_name: name.value.trim(), mpp: mpp.value ? Number(mpp.value) : null, ...cut.values(),
      });
      uploading.finished();
      uploading = null;
      notify(`${name.value} is uploaded`);
      self.reset();
      bar.hidden = true;
      put(text);
      await done();
    } finally {
      pause.hidden = true;
      file.disabled = false;
    }
  }
  const self: HTMLFormElement = form("Upload", upload,
    h("div", { class: "fields" },
      field("File", file, "A slide, one tile picture, or a zip of tile pictures"),
      field("Name", name, "Letters, digits, blank, _ . -"),
      field("µm per pixel", mpp, "Empty: as the file says")),
    h("details", {}, h("summary", {}, "Options for cutting"), cut.fields),
    h("p", { class: "row" }, bar, text, pause));
  return h("section", { class: "card" }, h("h2", {}, "Upload"), self);
}

function card(slide: Slide, batches: Batch[], users: User[], work: Node, again: () => Promise<void>): HTMLElement {
  const size = slide.width && slide.height ? `${slide.width.toLocaleString("en")} × ${slide.height.toLocaleString("en")} px` : "";
  const scale = slide.mpp ?? slide.tile_mpp;
  const tiles = slide.batches.reduce((sum, batch) => sum + batch.tiles, 0);
  return h("article", { class: "card", "aria-label": slide.name },
    h("div", { class: "row" },
      h("h2", {}, slide.kind === "slide" ? h("a", { href: `#/slide/${slide.id}` }, slide.name) : slide.name),
      slide.state !== "ready" && h("span", { class: `stage ${slide.state}` }, slide.state),
      h("span", { class: "facts" }, [slide.kind === "slide" ? "slide" : "tiles only", size, scale && `${scale} µm/px`,
        tiles > 0 && plural(tiles, "tile")].filter(Boolean).join(" · "))),
    slide.error && h("p", { class: "problem" }, slide.error),
    work,
    slide.state === "failed" && slide.kind === "slide" && cut_again(slide, again),
    batches.length > 0 && h("ul", { class: "rows" }, ...batches.map((batch) => row(batch, users, again))),
    batches.length > 0 && download(slide, batches),
    change(slide, again));
}

function cut_again(slide: Slide, again: () => Promise<void>): Node {
  const cut = cutting();
  return h("details", { "data-of": "cut" }, h("summary", {}, "Cut again"),
    form("Cut again", async () => {
      await send("POST", `/slides/${slide.id}/cut`, cut.values());
      await again();
    }, cut.fields));
}

function row(batch: Batch, users: User[], again: () => Promise<void>): Node {
  const reading = new Set(batch.assignments.map((one) => one.user.id));
  const free = users.filter((user) => user.active && !reading.has(user.id));
  const whom = h("select", { "aria-label": `Reader for batch ${batch.number}` },
    ...options([["", "choose a reader"], ...free.map((user): [string, string] => [String(user.id), user.name])]));
  return h("li", {},
    h("a", { href: `#/batch/${batch.id}` }, `Batch ${batch.number}`),
    h("span", { class: "facts" }, plural(batch.tiles, "tile")),
    ...batch.assignments.map((one) => h("a", { class: "reader", href: `#/batch/${batch.id}?reader=${encodeURIComponent(one.user.name)}` },
      one.user.name, stage(one.stage), progress(one.done, batch.tiles))),
    free.length > 0 && h("span", { class: "row end" }, whom, button("Assign", async () => {
      if (!whom.value) throw new Error("Choose the reader first.");
      await send("POST", `/batches/${batch.id}/assignments`, { user_id: Number(whom.value) });
      await again();
    })));
}

function download(slide: Slide, batches: Batch[]): Node {
  const assigned = batches.flatMap((batch) => batch.assignments);
  const names = [...new Set(assigned.map((one) => one.user.name))];
  const first = assigned.find((one) => one.stage === "approved")?.user.name;
  const reader = h("select", { name: "reader" }, ...options([...names.map((name): [string, string] => [name, name]),
    ["consensus", "consensus of the readers"]], first));
  const which = h("select", { name: "stage" }, ...options([["approved", "approved batches"], ["all", "all batches"]]));
  const format = h("select", { name: "format" }, ...options([["", "CADD4MBC (JSON)"], ["yolo", "YOLO"], ["coco", "COCO"]]));
  const labels = h("select", { name: "labels" }, ...options([["mitosis,imposter", "mitosis and imposter"], ["mitosis", "mitosis alone"]]));
  const images = h("input", { type: "checkbox", name: "images" });
  const problem = h("p", { class: "problem", role: "alert" });
  const get_it = async (): Promise<void> => {
    put(problem);
    try {
      const { name, blob } = await get_file(query("/download", {
        slide: slide.id, reader: reader.value, stage: which.value, format: format.value, labels: labels.value, images: images.checked ? "true" : "",
      }));
      const address = URL.createObjectURL(blob);
      h("a", { href: address, download: name }).click();
      setTimeout(() => URL.revokeObjectURL(address), 60000);
    } catch (error) {
      put(problem, text_of(error));
    }
  };
  return h("details", { "data-of": "download" }, h("summary", {}, "Download"),
    h("div", { class: "fields" }, field("Marks of", reader), field("Which", which), field("Format", format), field("Classes of YOLO and COCO", labels),
      h("label", { class: "check" }, images, "with the pictures")),
    problem, button("Download", get_it, { class: "primary" }));
}

function change(slide: Slide, again: () => Promise<void>): Node {
  const name = h("input", { value: slide.name, required: true, maxlength: 64 });
  const mpp = h("input", { type: "number", step: "any", min: 0, value: slide.mpp ?? slide.tile_mpp ?? "" });
  return h("details", { "data-of": "change" }, h("summary", {}, "Name and scale"),
    form("Change", async () => {
      await send("PATCH", `/slides/${slide.id}`, {
        ...(name.value !== slide.name && { name: name.value }), ...(mpp.value && { mpp: Number(mpp.value) }),
      });
      notify(`${name.value} is changed`);
      await again();
    }, h("div", { class: "fields" }, field("Name", name), field("µm per pixel", mpp))));
}

function megabytes(bytes: number): string {
  return `${(bytes / 1e6).toLocaleString("en", { maximumFractionDigits: 1 })} MB`;
}

/** Work in the background, and training from approved batches. */

import { get, send, type Job, type Slide } from "../api";
import { button, field, form, h, moment, notify, options, put } from "../dom";
import { table } from "./parts";
import { every, type Here } from "./view";

export async function jobs({ signal }: Here): Promise<Node> {
  const list = h("div");
  let seen = "";
  const paint = async (): Promise<void> => {
    const all = await get<Job[]>("/jobs", signal);
    if (JSON.stringify(all) === seen) return;
    seen = JSON.stringify(all);
    put(list, all.length
      ? table(["Job", "Slide", "State", "Last line", "Since", ""], all.map((job) => [
        `${job.kind} ${job.id}`, job.slide?.name ?? "", h("span", { class: `stage ${job.state}` }, job.state),
        h("code", {}, job.message), job.created_at ? moment(job.created_at) : "",
        job.state === "waiting" || job.state === "running"
          ? button("Stop", async () => { await send("POST", `/jobs/${job.id}/stop`); await paint(); }) : "",
      ]), "Newest first")
      : h("p", { class: "empty" }, "None yet."));
  };
  const every_slide = (await get<Slide[]>("/slides", signal)).filter((slide) => slide.state === "ready");
  const boxes = every_slide.map((slide) => ({ slide, box: h("input", { type: "checkbox" }) }));
  const model = h("input", { name: "model", value: "yolov5n", required: true });
  const epochs = h("input", { name: "epochs", type: "number", min: 1, value: 100, required: true });
  const files = await get<string[]>("/weights", signal);
  const weights = h("select", { name: "weights" }, ...options([["none", "nothing: random numbers"], ["", "the model's own, if they are on the server"],
    ...files.map((name): [string, string] => [name, name])], "none"));
  const train = form("Train", async () => {
    const slides = boxes.filter(({ box }) => box.checked).map(({ slide }) => slide.id);
    if (!slides.length) throw new Error("Choose at least one slide.");
    const job = await send<Job>("POST", "/train", {
      slides, model: model.value, epochs: Number(epochs.value), ...(weights.value && { weights: weights.value }),
    });
    notify(`Training is job ${job.id}`);
    await paint();
  },
  h("fieldset", {}, h("legend", {}, "Slides"), ...boxes.map(({ slide, box }) => h("label", { class: "check" }, box, slide.name))),
  field("Model", model), field("Start from", weights), field("Epochs", epochs));
  await paint();
  every(2000, signal, paint);
  return h("section", {}, h("h1", {}, "Jobs"), list,
    h("section", { class: "card narrow left" }, h("h2", {}, "Train from approved batches"),
      h("p", { class: "facts" }, "Where several have read a batch, on their consensus. The weights then stand under Search of each slide."), train));
}

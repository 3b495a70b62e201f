/** Elements made by code. Text is only ever set as text, so a name cannot become markup. */

type Child = Node | string | number | false | null | undefined;
type Props = Record<string, unknown>;

const SVG = "http://www.w3.org/2000/svg";

function fill<E extends Element>(element: E, props: Props, children: Child[]): E {
  for (const [name, value] of Object.entries(props)) {
    if (value === undefined || value === null || value === false) continue;
    if (name.startsWith("on")) {
      element.addEventListener(name.slice(2), value as EventListener);
    } else {
      element.setAttribute(name, value === true ? "" : String(value));
    }
  }
  element.append(...kept(children));
  return element;
}

function kept(children: Child[]): (Node | string)[] {
  return children
    .filter((child) => child !== false && child !== null && child !== undefined)
    .map((child) => (child instanceof Node ? child : String(child)));
}

/** An HTML element; properties that begin with `on` are listeners. */
export function h<K extends keyof HTMLElementTagNameMap>(
  name: K,
  props: Props = {},
  ...children: Child[]
): HTMLElementTagNameMap[K] {
  return fill(document.createElement(name), props, children);
}

/** An SVG element. */
export function s<K extends keyof SVGElementTagNameMap>(
  name: K,
  props: Props = {},
  ...children: Child[]
): SVGElementTagNameMap[K] {
  return fill(document.createElementNS(SVG, name), props, children);
}

export function put(parent: Element, ...children: Child[]): void {
  parent.replaceChildren(...kept(children));
}

/** A labelled field of a form. */
export function field(label: string, input: HTMLElement, hint = ""): HTMLElement {
  return h("label", { class: "field" }, h("span", {}, label), input, hint && h("small", {}, hint));
}

export function options(choices: [value: string, text: string][], chosen = ""): HTMLOptionElement[] {
  return choices.map(([value, text]) => h("option", { value, selected: value === chosen }, text));
}

/** A button that is not pressed twice while its work goes on, and that tells its failure. */
export function button(text: string, work: () => unknown, props: Props = {}): HTMLButtonElement {
  const self: HTMLButtonElement = h("button", { type: "button", ...props, onclick: press }, text);
  async function press(): Promise<void> {
    self.disabled = true;
    try {
      await work();
    } catch (error) {
      notify(text_of(error), "bad");
    } finally {
      self.disabled = false;
    }
  }
  return self;
}

/** A form whose failure stands in it. */
export function form(send: string, work: () => Promise<unknown>, ...children: Child[]): HTMLFormElement {
  const problem = h("p", { class: "problem", role: "alert" });
  const submit = h("button", { class: "primary" }, send);
  async function onsubmit(event: Event): Promise<void> {
    event.preventDefault();
    put(problem);
    submit.disabled = true;
    try {
      await work();
    } catch (error) {
      put(problem, text_of(error));
    } finally {
      submit.disabled = false;
    }
  }
  return h("form", { onsubmit }, ...children, problem, submit);
}

export function text_of(error: unknown): string {
  return error instanceof Error ? error.message : String(error);
}

const live = h("div", { class: "notes", role: "status", "aria-live": "polite" });

/** Says something in the corner of the page, to readers of screens too. */
export function notify(text: string, kind: "good" | "bad" = "good"): void {
  if (!live.isConnected) document.body.append(live);
  const note = h("p", { class: kind }, text);
  live.append(note);
  setTimeout(() => note.remove(), kind === "bad" ? 12000 : 4000);
}

export function ask(text: string): string | null {
  return window.prompt(text);
}

/** One or several of something: `plural(2, "tile")` is `2 tiles`. */
export function plural(n: number, thing: string): string {
  return `${n.toLocaleString("en")} ${thing}${n === 1 ? "" : thing.endsWith("h") ? "es" : "s"}`;
}

export function moment(iso: string): string {
  return new Date(iso).toLocaleString();
}

/** Starts the page: who is logged in, the frame around every view, and the views by address. */

import "./style.css";
import { ApiError, get, remember, send, type Me, type State } from "./api";
import { button, h, put, text_of } from "./dom";
import { go, may_leave, start, where, type Where } from "./router";
import * as account from "./views/account";
import { agreement } from "./views/agreement";
import { audit } from "./views/audit";
import { batch } from "./views/batch";
import { home } from "./views/home";
import { jobs } from "./views/jobs";
import { review } from "./views/review";
import { slides } from "./views/slides";
import { users } from "./views/users";
import type { View } from "./views/view";

/** By the first part of the address; `#/slide/3` is shown by `slide`. */
const VIEWS: Record<string, { title: string; admin?: boolean; show: View }> = {
  "": { title: "My batches", show: home },
  slides: { title: "Slides", admin: true, show: slides },
  review: { title: "Review", admin: true, show: review },
  users: { title: "Users", admin: true, show: users },
  jobs: { title: "Jobs", admin: true, show: jobs },
  audit: { title: "Audit", admin: true, show: audit },
  batch: { title: "Batch", show: batch },
  agreement: { title: "Agreement", admin: true, show: agreement },
  slide: { title: "Slide", show: async (at) => (await import("./views/slide")).slide(at) },
  password: { title: "Password", show: async () => account.password() },
};
const MENU = ["", "slides", "review", "users", "jobs", "audit"];

const state = await get<State>("/state");
let me: Me | null = null;
let leaving = new AbortController();

const head = h("header", { class: "top" });
const main = h("main", { id: "main", tabindex: -1 });
const foot = h("footer", {},
  h("strong", {}, "For research use only. Not for diagnosis."),
  h("span", {}, `mitoyolo ${state.version}, AGPL-3.0-or-later: `,
    h("a", { href: state.source }, "source code"), ", ", h("a", { href: "/licenses.md" }, "licences of its parts")));
const skip = h("a", { class: "skip", href: "#main", onclick: (event: Event) => { event.preventDefault(); main.focus(); } },
  "To the content");
put(document.body, skip, head, main, foot);

async function show(to: Where): Promise<void> {
  leaving.abort();
  leaving = new AbortController();
  const { signal } = leaving;
  const name = to.parts[0] ?? "";
  const view = VIEWS[name];
  document.title = me && view ? `${view.title} · mitoyolo` : "mitoyolo";
  paint_head(name);
  if (!me) {
    put(main, state.setup ? account.setup(enter) : account.login(enter));
  } else if (!view || (view.admin && me.role !== "admin")) {
    put(main, h("section", { class: "narrow card" }, h("h1", {}, "Not here"),
      h("p", {}, "There is no such page for you. "), h("a", { href: "#/" }, "Go to your batches")));
  } else {
    try {
      const made = await view.show({ me, signal, place: (node) => put(main, node), ...to });
      if (!signal.aborted && !made.isConnected) put(main, made);
    } catch (error) {
      if (signal.aborted) return;
      put(main, h("section", { class: "narrow card" }, h("h1", {}, view.title),
        h("p", { class: "problem", role: "alert" }, text_of(error)), h("a", { href: "#/" }, "Go to your batches")));
    }
  }
  const first = main.querySelector<HTMLElement>("[autofocus]") ?? main;
  first.focus({ preventScroll: true });
}

function paint_head(name: string): void {
  const items = MENU.filter((item) => me?.role === "admin" || !VIEWS[item]?.admin);
  put(head,
    h("a", { class: "brand", href: "#/" }, h("img", { src: "/icon.svg", alt: "", width: 24, height: 24 }), "mitoyolo"),
    me && h("nav", { "aria-label": "Main" }, ...items.map((item) =>
      h("a", { href: `#/${item}`, "aria-current": item === name && "page" }, VIEWS[item]?.title))),
    me && h("span", { class: "who" },
      h("a", { href: "#/password", title: "Change password" }, me.name),
      button("Log out", leave, { class: "quiet" })));
}

function enter(entered: Me): void {
  me = entered;
  state.setup = false;
  remember(me);
  const { path } = where();
  if (path === "/setup" || path === "/login") go("/");
  else void show(where());
}

async function leave(): Promise<void> {
  if (!(await may_leave())) return;
  await send("POST", "/logout");
  location.assign("/");
}

/** A login that ended is renewed over the view, in which something may not be saved yet. */
window.addEventListener("logged-out", () => {
  if (!me || document.querySelector("dialog.login")) return;
  const was = me;
  const dialog: HTMLDialogElement = h("dialog", { class: "login", "aria-label": "Log in again", oncancel: (event: Event) => event.preventDefault() },
    account.login((entered) => {
      if (entered.id !== was.id) return location.reload(); // what the other marked is not this one's
      remember(me = entered);
      dialog.remove();
      if (main.querySelector("[role=alert]:not(:empty)")) void show(where());
      else window.dispatchEvent(new Event("online"));
    }));
  document.body.append(dialog);
  dialog.showModal();
});

try {
  me = await get<Me>("/me");
  remember(me);
} catch (error) {
  if (!(error instanceof ApiError && error.status === 401)) throw error;
}
start(show);

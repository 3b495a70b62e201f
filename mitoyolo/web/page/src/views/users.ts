/** Who may log in, as what. */

import { get, send, type User } from "../api";
import { button, field, form, h, moment, notify, options, put } from "../dom";
import { table } from "./parts";
import type { Here } from "./view";

export async function users({ me, signal }: Here): Promise<Node> {
  const list = h("div");
  const paint = async (): Promise<void> => {
    const all = await get<User[]>("/users", signal);
    const change = async (user: User, what: object, said: string): Promise<void> => {
      await send("PATCH", `/users/${user.id}`, what);
      notify(said);
      await paint();
    };
    put(list, table(["Name", "Role", "Since", "Log in", ""], all.map((user) => [
      user.name, user.role, moment(user.created_at), user.active ? "may" : "may not",
      user.id === me.id ? "" : h("span", { class: "row" },
        button(user.active ? "Switch off" : "Switch on",
          () => change(user, { active: !user.active }, `${user.name} is switched ${user.active ? "off" : "on"}`)),
        button(user.role === "admin" ? "Make annotator" : "Make admin",
          () => change(user, { role: user.role === "admin" ? "annotator" : "admin" }, `${user.name} has another role`)),
        button("New password", () => renew(user))),
    ]), "Users; nobody is ever deleted"));
  };
  const renew = (user: User): void => {
    const password = h("input", { type: "password", autocomplete: "new-password", required: true, autofocus: true });
    const dialog: HTMLDialogElement = h("dialog", { "aria-label": `New password of ${user.name}` },
      h("h2", {}, `New password of ${user.name}`),
      form("Set password", async () => {
        await send("PATCH", `/users/${user.id}`, { password: password.value });
        dialog.close();
        notify(`${user.name} has a new password`);
      }, field("Password", password, "12 characters or more")),
      button("Cancel", () => dialog.close(), { class: "quiet" }));
    dialog.addEventListener("close", () => dialog.remove());
    document.body.append(dialog);
    dialog.showModal();
  };
  const name = h("input", { name: "name", required: true, maxlength: 64, autocomplete: "off" });
  const password = h("input", { name: "password", type: "password", required: true, autocomplete: "new-password" });
  const role = h("select", { name: "role" }, ...options([["annotator", "Annotator: reads what is assigned"],
    ["admin", "Admin: everything"]]));
  const add: HTMLFormElement = form("Add user", async () => {
    await send("POST", "/users", { name: name.value, password: password.value, role: role.value });
    notify(`${name.value} may log in now`);
    add.reset();
    await paint();
  }, field("Name", name), field("Password", password, "12 characters or more"), field("Role", role));
  await paint();
  return h("section", {}, h("h1", {}, "Users"), list, h("section", { class: "card narrow left" }, h("h2", {}, "Add a user"), add));
}

/** Logging in, the first set-up, and one's own password. */

import { send, type Me } from "../api";
import { field, form, h, notify } from "../dom";
import { where } from "../router";

type Entered = (me: Me) => void;

const name_input = (): HTMLInputElement =>
  h("input", { name: "name", autocomplete: "username", required: true, maxlength: 64, autofocus: true });
const password_input = (autocomplete: "current-password" | "new-password"): HTMLInputElement =>
  h("input", { name: "password", type: "password", autocomplete, required: true });

export function login(entered: Entered): Node {
  const [name, password] = [name_input(), password_input("current-password")];
  return h("section", { class: "narrow card" },
    h("h1", {}, "Log in"),
    form("Log in", async () => entered(await send<Me>("POST", "/login", { name: name.value, password: password.value })),
      field("Name", name), field("Password", password)));
}

export function setup(entered: Entered): Node {
  const given = where().query.get("token") ?? "";
  const token = h("input", { name: "token", required: true, autocomplete: "off", value: given, autofocus: !given });
  const [name, password] = [name_input(), password_input("new-password")];
  return h("section", { class: "narrow card" },
    h("h1", {}, "First set-up"),
    h("p", {}, "This makes the first admin, who then makes the other users."),
    form("Make the admin", async () => entered(await send<Me>("POST", "/setup",
      { token: token.value.trim(), name: name.value, password: password.value })),
    field("Token", token, "Printed by mitoyolo serve where it was started"),
    field("Name", name), field("Password", password, "12 characters or more")));
}

export function password(): Node {
  const [old, wanted] = [password_input("current-password"), password_input("new-password")];
  const self = form("Change password", async () => {
    await send("POST", "/me/password", { old: old.value, new: wanted.value });
    self.reset();
    notify("Password changed");
  }, field("Present password", old), field("New password", wanted, "12 characters or more"));
  return h("section", { class: "narrow card" }, h("h1", {}, "Password"), self);
}

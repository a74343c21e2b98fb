// What Durable Objects wrote: the SQLite files below a house's folder. To be opened only while the Worker is down.

import { readdirSync } from "node:fs";
import { join } from "node:path";
import { DatabaseSync } from "node:sqlite";

/** Every database of the objects of a class, opened one after the other for `use(database)`. */
export function withObjects(house, kind, use) {
  const objects = join(house.worker.folder, "v3/do");
  const folder = join(objects, readdirSync(objects).find((name) => name.endsWith(`-${kind}`)));
  for (const name of readdirSync(folder).filter((name) => name.endsWith(".sqlite") && !name.startsWith("metadata"))) {
    const database = new DatabaseSync(join(folder, name));
    try {
      if (database.prepare("SELECT name FROM sqlite_master WHERE name = 'rows'").get()) use(database);
    } finally {
      database.close();
    }
  }
}

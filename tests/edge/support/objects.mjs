// What Durable Objects and the bucket wrote: SQLite files below a house's folder. To be changed only while the Worker is down.

import { readdirSync } from "node:fs";
import { join } from "node:path";
import { DatabaseSync } from "node:sqlite";

/** Every database of the objects of a class that has that table, opened one after the other for `use(database)`. */
export function withObjects(house, kind, use, table = "rows") {
  const objects = join(house.worker.folder, "v3/do");
  const folder = join(objects, readdirSync(objects).find((name) => name.endsWith(`-${kind}`)));
  for (const name of readdirSync(folder).filter((name) => name.endsWith(".sqlite") && !name.startsWith("metadata"))) {
    const database = new DatabaseSync(join(folder, name));
    try {
      if (database.prepare("SELECT name FROM sqlite_master WHERE name = ?").get(table)) use(database);
    } finally {
      database.close();
    }
  }
}

/** The rows of that table in every object of a class. */
export function rowsOf(house, kind, table) {
  const rows = [];
  withObjects(house, kind, (database) => rows.push(...database.prepare(`SELECT key, value FROM ${table}`).all()), table);
  return rows;
}

/** The index of the bucket (`_mf_objects`: key, blob_id, size), with the folder of its blobs, for `use(database, folder)`. */
export function withBucket(house, use) {
  const folder = join(house.worker.folder, "v3/r2");
  const index = join(folder, "miniflare-R2BucketObject");
  for (const name of readdirSync(index).filter((name) => name.endsWith(".sqlite") && !name.startsWith("metadata"))) {
    const database = new DatabaseSync(join(index, name));
    try {
      use(database, join(folder, "gatehouse-documents-test/blobs"));
    } finally {
      database.close();
    }
  }
}

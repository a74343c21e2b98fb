// `npm run restore-drill`: destroys a house on local workerd and brings it back from its snapshot.

import { drill } from "../tests/edge/support/drill.mjs";
import { say } from "./lib.mjs";

const seconds = (ms) => `${(ms / 1000).toFixed(1)} s`;

const told = await drill((text) => say(`restore drill: ${text}`));
say(`the snapshot has ${told.objects} objects, ${(told.bytes / 1024).toFixed(0)} KiB; it was put back in ${told.steps} call(s)`);
console.log(`RPO ${seconds(told.lostMs)}: the age of the snapshot when everything was lost`);
console.log(`RTO ${seconds(told.firstMs)}: from the loss to the first served document (${seconds(told.startMs)} of it the runtime's start)`);
console.log(`    ${seconds(told.wholeMs)}: to the end of the comparison`);

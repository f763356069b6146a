import { planOf, simulate } from "keelson/testing";
import { subjectOf } from "/tmp/wt/r-test/scripts/sim/stores.ts";
import {createHash} from "node:crypto";
const subject = subjectOf(process.argv[3] ?? "sim");
const n=Number(process.argv[2]??40);
await simulate(planOf(1),{subject});
const c=process.cpuUsage();
let h="";
for (let s=1;s<=n;s++){const r=await simulate(planOf(s),{subject}); h+=r.traceHash+(r.violation?"F":"");}
const d=process.cpuUsage(c);
console.log((d.user/1e6).toFixed(2)+"s user", createHash("sha1").update(h).digest("hex").slice(0,12));

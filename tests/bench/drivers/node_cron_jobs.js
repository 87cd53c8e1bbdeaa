// node-cron as its users run programs: one task for each job, which starts the program and keeps both streams.
//
//     node node_cron_jobs.js PLAN
//
// PLAN is the JSON of `systems.write_plan`.
const cron = require(process.env.NODE_CRON);
const { execFile } = require("node:child_process");

const plan = JSON.parse(require("node:fs").readFileSync(process.argv[2], "utf8"));
const options = { timezone: "UTC", missedExecutionTolerance: 600000 }; // a late job runs all the same

function run(job) {
  return new Promise((done) =>
    execFile(plan.command[0], [...plan.command.slice(1), String(job), ...plan.sleep], done));
}

for (const group of plan.groups) {
  const at = new Date(group.at * 1000);
  const jobs = Array.from({ length: group.count }, (_, i) => group.first + i);
  if (group.until === undefined) {
    const when = `${at.getUTCSeconds()} ${at.getUTCMinutes()} ${at.getUTCHours()} * * *`;
    for (const job of jobs) cron.schedule(when, () => run(job), options);
  } else {
    // It knows no start: the tasks are made half a second before.
    setTimeout(() => {
      const tasks = jobs.map((job) => cron.schedule("* * * * * *", () => run(job), options));
      setTimeout(() => tasks.forEach((task) => task.stop()), 1000 * (group.until - group.at + 0.7));
    }, group.at * 1000 - 500 - Date.now());
  }
}
console.log("ready");

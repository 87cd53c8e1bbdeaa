# Runs under `sh -eu`. SCHEDULER_* variables tell the job about its run.
echo "disk report for $SCHEDULER_ROOT, run $SCHEDULER_RUN_ID"
df -h "$SCHEDULER_ROOT"

# Runs under `sh -eu`. The scheduler tells a job about itself in SCHEDULER_* variables.
echo "disk report for $SCHEDULER_ROOT, run $SCHEDULER_RUN_ID"
df -h "$SCHEDULER_ROOT"

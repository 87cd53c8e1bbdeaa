# Prints the files in the inbox. Exit code 0 wakes the agent; 10 means that there is nothing to do.
inbox="${TMPDIR:-/tmp}/scheduler-inbox"
test -n "$(ls "$inbox" 2>/dev/null)" || exit 10
ls "$inbox"

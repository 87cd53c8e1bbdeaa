# Counts the links in the prompts.
echo "links: $(cat "$SCHEDULER_ROOT"/prompts/*.md | grep -c 'https://' || true)"

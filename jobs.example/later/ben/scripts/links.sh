# Counts the links in the prompts and in the handbook.
echo "prompts: $(cat "$SCHEDULER_ROOT"/prompts/*.md | grep -c 'https://' || true)"
lines=$(wc -l < "$SCHEDULER_ROOT/handbook/index.md")
echo "handbook: $lines lines"
